"""What a branch will do, in one sentence, before anything is computed: replay exactly, or rescale and go on elsewhere."""

from __future__ import annotations

from math import hypot
from typing import NamedTuple

from explorer import limits
from explorer.diffusion import log_snr
from explorer.records import Model, Request, Trajectory
from explorer.samplers import SAMPLERS
from explorer.schedule import Schedule, schedule
from explorer.starts import Branch, branch


class Forecast(NamedTuple):
    """A branch as it will be."""

    sentence: str  # for the person
    exact: bool  # on the origin's grid: with nothing changed it repeats the origin bit for bit
    first: int  # index of its first Step
    last: int  # index of its last Step: its evaluations


def forecast(model: Model, request: Request, start: tuple[Trajectory, int]) -> Forecast:
    """Says what `denoise(model, request, start)` will do from Step k of a run; takes milliseconds.

    Raises:
        RequestError: as `denoise`.
    """
    request = limits.check(request, model)
    plan = schedule(request, model.scheduler_config)
    way = branch(plan, model, request, start)
    origin, k = start[0], way.state.index
    if way.exact:
        if begun := k - len(way.past):
            plan.start_at(begun)
        return Forecast(_exact(plan, request, origin, way), True, k, plan.evaluations)
    here = plan.levels[way.k]
    timestep = float(plan.timesteps[way.k])
    plan.start_at(way.k)  # PNDM makes one evaluation more
    there = f"at step {way.k} of {plan.evaluations} (t = {timestep:.0f}, log-SNR {_snr(*here)}), the nearest level"
    sentence = (
        f"{_reason(request, origin)}: the state of step {k} (t = {way.state.timestep:.0f}, log-SNR "
        f"{_snr(way.state.alpha, way.state.sigma)}) goes on {there}{_losses(request, origin, way, here)}."
    )
    return Forecast(sentence, False, way.k, plan.evaluations)


def _exact(plan: Schedule, request: Request, origin: Trajectory, way: Branch) -> str:
    k, shown = way.k, len(way.past)
    span = "Step {1} is" if shown == 1 else "Steps {0} to {1} are"
    opening = f"{span} replayed exactly" if shown else "The branch begins in the very state of step {2}"
    opening = opening.format(k - shown, k - 1, k)
    changed = [name for name in _FIELDS if _matters(name, plan, request, origin.request, k)]
    if not changed:
        return f"{opening}, and nothing is changed that matters: the rest will be the same, bit for bit."
    names = [f"fresh noise of seed {request.seed}" if name == "seed" else name.replace("_", " ") for name in changed]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{opening}; from step {k} on only what you changed makes a difference: {listed}."


# Those that can differ on the same grid; the others are equal there in effect.
_FIELDS = ("prompt", "negative_prompt", "guidance", "guidance_rescale", "eta", "seed", "noise_scale")


def _matters(name: str, plan: Schedule, new: Request, old: Request, k: int) -> bool:
    """Whether this field makes a difference from evaluation k on, on the same grid."""
    guidance, before = (_guidance(plan, request)[k:] for request in (new, old))
    if name == "guidance":
        return guidance != before
    if getattr(new, name) == getattr(old, name):
        return False
    if name in ("negative_prompt", "guidance_rescale"):  # at exactly 1 there is one conditional call
        return any(value != 1 for value in guidance)
    if name in ("seed", "noise_scale"):
        return plan.sampler.stochastic == "always" or new.eta > 0
    return True


def _guidance(plan: Schedule, request: Request) -> tuple[float, ...]:
    guidance = request.guidance
    return plan.in_order(guidance if isinstance(guidance, tuple) else (guidance,) * (max(plan.order) + 1))


def _reason(request: Request, origin: Trajectory) -> str:
    old = origin.request
    if request.sampler != old.sampler:
        return f"From {old.sampler} to {request.sampler}"
    if request.steps != old.steps:
        return f"From {old.steps} steps to {request.steps}"
    if (request.spacing, bool(request.karras)) != (old.spacing, bool(old.karras)):
        return "On another spacing of the steps"
    return "Not replayed, since the run's grid is not this model's"


def _losses(request: Request, origin: Trajectory, way: Branch, level: tuple[float, float]) -> str:
    """What the change of grid costs, as the end of the sentence."""
    row, words = SAMPLERS[request.sampler], []
    factor = hypot(*level) / hypot(way.state.alpha, way.state.sigma)
    if abs(factor - 1) > 1e-3:
        old = SAMPLERS[origin.request.sampler].space
        words.append(f"rescaled by {factor:.3g}" + (f" from {old} to {row.space}" if old != row.space else ""))
    if row.multistep:
        words.append("without memory of the steps before")
    return ", " + " and ".join(words) if words else ""


def _snr(alpha: float, sigma: float) -> str:
    return f"{log_snr(alpha, sigma):.2f}".replace("-", "−").replace("inf", "∞")
