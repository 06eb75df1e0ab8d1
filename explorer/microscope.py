"""Guidance under the microscope: what one Step's two predictions say, what shows of it, and what a negative prompt does.

All is read from Steps and pictures, but for `negatives`, which asks the model once. Norms are root mean squares over all
values of a tensor, so that latents of different sizes compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from explorer import diffusion, limits
from explorer.records import Conditioning, Model, Preview, Request, RequestError, Step

LAST = "The last state: nothing is predicted from it."
ONE = "Guidance is exactly 1: the model was asked once, with the prompt, so there is no unconditional prediction."
TOLD = "The model takes the scale itself, as an input: it was asked once, so there is no unconditional prediction."
NO_NEGATIVE = "The model {!r} is asked once per step, with the prompt alone: a negative prompt plays no part in it."
BLIND = "This state has no signal (alpha is 0): its eps is the state itself, whatever the model says."


@dataclass(frozen=True, eq=False, kw_only=True)
class Readings:
    """One Step's guidance in numbers and maps. None where there is nothing to read; `note` says why.

    eps = eps_uncond + guidance * (eps_cond - eps_uncond), arXiv:2207.12598, Eq. 6. With rescaling the model's output, in
    its own prediction type, is multiplied by `factor` afterwards (arXiv:2305.08891, Section 3.4).
    """

    index: int
    timestep: float
    alpha: float
    sigma: float
    guidance: float | None  # w of this evaluation
    rescale: float  # phi
    factor: float | None  # phi * std(cond) / std(guided) + 1 - phi; 1 without rescaling
    norm_uncond: float | None
    norm_cond: float | None
    norm_difference: float | None  # of eps_cond - eps_uncond
    norm_guided: float | None
    cosine: float | None  # of eps_cond and eps_uncond
    angle: float | None  # between the two, in degrees
    norm_x0_difference: float | None  # of the x0 that cond and uncond imply
    norm_x0: float | None  # of the guided x0; about 1 in training
    difference: Tensor | None  # eps_cond - eps_uncond, (1, C, H, W)
    x0_uncond: Tensor | None
    x0_cond: Tensor | None
    x0: Tensor | None  # of the guided eps
    note: str

    @property
    def formula(self) -> str:
        """The formula with this step's numbers, in plain text; empty for the last state."""
        if self.guidance is None:
            return ""
        if self.norm_difference is None:
            return "eps = eps_cond" if self.guidance == 1 else f"eps = eps_cond, of a model told w = {self.guidance:g}"
        if self.rescale and self.factor is not None:
            rescaled = f"; rescaled with phi = {self.rescale:g}: output × {self.factor:.4g}"
        else:
            rescaled = ""
        return f"eps = eps_uncond + {self.guidance:g} · (eps_cond − eps_uncond){rescaled}"

    def numbers(self) -> dict[str, float | int | None]:
        """All that is a number, by its name: what a curve along the run is drawn from."""
        return {key: value for key, value in vars(self).items() if value is None or isinstance(value, float | int)}


def readings(step: Step, request: Request, prediction_type: str) -> Readings:
    """What one Step's predictions say of its guidance.

    Args:
        step: of a run from its beginning.
        request: the one that made it, for its guidance and rescaling.
        prediction_type: of the model, as in a capsule: guidance is rescaled in the model's own output.
    """
    alpha, sigma, cond, uncond = step.alpha, step.sigma, step.eps_cond, step.eps_uncond
    x0_uncond, x0_cond = (_x0(eps, step) for eps in (uncond, cond))
    difference = None if uncond is None or cond is None else cond - uncond
    cosine = None if uncond is None or cond is None else cosine_of(cond, uncond)
    guidance = None if step.eps is None else _scale(request, step.index)
    once = ONE if guidance == 1 else TOLD
    note = LAST if step.eps is None else once if uncond is None else BLIND if alpha == 0 else ""
    return Readings(
        index=step.index,
        timestep=step.timestep,
        alpha=alpha,
        sigma=sigma,
        guidance=guidance,
        rescale=0.0 if uncond is None else request.guidance_rescale,
        factor=_factor(step, x0_uncond, x0_cond, guidance, request.guidance_rescale, prediction_type),
        norm_uncond=_norm(uncond),
        norm_cond=_norm(cond),
        norm_difference=_norm(difference),
        norm_guided=_norm(step.eps),
        cosine=cosine,
        angle=degrees(cosine),
        norm_x0_difference=None if x0_uncond is None or x0_cond is None else rms(x0_cond - x0_uncond),
        norm_x0=_norm(step.x0),
        difference=difference,
        x0_uncond=x0_uncond,
        x0_cond=x0_cond,
        x0=step.x0,
        note=note,
    )


def rms(tensor: Tensor) -> float:
    """Root mean square over all values."""
    return float(tensor.square().mean().sqrt())


def cosine_of(a: Tensor, b: Tensor) -> float | None:
    """Cosine of the angle between two tensors as vectors, -1 … 1; None where one of them is zero."""
    a, b = a.flatten().double(), b.flatten().double()
    norms = float(a.norm() * b.norm())
    return max(-1.0, min(1.0, float(a @ b) / norms)) if norms else None


def degrees(cosine: float | None) -> float | None:
    """The angle of a cosine, 0 … 180."""
    return None if cosine is None else math.degrees(math.acos(cosine))


def seen(preview: Preview, latents: Tensor) -> Tensor:
    """Latents (1, C, h, w) as the model's linear preview (3, h, w), unclamped: cheap enough for every Step of a run."""
    matrix, offset = torch.tensor(preview.matrix), torch.tensor(preview.offset)
    return torch.einsum("rc,chw->rhw", matrix, latents[0]) + offset[:, None, None]


def clipped(picture: Tensor) -> float:
    """Share of a picture's values that lie at 0 or below, or at 1 or above, 0 … 1.

    A decoded picture is clamped to 0 … 1, so what was cut off can't be told from a true black or white: both count, and
    a plain black or white ground counts whole. A preview (`seen`) is not clamped, and is counted alike.
    """
    return float(((picture <= 0) | (picture >= 1)).float().mean())


def saturation(picture: Tensor) -> float:
    """Mean saturation, (max - min) / max of HSV, 0 (grey, black) … 1; of (3, H, W) or (1, 3, H, W), clamped to 0 … 1."""
    rgb = picture.reshape(3, -1).clamp(0, 1)
    high, low = rgb.amax(dim=0), rgb.amin(dim=0)
    return float(torch.where(high > 0, (high - low) / high.clamp(min=1e-12), torch.zeros_like(high)).mean())


@dataclass(frozen=True, eq=False, kw_only=True)
class Negatives:
    """The two differences that a negative prompt puts in the formula, at one state.

    eps_negative + w (eps_cond - eps_negative) = eps_uncond + w * toward - (w - 1) * negative: with w > 1 the step goes
    toward the prompt and away from the negative one, both measured from the unconditional prediction.
    """

    eps_uncond: Tensor  # with no negative prompt, (1, C, H, W), as all here
    toward: Tensor  # eps(prompt) - eps_uncond
    negative: Tensor  # eps(negative prompt) - eps_uncond: what is taken away
    norm_toward: float
    norm_negative: float
    cosine: float | None  # of the two; None where one is zero
    angle: float | None  # degrees
    note: str

    def guided(self, guidance: float) -> Tensor:
        """eps of a run with this negative prompt at a scale, without rescaling."""
        return self.eps_uncond + guidance * self.toward - (guidance - 1) * self.negative


def negatives(model: Model, step: Step, prompt: str, negative: str) -> Negatives:
    """Asks the model once, with three rows, what the prompt and the negative prompt change at a state.

    Args:
        model: the one that made the run.
        step: any Step but the last.
        prompt, negative: the two prompts; the third row is what the unconditional call is told without a negative one.

    Raises:
        RequestError: a prompt can't be read, the state is the last one, or not of this model's shape; or the model makes no
            unconditional call.
    """
    if model.abilities.guidance != "cfg":
        raise RequestError(NO_NEGATIVE.format(model.name))
    prompt, negative = limits.text("prompt", prompt), limits.text("negative_prompt", negative)
    if step.eps is None or step.sigma == 0:
        raise RequestError("The last state has no noise left to predict; choose an earlier step.")
    latents = limits.check_latents("latents", step.latents, (1, model.latent_channels, *step.latents.shape[2:]))
    rows = [model.encode_negative(""), model.encode_prompt(prompt), model.encode_negative(negative)]
    with torch.inference_mode():
        scaled = diffusion.to_vp(latents, step.alpha, step.sigma).to(model.device).expand(3, -1, -1, -1)
        times = torch.full((3,), step.timestep, device=model.device)
        outputs = model.predict(scaled, times, Conditioning.batch(rows)).cpu().split(1)
    uncond, cond, other = (
        diffusion.to_x0_eps(output, latents, step.alpha, step.sigma, model.prediction_type)[1] for output in outputs
    )
    same = [row is rows[0] for row in rows[1:]]  # an empty prompt too, but for SDXL, where unconditional is told zeros
    toward, away = (
        torch.zeros_like(uncond) if equal else eps - uncond for equal, eps in zip(same, (cond, other), strict=True)
    )
    cosine = cosine_of(toward, away)
    missing = [name for name, equal in zip(("prompt", "negative prompt"), same, strict=True) if equal]
    note = f"No {' and no '.join(missing)} here: nothing to tell from the empty prompt." if missing else ""
    return Negatives(
        eps_uncond=uncond,
        toward=toward,
        negative=away,
        norm_toward=rms(toward),
        norm_negative=rms(away),
        cosine=cosine,
        angle=degrees(cosine),
        note=note,
    )


def _scale(request: Request, index: int) -> float:
    return float(request.guidance[index] if isinstance(request.guidance, tuple) else request.guidance)


def _norm(tensor: Tensor | None) -> float | None:
    return None if tensor is None else rms(tensor)


def _x0(eps: Tensor | None, step: Step) -> Tensor | None:
    """The clean latents that an eps implies; at alpha = 0 an eps implies none."""
    return None if eps is None or step.alpha == 0 else (step.latents - step.sigma * eps) / step.alpha


def _factor(
    step: Step, x0_uncond: Tensor | None, x0_cond: Tensor | None, guidance: float | None, phi: float, prediction_type: str
) -> float | None:
    """By how much the rescaling multiplied the model's guided output."""
    if guidance is None:
        return None
    if step.eps_uncond is None or phi == 0:
        return 1.0
    if x0_uncond is None or x0_cond is None or step.eps_cond is None:
        return None
    uncond, cond = (
        diffusion.from_x0_eps(x0, eps, step.alpha, step.sigma, prediction_type)
        for x0, eps in ((x0_uncond, step.eps_uncond), (x0_cond, step.eps_cond))
    )
    return float(phi * cond.std() / diffusion.guide(uncond, cond, guidance).std() + 1 - phi)
