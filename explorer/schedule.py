"""One run's schedule: the scheduler of a Request's row, its timesteps and the noise level of each state.

Here are also the pairs that can't be run, each refused in one sentence before anything is computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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

    @property
    def evaluations(self) -> int:
        return len(self.timesteps)

    def start_at(self, k: int) -> None:
        """Makes evaluation k (0 … evaluations - 1) the first one.

        Raises:
            RequestError: Heun's second look can't be a beginning.
        """
        if self.sampler.name == "Heun" and k % 2:
            raise RequestError(f"start is evaluation {k}, the second look of a Heun step; take {k - 1} or {k + 1}.")
        self.timesteps = self.sampler.resume(self.timesteps, k)
        self.levels = self.sampler.levels(self.scheduler, self.timesteps)
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(k)

    def nearest(self, alpha: float, sigma: float) -> int:
        """The evaluation whose log-SNR is nearest to a level's; of equal ones the first."""
        target = log_snr(alpha, sigma)

        def distance(k: int) -> float:
            value = log_snr(*self.levels[k])
            return 0.0 if value == target else abs(value - target)

        return min(range(self.evaluations), key=distance)


def schedule(request: Request, config: Mapping[str, Any]) -> Schedule:
    """Builds the schedule of a checked request on a model's scheduler config.

    Raises:
        RequestError: diffusers refuses the pair of sampler and config, or the pair has no meaning.
    """
    sampler = SAMPLERS[request.sampler]
    prediction_type = config["prediction_type"]
    if prediction_type in sampler.refuses:
        raise RequestError(f"sampler is {sampler.name!r}, which can't use a model that predicts {prediction_type!r}.")
    settings: dict[str, Any] = {}
    if request.spacing is not None:
        settings["timestep_spacing"] = request.spacing
    if request.karras is not None and sampler.karras:
        settings["use_karras_sigmas"] = request.karras
    try:
        scheduler = sampler.build(config, **settings)
        scheduler.set_timesteps(request.steps)
    except (ValueError, NotImplementedError, IndexError, ZeroDivisionError) as error:
        raise RequestError(f"sampler is {sampler.name!r}, which diffusers refuses here: {_line(error)}") from error
    timesteps = list(scheduler.timesteps.cpu())
    _check_timesteps(request, sampler, timesteps, scheduler.config)
    levels = sampler.levels(scheduler, timesteps)
    if prediction_type == "epsilon" and levels[0][0] == 0:
        raise RequestError(
            f"sampler is {sampler.name!r} on a model that predicts epsilon with a terminal alpha of 0: "
            "x0 = (x_t - sigma * eps) / alpha has no value there."
        )
    return Schedule(sampler, scheduler, timesteps, levels)


def _check_timesteps(request: Request, sampler: Sampler, timesteps: list[Tensor], config: Mapping[str, Any]) -> None:
    """Refuses the step counts at which diffusers' own rounding leaves the training grid or repeats its first point."""
    values = [float(t) for t in timesteps]
    spacing = config.get("timestep_spacing", "its own")
    count = sampler.evaluations(request.steps)
    if len(values) != count or min(values) < 0 or max(values) > config["num_train_timesteps"] - 1:
        raise RequestError(
            f"steps is {request.steps}: with {spacing} spacing diffusers rounds to {len(values)} timesteps "
            f"from {values[0]:g} to {values[-1]:g}, off the grid 0 to {config['num_train_timesteps'] - 1}; "
            "take one more or one fewer."
        )
    if any(math.isnan(v) for v in values) or (sampler.name != "PNDM" and len(values) > 1 and values[0] == values[1]):
        raise RequestError(
            f"steps is {request.steps}: so many Karras steps share their first timestep, and diffusers loses count; "
            "take fewer."
        )


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".") + "."
