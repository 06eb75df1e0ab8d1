"""Where a run begins when not in noise: at a picture's latents, or at a Step of an earlier run.

One rule for the noise generator, as in diffusers: seeded, it first draws the noise that a run from the beginning would
start in, whatever the start, and then what the sampler injects.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from explorer import limits
from explorer.diffusion import to_vp
from explorer.records import Model, Request, RequestError, Trajectory
from explorer.schedule import Schedule, plain_config, schedule

Start = tuple[Tensor, Tensor, int] | tuple[Trajectory, int]


def begin(
    plan: Schedule, model: Model, request: Request, start: Start, shape: tuple[int, ...], generator: torch.Generator
) -> tuple[Tensor, int]:
    """The latents (1, C, H, W) on the CPU and the first evaluation of a run; readies the plan and the generator for it.

    Args:
        plan: fresh, of this request.
        start: see `explorer.engine.denoise`.
        shape: of the latents.
        generator: after its first draw.

    Raises:
        RequestError: the start has the wrong form, shape or place.
    """
    if isinstance(start, tuple) and len(start) == 3:
        return _picture(plan, start, shape)
    if isinstance(start, tuple) and len(start) == 2 and isinstance(start[0], Trajectory):
        return _step(plan, model, request, start[0], start[1], shape, generator)
    raise RequestError("start must be (latents, noise, k) or (Trajectory, k).")


def _picture(plan: Schedule, start: Any, shape: tuple[int, ...]) -> tuple[Tensor, int]:
    k = limits.whole("start k", start[2], (0, plan.evaluations - 1))
    latents = limits.check_latents("start latents", start[0], shape)
    noise = limits.check_latents("start noise", start[1], shape)
    plan.start_at(k)
    # On the CPU: add_noise() moves the scheduler's tables to wherever its latents are.
    return plan.scheduler.add_noise(latents, noise, plan.timesteps[k].reshape(1)), k


def _step(
    plan: Schedule, model: Model, request: Request, origin: Trajectory, k: Any, shape: tuple[int, ...],
    generator: torch.Generator,
) -> tuple[Tensor, int]:  # fmt: skip
    first = origin.steps[0].index
    k = limits.whole("start k", k, (first, origin.steps[-1].index - 1))
    state = origin.steps[k - first]
    latents = limits.check_latents("start latents", state.latents, shape)
    if not _same_grid(plan, model, request, origin):
        k = plan.nearest(state.alpha, state.sigma)
        plan.start_at(k)
        alpha, sigma = plan.levels[k]
        return to_vp(latents, state.alpha, state.sigma) * (alpha**2 + sigma**2) ** 0.5, k
    if first == 0:
        _replay(plan, model, request, origin, k, shape, generator)
    else:
        plan.start_at(k)
    return latents, k


def _same_grid(plan: Schedule, model: Model, request: Request, origin: Trajectory) -> bool:
    """Whether the origin's recorded outputs mean the same on this plan: same model maths, sampler and levels."""
    keys = ("prediction_type", "scheduler_config")
    ours = {"prediction_type": model.prediction_type, "scheduler_config": plain_config(model.scheduler_config)}
    if any(origin.capsule.get(key) != ours[key] for key in keys) or origin.request.sampler != request.sampler:
        return False
    other = schedule(origin.request, model.scheduler_config)
    return other.levels == plan.levels and [float(t) for t in other.timesteps] == [float(t) for t in plan.timesteps]


def _replay(
    plan: Schedule, model: Model, request: Request, origin: Trajectory, k: int, shape: tuple[int, ...],
    generator: torch.Generator,
) -> None:  # fmt: skip
    """Shows a fresh scheduler the recorded outputs, so that it and the generator are as they were at Step k."""
    if request.seed != origin.request.seed:  # fresh noise from k on: the old draws must not use up the new generator
        generator = torch.Generator("cpu").manual_seed(origin.request.seed)
    for step in origin.steps[:k]:
        latents = limits.check_latents("start latents", step.latents, shape).to(model.device)
        output = limits.check_latents("start model_output", step.model_output, shape).to(model.device)
        plan.scheduler.scale_model_input(latents, plan.timesteps[step.index])
        plan.take(step.index, output, latents, origin.request.eta, generator)
