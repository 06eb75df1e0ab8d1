"""The forward process: schedules of noise, the chain of small steps and the jump, and what the SNR says of a state.

A schedule is alphas_cumprod, ᾱ_t for t = 1 … T, float64. x_t = sqrt(ᾱ_t) x_0 + sqrt(1 − ᾱ_t) eps (DDPM, arXiv:2006.11239).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import DDPMScheduler
from numpy.typing import NDArray
from torch import Tensor

from explorer.records import RequestError

Values = NDArray[np.floating[Any]]  # float64
GRID = 1000  # timesteps that schedules are defined on
T_RANGE = (10, GRID)
KNOTS = (2, 12)
DB_RANGE = (-60.0, 60.0)  # of a drawn log-SNR
BETA_RANGE = (1e-6, 0.999)
LEAST = 1e-12  # of a drawn ᾱ
STAGES = ((15.0, "none"), (0.0, "little"), (-15.0, "moderate"), (-math.inf, "heavy"))  # noise, by the SNR in dB above which
ZERO = 1e-5  # an ᾱ_T below this leaves less of the picture than 8 bits can tell from none


@dataclass(frozen=True)
class Row:
    """One named schedule: its betas for any T, from its own end points."""

    name: str
    formula: str
    source: str
    betas: Callable[[int], Values]


def _cosine(steps: int) -> Values:
    f = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], 0.999)


def _sigmoid(steps: int) -> Values:
    return 1 / (1 + np.exp(-np.linspace(-6, 6, steps))) * (0.02 - 1e-4) + 1e-4


SCHEDULES: Mapping[str, Row] = {
    row.name: row
    for row in (
        Row("linear", "β from 1e-4 to 0.02", "DDPM, arXiv:2006.11239", lambda n: np.linspace(1e-4, 0.02, n)),
        Row("scaled linear", "√β from √0.00085 to √0.012", "Stable Diffusion, arXiv:2112.10752",
            lambda n: np.linspace(0.00085**0.5, 0.012**0.5, n) ** 2),
        Row("cosine", "ᾱ = cos²((t/T + 0.008) / 1.008 · π/2)", "arXiv:2102.09672, Eq. 17", _cosine),
        Row("sigmoid", "β = 1e-4 + 0.0199 · sigmoid(−6 … 6)", "GeoDiff, arXiv:2203.02923", _sigmoid),
    )
}  # fmt: skip


class Noised(NamedTuple):
    """One state of the chain: x_t, the fresh noise of its last small step, and the one eps that would jump here."""

    t: int
    latents: Tensor
    z: Tensor
    eps: Tensor


def alphas_cumprod(name: str, steps: int, *, rescaled: bool = True) -> Values:
    """ᾱ_1 … ᾱ_T of a named schedule.

    Args:
        name: a key of SCHEDULES.
        steps: T, 10 … 1000.
        rescaled: a smaller T takes a subsequence of the 1000 values, so that it still ends in noise. False spreads the
            schedule's own betas over T steps instead: what goes wrong when T is changed and betas aren't.

    Raises:
        RequestError: an unknown name, or T out of range.
    """
    if name not in SCHEDULES:
        raise RequestError(f"schedule is {str(name)[:40]!r}; it must be one of {', '.join(SCHEDULES)}.")
    check_steps(steps)
    if not rescaled:
        return np.cumprod(1 - SCHEDULES[name].betas(steps))
    return subsequence(np.cumprod(1 - SCHEDULES[name].betas(GRID)), steps)


def of_config(config: Mapping[str, Any], steps: int, *, rescaled: bool = True) -> Values:
    """The same of a model's own scheduler config, whatever its kind of betas; never more steps than it was trained on."""
    check_steps(steps)
    values = own(config)
    steps = min(steps, len(values))
    if rescaled:
        return subsequence(values, steps)
    if config.get("trained_betas") is None:
        return own({**config, "num_train_timesteps": steps})
    trained = betas(values)  # a list can only be read at fewer places
    return np.cumprod(1 - np.interp(np.linspace(0, len(trained) - 1, steps), np.arange(len(trained)), trained))


def own(config: Mapping[str, Any]) -> Values:
    """ᾱ of every timestep that a model with this scheduler config was trained on."""
    return DDPMScheduler.from_config(config).alphas_cumprod.double().numpy()


def drawn(kind: str, knots: Sequence[tuple[float, float]], steps: int, *, rescaled: bool = True) -> Values:
    """The same of a schedule drawn by hand: straight lines between knots.

    Args:
        kind: "beta", or "log-SNR": 10 log10 of ᾱ / (1 − ᾱ), the schedule's own, whatever picture it noises.
        knots: 2 to 12 of (place, value), places rising from 0 to 1; log-SNR must fall from knot to knot.
        steps: T, 10 … 1000.
        rescaled: False spreads the drawn betas over T steps; a log-SNR says ᾱ itself, so it is the same either way.

    Raises:
        RequestError: names the knot that is wrong.
    """
    check_steps(steps)
    if kind not in ("beta", "log-SNR"):
        raise RequestError(f"kind of the drawn schedule is {str(kind)[:40]!r}; it must be 'beta' or 'log-SNR'.")
    if not KNOTS[0] <= len(knots) <= KNOTS[1]:
        raise RequestError(f"The drawn schedule has {len(knots)} knots; it takes {KNOTS[0]} to {KNOTS[1]}.")
    places, values = (np.array([knot[axis] for knot in knots], np.float64) for axis in (0, 1))
    if not np.isfinite(places).all() or places[0] != 0 or places[-1] != 1 or (np.diff(places) <= 0).any():
        raise RequestError("The knots' places must rise from 0 to 1.")
    low, high = BETA_RANGE if kind == "beta" else DB_RANGE
    for number, value in enumerate(values, 1):
        if not low <= value <= high:
            raise RequestError(f"Knot {number} has a {kind} of {value:g}; it must be from {low:g} to {high:g}.")
    count = GRID if rescaled or kind == "log-SNR" else steps
    line = np.interp(np.arange(1, count + 1) / count, places, values)
    if kind == "beta":  # large betas leave nothing: ᾱ stays above zero and goes on falling
        return subsequence(np.maximum(np.cumprod(1 - line), LEAST * 0.999 ** np.arange(count)), steps)
    if (np.diff(values) >= 0).any():
        number = int(np.argmax(np.diff(values) >= 0)) + 2
        raise RequestError(
            f"Knot {number} doesn't lie below the one before it; noise can only be added, so log-SNR must fall."
        )
    return subsequence(1 / (1 + 10 ** (-line / 10)), steps)


def subsequence(values: Values, steps: int) -> Values:
    """T of the grid's values at equal distances, the last one included: a T of 10 ends in as much noise as one of 1000."""
    return values[timesteps(len(values), steps)]


def timesteps(grid: int, steps: int) -> NDArray[np.int64]:
    """Which of the grid's timesteps, counted from 0, a schedule of T steps visits."""
    return np.round(np.arange(1, steps + 1) * grid / steps).astype(np.int64) - 1


def betas(values: Values) -> Values:
    """β_t of ᾱ_t: 1 − ᾱ_t / ᾱ_{t−1}, with ᾱ_0 = 1."""
    return 1 - values / np.concatenate([[1.0], values[:-1]])


def snr_db(alpha_bar: Values | float, variance: float) -> Any:
    """10 log10 of the measured SNR, ᾱ · Var(x_0) / (1 − ᾱ).

    Args:
        alpha_bar: one ᾱ, or several.
        variance: of the values of x_0 in the space that is noised. A flat picture has none, and so an SNR of 0, −inf dB.

    Returns:
        inf at ᾱ = 1, where there is no noise, whatever the variance.
    """
    alpha_bar = np.asarray(alpha_bar)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(alpha_bar == 1, np.inf, 10 * np.log10(alpha_bar * variance / (1 - alpha_bar)))[()]


def match(values: Values, variance: float, other: Values, other_variance: float) -> NDArray[np.int64]:
    """For every state of one row, the state (0-based) of another whose measured SNR is nearest.

    Where a row is flat it has no SNR to match by: then the state at the same place of the timeline.
    """
    if not variance or not other_variance:
        places = np.floor(np.arange(1, len(values) + 1) * len(other) / len(values) + 0.5).astype(np.int64)
        return places.clip(1) - 1
    mine, theirs = snr_db(values, variance), snr_db(other, other_variance)
    far = 1e3  # dB: no noise, or nothing else
    return np.abs(mine.clip(-far, far)[:, None] - theirs.clip(-far, far)[None]).argmin(axis=1)


def stage(db: float) -> str:
    """How much of a state is noise: none, little, moderate or heavy."""
    return next(name for floor, name in STAGES if db >= floor)


def terminal(values: Values, mean: float, variance: float) -> tuple[float, float] | None:
    """The terminal SNR in dB and how much of the picture's mean is left in x_T; None where ᾱ_T is as good as zero.

    A model trained on such a schedule has always seen that rest of the mean, and at inference starts without it: its
    pictures keep a middling brightness (arXiv:2305.08891, Section 3.1).
    """
    return None if values[-1] < ZERO else (float(snr_db(values[-1], variance)), math.sqrt(values[-1]) * mean)


def chain(x0: Tensor, values: Values, seed: int) -> Iterator[Noised]:
    """All states by Markov steps, x_t = sqrt(1 − β_t) x_{t−1} + sqrt(β_t) z_t, with the eps that gathers z_1 … z_t.

    eps_t = (sqrt(α_t) sqrt(1 − ᾱ_{t−1}) eps_{t−1} + sqrt(β_t) z_t) / sqrt(1 − ᾱ_t) is again standard normal, and
    `jump(x0, eps_t, ᾱ_t)` is x_t up to rounding.

    Args:
        x0: any shape, float32, on the CPU.
        values: ᾱ_1 … ᾱ_T.
        seed: of all z.
    """
    generator = torch.Generator().manual_seed(seed)
    x, eps, before = x0, torch.zeros_like(x0), 1.0
    for t, (alpha_bar, beta) in enumerate(zip(values.tolist(), betas(values).tolist(), strict=True), 1):
        z = torch.randn(x0.shape, generator=generator)
        x = math.sqrt(1 - beta) * x + math.sqrt(beta) * z
        eps = (math.sqrt((1 - beta) * (1 - before)) * eps + math.sqrt(beta) * z) / math.sqrt(1 - alpha_bar)
        before = alpha_bar
        yield Noised(t, x, z, eps)


def jump(x0: Tensor, eps: Tensor, alpha_bar: float) -> Tensor:
    """x_t in one closed step, q(x_t | x_0). arXiv:2006.11239, Eq. 4."""
    return math.sqrt(alpha_bar) * x0 + math.sqrt(1 - alpha_bar) * eps


def check_steps(steps: Any) -> None:
    """Raises RequestError unless T is a whole number in its range."""
    low, high = T_RANGE
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or not low <= steps <= high:
        raise RequestError(f"T is {str(steps)[:40]}; it must be a whole number from {low} to {high}.")
