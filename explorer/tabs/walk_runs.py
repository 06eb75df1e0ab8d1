"""The walks that are on people's stages, kept for a while, and the denoising run of one frame that the page asks for.

`steps` may be called by anybody with anything: it answers {"error": one sentence} and raises nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

import torch
from torch import Tensor

from explorer import limits
from explorer.frames import encode
from explorer.records import Model, RequestError, Step
from explorer.sessions import MIB
from explorer.tabs.keep import Keep
from explorer.tabs.latents_asking import Answer, Asked, guard, parts
from explorer.walk import Walk
from explorer.walk_film import Batch, Pictures
from explorer.walk_readings import Tracks, distances

SESSION_BYTES = 480 * MIB  # two of the largest films at 512 x 512: one stands beside the other
TOTAL_BYTES = 960 * MIB
WAITING = 8  # one frame's run is copied in a few milliseconds
GONE = "This film is not kept here any more; press Run."
UNMADE = "This frame is not finished, so its own run can't be shown yet."


@dataclass(eq=False)
class Made:
    """One film, which grows while it is made; frames by their place in it, from 0."""

    walk: Walk  # checked
    places: tuple[float, ...]
    ends: tuple[str, str] | None = None  # of a walk between pictures: what they are called
    sources: Pictures | None = None  # likewise: their latents
    batch: int = 4  # frames that are made together
    tracks: Tracks | None = None
    run: str = field(default_factory=lambda: token_hex(6))
    evaluations: int = 0  # of each frame's run; known with the first
    timesteps: list[float] = field(default_factory=list)  # one an evaluation
    x0: dict[int, list[Tensor]] = field(default_factory=dict)  # (C, h, w), float16, one an evaluation
    latents: dict[int, Tensor] = field(default_factory=dict)  # (1, C, h, w) at the end; of finished frames only
    pictures: dict[int, Tensor] = field(default_factory=dict)  # (3, H, W), uint8; of finished frames only
    apart: dict[int, tuple[float, float]] = field(default_factory=dict)  # to the next: rms of the latents, 1 - SSIM

    @property
    def closed(self) -> bool:
        return self.walk.closed

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, h, w) of the latents, once some are there."""
        return tuple(next(iter(self.x0.values()))[0].shape)

    def take(self, batch: Batch) -> None:
        """What was predicted of the frames that are being made."""
        self.evaluations = batch.evaluations
        if len(self.timesteps) == batch.evaluation:
            self.timesteps.append(batch.steps[0].timestep)
        for i, step in zip(batch.frames, batch.steps, strict=True):
            if step.x0 is not None:
                self.x0.setdefault(i, []).append(step.x0[0].half())

    def finish(self, i: int, step: Step, decoded: Tensor) -> dict[int, tuple[float, float]]:
        """Takes a frame's last state and its picture (1, 3, H, W) in 0 … 1; returns what it adds to `apart`."""
        self.pictures[i] = decoded[0].mul(255).round().to(torch.uint8)
        self.latents[i] = step.latents
        n, found = len(self.places), {}
        for a, b in [(a % n, (a + 1) % n) for a in (i - 1, i) if self.closed or 0 <= a < n - 1]:
            pair = distances([self.latents.get(a), self.latents.get(b)], [self.pictures.get(a), self.pictures.get(b)])[0]
            if pair is not None:
                found[a] = pair
        self.apart.update(found)
        return found

    def curve(self) -> list[float]:
        """The latents' distances between neighbours of a whole film, as `explorer.pace` takes them.

        Raises:
            RequestError: frames are missing.
        """
        n = len(self.places)
        if len(self.pictures) < n:
            raise RequestError(f"Only {len(self.pictures)} of {n} frames are there; press Run for a whole film first.")
        return [self.apart[i][0] for i in sorted(self.apart)]

    def nbytes(self) -> int:
        """What it holds when it is whole, at the most."""
        request, frames = self.walk.request, len(self.places)
        cells = int(request.width or 0) * int(request.height or 0)
        one = next(iter(self.x0.values()), None)
        state = one[0].numel() if one else 0
        return frames * (3 * cells + 4 * state + 2 * state * self.evaluations)


class Walks:
    """Films by run, the least recently used going first; at least the newest of a session stays."""

    def __init__(self, session_bytes: int = SESSION_BYTES, total_bytes: int = TOTAL_BYTES) -> None:
        self._kept: Keep[Made] = Keep(Made.nbytes, session_bytes, total_bytes)

    def put(self, session: str, made: Made) -> None:
        """Keeps a film of which the first frames are being made."""
        self._kept.keep(session, made.run, made)

    def open(self, session: str) -> None:
        """Has what a session makes from now on kept again, after its page was closed."""
        self._kept.open(session)

    def get(self, run: Any) -> Made | None:
        """None where it was never kept or is gone."""
        return self._kept.get(run)

    def there(self, run: Any) -> Made:
        """As get.

        Raises:
            RequestError: it is gone, or never was.
        """
        if (made := self.get(run)) is None:
            raise RequestError(GONE)
        return made

    def drop(self, session: str) -> None:
        """Forgets all films of a session."""
        self._kept.drop(session)


def steps(model: Model, walks: Walks) -> Asked:
    """[run, frame] → {"planes": [base64, …]}: what x0 was at each evaluation of a finished frame's run."""

    def steps(wanted: Any) -> Answer:
        run, frame = parts(wanted, 2)
        made = walks.there(run)
        i = limits.whole("frame", frame, (0, len(made.places) - 1))
        if i not in made.pictures:
            raise RequestError(UNMADE)
        return {"planes": planes(model, made.x0[i])}

    return guard(WAITING)(steps)


def planes(model: Model, x0s: Sequence[Tensor]) -> list[str]:
    """Latents (C, h, w), each packed as a record's planes are."""
    return [plane(model, x0[None].float()) for x0 in x0s]


def plane(model: Model, tensor: Tensor) -> str:
    """(1, C, h, w), packed as if it were a state."""
    bare = Step(index=0, timestep=0.0, alpha=1.0, sigma=0.0, latents=tensor)
    return encode(bare, run="", n=0, model_preview=model.preview)["planes"]["x_t"]
