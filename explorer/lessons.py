"""What a lesson computes from runs: the readings of one step, the true noise of a known picture, the spread of seeds.

Pure functions of tensors and Steps; sources in diffusion's terms (VP states, alpha² + sigma² = 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from explorer.diffusion import to_vp
from explorer.records import Step


@dataclass(frozen=True)
class Reading:
    """One way to read a step: x_next = alpha_next * x0 + kept * eps + fresh * z, kept² + fresh² = sigma_next²."""

    name: str
    x0: float
    eps: float
    z: float


def readings(alpha: float, sigma: float, alpha_next: float, sigma_next: float) -> tuple[Reading, Reading, Reading]:
    """The same step from (alpha, sigma) to (alpha_next, sigma_next), VP, in three readings.

    All predict x0 and put noise of the next level back; they differ in how much of it is fresh. DDIM
    (arXiv:2010.02502, Eq. 12) keeps all of the predicted noise, LCM's step (arXiv:2310.04378, Algorithm 3) draws all
    anew, and DDPM (arXiv:2006.11239, Eq. 7) draws the share beta-tilde: its s1 * (x_t - s2 * eps) + s3 * z is that sum.
    They are equal where sigma_next is 0. Needs sigma > 0 and alpha_next > 0.
    """
    beta = 1 - (alpha / alpha_next) ** 2
    fresh = math.sqrt(max(beta, 0.0)) * sigma_next / sigma
    kept = math.sqrt(max(sigma_next**2 - fresh**2, 0.0))
    return (
        Reading("DDPM", alpha_next, kept, fresh),
        Reading("DDIM", alpha_next, sigma_next, 0.0),
        Reading("LCM", alpha_next, 0.0, sigma_next),
    )


def true_eps(step: Step, x0: Tensor) -> Tensor:
    """The noise that is really in a state, where its clean latents are known: (x_t - alpha * x0) / sigma, (1, C, H, W)."""
    return (step.latents - step.alpha * x0) / step.sigma


def spread(latents: Sequence[Tensor]) -> float:
    """How different several results are: the mean over pairs of their root mean square distance; 0 for one."""
    distances = [float((a - b).square().mean().sqrt()) for a, b in combinations(latents, 2)]
    return sum(distances) / len(distances) if distances else 0.0


def distance(a: Step, b: Step) -> float:
    """Root mean square distance of two states in VP form, so that samplers of both kinds compare."""
    return float((to_vp(a.latents, a.alpha, a.sigma) - to_vp(b.latents, b.alpha, b.sigma)).square().mean().sqrt())


def mse(a: Tensor, b: Tensor) -> float:
    """Mean squared error, as in the training loss of arXiv:2006.11239, Eq. 14."""
    return float(torch.mean((a - b) ** 2))
