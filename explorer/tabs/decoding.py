"""The full decoding of one step's x0, on demand: the truth beside the player's linear preview.

Decodings are made one at a time and kept as PNGs, the least recently used going first. Where the run's tensors are gone
its Request is run again, once for all of its steps.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Callable
from threading import BoundedSemaphore, Lock
from typing import Any

import gradio as gr
from torch import Tensor

from explorer import frames, limits
from explorer.records import DiffuscopeError, Model
from explorer.samplers import SAMPLERS
from explorer.sessions import Sessions
from explorer.tabs.gpu import denoise

CACHE_BYTES = 64 * 2**20
WAITING = 4  # more than this many at once are sent away: each holds one of the server's threads
GONE = "This run is not kept here, so its steps cannot be decoded; press Run for one of your own."
LONG = "This run is not kept here, and too long to be made again for one step; press Run."
AGAIN = 2**25  # evaluations x pixels that a look at a run that is gone may cost: 128 at 512 x 512
RUNS = 2  # of which all x0 are kept after they were made again
NOTHING = "This run has no prediction at that step."
BUSY = "The decoder is busy; rest on the step again in a moment."
FAILED = "The step could not be decoded; the server's log says why."


def decoder(model: Model, sessions: Sessions, cache_bytes: int = CACHE_BYTES) -> Callable[[Any, Any], dict[str, str]]:
    """decode(run, index) → {"picture": data URI} or {"error": one sentence}; takes anything, raises nothing."""
    kept: OrderedDict[tuple[str, int], str] = OrderedDict()
    made: OrderedDict[str, list[Tensor | None]] = OrderedDict()  # by run; used by the one thread that works
    reading, working, places = Lock(), Lock(), BoundedSemaphore(WAITING)

    def look(key: tuple[str, int]) -> str | None:
        with reading:
            if key in kept:
                kept.move_to_end(key)
            return kept.get(key)

    def keep(key: tuple[str, int], picture: str) -> None:
        with reading:
            kept[key] = picture
            while sum(map(len, kept.values())) > cache_bytes:
                kept.popitem(last=False)

    def decode(run: Any, index: Any) -> dict[str, str]:
        if not isinstance(run, str) or not isinstance(index, int) or isinstance(index, bool) or index < 0:
            return {"error": GONE if not isinstance(run, str) else NOTHING}
        if picture := look((run, index)):
            return {"picture": picture}
        if not places.acquire(blocking=False):
            return {"error": BUSY}
        try:
            with working:
                picture = look((run, index))  # another thread may have made it meanwhile
                if picture is None:
                    picture = frames.data_uri(_picture(model, sessions, run, index, made))
                    keep((run, index), picture)
            return {"picture": picture}
        except DiffuscopeError as error:
            return {"error": str(error)}
        except gr.Error as error:  # of ZeroGPU, on a Space: a sentence, at times with a link in it
            return {"error": re.sub(r"<[^>]*>", "", str(error.message))}
        except Exception:
            logging.getLogger(__name__).exception("A step could not be decoded")
            return {"error": FAILED}
        finally:
            places.release()

    return decode


def _picture(model: Model, sessions: Sessions, run: str, index: int, made: OrderedDict[str, list[Tensor | None]]) -> Tensor:
    """(1, 3, H, W) in 0 … 1; of another model's run what its trace brought along."""
    trajectory = sessions.find(run)
    if trajectory is not None and limits.foreign(trajectory, model) and index in trajectory.pictures:
        return trajectory.pictures[index][None] / 255
    if trajectory is not None:
        limits.check_own(trajectory, model, "decoded")
    return model.decode(_x0(model, sessions, run, index, made))


def _x0(model: Model, sessions: Sessions, run: str, index: int, made: OrderedDict[str, list[Tensor | None]]) -> Tensor:
    """The x0 of a run's Step, (1, C, H, W), kept or made again."""
    trajectory, request = sessions.find(run), sessions.request(run)
    if trajectory is None and request is None:
        raise DiffuscopeError(GONE)
    step = next((step for step in trajectory.steps if step.index == index), None) if trajectory else None
    if step is not None and step.x0 is not None:
        return step.x0
    evaluations = SAMPLERS[request.sampler].evaluations(request.steps) if request else 0
    if step is not None or request is None or index >= evaluations:
        raise DiffuscopeError(NOTHING)
    if run not in made:  # gone, or stopped before its end: once more, for all of its steps
        if evaluations * (request.width or 0) * (request.height or 0) > AGAIN:
            raise DiffuscopeError(LONG)
        made[run] = [one.x0 for one in denoise(model, request)]
        while len(made) > RUNS:
            made.popitem(last=False)
    x0 = made[run][index]
    if x0 is None:
        raise DiffuscopeError(NOTHING)
    return x0
