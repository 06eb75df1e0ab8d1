"""The film of a walk: its frames' runs, a few together, in an order that shows the whole path early."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from explorer import limits
from explorer.engine import denoise_batch
from explorer.records import Model, Step
from explorer.walk import Walk, check, check_pictures, check_places, order, origin, span

BATCH = (1, 16)  # frames made together

Pictures = tuple[Tensor, Tensor]
Turn = Callable[[Model, Walk, Sequence[float], Pictures | None], Iterator[list[Step]]]


class Batch(NamedTuple):
    """One evaluation of the frames that are made together."""

    frames: tuple[int, ...]  # counted from 0 along the path
    evaluation: int  # counted from 0 where these runs begin; `evaluations` for their last states, which have no x0
    evaluations: int
    steps: list[Step]  # one per frame


def turn(model: Model, walk: Walk, places: Sequence[float], pictures: Pictures | None) -> Iterator[list[Step]]:
    """The runs of a few places of a checked walk together: one list per evaluation, and one of their last states."""
    rows = [origin(model, walk, place, pictures) for place in places]
    return denoise_batch(model, [request for request, _ in rows], [one for _, one in rows])


def film(
    model: Model, walk: Walk, places: Sequence[float], pictures: Pictures | None = None, batch: int = 4, turn: Turn = turn
) -> Iterator[Batch]:
    """Runs every frame of a walk, in `walk.order`; yields a Batch per evaluation and one for the last states.

    With a batch of 1 the frame at a station is that station's plain run, bit for bit; with more it is it to 1e-3. Only
    the Steps of one evaluation are held here: keep what is to be kept. Closed early, it stops at once.

    Args:
        model: what predicts.
        walk: checked or not.
        places: of the frames, 0 … 1: `walk.places(walk)`, or others, as of `pace.even`.
        pictures: for a walk between pictures, the scaled latents (1, C, h, w) of the two.
        batch: frames made together, 1 … 16.
        turn: what runs a few places together, where that is not the engine here.

    Raises:
        RequestError: at the call, for a value outside its limit; frames made together count against `limits.WORK`.
    """
    walk = check(walk, model)
    placed, pictures = check_places(places), check_pictures(walk, model, pictures)
    check(replace(walk, frames=max(walk.frames, len(placed))), model)  # there may be more places than the walk has frames
    batch = min(limits.whole("batch", batch, BATCH), len(placed))
    limits.check(walk.request, model, batch)
    return _film(model, walk, placed, pictures, batch, turn)


def _film(
    model: Model, walk: Walk, places: tuple[float, ...], pictures: Pictures | None, batch: int, turn: Turn
) -> Iterator[Batch]:
    turns, evaluations = order(len(places), walk.closed), span(model, walk)[1]
    for first in range(0, len(turns), batch):
        frames = tuple(turns[first : first + batch])
        with closing(turn(model, walk, [places[i] for i in frames], pictures)) as stream:  # type: ignore[type-var]
            for evaluation, steps in enumerate(stream):
                yield Batch(frames, evaluation, evaluations, steps)
