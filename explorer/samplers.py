"""The samplers: one row of SAMPLERS each, with the diffusers scheduler it builds and the terms of its update.

A row knows three things about its scheduler: the noise level (alpha, sigma) of every state, whether a step draws noise,
and its transition: it takes the step and says of which terms the next latents are the sum. The scheduler does the
sampling, always; the terms are read beside it, in float32 with the scheduler's own tables, and tests hold them to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from explorer.transitions import (
    Now,
    Transition,
    ddim,
    ddpm,
    dpm_2m,
    dpm_2m_sde,
    euler,
    euler_ancestral,
    final_ddim_timestep,
    heun,
    lcm,
    pndm,
    unipc,
)

Levels = list[tuple[float, float]]  # (alpha, sigma) of every state, one more than evaluations


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """One row of the table: what a sampler is, and how to run and read it."""

    name: str
    summary: str
    paper: str
    stochastic: str = "no"  # "no", "always", or "eta" (only where eta > 0)
    multistep: bool = False  # the update uses evaluations of earlier steps
    space: str = "VP"  # "VP" or "VE"
    limits: str = ""
    spacing: bool = True  # takes a timestep spacing
    karras: bool = False  # takes Karras sigmas
    max_steps: int | None = None
    refuses: frozenset[str] = frozenset()  # prediction types that its scheduler refuses
    scheduler: Any  # a diffusers class
    fixed: Mapping[str, Any]  # the settings that make it this row and no other
    levels: Callable[[Any, Sequence[Tensor]], Levels]
    draws: Callable[[Any, int, Tensor, float], bool]  # (scheduler, index, timestep, eta)
    transition: Transition
    evaluations: Callable[[int], int] = lambda steps: steps
    resume: Callable[[Sequence[Tensor], int], list[int]] = lambda timesteps, k: list(range(len(timesteps)))

    def build(self, config: Mapping[str, Any], **settings: Any) -> Any:
        """A fresh diffusers scheduler of this row from a model's scheduler config; settings override the config.

        Raises:
            ValueError, NotImplementedError: diffusers itself refuses the config for this scheduler.
        """
        return self.scheduler.from_config(dict(config), **self.fixed, **settings)


def _vp_levels(scheduler: Any, timesteps: Sequence[Tensor], final: float) -> Levels:
    levels = []
    for t in timesteps:
        alpha_bar = scheduler.alphas_cumprod[t]
        levels.append((float(alpha_bar**0.5), float((1 - alpha_bar) ** 0.5)))
    return [*levels, (float(final) ** 0.5, float(1 - final) ** 0.5)]


def _clean_levels(scheduler: Any, timesteps: Sequence[Tensor]) -> Levels:
    """DDPM and LCM end in x0 itself."""
    return _vp_levels(scheduler, timesteps, 1.0)


def _ddim_levels(scheduler: Any, timesteps: Sequence[Tensor]) -> Levels:
    """DDIM and PNDM end where their config says: in x0, or at the level of timestep 0 (`set_alpha_to_one`)."""
    last = final_ddim_timestep(scheduler, timesteps[-1])
    final = scheduler.alphas_cumprod[last] if last >= 0 else scheduler.final_alpha_cumprod
    return _vp_levels(scheduler, timesteps, final)


def _vp_sigma_levels(scheduler: Any, timesteps: Sequence[Tensor]) -> Levels:
    pairs = (scheduler._sigma_to_alpha_sigma_t(sigma) for sigma in scheduler.sigmas)
    return [(float(alpha), float(sigma)) for alpha, sigma in pairs]


def _ve_levels(scheduler: Any, timesteps: Sequence[Tensor]) -> Levels:
    return [(1.0, float(sigma)) for sigma in scheduler.sigmas]


def _heun_levels(scheduler: Any, timesteps: Sequence[Tensor]) -> Levels:
    # Its table names each inner sigma twice, which is just what each of its 2N - 1 evaluations sees.
    return _ve_levels(scheduler, timesteps)


def _never(scheduler: Any, index: int, timestep: Tensor, eta: float) -> bool:
    return False


def _always(scheduler: Any, index: int, timestep: Tensor, eta: float) -> bool:
    return True


def _pndm_resume(timesteps: Sequence[Tensor], k: int) -> list[int]:
    """PNDM warms up by evaluating its second timestep twice, wherever it starts. Indices of the plain run's timesteps."""
    if k == 0:
        return list(range(len(timesteps)))
    tail = [i for i in range(k, len(timesteps)) if i == k or timesteps[i] != timesteps[i - 1]]
    return [*range(k), *tail[:2], *tail[1:]]


_SOLVER = {
    "solver_order": 2,
    "use_lu_lambdas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_flow_sigmas": False,
}
_SIGMAS = {"use_exponential_sigmas": False, "use_beta_sigmas": False}

SAMPLERS: dict[str, Sampler] = {
    row.name: row
    for row in (
        Sampler(
            name="DDPM",
            summary="The original ancestral sampler: move toward x0, keep some of x_t, put a little fresh noise back.",
            paper="Ho et al. 2020, arXiv:2006.11239",
            stochastic="always",
            limits="Needs many steps: with few, its small variance leaves pictures smooth.",
            scheduler=DDPMScheduler,
            fixed={},
            levels=_clean_levels,
            draws=lambda scheduler, index, timestep, eta: bool(timestep > 0),
            transition=ddpm,
        ),
        Sampler(
            name="DDIM",
            summary="Predict x0, then put the same predicted noise back at the next level; eta mixes in fresh noise.",
            paper="Song et al. 2020, arXiv:2010.02502",
            stochastic="eta",
            limits="Deterministic at eta 0; eta 1 has DDPM's variance.",
            scheduler=DDIMScheduler,
            fixed={},
            levels=_ddim_levels,
            draws=lambda scheduler, index, timestep, eta: eta > 0,
            transition=ddim,
        ),
        Sampler(
            name="PNDM",
            summary="DDIM's step with a linear multistep mean of up to four recent predictions.",
            paper="Liu et al. 2022, arXiv:2202.09778",
            multistep=True,
            limits="N steps are N + 1 evaluations (1 at N = 1): the second timestep is evaluated twice. "
            "It ignores zero-SNR rescaling and refuses sample prediction.",
            refuses=frozenset({"sample"}),
            scheduler=PNDMScheduler,
            fixed={"skip_prk_steps": True},
            levels=_ddim_levels,
            draws=_never,
            transition=pndm,
            evaluations=lambda steps: steps + 1 if steps > 1 else 1,
            resume=_pndm_resume,
        ),
        Sampler(
            name="Euler",
            summary="One straight line along the predicted noise from each sigma to the next.",
            paper="Karras et al. 2022, arXiv:2206.00364",
            space="VE",
            limits="First order: few steps leave visible error.",
            karras=True,
            scheduler=EulerDiscreteScheduler,
            fixed=_SIGMAS,
            levels=_ve_levels,
            draws=_never,
            transition=euler,
        ),
        Sampler(
            name="Euler a",
            summary="Euler to a lower sigma than asked, then fresh noise up to it: never settles as steps grow.",
            paper="Karras et al. 2022, arXiv:2206.00364; Song et al. 2020, arXiv:2011.13456",
            stochastic="always",
            space="VE",
            limits="It refuses sample prediction.",
            refuses=frozenset({"sample"}),
            scheduler=EulerAncestralDiscreteScheduler,
            fixed={},
            levels=_ve_levels,
            draws=_always,
            transition=euler_ancestral,
        ),
        Sampler(
            name="Heun",
            summary="Euler's step, then a second look from its end, and the mean of both directions.",
            paper="Karras et al. 2022, arXiv:2206.00364, Algorithm 1",
            space="VE",
            limits="N steps are 2N - 1 evaluations. It ignores zero-SNR rescaling.",
            karras=True,
            scheduler=HeunDiscreteScheduler,
            fixed={**_SIGMAS, "clip_sample": False},
            levels=_heun_levels,
            draws=_never,
            transition=heun,
            evaluations=lambda steps: 2 * steps - 1,
        ),
        Sampler(
            name="DPM++ 2M",
            summary="Second-order solver that extrapolates x0 from this evaluation and the one before.",
            paper="Lu et al. 2022, arXiv:2211.01095",
            multistep=True,
            limits="Its first and last steps are first order.",
            karras=True,
            scheduler=DPMSolverMultistepScheduler,
            fixed={**_SOLVER, "algorithm_type": "dpmsolver++", "solver_type": "midpoint"},
            levels=_vp_sigma_levels,
            draws=_never,
            transition=dpm_2m,
        ),
        Sampler(
            name="DPM++ 2M SDE",
            summary="DPM++ 2M on the stochastic equation: the same extrapolated x0, and fresh noise at every step.",
            paper="Lu et al. 2022, arXiv:2211.01095, Appendix",
            stochastic="always",
            multistep=True,
            limits="Wants 20 steps or more.",
            karras=True,
            scheduler=DPMSolverMultistepScheduler,
            fixed={**_SOLVER, "algorithm_type": "sde-dpmsolver++", "solver_type": "midpoint"},
            levels=_vp_sigma_levels,
            draws=_always,
            transition=dpm_2m_sde,
        ),
        Sampler(
            name="UniPC",
            summary="Predictor and corrector: each prediction first corrects the state it was made at, for free.",
            paper="Zhao et al. 2023, arXiv:2302.04867",
            multistep=True,
            limits="Built with order 2 and B2(h).",
            karras=True,
            scheduler=UniPCMultistepScheduler,
            fixed={"solver_order": 2, "solver_type": "bh2", "predict_x0": True, **_SIGMAS, "use_flow_sigmas": False},
            levels=_vp_sigma_levels,
            draws=_never,
            transition=unipc,
        ),
        Sampler(
            name="LCM",
            summary="Jump to x0 at once, put fresh noise back at the next level, jump again.",
            paper="Luo et al. 2023, arXiv:2310.04378",
            stochastic="always",
            limits="Needs a model distilled for it (others give blurred pictures), and at most 50 steps.",
            spacing=False,
            max_steps=50,
            scheduler=LCMScheduler,
            fixed={"original_inference_steps": 50},
            levels=_clean_levels,
            draws=lambda scheduler, index, timestep, eta: index != scheduler.num_inference_steps - 1,
            transition=lcm,
        ),
    )
}

__all__ = ["SAMPLERS", "Levels", "Now", "Sampler"]
