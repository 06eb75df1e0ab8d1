"""Statistics of latents along a run, and what theory says that they should be: mean, spread and radial spectrum.

A state in its VP form is x_t = alpha · x0 + sigma · eps with alpha² + sigma² = 1 (arXiv:2006.11239, Eq. 4). For a fixed x0
with mean m0, variance v0 and spectrum S0(f), noise is expected to give mean alpha · m0, variance alpha² · v0 + sigma² and
spectrum alpha² · S0(f) + sigma²: white noise has the same power at every frequency.

A real run keeps to it only as far as its model is good, and begins off it by alpha · x0 where its first alpha isn't 0: the
noise that it begins in has nothing of any x0 (arXiv:2305.08891, Section 3.1).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from explorer import limits
from explorer.diffusion import to_vp
from explorer.records import Trajectory


def radial_spectrum(x: Tensor) -> Tensor:
    """Power by radial frequency, averaged over the frequencies of each bin; 1 is expected of unit white noise in every bin.

    Bin b gathers the frequencies whose distance from zero rounds to b / max(h, w) cycles per cell; bin 0 is the mean alone.
    With the bins' `counts`, Parseval holds: (counts · spectrum).sum() = (x²).sum().

    Args:
        x: (…, h, w), real.

    Returns:
        (…, bins).
    """
    bins = _bins(x.shape[-2], x.shape[-1])
    power = torch.fft.fft2(x, norm="ortho").abs().square().flatten(-2)
    number = counts(x.shape[-2], x.shape[-1])
    sums = power.new_zeros((*power.shape[:-1], len(number))).index_add_(-1, bins, power)
    return sums / number


def counts(h: int, w: int) -> Tensor:
    """How many of the h · w frequencies each bin of `radial_spectrum` gathers, (bins,)."""
    return torch.bincount(_bins(h, w))


def frequencies(h: int, w: int) -> Tensor:
    """The mean frequency of each bin in cycles per cell, (bins,), from 0 to about 0.7 in the corners."""
    bins = _bins(h, w)
    return torch.bincount(bins, _radius(h, w).flatten()) / torch.bincount(bins)


def statistics(trajectory: Trajectory) -> dict[str, Any]:
    """Every state of a run in its VP form, measured and as theory has it, as plain JSON.

    Theory takes the run's own end for x0. Variances are those with N − 1 of N = h · w cells, of which theory is exact.

    Returns:
        "x0": {"mean", "std": per channel, "spectrum": per bin}, "frequencies" and "counts" per bin, and "steps", a list of
        {"index", "timestep", "alpha", "sigma", "mean", "std", "mean_theory", "std_theory": per channel,
        "mean_spread", "std_spread": one standard deviation of the noise's own chance, the second per channel,
        "spectrum", "spectrum_theory": per bin, the mean over channels}.

    Raises:
        RequestError: the run has no Steps.
    """
    limits.check_steps("run", trajectory)
    x0 = trajectory.latents[0].double()
    m0, v0, s0 = x0.mean((-2, -1)), _variance(x0), radial_spectrum(x0).mean(0)
    cells, steps = x0[0].numel(), []
    for step in trajectory.steps:
        norm = math.hypot(step.alpha, step.sigma)
        alpha, sigma = step.alpha / norm, step.sigma / norm
        x = to_vp(step.latents[0].double(), step.alpha, step.sigma)
        variance = alpha**2 * v0 + sigma**2
        # of the variance: the noise's own, 2 sigma⁴, and of its product with x0, 4 alpha² sigma² v0, each by N − 1
        spread = (2 * sigma**4 + 4 * (alpha * sigma) ** 2 * v0).div(max(cells - 1, 1)).sqrt()
        steps.append({
            "index": step.index, "timestep": step.timestep, "alpha": alpha, "sigma": sigma,
            "mean": x.mean((-2, -1)).tolist(), "mean_theory": (alpha * m0).tolist(),
            "mean_spread": sigma / math.sqrt(cells),
            "std": _variance(x).sqrt().tolist(), "std_theory": variance.sqrt().tolist(),
            "std_spread": (spread / (2 * variance.sqrt()).clamp(min=1e-12)).tolist(),
            "spectrum": radial_spectrum(x).mean(0).tolist(), "spectrum_theory": (alpha**2 * s0 + sigma**2).tolist(),
        })  # fmt: skip
    h, w = x0.shape[-2:]
    return {
        "x0": {"mean": m0.tolist(), "std": v0.sqrt().tolist(), "spectrum": s0.tolist()},
        "frequencies": frequencies(h, w).tolist(),
        "counts": counts(h, w).tolist(),
        "steps": steps,
    }


def _variance(x: Tensor) -> Tensor:
    """Per channel, with N − 1; 0 of a single cell."""
    return x.var((-2, -1)) if x[0].numel() > 1 else x.new_zeros(len(x))


def _radius(h: int, w: int) -> Tensor:
    """Each frequency's distance from zero in cycles per cell, (h, w), as torch.fft.fft2 orders them."""
    options = {"dtype": torch.float64}
    return torch.hypot(torch.fft.fftfreq(h, **options)[:, None], torch.fft.fftfreq(w, **options)[None])


def _bins(h: int, w: int) -> Tensor:
    """The bin of each of the h · w frequencies, in the order of a flattened (h, w)."""
    return (_radius(h, w) * max(h, w)).round().long().flatten()
