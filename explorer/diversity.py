"""Fidelity against diversity: seeds x scales, how far results of one scale spread, and how far they left the prior.

Each seed is one batch: its scales, and beside them its unconditional run, which shares their first evaluation's row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, NamedTuple

from torch import Tensor

from explorer import engine, limits
from explorer.lessons import spread
from explorer.records import Model, Request, RequestError, Step
from explorer.sweep import check_scales

SEEDS = (1, 12)  # how many

Batch = Callable[[Model, Sequence[Request]], Iterator[list[Step]]]


class Row(NamedTuple):
    """One evaluation of one seed's runs."""

    row: int  # of the grid, counted from 0
    seed: int
    steps: list[Step]  # one per scale, in their order
    unconditional: Step  # of the same seed


@dataclass(frozen=True)
class Point:
    """One scale of the curve, in units of latents (root mean squares)."""

    scale: float
    spread: float  # mean distance between two seeds' results; 0 for one seed
    distance: float  # mean distance of a result from its seed's unconditional one
    size: float  # of the results themselves: strong guidance makes latents larger, and with them both distances


def grid(
    model: Model, request: Request, seeds: Sequence[int], scales: Sequence[float], batch: Batch = engine.denoise_batch
) -> Iterator[Row]:
    """Runs every seed at every scale and unconditionally, seed by seed; yields a Row per evaluation.

    Args:
        model: what predicts.
        request: all but seed and guidance.
        seeds: 1 … 12 different ones.
        scales: 1 … 12 guidance scales, each from -5 to 30.
        batch: what runs one seed's requests, where that is not the engine here.

    Raises:
        RequestError: at the call, for a value outside its limit; all runs together count against `limits.WORK`.
    """
    plan = requests(model, request, seeds, scales)
    return _rows(model, plan, batch)


def requests(model: Model, request: Request, seeds: Sequence[int], scales: Sequence[float]) -> list[list[Request]]:
    """One list per seed: its scales in their order, then its unconditional run. Arguments and errors as in `grid`."""
    if model.abilities.guidance != "cfg":
        raise RequestError(f"The model {model.name!r} makes no unconditional prediction, which this grid needs.")
    chosen, values = check_seeds(seeds), check_scales(scales)
    limits.check(replace(request, guidance=1.0), model, batch=len(chosen) * (len(values) + 1))
    alone = replace(request, negative_prompt="", guidance=0.0, guidance_rescale=0.0)  # not the empty prompt: SDXL has zeros
    lanes = [*(replace(request, guidance=w) for w in values), alone]
    return [limits.check_batch([replace(lane, seed=seed) for lane in lanes], model) for seed in chosen]


def check_seeds(seeds: Any) -> list[int]:
    """1 … 12 different seeds.

    Raises:
        RequestError: says which one is wrong.
    """
    chosen: list[int] = []
    for i, value in enumerate(limits.several("seeds", seeds, SEEDS, "seeds")):
        seed = limits.whole(f"seeds[{i}]", value, limits.SEED)
        if seed in chosen:
            raise RequestError(f"seeds[{i}] is {seed} again; each seed counts once.")
        chosen.append(seed)
    return chosen


def curve(scales: Sequence[float], ends: Sequence[Sequence[Tensor]], unconditional: Sequence[Tensor]) -> list[Point]:
    """Spread and distance per scale.

    Args:
        scales: in the order of the grid's columns.
        ends: final latents (1, C, H, W), one list per seed, one per scale in it.
        unconditional: final latents of the unconditional runs, one per seed.
    """
    return [
        Point(
            scale=scale,
            spread=spread(column),
            distance=fmean(spread(pair) for pair in zip(column, unconditional, strict=True)),
            size=fmean(float(latents.square().mean().sqrt()) for latents in column),
        )
        for scale, *column in zip(scales, *ends, strict=True)
    ]


def measured(rows: Iterator[Row], scales: Sequence[float]) -> list[Point]:
    """Runs a grid to its end and reads its curve."""
    last: dict[int, Row] = {row.row: row for row in rows}
    ends = [[step.latents for step in row.steps] for row in last.values()]
    return curve(scales, ends, [row.unconditional.latents for row in last.values()])


def _rows(model: Model, plan: list[list[Request]], batch: Batch) -> Iterator[Row]:
    for turn, lanes in enumerate(plan):
        with closing(batch(model, lanes)) as stream:  # type: ignore[type-var]
            for *steps, unconditional in stream:
                yield Row(turn, lanes[0].seed, steps, unconditional)
