"""The maths of diffusion, pure: conversions between what networks predict, guidance, noise levels, interpolation.

Throughout, a state is `latents = alpha * x0 + sigma * eps`. Variance-preserving (VP) states have
alpha² + sigma² = 1 (DDPM, arXiv:2006.11239); variance-exploding (VE) ones have alpha = 1 (arXiv:2011.13456).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def to_x0_eps(output: Tensor, latents: Tensor, alpha: float, sigma: float, prediction_type: str) -> tuple[Tensor, Tensor]:
    """What a network's output says about a state: its x0 and its eps, with latents = alpha * x0 + sigma * eps.

    Args:
        output: the network's output, (B, C, H, W).
        latents: the state that it was given, (B, C, H, W), before any scaling of the network's input.
        alpha, sigma: the state's level, VP or VE. Predicting "epsilon" needs alpha > 0, "sample" needs sigma > 0.
        prediction_type: "epsilon" (arXiv:2006.11239, Eq. 15), "sample", or "v_prediction" (arXiv:2202.00512, App. D),
            where v = alpha * eps - sigma * x0 of the VP form, so that even alpha = 0 has an eps and an x0.

    Raises:
        ValueError: an unknown prediction type.
    """
    if prediction_type == "epsilon":
        return (latents - sigma * output) / alpha, output
    if prediction_type == "sample":
        return output, (latents - alpha * output) / sigma
    if prediction_type == "v_prediction":
        norm = math.hypot(alpha, sigma)  # 1 for VP
        a, s, x = alpha / norm, sigma / norm, latents / norm
        return a * x - s * output, a * output + s * x
    raise ValueError(f"unknown prediction type {prediction_type!r}")


def from_x0_eps(x0: Tensor, eps: Tensor, alpha: float, sigma: float, prediction_type: str) -> Tensor:
    """The inverse of `to_x0_eps`: what a network of this prediction type would have put out. Same shapes and ranges."""
    if prediction_type == "epsilon":
        return eps
    if prediction_type == "sample":
        return x0
    if prediction_type == "v_prediction":
        norm = math.hypot(alpha, sigma)
        return (alpha * eps - sigma * x0) / norm
    raise ValueError(f"unknown prediction type {prediction_type!r}")


def add_noise(x0: Tensor, eps: Tensor, alpha: float, sigma: float) -> Tensor:
    """One jump of the forward process, q(x_t | x_0). DDPM, arXiv:2006.11239, Eq. 4. Shapes of x0 and eps are equal."""
    return alpha * x0 + sigma * eps


def to_vp(latents: Tensor, alpha: float, sigma: float) -> Tensor:
    """The state in its VP form, latents / sqrt(alpha² + sigma²), in which samplers of both kinds can be compared."""
    return latents / math.hypot(alpha, sigma)


def log_snr(alpha: float, sigma: float) -> float:
    """log(alpha² / sigma²) in nats, from -inf (pure noise) to inf (no noise). arXiv:2107.00630, Section 3.1."""
    if alpha == 0:
        return -math.inf
    return math.inf if sigma == 0 else 2 * (math.log(alpha) - math.log(sigma))


def guide(uncond: Tensor, cond: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance: uncond + guidance * (cond - uncond). arXiv:2207.12598, Eq. 6, with guidance = 1 + w."""
    return uncond + guidance * (cond - uncond)


def rescale(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    """Pulls the standard deviation of a guided prediction back to the conditional one's. arXiv:2305.08891, Section 3.4.

    Args:
        guided, cond: predictions, (B, C, H, W).
        phi: 0 (nothing changes) … 1 (the conditional one's deviation exactly).
    """
    dims = list(range(1, cond.ndim))
    rescaled = guided * (cond.std(dim=dims, keepdim=True) / guided.std(dim=dims, keepdim=True))
    return phi * rescaled + (1 - phi) * guided


def lerp(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """The straight line from a (weight 0) to b (weight 1), both ends exact."""
    return torch.lerp(a, b, weight)


def slerp(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """The great circle from a (weight 0) to b (weight 1), with norms interpolated linearly; both ends exact.

    For two Gaussian noises it keeps the norm that a network expects, where `lerp` dips to about 0.7 of it half-way.
    Shoemake 1985, doi:10.1145/325165.325242. Parallel vectors fall back to `lerp`; opposite ones have no single
    great circle, and fall back to it too.
    """
    if weight in (0, 1):
        return a.clone() if weight == 0 else b.clone()
    norm_a, norm_b = a.norm(), b.norm()
    cosine = float((a / norm_a).flatten() @ (b / norm_b).flatten())
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    if not 1e-4 < angle < math.pi - 1e-4:
        return lerp(a, b, weight)
    direction = math.sin((1 - weight) * angle) * (a / norm_a) + math.sin(weight * angle) * (b / norm_b)
    return torch.lerp(norm_a, norm_b, weight) * direction / math.sin(angle)
