"""What a branch will do, in one sentence, before anything is computed: replay exactly, or rescale and go on elsewhere."""

from __future__ import annotations

from math import hypot
from typing import NamedTuple

from explorer import limits
from explorer.collecting import alike
from explorer.diffusion import log_snr
from explorer.records import Model, Request, RequestError, Trajectory
from explorer.samplers import SAMPLERS
from explorer.schedule import Schedule, schedule
from explorer.starts import Branch, branch, forgotten, same_grid


class Forecast(NamedTuple):
    """A branch as it will be."""

    sentence: str  # for the person
    exact: bool  # on the origin's grid: with nothing changed it repeats the origin, bit for bit where that is said
    first: int  # index of its first Step
    last: int  # index of its last Step: its evaluations


def forecast(model: Model, request: Request, start: tuple[Trajectory, int]) -> Forecast:
    """Says what `denoise(model, request, start)` will do from Step k of a run; takes milliseconds.

    Bit for bit is said of a run whose capsule names this device, dtype and these versions; one that came from another
    machine, or from a batch, may still differ by rounding.

    Raises:
        RequestError: as `denoise`.
    """
    request = limits.check(request, model)
    plan = schedule(request, model.scheduler_config)
    fork = branch(plan, model, request, start)
    origin, k = start[0], fork.state.index
    if fork.exact:
        if root := k - len(fork.past):
            plan.start_at(root)  # PNDM makes one evaluation more
        return Forecast(_exact(plan, model, request, origin, fork), True, k, plan.evaluations)
    reason = _reason(plan, model, request, start)
    here, timestep = plan.levels[fork.k], float(plan.timesteps[fork.k])
    there = f"at step {fork.k} of "
    plan.start_at(fork.k)
    there += f"{plan.evaluations} (t = {timestep:.0f}, log-SNR {_snr(*here)}), the nearest level"
    sentence = (
        f"{reason}: the state of step {k} (t = {fork.state.timestep:.0f}, log-SNR "
        f"{_snr(fork.state.alpha, fork.state.sigma)}) goes on {there}{_losses(request, origin, fork, here)}."
    )
    return Forecast(sentence, False, fork.k, plan.evaluations)


def _exact(plan: Schedule, model: Model, request: Request, origin: Trajectory, fork: Branch) -> str:
    k, first = fork.k, origin.steps[0].index
    root = k - len(fork.past) if plan.remembers else first
    span = f"Step {root} is" if root == k - 1 else f"Steps {root} to {k - 1} are"
    opening = f"{span} replayed exactly" if root < k else f"The branch begins in the very state of step {k}"
    changed = [name for name in _FIELDS if _matters(name, plan, request, origin.request, k)]
    if not changed:
        same = "bit for bit" if alike(origin, model) else f"up to rounding, since it was made {_made(origin)}"
        return f"{opening}, and nothing is changed that matters: the rest will be the same, {same}."
    names = [f"the noise of seed {request.seed}" if name == "seed" else name.replace("_", " ") for name in changed]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    rounding = "" if alike(origin, model) else f", beside rounding, since the run was made {_made(origin)}"
    return f"{opening}; from step {k} on only what you changed can make a difference: {listed}{rounding}."


def _made(origin: Trajectory) -> str:
    made = origin.capsule
    versions = " and ".join(f"{name} {made.get('versions', {}).get(name, '?')}" for name in ("torch", "diffusers"))
    return f"in {made.get('dtype')} on {made.get('device')} with {versions}"


# Those that can differ on the same grid; the others are equal there in effect.
_FIELDS = ("prompt", "negative_prompt", "guidance", "guidance_rescale", "eta", "seed", "noise_scale")


def _matters(name: str, plan: Schedule, new: Request, old: Request, k: int) -> bool:
    """Whether this field can make a difference from evaluation k on, on the same grid."""
    guidance, before = (_guidance(plan, request)[k:] for request in (new, old))
    if name == "guidance":
        return guidance != before
    if getattr(new, name) == getattr(old, name):
        return False
    if name in ("negative_prompt", "guidance_rescale"):  # at exactly 1 there is one conditional call
        return any(value != 1 for value in guidance)
    if name in ("seed", "noise_scale"):
        return plan.draws(k, new.eta)
    return True


def _guidance(plan: Schedule, request: Request) -> tuple[float, ...]:
    guidance = request.guidance
    return plan.in_order(guidance if isinstance(guidance, tuple) else (guidance,) * (max(plan.order) + 1))


def _reason(plan: Schedule, model: Model, request: Request, start: tuple[Trajectory, int]) -> str:
    origin, old = start[0], start[0].request
    if limits.foreign(origin, model):
        return "Not replayed, since another model made this run"
    if request.sampler != old.sampler:
        return f"From {old.sampler} to {request.sampler}"
    if request.steps != old.steps:
        return f"From {old.steps} steps to {request.steps}"
    if forgotten(origin) and same_grid(plan, model, request, *start):
        return f"Not replayed, since this trace does not keep what came before step {origin.steps[0].index}"
    try:
        theirs = schedule(old, model.scheduler_config).scheduler.config
    except RequestError:  # a record that can't have been made here
        theirs = {}
    mine = plan.scheduler.config
    if any(theirs.get(key) != mine.get(key) for key in ("timestep_spacing", "use_karras_sigmas")):
        return "On another spacing of the steps"
    return "Not replayed, since the run's grid is not this model's"


def _losses(request: Request, origin: Trajectory, fork: Branch, level: tuple[float, float]) -> str:
    """What the change of grid costs, as the end of the sentence."""
    row, words = SAMPLERS[request.sampler], []
    factor = hypot(*level) / hypot(fork.state.alpha, fork.state.sigma)
    if abs(factor - 1) > 1e-3:
        old = SAMPLERS[origin.request.sampler].space
        words.append(f"rescaled by {factor:.3g}" + (f" from {old} to {row.space}" if old != row.space else ""))
    if row.multistep:
        words.append("without memory of the steps before")
    if forgotten(origin) and request.seed == origin.request.seed and (row.stochastic == "always" or request.eta > 0):
        words.append("with noises that may have come before")
    return ", " + " and ".join(words) if words else ""


def _snr(alpha: float, sigma: float) -> str:
    return f"{log_snr(alpha, sigma):.2f}".replace("-", "−").replace("inf", "∞")
