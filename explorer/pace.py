"""Even pace: the frames of a walk placed anew, so that neighbours differ equally.

Equal steps along a path are not equal steps between the pictures at its places: some stretches of it change little, and
at others one picture becomes another within a few frames. The distances between neighbours, summed, tell how long each
stretch is for the eye; in equal shares of that length the frames move evenly.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from statistics import fmean, pstdev
from typing import NamedTuple

import numpy as np
from torch import Tensor

from explorer import limits
from explorer.records import Model, RequestError
from explorer.walk import FRAMES, Walk, check, check_places
from explorer.walk import places as plain
from explorer.walk_film import Batch, Pictures, film
from explorer.walk_readings import rms

ROUNDS = (1, 8)
FARTHEST = 1e6  # a distance
APART = 1e-6  # of an even share of the path: how near each other two places can come, so that they always rise


class Placed(NamedTuple):
    """One evaluation of a film that is made to be even."""

    round: int  # 0 is the film as it was placed; each later one is placed anew
    places: tuple[float, ...]  # of this round's frames
    batch: Batch
    curve: tuple[float, ...] | None  # the latents' distances between neighbours, at the end of a round; else None


def even(places: Sequence[float], distances: Sequence[float], frames: int, closed: bool = False) -> tuple[float, ...]:
    """Places anew, each an equal share of the path's length from the next; the ends stay exactly.

    The length up to a place is the sum of the distances up to it, linear between two; this is its inverse, but for a
    millionth of an even spacing, which keeps places apart where a path jumps.

    Args:
        places: of the frames whose distances are known, rising; of a closed path from 0.
        distances: from each to the next, at least 0; of a closed path also from the last one to the first.
        frames: how many places to give, 8 … 120.
        closed: whether the path is closed: place 1 is its first frame again.

    Raises:
        RequestError: they don't fit together, or a distance is missing or not finite.
    """
    known = check_places(places)
    frames = limits.whole("frames", frames, FRAMES)
    lengths = _lengths(known, distances, closed)
    cumulated = np.concatenate([[0.0], np.cumsum(lengths)])
    marks = [*known, 1.0] if closed else [*known]
    shares = np.arange(frames) / (frames if closed else frames - 1)
    found = np.interp(shares * cumulated[-1], cumulated, marks)
    found += APART * (marks[0] + shares * (marks[-1] - marks[0]) - found)
    found[0] = marks[0]
    if not closed:
        found[-1] = marks[-1]
    return tuple(found.tolist())


def variation(distances: Sequence[float]) -> float:
    """The coefficient of variation, standard deviation / mean: 0 for an even pace."""
    mean = fmean(distances)
    return pstdev(distances) / mean if mean else 0.0


def paced(
    model: Model, walk: Walk, pictures: Pictures | None = None, batch: int = 4, rounds: int = 4, share: float = 0.5
) -> Iterator[Placed]:
    """Films a walk, places its frames anew and films it again, until the variation is at most `share` of the first one.

    One round is enough where pictures change gradually; where one becomes another at once, it takes three or four to find
    the place. Only the last latents of a round's frames are held here.

    Args:
        model, walk, pictures, batch: as of `walk_film.film`.
        rounds: films after the first one at most, 1 … 8.
        share: 0 … 1, of the first film's variation.

    Raises:
        RequestError: at the call, for a value outside its limit.
    """
    walk = check(walk, model)
    rounds, share = limits.whole("rounds", rounds, ROUNDS), limits.number("share", share, limits.UNIT)
    film(model, walk, plain(walk), pictures, batch)  # refuses what is wrong before anything is made
    return _paced(model, walk, pictures, batch, rounds, share)


def _paced(model: Model, walk: Walk, pictures: Pictures | None, batch: int, rounds: int, share: float) -> Iterator[Placed]:
    places, enough = plain(walk), 0.0
    for number in range(rounds + 1):
        curve = yield from _round(number, places, film(model, walk, places, pictures, batch), walk.closed)
        enough = share * variation(curve) if number == 0 else enough
        if variation(curve) <= enough:
            return
        places = even(places, curve, walk.frames, walk.closed)


def _round(
    number: int, places: tuple[float, ...], made: Iterator[Batch], closed: bool
) -> Generator[Placed, None, tuple[float, ...]]:
    ends: dict[int, Tensor] = {}
    curve: tuple[float, ...] | None = None
    with closing(made) as stream:  # type: ignore[type-var]
        for one in stream:
            if one.evaluation == one.evaluations:
                ends |= {frame: step.latents for frame, step in zip(one.frames, one.steps, strict=True)}
                curve = _curve(ends, closed) if len(ends) == len(places) else None
            yield Placed(number, places, one, curve)
    assert curve is not None
    return curve


def _curve(ends: dict[int, Tensor], closed: bool) -> tuple[float, ...]:
    latents = [ends[i] for i in range(len(ends))]
    return tuple(rms(a, b) for a, b in zip(latents, [*latents[1:], latents[0]] if closed else latents[1:], strict=False))


def _lengths(places: tuple[float, ...], distances: Sequence[float], closed: bool) -> np.ndarray:
    """The distances, checked; those between the places themselves where nothing changes anywhere."""
    count = len(places) if closed else len(places) - 1
    listed = limits.several("distances", distances, (count, count), "numbers")
    lengths = np.array([limits.number(f"distances[{i}]", one, (0.0, FARTHEST)) for i, one in enumerate(listed)])
    if any(b <= a for a, b in pairwise(places)) or len(places) < 2:
        raise RequestError("places must be at least two, each larger than the one before.")
    if closed and (places[0] > 0 or places[-1] == 1):
        raise RequestError(f"places go from {places[0]:g} to {places[-1]:g}; a closed path's go from 0 to less than 1.")
    return lengths if lengths.any() else np.diff([*places, 1.0] if closed else places)
