"""How each sampler goes from one state to the next, as terms.

Every function here takes the scheduler, what is known now, and `step`, which makes the scheduler take its step; some
of the scheduler's state is only there before it, some only after. It returns the next latents, as the scheduler gave
them, and the forms: lists of (coefficient, name, tensor), each of which sums to those latents. Coefficients are made
with the scheduler's own float32 tables and operations: 1 - alpha_bar loses digits, and the sum must lose the same.

Names of tensors: x_t, eps, x0, z are the Step's. Kept by schedulers: `x_1` (the state one evaluation ago), `eps_1` …
`eps_3` and `v_1` … `v_3` (earlier outputs that were kept, newest first), `x0_1` (the x0 of one evaluation ago), `d` and
`d_1` (Heun's slopes here and one evaluation ago, (x_t - x0) / sigma, which is eps but for rounding), `x_c` (UniPC's
corrected x_t), and `x0_c` (x0 as a scheduler goes on from it whose config has clip_sample or thresholding: cut to what
a picture can have; x0 itself stays the model's own).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Terms = list[tuple[float, str, Tensor]]
Forms = dict[str, Terms]
Take = Callable[[], tuple[Tensor, ...]]  # the scheduler's step: the next latents, and its own x0 where it has one
Transition = Callable[[Any, "Now", Take], tuple[Tensor, Forms]]


@dataclass(frozen=True, slots=True)
class Now:
    """A state and its predictions, on the model's device."""

    index: int  # of the evaluation
    timestep: Tensor  # 0-dim, as the scheduler has it
    alpha: float
    sigma: float
    latents: Tensor
    x0: Tensor
    eps: Tensor
    z: Tensor | None
    eta: float


def ddpm(s: Any, now: Now, step: Take) -> tuple[Tensor, Forms]:
    """DDPM on the strided grid, in two forms: by x0 (arXiv:2006.11239, Eq. 7) and, unclipped, by eps (Eq. 11)."""
    following, own = step()
    name, x0 = _clipped(s, now, own)
    previous = s.previous_timestep(now.timestep)
    alpha_bar = s.alphas_cumprod[now.timestep]
    alpha_bar_next = s.alphas_cumprod[previous] if previous >= 0 else s.one
    alpha = alpha_bar / alpha_bar_next
    beta = 1 - alpha
    by_x0: Terms = [
        (float(alpha_bar_next**0.5 * beta / (1 - alpha_bar)), name, x0),
        (float(alpha**0.5 * (1 - alpha_bar_next) / (1 - alpha_bar)), "x_t", now.latents),
    ]
    forms = {"x0": by_x0}
    if alpha_bar > 0 and name == "x0":  # s1 * (x_t - s2 * eps) + s3 * z
        s1, s2 = float(alpha**-0.5), float(beta / (1 - alpha_bar) ** 0.5)
        forms["eps"] = [(s1, "x_t", now.latents), (-s1 * s2, "eps", now.eps)]
    if now.z is not None:
        variance = s._get_variance(now.timestep)
        s3 = float(variance if s.variance_type == "fixed_small_log" else variance**0.5)
        for terms in forms.values():
            terms.append((s3, "z", now.z))
    return following, forms


def ddim(s: Any, now: Now, step: Take) -> tuple[Tensor, Forms]:
    """arXiv:2010.02502, Eq. 12; where x0 is clipped, eps stays the model's own."""
    following, own = step()
    previous = final_ddim_timestep(s, now.timestep)
    alpha_bar_next = s.alphas_cumprod[previous] if previous >= 0 else s.final_alpha_cumprod
    std = now.eta * s._get_variance(now.timestep, previous) ** 0.5
    terms: Terms = [
        (float(alpha_bar_next**0.5), *_clipped(s, now, own)),
        (float((1 - alpha_bar_next - std**2) ** 0.5), "eps", now.eps),
    ]
    if now.z is not None:
        terms.append((float(std), "z", now.z))
    return following, {"x0": terms}


def _clipped(s: Any, now: Now, own: Tensor) -> tuple[str, Tensor]:
    """What DDPM and DDIM go on from: x0, or `own`, where the config cuts it.

    Named so at every step of such a run, also where nothing was cut: to look would hold up the device.
    """
    return ("x0_c", own) if s.config.thresholding or s.config.clip_sample else ("x0", now.x0)


def final_ddim_timestep(s: Any, timestep: Tensor) -> int:
    """Where DDIM and PNDM go from `timestep`: down by T // N, whatever the next timestep of the list is."""
    return int(timestep) - s.config.num_train_timesteps // s.num_inference_steps


_MEAN: tuple[float, ...] = (0.5, 0.5)
_PLMS = {1: (1.0,), 2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12), 4: (55 / 24, -59 / 24, 37 / 24, -9 / 24)}


def pndm(s: Any, now: Now, step: Take) -> tuple[Tensor, Forms]:
    """arXiv:2202.09778, Eq. 9, of the mean (Eq. 12) of this output and those kept; with v, of the mean's eps."""
    kept, counter, stride = list(reversed(s.ets)), s.counter, s.config.num_train_timesteps // s.num_inference_steps
    if counter == 1:  # the repeated evaluation: back to the state before, with the mean of both ends
        base, base_name, weights = s.cur_sample, "x_1", _MEAN
        start, end = int(now.timestep) + stride, int(now.timestep)
    else:
        base, base_name, weights = now.latents, "x_t", _PLMS[min(len(kept) + 1, 4)]
        start, end = int(now.timestep), int(now.timestep) - stride
    a = s.alphas_cumprod[start]
    a_next = s.alphas_cumprod[end] if end >= 0 else s.final_alpha_cumprod
    keep = float((a_next / a) ** 0.5)
    move = -float((a_next - a) / (a * (1 - a_next) ** 0.5 + (a * (1 - a) * a_next) ** 0.5))
    coefficients = {base_name: keep}
    tensors = {base_name: base, "eps": now.eps}
    if s.config.prediction_type == "epsilon":
        coefficients["eps"] = move * weights[0]
        scale, kind = move, "eps"
    else:  # eps = alpha * mean(v) + sigma * base, and this v = (eps - sigma_now * x_t) / alpha_now
        alpha, sigma = float(a**0.5), float((1 - a) ** 0.5)
        scale, kind = move * alpha, "v"
        coefficients[base_name] += move * sigma
        coefficients["eps"] = scale * weights[0] / now.alpha
        tensors["x_t"] = now.latents
        coefficients["x_t"] = coefficients.get("x_t", 0.0) - coefficients["eps"] * now.sigma
    for i, weight in enumerate(weights[1:], 1):
        coefficients[f"{kind}_{i}"] = scale * weight
        tensors[f"{kind}_{i}"] = kept[i - 1]
    return step()[0], {"eps": [(c, name, tensors[name]) for name, c in coefficients.items()]}


def euler(s: Any, now: Now, step: Take) -> tuple[Tensor, Forms]:
    """arXiv:2206.00364, Algorithm 1 without its correction: x + (sigma_next - sigma) * eps."""
    move = s.sigmas[now.index + 1] - s.sigmas[now.index]
    return step()[0], {"eps": [(1.0, "x_t", now.latents), (float(move), "eps", now.eps)]}


def euler_ancestral(s: Any, now: Now, step: Take) -> tuple[Tensor, Forms]:
    """Euler down to sigma_down, then noise of sigma_up, where sigma_down² + sigma_up² = sigma_next²."""
    sigma, target = s.sigmas[now.index], s.sigmas[now.index + 1]
    up = (target**2 * (sigma**2 - target**2) / sigma**2) ** 0.5
    down = (target**2 - up**2) ** 0.5
    terms: Terms = [(1.0, "x_t", now.latents), (float(down - sigma), "eps", now.eps), (float(up), "z", _drawn(now))]
    return step()[0], {"eps": terms}


def _drawn(now: Now) -> Tensor:
    assert now.z is not None, "a row that always draws"
    return now.z


def heun(s: Any, now: Now, step: Take) -> tuple[Tensor, Forms]:
    """arXiv:2206.00364, Algorithm 1: an Euler step, then from its end the mean of both slopes, again from its start."""
    if s.dt is None:
        return euler(s, now, step)
    half, start, slope_1 = float(s.dt) / 2, s.sample, s.prev_derivative
    following, x0 = step()
    slope = (now.latents - x0) / now.sigma  # its rounding error is 1 / sigma of eps's, and the step may be long
    return following, {"d": [(1.0, "x_1", start), (half, "d_1", slope_1), (half, "d", slope)]}


def _solver_levels(s: Any, index: int) -> tuple[Tensor, Tensor, Tensor]:
    alpha, sigma = s._sigma_to_alpha_sigma_t(s.sigmas[index])
    return alpha, sigma, torch.log(alpha) - torch.log(sigma)


def _second_order(s: Any, index: int) -> bool:
    last = index == len(s.timesteps) - 1
    lowered = s.config.euler_at_final or s.config.final_sigmas_type == "zero"
    lowered = lowered or (s.config.lower_order_final and len(s.timesteps) < 15)
    return s.lower_order_nums >= 1 and not (last and lowered)


def dpm_2m(s: Any, now: Now, step: Take) -> tuple[Tensor, Forms]:
    """arXiv:2211.01095, Algorithm 2."""
    _, sigma, lambda_now = _solver_levels(s, now.index)
    alpha_next, sigma_next, lambda_next = _solver_levels(s, now.index + 1)
    h = lambda_next - lambda_now
    pull = -alpha_next * (torch.exp(-h) - 1.0)
    return _dpm(s, now, step, keep=sigma_next / sigma, pull=pull, h=h, noise=None)


def dpm_2m_sde(s: Any, now: Now, step: Take) -> tuple[Tensor, Forms]:
    """arXiv:2211.01095, SDE-DPM-Solver++(2M)."""
    _, sigma, lambda_now = _solver_levels(s, now.index)
    alpha_next, sigma_next, lambda_next = _solver_levels(s, now.index + 1)
    h = lambda_next - lambda_now
    pull = alpha_next * (1 - torch.exp(-2.0 * h))
    noise = sigma_next * torch.sqrt(1.0 - torch.exp(-2 * h))
    return _dpm(s, now, step, keep=sigma_next / sigma * torch.exp(-h), pull=pull, h=h, noise=noise)


def _dpm(s: Any, now: Now, step: Take, *, keep: Tensor, pull: Tensor, h: Tensor, noise: Tensor | None):
    second = _second_order(s, now.index)
    following = step()[0]
    terms: Terms = [(float(keep), "x_t", now.latents)]
    if second:  # x0 + (x0 - x0_1) / (2 * r): the line through both, at the middle of the step
        weight = 0.5 * h / (_solver_levels(s, now.index)[2] - _solver_levels(s, now.index - 1)[2])
        terms.append((float(pull * (1 + weight)), *_thresholded(s, now)))
        terms.append((float(-pull * weight), "x0_1", s.model_outputs[-2]))
    else:
        terms.append((float(pull), *_thresholded(s, now)))
    if noise is not None:
        terms.append((float(noise), "z", _drawn(now)))
    return following, {"x0": terms}


def unipc(s: Any, now: Now, step: Take) -> tuple[Tensor, Forms]:
    """arXiv:2302.04867, Algorithms 5 to 8, UniP-2 from UniC's corrected state."""
    corrected = s.last_sample is not None and now.index - 1 not in s.disable_corrector
    following = step()[0]
    state = (s.last_sample, "x_c") if corrected else (now.latents, "x_t")
    _, sigma, lambda_now = _solver_levels(s, now.index)
    alpha_next, sigma_next, lambda_next = _solver_levels(s, now.index + 1)
    h = lambda_next - lambda_now
    pull = -alpha_next * torch.expm1(-h)
    terms: Terms = [(float(sigma_next / sigma), state[1], state[0])]
    if s.this_order == 2:
        weight = 0.5 * h / (lambda_now - _solver_levels(s, now.index - 1)[2])
        terms.append((float(pull * (1 + weight)), *_thresholded(s, now)))
        terms.append((float(-pull * weight), "x0_1", s.model_outputs[-2]))
    else:
        terms.append((float(pull), *_thresholded(s, now)))
    return following, {"x0": terms}


def _thresholded(s: Any, now: Now) -> tuple[str, Tensor]:
    """The x0 that a DPM-Solver or UniPC goes on from, after its step; these have thresholding, and no clip_sample."""
    return ("x0_c", s.model_outputs[-1]) if s.config.thresholding else ("x0", now.x0)


def lcm(s: Any, now: Now, step: Take) -> tuple[Tensor, Forms]:
    """arXiv:2310.04378, Algorithm 3; c_skip and c_out blend x_t into x0 near timestep 0."""
    c_skip, c_out = s.get_scalings_for_boundary_condition_discrete(now.timestep)
    name, x0 = "x0", now.x0
    if s.config.thresholding:
        name, x0 = "x0_c", s._threshold_sample(x0)
    elif s.config.clip_sample:
        name, x0 = "x0_c", x0.clamp(-s.config.clip_sample_range, s.config.clip_sample_range)
    if now.z is None:
        return step()[0], {"x0": [(float(c_out), name, x0), (float(c_skip), "x_t", now.latents)]}
    alpha_bar_next = s.alphas_cumprod[s.timesteps[now.index + 1]]
    alpha_next, sigma_next = alpha_bar_next.sqrt(), (1 - alpha_bar_next).sqrt()
    terms: Terms = [
        (float(alpha_next * c_out), name, x0),
        (float(alpha_next * c_skip), "x_t", now.latents),
        (float(sigma_next), "z", now.z),
    ]
    return step()[0], {"x0": terms}
