"""Where a run begins when not in its seed's noise: at a picture's latents, at a Step of an earlier run (a branch), or,
in a batch, at an Origin's noise.

For a branch two rules, each for one thing that a sampler remembers:

The scheduler. On the grid that the origin ran on, a fresh one that remembers is shown all that the origin's had been
shown, in order: the origin's own past, then its Steps before the branch. On another grid, with other weights, or where
a trace has lost that past, it begins at the evaluation of nearest log-SNR, and what a multistep sampler remembered is
lost.

The noise generator. Seeded, it first draws the noise that a run from the beginning would start in, as in diffusers and
whatever the start, and then what the sampler injects. A branch with its origin's seed goes on where the origin's
generator stood at that Step, on any grid, so that along a chain of one seed no noise comes twice; with another seed it
begins anew, also with one that a run before the origin had. How much of a noise was kept (noise_scale) or put in (eta)
moves neither scheduler nor generator: it is in the recorded latents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import hypot, isclose
from typing import Any

import torch
from torch import Tensor

from explorer import limits
from explorer.records import Conditioning, Model, Origin, Past, Request, RequestError, Step, Trajectory
from explorer.schedule import Schedule, plain_config, schedule

Start = tuple[Tensor, Tensor, int] | tuple[Trajectory, int]


@dataclass(frozen=True, eq=False)
class Branch:
    """How a run goes on from a Step of another one; known before anything is computed."""

    state: Step  # of the origin, where it leaves
    exact: bool  # on the origin's grid, with all of its memory
    k: int  # its first evaluation: the state's own index where exact, else the nearest
    past: tuple[Past, ...]  # what its scheduler must be shown first; empty for one that remembers nothing
    drawn: int  # noises that its generator has already given


def begin(
    plan: Schedule, model: Model, request: Request, start: Start, shape: tuple[int, ...], generator: torch.Generator
) -> tuple[Tensor, int]:
    """The latents (1, C, H, W) on the CPU and the first evaluation of a run; readies the plan and the generator for it.

    Args:
        plan: fresh, of this request.
        request: checked.
        start: see `explorer.engine.denoise`.
        shape: of the latents.
        generator: after its first draw.

    Raises:
        RequestError: the start has the wrong form, shape or place.
    """
    if isinstance(start, tuple) and len(start) == 3:
        return _picture(plan, start, shape)
    fork = branch(plan, model, request, start)
    latents = limits.check_latents("start latents", fork.state.latents, shape)
    for _ in range(fork.drawn):
        torch.randn(shape, generator=generator)
    if fork.exact:
        _replay(plan, model, fork)
        return latents, fork.k
    plan.start_at(fork.k)
    here = hypot(fork.state.alpha, fork.state.sigma)
    return latents * (hypot(*plan.levels[fork.k]) / here), fork.k  # VP has length 1


def branch(plan: Schedule, model: Model, request: Request, start: Any) -> Branch:
    """Reads a start (Trajectory, k); the plan stays as it is. What the Branch holds of the origin's past is a copy.

    Raises:
        RequestError: the start has the wrong form, shape or place.
    """
    if not isinstance(start, tuple) or len(start) != 2 or not isinstance(start[0], Trajectory):
        raise RequestError("start must be (latents, noise, k) or (Trajectory, k).")
    origin, shape = start[0], limits.latent_shape(request, model)
    limits.check_steps("start", origin)
    first, last = origin.steps[0].index, origin.steps[-1]
    k = limits.whole("start k", start[1], (first, last.index - (last.model_output is None)))
    state, before = origin.steps[k - first], origin.steps[: k - first]
    limits.check_latents("start latents", state.latents, shape)
    drawn, same_seed = 0, request.seed == origin.request.seed
    if same_seed:
        drawn = origin.drawn + sum(step.z is not None for step in before)
        most = limits.noises(int(request.width or 0), int(request.height or 0))
        if drawn > most:
            raise RequestError(
                f"start comes after {drawn} noises of seed {request.seed}; the limit is {most}: change the seed."
            )
    remembered = not forgotten(origin) or not (plan.remembers or (same_seed and plan.draws(k, request.eta)))
    if not same_grid(plan, model, request, origin, k) or not remembered:
        return Branch(state, False, plan.nearest(state.alpha, state.sigma), (), drawn)
    if not plan.remembers:
        return Branch(state, True, k, (), drawn)
    shown: list[tuple[Any, Any]] = [(past.latents, past.model_output) for past in origin.past or ()]
    shown += [(step.latents, step.model_output) for step in before]
    past = tuple(
        Past(limits.check_latents("start latents", x, shape), limits.check_latents("start model_output", output, shape))
        for x, output in shown
    )
    return Branch(state, True, k, past, drawn)


def check_origins(origins: Any, requests: Sequence[Request], model: Model) -> list[Origin | None]:
    """One Origin or None for each of these checked requests, with tensors that fit this model; all None for None.

    Raises:
        RequestError: says which one is wrong.
    """
    if origins is None:
        return [None] * len(requests)
    if not isinstance(origins, list | tuple) or len(origins) != len(requests):
        given = f"a list of {len(origins)}" if isinstance(origins, list | tuple) else limits.show(origins)
        raise RequestError(f"origins is {given}; a list of {len(requests)} is needed, one per request.")
    return [
        None if origin is None else _checked(f"origins[{i}]", origin, request, model)
        for i, (origin, request) in enumerate(zip(origins, requests, strict=True))
    ]


def check_together(spans: Sequence[tuple[int, int]]) -> None:
    """Refuses a batch of which one row begins at another evaluation k than the first, or makes another number of them.

    Raises:
        RequestError: says which one.
    """
    for i, (k, evaluations) in enumerate(spans):
        if (k, evaluations) != spans[0]:
            raise RequestError(
                f"origins[{i}] begins at evaluation {k} of {evaluations}, but the first at {spans[0][0]} of {spans[0][1]}; "
                "a batch needs one beginning."
            )


def _checked(field: str, origin: Any, request: Request, model: Model) -> Origin:
    if not isinstance(origin, Origin):
        raise RequestError(f"{field} is {limits.show(origin)}; an Origin or None is needed.")
    if origin.noise is not None:
        noise = limits.check_latents(f"{field} noise", origin.noise, limits.latent_shape(request, model))
        origin = replace(origin, noise=noise)
    if origin.conditioning is not None:
        _check_conditioning(f"{field} conditioning", origin.conditioning, model.encode_prompt(request.prompt))
    if origin.start is not None and not (isinstance(origin.start, tuple) and len(origin.start) == 2):
        raise RequestError(f"{field} start is {limits.show(origin.start)}; (latents, k) is needed.")
    return origin


def _check_conditioning(field: str, told: Any, own: Conditioning) -> None:
    """Refuses what the model can't be told: it takes the tensors of its own prompts, in their dtype, where they are."""
    if not isinstance(told, Conditioning):
        raise RequestError(f"{field} is {limits.show(told)}; a Conditioning is needed.")
    if (has := _form(told.tensors)) != (takes := _form(own.tensors)):
        raise RequestError(f"{field} has {has}; this model's prompts have {takes}.")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in told.tensors.values()):
        raise RequestError(f"{field} has values that are not finite; all must be.")


def _form(tensors: Any) -> str:
    """Names, shapes, dtypes and devices of a conditioning's tensors, in words."""
    named = tensors.items() if isinstance(tensors, Mapping) else ()
    forms = [
        f"{name} {tuple(one.shape)} {one.dtype} on {one.device}"
        if isinstance(one, Tensor)
        else f"{name} {limits.show(one)}"
        for name, one in named
    ]
    return ", ".join(sorted(forms)) or "no tensors"


def forgotten(origin: Trajectory) -> bool:
    """Whether what came before a run's first Step is not known."""
    return origin.past is None and origin.steps[0].index > 0


def same_grid(plan: Schedule, model: Model, request: Request, origin: Trajectory, k: int) -> bool:
    """Whether the origin's outputs up to k mean the same on this plan: same weights and maths, sampler and levels."""
    config = plain_config(model.scheduler_config)
    if limits.foreign(origin, model) or origin.capsule.get("scheduler_config") != config:
        return False
    if origin.request.sampler != request.sampler:
        return False
    first = origin.steps[0].index
    try:
        other = schedule(origin.request, model.scheduler_config)
        if other.levels != plan.levels or [*map(float, other.timesteps)] != [*map(float, plan.timesteps)]:
            return False
        if not forgotten(origin):
            _start_scheduler(other, first - len(origin.past or ()))
    except RequestError:  # a record that can't have been made here
        return False
    return k < other.evaluations and all(
        isclose(a, b, rel_tol=1e-4, abs_tol=1e-6)
        for step in origin.steps[: k - first + 1]
        for a, b in zip(
            (step.timestep, step.alpha, step.sigma),
            (float(other.timesteps[step.index]), *other.levels[step.index]),
            strict=True,
        )
    )


def _picture(plan: Schedule, start: Any, shape: tuple[int, ...]) -> tuple[Tensor, int]:
    k = limits.whole("start k", start[2], (0, plan.evaluations - 1))
    latents = limits.check_latents("start latents", start[0], shape)
    noise = limits.check_latents("start noise", start[1], shape)
    plan.start_at(k)
    # On the CPU: add_noise() moves the scheduler's tables to wherever its latents are.
    return plan.scheduler.add_noise(latents, noise, plan.timesteps[k].reshape(1)), k


def _start_scheduler(plan: Schedule, index: int) -> None:
    """Makes evaluation `index` the scheduler's first one, as it was for the run at the root of a branch."""
    if index < 0:
        raise RequestError(f"start has a past of {-index} evaluations before the first one.")
    if index > 0:
        plan.start_at(index)


def _replay(plan: Schedule, model: Model, fork: Branch) -> None:
    """Shows a fresh scheduler what the origin's was shown, so that it is as that one was at Step k."""
    first = fork.k - len(fork.past)
    _start_scheduler(plan, first)
    unused = torch.Generator("cpu")  # some draw at every step; what came out of it is in the next recorded latents
    for index, (latents, output) in enumerate(fork.past, first):
        latents = latents.to(model.device)
        plan.scheduler.scale_model_input(latents, plan.timesteps[index])
        plan.take(index, output.to(model.device), latents, 0.0, unused)
