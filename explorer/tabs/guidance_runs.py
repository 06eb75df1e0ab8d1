"""The sweeps that are on people's stages, kept for a while, and the planes of one cell that the microscope asks for.

`planes` may be called by anybody with anything: it answers {"error": one sentence} and raises nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from threading import BoundedSemaphore
from typing import Any, NamedTuple

import torch
from torch import Tensor

from explorer import limits, microscope
from explorer.frames import encode
from explorer.microscope import Readings, readings
from explorer.records import DiffuscopeError, Model, Request, RequestError, Step
from explorer.sessions import MIB, nbytes
from explorer.sweep import named
from explorer.tabs.keep import Keep

SESSION_BYTES = 96 * MIB
TOTAL_BYTES = 384 * MIB
ANSWER = 2**19  # characters of planes in one answer: a whole run of the embedded model, three steps at 512 x 512
WAITING = 4  # more than this many at once are sent away: each holds one of the server's threads
GONE = "This sweep is not kept here; press Run, with fewer scales or steps if it was large."
NOWHERE = "There is no such cell and step in this sweep."
BUSY = "The server is busy; look here again in a moment."
FAILED = "These maps could not be made; the server's log says why."

Answer = dict[str, Any]


class Picture(NamedTuple):
    """What a cell ended in."""

    pixels: Tensor  # (3, H, W), uint8
    clipped: float  # measured before it was rounded, as on the page
    saturation: float

    @staticmethod
    def of(decoded: Tensor) -> Picture:
        """A decoded picture (1, 3, H, W) in 0 … 1."""
        pixels = decoded[0].mul(255).round().to(torch.uint8)
        return Picture(pixels, microscope.clipped(decoded), microscope.saturation(decoded))


@dataclass(eq=False)
class Sweep:
    """One sweep, which grows while it runs."""

    requests: Sequence[Request]  # one a cell
    scales: Sequence[float]
    dial: str  # the name of w(t)
    evaluations: int
    rows: list[list[Step]] = field(default_factory=list)  # one a state, with one Step a cell
    pictures: list[Picture] = field(default_factory=list)  # one a cell, at the end
    widest: int = 0  # bytes of the largest row so far

    def add(self, row: list[Step]) -> bool:
        """Takes the next state; whether it is larger than all before: multistep samplers and w(t) begin with less."""
        self.rows.append(row)
        size = sum(nbytes([step]) for step in row)  # each alone: only the first state's cells share what was predicted
        grown, self.widest = size > self.widest, max(size, self.widest)
        return grown

    def nbytes(self) -> int:
        """The most that it holds when it is over, if no state still to come is larger than the largest so far."""
        request = self.requests[0]
        pictures = 3 * int(request.width or 0) * int(request.height or 0) * len(self.requests)
        return self.widest * (self.evaluations + 1) + pictures

    def titles(self) -> list[tuple[str, str]]:
        """What each cell is called, and a few words about it."""
        return [titled(scale, request) for scale, request in zip(self.scales, self.requests, strict=True)]


def titled(scale: float, request: Request) -> tuple[str, str]:
    """What a cell is called, and what its scale means.

    Where w changes along the run no single number is true of it: then the name has the w that is furthest from 1, and
    the words say for which scale it was made, and between which values it runs.
    """
    w = request.guidance
    if not isinstance(w, tuple) or min(w) == max(w):
        held = w[0] if isinstance(w, tuple) else w
        return written(f"w = {held:.4g}"), written(named(held, request.negative_prompt))
    low, high = min(w), max(w)
    furthest = f"peak {high:.3g}" if high - 1 >= 1 - low else f"low {low:.3g}"
    return written(f"w(t), {furthest}"), written(f"for w = {scale:.4g}: {low:.3g} to {high:.3g}")


def written(text: str) -> str:
    """With the minus sign that is as wide as a plus."""
    return text.replace("-", "−")


class Sweeps(Keep[Sweep]):
    """Sweeps by run."""

    def __init__(self, session_bytes: int = SESSION_BYTES, total_bytes: int = TOTAL_BYTES) -> None:
        super().__init__(Sweep.nbytes, session_bytes, total_bytes)

    def put(self, session: str, run: str, sweep: Sweep) -> bool:
        """Keeps a sweep whose first state is there; False where it alone is larger than a session may hold."""
        if sweep.nbytes() > min(self._limits):
            return False
        self.keep(session, run, sweep)
        return True

    def grown(self, run: str) -> bool:
        """Makes room for a sweep that turns out larger than at first; False where it alone is too large now, and gone."""
        with self._lock:
            if run not in self._kept:  # its page was closed, or others needed the room
                return True
            session, sweep = self._kept[run]
            if sweep.nbytes() > min(self._limits):
                del self._kept[run]
                return False
            self._kept.move_to_end(run)
            self._evict(session)
        return True

    def cell(self, run: Any, cell: Any) -> tuple[Sweep, int]:
        """A sweep and a cell of it.

        Raises:
            RequestError: the sweep is gone, or never was, or has no such cell.
        """
        if (sweep := self.get(run)) is None:
            raise RequestError(GONE)
        return sweep, limits.whole("cell", cell, (0, len(sweep.requests) - 1))


def planes(model: Model, sweeps: Sweeps) -> Callable[[Any], Answer]:
    """[run, cell, i, reach] → {"steps": {i: {plane: base64}}}: what was predicted at state i, and at states around it.

    All planes of all cells would be some 40 MB for a sweep at 512 x 512; so only those of the chosen cell are sent, the
    nearest `reach` states at both sides of i with it as far as they fit into one answer, so that scrubbing asks rarely.
    """
    places = BoundedSemaphore(WAITING)

    def answer(wanted: Any = None) -> Answer:
        if not isinstance(wanted, list | tuple) or len(wanted) != 4:
            return {"error": GONE}
        run, cell, i, reach = wanted
        if (sweep := sweeps.get(run)) is None:
            return {"error": GONE}
        known = len(sweep.rows)
        if not all(_whole(value) for value in (cell, i, reach)) or cell >= len(sweep.requests) or i >= known:
            return {"error": NOWHERE}
        if not places.acquire(blocking=False):
            return {"error": BUSY}
        try:
            return {"steps": _around(model, sweep, cell, i, min(reach, known))}
        except DiffuscopeError as error:
            return {"error": str(error)}
        except Exception:
            logging.getLogger(__name__).exception("Maps could not be made")
            return {"error": FAILED}
        finally:
            places.release()

    return answer


def reading(model: Model, sweep: Sweep, cell: int, i: int) -> Readings:
    """What one cell's Step says of its guidance."""
    return readings(sweep.rows[i][cell], sweep.requests[cell], model.prediction_type)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _around(model: Model, sweep: Sweep, cell: int, i: int, reach: int) -> dict[str, dict[str, str]]:
    """The planes of state i, and of its neighbours as far as they fit."""
    made: dict[str, dict[str, str]] = {}
    size = 0
    for k in chain([i], *([i + d, i - d] for d in range(1, reach + 1))):
        if not 0 <= k < len(sweep.rows):
            continue
        one = _packed(model, sweep, cell, k)
        size += sum(map(len, one.values()))
        if made and size > ANSWER:
            break
        made[str(k)] = one
    return made


def _packed(model: Model, sweep: Sweep, cell: int, i: int) -> dict[str, str]:
    step, read = sweep.rows[i][cell], reading(model, sweep, cell, i)
    planes = {
        "eps_uncond": step.eps_uncond, "eps_cond": step.eps_cond, "difference": read.difference,
        "x0_uncond": read.x0_uncond, "x0_cond": read.x0_cond, "x0": read.x0,
    }  # fmt: skip
    return {name: _plane(model, tensor) for name, tensor in planes.items() if tensor is not None}


def _plane(model: Model, tensor: Tensor) -> str:
    """A plane is packed as if it were a state."""
    bare = Step(index=0, timestep=0.0, alpha=1.0, sigma=0.0, latents=tensor)
    return encode(bare, run="", n=0, model_preview=model.preview)["planes"]["x_t"]
