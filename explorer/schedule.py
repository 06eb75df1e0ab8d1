"""One run's schedule: the scheduler of a Request's row, its timesteps and the noise level of each state.

Here are also the pairs that can't be run, each refused in one sentence before anything is computed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor

from explorer.diffusion import log_snr
from explorer.records import Request, RequestError
from explorer.samplers import SAMPLERS, Levels, Sampler


@dataclass(eq=False)
class Schedule:
    """A fresh scheduler with its timesteps set; it belongs to one run and is used up by it."""

    sampler: Sampler
    scheduler: Any  # diffusers
    timesteps: list[Tensor]  # 0-dim, on the CPU, one per evaluation
    levels: Levels  # (alpha, sigma) of every state, one more than evaluations
    order: list[int]  # of each evaluation: which one of a run from the beginning it is

    @property
    def evaluations(self) -> int:
        return len(self.timesteps)

    @property
    def remembers(self) -> bool:
        """Whether its scheduler must have been shown earlier evaluations: a multistep one, or Heun at its second look."""
        return self.sampler.multistep or self.sampler.name == "Heun"

    def draws(self, k: int, eta: float) -> bool:
        """Whether any noise is drawn from evaluation k on."""
        rest = range(k, self.evaluations)
        return any(self.sampler.draws(self.scheduler, i, self.timesteps[i], eta) for i in rest)

    def in_order(self, values: Sequence[float]) -> tuple[float, ...]:
        """One value per evaluation of a run from the beginning → one per evaluation of this run."""
        return tuple(values[i] for i in self.order)

    def take(
        self, index: int, output: Tensor, latents: Tensor, eta: float, generator: torch.Generator
    ) -> tuple[Tensor, ...]:
        """The scheduler's own step from evaluation `index`: the next latents first, then its own x0 if it has one."""
        extra: dict[str, Any] = {} if self.sampler.stochastic == "no" else {"generator": generator}
        if self.sampler.stochastic == "eta":
            extra["eta"] = eta
        return self.scheduler.step(output, self.timesteps[index], latents, **extra, return_dict=False)

    def start_at(self, k: int) -> None:
        """Makes evaluation k (0 … evaluations - 1) the first one. PNDM then makes one evaluation more: it warms up there.

        Raises:
            RequestError: Heun's second look can't be a beginning.
        """
        if self.sampler.name == "Heun" and k % 2:
            raise RequestError(f"start is evaluation {k}, the second look of a Heun step; take {k - 1} or {k + 1}.")
        self.order = self.sampler.resume(self.timesteps, k)
        self.timesteps = [self.timesteps[i] for i in self.order]
        self.levels = self.sampler.levels(self.scheduler, self.timesteps)
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(k)

    def nearest(self, alpha: float, sigma: float) -> int:
        """The evaluation that a run can begin at whose log-SNR is nearest to a level's; of equal ones the first."""
        target = log_snr(alpha, sigma)

        def distance(k: int) -> float:
            value = log_snr(*self.levels[k])
            return 0.0 if value == target else abs(value - target)

        return min(range(0, self.evaluations, 2 if self.sampler.name == "Heun" else 1), key=distance)


def schedule(request: Request, config: Mapping[str, Any]) -> Schedule:
    """Builds the schedule of a checked request on a model's scheduler config.

    Raises:
        RequestError: diffusers refuses the pair of sampler and config, or the pair has no meaning.
    """
    sampler = SAMPLERS[request.sampler]
    prediction_type = config["prediction_type"]
    if prediction_type in sampler.refuses:
        raise RequestError(f"sampler is {sampler.name!r}, which can't use a model that predicts {prediction_type!r}.")

    def build(steps: int) -> Any:
        scheduler = sampler.build(config, **settings(request))
        scheduler.set_timesteps(steps)
        return scheduler

    try:
        scheduler = build(request.steps)
    except (ValueError, NotImplementedError, IndexError, ZeroDivisionError) as error:
        raise RequestError(f"sampler is {sampler.name!r}, which diffusers refuses here: {_sentence(error)}") from error
    takes = signature(sampler.scheduler.__init__).parameters  # a config keeps what its scheduler knows nothing of
    variance = scheduler.config.get("variance_type") if "variance_type" in takes else None
    if variance in ("learned", "learned_range"):
        raise RequestError(
            f"sampler is {sampler.name!r}, which can't run here: the model's variance_type is {variance!r}, "
            "and this project takes no predicted variance."
        )
    if fault := _fault(sampler, scheduler, request.steps):
        fitting = next((n for n in _around(request.steps, sampler) if not _fault(sampler, build(n), n)), None)
        hint = f"; take {fitting}." if fitting else "; take fewer."
        raise RequestError(f"steps is {request.steps}: {fault}{hint}")
    timesteps = list(scheduler.timesteps.cpu())
    levels = sampler.levels(scheduler, timesteps)
    if prediction_type == "epsilon" and levels[0][0] == 0:
        raise RequestError(
            f"sampler is {sampler.name!r} on a model that predicts epsilon with a terminal alpha of 0: "
            "x0 = (x_t - sigma * eps) / alpha has no value there."
        )
    return Schedule(sampler, scheduler, timesteps, levels, list(range(len(timesteps))))


def settings(request: Request) -> dict[str, Any]:
    """What a request asks of its scheduler, in diffusers' words."""
    asked: dict[str, Any] = {}
    if request.spacing is not None:
        asked["timestep_spacing"] = request.spacing
    if request.karras is not None and SAMPLERS[request.sampler].karras:
        asked["use_karras_sigmas"] = request.karras
    return asked


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler's config as a trace keeps it: without diffusers' own notes, and as JSON would give it back."""
    kept = {key: value for key, value in config.items() if not key.startswith("_")}
    return json.loads(json.dumps(kept, default=lambda value: np.asarray(value).tolist()))


def _fault(sampler: Sampler, scheduler: Any, steps: int) -> str:
    """Where diffusers' own rounding leaves the training grid or repeats its first point; empty where all is well."""
    values, last = [float(t) for t in scheduler.timesteps], scheduler.config.num_train_timesteps - 1
    if len(values) != sampler.evaluations(steps) or not all(0 <= value <= last for value in values):
        spacing = scheduler.config.get("timestep_spacing", "its own")
        return (
            f"with {spacing} spacing diffusers rounds to {len(values)} timesteps "
            f"from {values[0]:g} to {values[-1]:g}, off the grid 0 to {last}"
        )
    if sampler.name != "PNDM" and len(values) > 1 and values[0] == values[1]:
        return "so many steps share their first timestep that diffusers loses count"
    return ""


def _around(steps: int, sampler: Sampler) -> list[int]:
    """Other numbers of steps, nearest first."""
    near = [steps + sign * d for d in range(1, 5) for sign in (-1, 1)]  # each costs building a scheduler
    return [n for n in near if 1 <= n <= (sampler.max_steps or 1000)]


def _sentence(error: Exception) -> str:
    """The first sentence of a library's message."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.split(". ")[0][:200].rstrip(".") + "."
