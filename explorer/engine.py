"""The denoising loop. `denoise()` yields Steps; `run()` collects them; `denoise_batch()` is the same loop, many rows wide.

One loop serves every start. Each row of a batch (a Lane) has its own scheduler and its own noise generator; what the
rows share is the model call, in which equal inputs take one place. State, guidance and scheduler stay in float32 on
the model's device; noise is drawn on the CPU, so that a seed is the same picture on every device up to rounding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from explorer import diffusion, limits
from explorer.collecting import collect
from explorer.outbox import Outbox, Parcel
from explorer.records import Conditioning, Model, Origin, Request, Step, Trajectory
from explorer.schedule import Schedule, schedule
from explorer.starts import Start, begin, check_origins, check_together
from explorer.transitions import Forms, Now

__all__ = ["denoise", "denoise_batch", "run"]


def denoise(model: Model, request: Request, start: Start | None = None) -> Iterator[Step]:
    """Runs one request and yields every state, the first one and the last one included.

    Args:
        model: what predicts.
        request: what to run; checked before anything is computed.
        start: None begins in noise. (latents, noise, k) begins at evaluation k from a picture's latents
            (1, C, H, W), noised by the scheduler with `noise` of the same shape. (trajectory, k) goes on from that
            run's Step k: on the same grid of the same model all recorded outputs up to k, those of its own past
            included, are replayed through a fresh scheduler, so that with nothing changed the rest is bit-identical,
            in a branch of a branch too (on the device and with the versions that made it); otherwise, and where a
            trace lost that past, its latents are rescaled and begin, with no memory, at the evaluation of nearest
            log-SNR. With the trajectory's seed the noise goes on where its generator stood at k; another seed
            begins anew there. `explorer.forecast` says beforehand which of these it will be.
            A scheduler that starts after evaluation 0 gives PNDM one evaluation more: it warms up where it begins.

    Returns:
        An iterator of Steps. On CUDA each comes one evaluation late, so that its copy hides behind the next one.

    Raises:
        RequestError: at the call, for a value outside its limit.
    """
    request = limits.check(request, model)
    lane = _lane(model, request, start, Origin())
    return (steps[0] for steps in _loop(model, [lane]))


def denoise_batch(
    model: Model, requests: Sequence[Request], origins: Sequence[Origin | None] | None = None
) -> Iterator[list[Step]]:
    """Runs several requests together and yields one list of Steps per evaluation, in the order of the requests.

    All need the same size and the same number of evaluations; prompts, seeds, guidance, samplers and timesteps may
    differ. Equal inputs of the model (the first evaluation of a guidance sweep, say) share one row of its call. With
    one request it is `denoise`, exactly; with more, kernels for other batch sizes round differently.

    Args:
        model: what predicts.
        requests: what to run.
        origins: one per request, for rows that begin or are told what no Request can say; None is as requested.

    Raises:
        RequestError: at the call, for a value outside its limit or requests that don't fit together.
    """
    checked = limits.check_batch(requests, model)
    placed = check_origins(origins, checked, model)
    lanes = [_lane(model, request, None, origin or Origin()) for request, origin in zip(checked, placed, strict=True)]
    check_together([(lane.k, lane.schedule.evaluations) for lane in lanes])
    return _loop(model, lanes)


def run(model: Model, request: Request, start: Start | None = None) -> Trajectory:
    """Runs one request to its end. Arguments and errors are those of `denoise`."""
    return collect(model, request, denoise(model, request, start), start)


@dataclass(eq=False)
class _Lane:
    """One request on its way: its schedule, its noise and its present state."""

    request: Request
    schedule: Schedule
    guidance: tuple[float, ...]  # one per evaluation
    generator: torch.Generator  # CPU
    latents: Tensor  # (1, C, H, W), float32, on the model's device
    timesteps: list[Tensor]  # (1,) each, on the model's device
    state: Any  # equal for lanes whose latents are equal by construction, known without looking at them
    k: int  # the first evaluation
    conditioning: Conditioning | None  # in place of the prompt's
    calls: list[tuple[Conditioning, ...]] = field(default_factory=list)  # what `_calls` said, before the first evaluation

    def decision(self, index: int) -> Request:
        """The request reduced to what decides this evaluation."""
        request = replace(self.request, guidance=self.guidance[index])
        return request if len(self.calls[index]) == 2 else replace(request, guidance_rescale=0.0, negative_prompt="")


def _lane(model: Model, request: Request, start: Start | None, origin: Origin) -> _Lane:
    plan = schedule(request, model.scheduler_config)
    shape = limits.latent_shape(request, model)
    generator = torch.Generator("cpu").manual_seed(request.seed)
    noise = torch.randn(shape, generator=generator)  # always the first draw, whatever the start
    state: Any = object()
    noise = noise if origin.noise is None else origin.noise
    start = start if origin.start is None else (origin.start[0], noise, origin.start[1])
    if start is None:
        latents, k = noise * plan.scheduler.init_noise_sigma, 0
        if origin.noise is None:
            state = (request.seed, float(plan.scheduler.init_noise_sigma))
    else:
        latents, k = begin(plan, model, request, start, shape, generator)
    guidance = request.guidance if isinstance(request.guidance, tuple) else (request.guidance,) * plan.evaluations
    stack = torch.stack(plan.timesteps).to(model.device)  # one upload per run, not one per step
    return _Lane(
        request, plan, plan.in_order(guidance), generator, latents.to(model.device), list(stack.split(1)), state, k,
        origin.conditioning,
    )  # fmt: skip


@torch.inference_mode()
def _loop(model: Model, lanes: list[_Lane]) -> Iterator[list[Step]]:
    """The loop over evaluations: gather the rows, predict once, let each lane take its step."""
    if hasattr(type(model), "steady"):  # kernels that are ready later are for later runs
        model = model.steady()  # type: ignore[attr-defined]
    outbox, memo, told = Outbox(model.device), _Memo(), dict[Any, Conditioning]()
    for lane in lanes:
        lane.calls = _calls(model, lane, told)
    waiting: deque[Parcel] = deque()
    states: dict[Any, int] = {}
    for index in range(lanes[0].k, lanes[0].schedule.evaluations):
        outputs = _predict(model, lanes, index, memo)
        waiting.append(outbox.send([_take(lane, index, *pair) for lane, pair in zip(lanes, outputs, strict=True)]))
        for lane in lanes:  # same state, same decisions: same state again
            lane.state = states.setdefault((lane.state, lane.decision(index), lane.conditioning), len(states))
        if len(waiting) > outbox.late:
            yield waiting.popleft().steps()
    waiting.append(outbox.send([_final(lane) for lane in lanes]))
    while waiting:
        yield waiting.popleft().steps()


def _calls(model: Model, lane: _Lane, told: dict[Any, Conditioning]) -> list[tuple[Conditioning, ...]]:
    """What each evaluation's call is told: (uncond, cond) or cond. `told` has those of all lanes, equal ones once."""
    cond, way = lane.conditioning or model.encode_prompt(lane.request.prompt), model.abilities.guidance
    if way == "embedded":  # arXiv:2310.04378, Section 4.2: the scale is an input like the timestep
        told |= {(cond, w): model.at_scale(cond, w) for w in {*lane.guidance} if (cond, w) not in told}
        return [(told[cond, w],) for w in lane.guidance]
    if way == "none" or all(w == 1 for w in lane.guidance[lane.k :]):
        return [(cond,)] * len(lane.guidance)
    uncond = model.encode_negative(lane.request.negative_prompt)
    return [(cond,) if w == 1 else (uncond, cond) for w in lane.guidance]


class _Memo:
    """The conditioning of the last call: which rows it has rarely changes from one evaluation to the next."""

    rows: tuple[int, ...] = ()
    conditioning: Conditioning


def _predict(model: Model, lanes: list[_Lane], index: int, memo: _Memo) -> list[tuple[Tensor | None, Tensor]]:
    """One call of the model for all lanes, in which equal inputs share a row; returns (uncond or None, cond) of each."""
    rows: dict[Any, int] = {}
    inputs, times, conditionings, places = [], [], [], []
    for lane in lanes:
        timestep, (_, sigma) = lane.schedule.timesteps[index], lane.schedule.levels[index]
        # Before every step, also where the row is shared: Euler and Heun count on it.
        scaled = lane.schedule.scheduler.scale_model_input(lane.latents, timestep)
        scale = sigma if lane.schedule.sampler.space == "VE" else 0.0
        mine: list[int] = []
        for conditioning in lane.calls[index]:
            key: tuple[Any, ...] = (lane.state, scale, float(timestep), id(conditioning))
            if rows.get(key) in mine:  # an empty prompt under CFG: diffusers makes two rows of it, and so do we
                key = (*key, "again")
            if key not in rows:
                rows[key] = len(rows)
                inputs.append(scaled)
                times.append(lane.timesteps[index])
                conditionings.append(conditioning)
            mine.append(rows[key])
        places.append(mine)
    ids = tuple(id(conditioning) for conditioning in conditionings)
    if ids != memo.rows:
        memo.rows, memo.conditioning = ids, Conditioning.batch(conditionings)
    if len({t.dtype for t in times}) > 1:  # whole timesteps beside fractional ones
        times = [t.float() for t in times]
    outputs = model.predict(torch.cat(inputs), torch.cat(times), memo.conditioning).split(1)
    return [(outputs[mine[0]] if len(mine) == 2 else None, outputs[mine[-1]]) for mine in places]


def _take(lane: _Lane, index: int, uncond: Tensor | None, cond: Tensor) -> dict[str, Any]:
    """One lane's evaluation: guidance, then its step. Returns the fields of the Step that it leaves."""
    latents, output = lane.latents, cond
    if uncond is not None:
        output = diffusion.guide(uncond, cond, lane.guidance[index])
        if lane.request.guidance_rescale > 0:
            output = diffusion.rescale(output, cond, lane.request.guidance_rescale)
    lane.latents, fields = _advance(lane, index, output)
    if uncond is None:
        return fields | {"eps_cond": fields["eps"]}
    alpha, sigma = lane.schedule.levels[index]
    prediction_type = lane.schedule.scheduler.config.prediction_type
    for name, prediction in (("eps_uncond", uncond), ("eps_cond", cond)):
        fields[name] = diffusion.to_x0_eps(prediction, latents, alpha, sigma, prediction_type)[1]
    return fields


def _advance(lane: _Lane, index: int, output: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """The scheduler's step from the lane's latents; returns the next ones, and what is known of this state."""
    plan, request = lane.schedule, lane.request
    scheduler, sampler, timestep = plan.scheduler, plan.sampler, plan.timesteps[index]
    alpha, sigma = plan.levels[index]
    x0, eps = diffusion.to_x0_eps(output, lane.latents, alpha, sigma, scheduler.config.prediction_type)
    z = None
    if sampler.draws(scheduler, index, timestep, request.eta):  # look at the noise that the scheduler is about to draw
        before = lane.generator.get_state()
        z = torch.randn(output.shape, generator=lane.generator)
        lane.generator.set_state(before)
    now = Now(index, timestep, alpha, sigma, lane.latents, x0, eps, z, request.eta)
    following, forms = sampler.transition(
        scheduler, now, lambda: plan.take(index, output, lane.latents, request.eta, lane.generator)
    )
    if z is not None and request.noise_scale != 1:
        following, forms = _less_noise(following, forms, z, request.noise_scale)
    return following, {
        "index": index, "timestep": float(timestep), "alpha": alpha, "sigma": sigma, "latents": lane.latents,
        "model_output": output, "eps": eps, "x0": x0, "z": z, "forms": forms,
    }  # fmt: skip


def _less_noise(following: Tensor, forms: Forms, z: Tensor, noise_scale: float) -> tuple[Tensor, Forms]:
    """Takes (1 - noise_scale) of the noise term away again, after the draw, so that 1 leaves the sampler untouched."""
    injected = next(coefficient for coefficient, name, _ in next(iter(forms.values())) if name == "z")
    scaled = {
        form: [(c * noise_scale if name == "z" else c, name, tensor) for c, name, tensor in terms]
        for form, terms in forms.items()
    }
    return following - (1 - noise_scale) * injected * z.to(following.device), scaled


def _final(lane: _Lane) -> dict[str, Any]:
    """The last Step: where the run ended, with nothing predicted."""
    alpha, sigma = lane.schedule.levels[-1]
    return {"index": lane.schedule.evaluations, "timestep": 0.0, "alpha": alpha, "sigma": sigma, "latents": lane.latents}
