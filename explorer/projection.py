"""Runs as paths in a plane or a space: a common principal component analysis of their states.

All x_t, in VP form so that samplers of both kinds compare, and all x0 of all runs are points of one cloud; its three
widest directions are the axes (Pearson 1901, doi:10.1080/14786440109462720). An SVD of the centred points gives them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from explorer import limits
from explorer.diffusion import to_vp
from explorer.records import RequestError, Trajectory

AXES = 3
RUNS = 6
WORK = 2**34  # points * numbers * the smaller of the two: some seconds

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Path:
    """One run in the common axes; its x0 are those of all Steps that have one, all but the last."""

    x_t: Values  # (n, 3)
    x0: Values  # (m, 3)
    x_t_steps: tuple[int, ...]  # n indices of Steps
    x0_steps: tuple[int, ...]  # m
    timesteps: tuple[float, ...]  # of x_t_steps


@dataclass(frozen=True, eq=False)
class Projection:
    """The common axes, and every run in them."""

    paths: tuple[Path, ...]
    explained_variance_ratio: Values  # (3,), of all variance, largest first; zeros where there is none
    mean: Values  # (d,), d = C·h·w
    components: Values  # (3, d), orthonormal; rows of zeros where the points span fewer directions


def project(trajectories: Sequence[Trajectory]) -> Projection:
    """Fits the axes to all runs together and gives each run's path in them.

    A component's sign is such that its entry of largest magnitude is positive, so that the same runs always look alike.

    Raises:
        RequestError: no run, too many, one without steps or with values that are not finite, or runs of two shapes.
    """
    if not trajectories:
        raise RequestError("runs is empty; choose at least one run to project.")
    if len(trajectories) > RUNS:
        raise RequestError(f"runs has {len(trajectories)} runs; the limit of one projection is {RUNS}.")
    shape = _shape(trajectories)
    count, width = sum(1 + (step.x0 is not None) for run in trajectories for step in run.steps), math.prod(shape)
    if count * width * min(count, width) > WORK:
        raise RequestError(f"The runs have {count} states of {width} numbers, too many to project at once; choose fewer.")
    states = [[_flat(to_vp(step.latents, step.alpha, step.sigma)) for step in run.steps] for run in trajectories]
    ends = [[_flat(step.x0) for step in run.steps if step.x0 is not None] for run in trajectories]
    points = np.stack([row for mine in zip(states, ends, strict=True) for rows in mine for row in rows])  # (count, d)
    if not np.isfinite(points).all():
        raise RequestError("runs has latents that are not finite; only finite ones can be projected.")
    mean, components, ratio = fit(points)
    return Projection(
        tuple(
            Path(
                _in_axes(x_t, mean, components), _in_axes(x0, mean, components), tuple(step.index for step in run.steps),
                tuple(step.index for step in run.steps if step.x0 is not None),
                tuple(float(step.timestep) for step in run.steps),
            )
            for run, x_t, x0 in zip(trajectories, states, ends, strict=True)
        ),
        ratio, mean, components,
    )  # fmt: skip


def fit(points: Values) -> tuple[Values, Values, Values]:
    """Mean (d,), the first three components (3, d) and their shares of the variance (3,) of points (n, d)."""
    mean = points.mean(axis=0)
    centred = points - mean
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    variances = singular**2
    rank = int((singular > singular[0] * max(points.shape) * np.finfo(np.float64).eps).sum()) if singular[0] > 0 else 0
    components, ratio = np.zeros((AXES, points.shape[1])), np.zeros(AXES)
    kept = min(AXES, rank)
    components[:kept] = rows[:kept]
    ratio[:kept] = variances[:kept] / variances.sum() if rank else 0.0
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    return mean, components * np.where(largest < 0, -1.0, 1.0), ratio


def _shape(trajectories: Sequence[Trajectory]) -> tuple[int, ...]:
    shapes = []
    for i, run in enumerate(trajectories, 1):
        limits.check_steps(f"run {i}", run)
        shapes.append(tuple(run.latents.shape[1:]))
        if shapes[-1] != shapes[0]:
            mine, first = ("×".join(map(str, shape)) for shape in (shapes[-1], shapes[0]))
            raise RequestError(f"run {i} has latents of {mine}, the first run of {first}; a projection needs one shape.")
    return shapes[0]


def _in_axes(rows: list[Values], mean: Values, components: Values) -> Values:
    return (np.stack(rows) - mean) @ components.T if rows else np.zeros((0, AXES))


def _flat(latents: Tensor) -> Values:
    return latents.detach().cpu().double().flatten().numpy()
