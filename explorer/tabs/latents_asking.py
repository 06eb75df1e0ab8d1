"""The guard around what the folds of the Latents tab may be asked: by anybody, with anything, by many at once.

A server function answers {"error": one sentence} and raises nothing; with "busy" where the same may go well soon. One piece
of work at a time; a small crowd waits, and who comes after that is sent away, since everyone who waits holds one of the
server's threads.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping
from functools import wraps
from threading import BoundedSemaphore, Lock
from typing import Any

import gradio as gr

from explorer.records import DiffuscopeError

WAITING = 4
BUSY = "The model is busy; try again in a moment."
FAILED = "This could not be worked out; the server's log says why."

Answer = dict[str, Any]
Asked = Callable[[Any], Answer]


def guard(waiting: int = WAITING) -> Callable[[Asked], Asked]:
    """A guard that several kinds of work share.

    Args:
        waiting: how many may be inside at once, the one that is worked on among them.
    """
    working, places = Lock(), BoundedSemaphore(waiting)

    def around(work: Asked) -> Asked:
        @wraps(work)
        def answer(wanted: Any = None) -> Answer:
            if not places.acquire(blocking=False):
                return {"error": BUSY, "busy": True}  # who asked may ask again
            try:
                with working:
                    return plain(work(wanted))
            except DiffuscopeError as error:
                return {"error": str(error)}
            except gr.Error as error:  # of ZeroGPU, on a Space: a sentence, at times with a link in it
                return {"error": re.sub(r"<[^>]*>", "", str(error.message))}
            except Exception:
                logging.getLogger(__name__).exception("A fold of the Latents tab was not answered")
                return {"error": FAILED}
            finally:
                places.release()

        return answer

    return around


def parts(wanted: Any, count: int) -> list[Any]:
    """What was asked as exactly `count` values, None where they lack: each is then checked as a missing one."""
    given = list(wanted) if isinstance(wanted, list | tuple) else []
    return (given + [None] * count)[:count]


def plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: None in their place, all the way down."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value
