"""The pictures that are noised on people's pages, kept for a while, and what a page asks of one state of them.

look, sees and walk may be called by anybody with anything: they answer {"error": one sentence} and raise nothing.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import BoundedSemaphore, Lock
from typing import Any
from weakref import ref

from torch import Tensor

from explorer import frames, noising, seeing
from explorer.forward import Noising, walk, walked
from explorer.records import DiffuscopeError, Model
from explorer.sessions import MIB
from explorer.tabs.gpu import predict
from explorer.tabs.keep import Keep

SESSION_BYTES = 16 * MIB
TOTAL_BYTES = 256 * MIB
ANSWERS = 64  # kept of each kind
WALKS = 12  # chains under way that are kept: one a visitor, 3 MB each at 256 × 256
WAITING = 4  # more than this many at once are sent away: each holds one of the server's threads
GONE = "This picture is not kept here any more; choose an example or give it again."
NOWHERE = "There is no such place on the timeline; it goes from 0 to {}."
BUSY = "The model is busy; rest here again in a moment."
FAILED = "This could not be worked out; the server's log says why."

Answer = dict[str, Any]
Asked = Callable[[Any], Answer]


class Runs(Keep[Noising]):
    """Noised pictures by run."""

    def __init__(self, session_bytes: int = SESSION_BYTES, total_bytes: int = TOTAL_BYTES) -> None:
        super().__init__(nbytes, session_bytes, total_bytes)


def nbytes(state: Noising) -> int:
    """The bytes of a run's picture and schedules; an example that several runs share counts for each."""
    held = sum(tensor.nbytes for tensor in (state.source.pixels, state.source.small, state.source.latents))
    return held + sum(40 * one.steps for one in (state.schedule, state.second) if one is not None)


def answers(model: Model, runs: Runs) -> tuple[Asked, Asked, Asked]:
    """look, sees and walk: each takes [run, t]."""

    def ask(latents: Any, timesteps: Any, prompt: str) -> Any:
        return predict(model, latents, timesteps, prompt)

    def look(state: Noising, t: int) -> Answer:
        start = time.perf_counter()
        picture = frames.data_uri(model.decode(state.latents(t)[None]))
        return {"picture": picture, "ms": round(1000 * (time.perf_counter() - start), 1)}

    losses: OrderedDict[ref[Noising], list[dict[str, Any]]] = OrderedDict()  # used by the one thread that works

    def sees(state: Noising, t: int) -> Answer:
        answer = seeing.sees(state, t, model, ask)
        if ref(state) not in losses:
            losses[ref(state)] = seeing.curve(state, model, ask)
            while len(losses) > ANSWERS:
                losses.popitem(last=False)
        return answer | {"curve": losses[ref(state)]}

    return _asked(runs, look, ANSWERS), _asked(runs, sees, ANSWERS), _asked(runs, walker(), 0)


@dataclass
class _Walk:
    """A chain under way: what it starts from, its states to come, and the one it has reached."""

    x0: Tensor
    chain: Iterator[noising.Noised]
    at: noising.Noised | None = None


def walker(most: int = WALKS) -> Callable[[Noising, int], Answer]:
    """walk: one step on from where the last call of this run left off costs one small step; back starts anew.

    Args:
        most: how many runs' chains are kept, the least recently walked going first.
    """
    kept: OrderedDict[ref[Noising], _Walk] = OrderedDict()  # used by the one thread that works

    def work(state: Noising, t: int) -> Answer:
        for gone in [key for key in kept if key() is None]:
            del kept[gone]
        one = kept.pop(ref(state), None)
        if one is None or (one.at is not None and one.at.t > t):
            x0 = walked(state.source)
            one = _Walk(x0, noising.chain(x0, state.schedule.values, state.seed))
        while t and (one.at is None or one.at.t < t):
            one.at = next(one.chain)
        kept[ref(state)] = one
        while len(kept) > most:
            kept.popitem(last=False)
        return walk(state, t, one.x0, one.at)

    return work


def _asked(runs: Runs, work: Callable[[Noising, int], Answer], most: int) -> Asked:
    """The guard around what works out one state: checks, a bounded crowd, one at a time, `most` answers kept, no errors."""
    kept: OrderedDict[tuple[ref[Noising], int], Answer] = OrderedDict()  # a state that is gone is held by no key
    working, places = Lock(), BoundedSemaphore(WAITING)

    def answer(wanted: Any = None) -> Answer:
        run, t = wanted if isinstance(wanted, list | tuple) and len(wanted) == 2 else (None, None)
        if (state := runs.get(run)) is None:
            return {"error": GONE}
        steps = state.schedule.steps
        if isinstance(t, bool) or not isinstance(t, int) or not 0 <= t <= steps:
            return {"error": NOWHERE.format(steps)}
        if not places.acquire(blocking=False):
            return {"error": BUSY}
        try:
            with working:
                key = ref(state), t
                found = kept[key] = kept.pop(key, {}) or work(state, t)
                while len(kept) > most:
                    kept.popitem(last=False)
                return found
        except DiffuscopeError as error:
            return {"error": str(error)}
        except Exception:
            logging.getLogger(__name__).exception("A state could not be worked out")
            return {"error": FAILED}
        finally:
            places.release()

    return answer
