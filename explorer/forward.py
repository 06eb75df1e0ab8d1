"""A picture on its way into noise: what it is made of, the records that the browser gets, and single states worked out.

Scrubbing needs nothing from here: the browser has the picture, its noise and ᾱ, and mixes them itself.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from explorer import noising
from explorer.diffusion import add_noise
from explorer.forward_schedule import Schedule
from explorer.intake import Brought
from explorer.records import Model, Preview

LARGEST = 512  # pixels a side that the pixel row may have
WALK = 256  # the same for the chain of small steps
HALF_MAX = 65504.0  # the largest finite float16


@dataclass(frozen=True, eq=False)
class Source:
    """A picture in both spaces."""

    name: str
    notes: tuple[str, ...]  # what was done to it
    pixels: Tensor  # (3, H, W), uint8, at most 512 a side
    small: Tensor  # (3, h, w), uint8, at the model's size
    latents: Tensor  # (C, h', w'), float32: of `small`


@dataclass(frozen=True, eq=False)
class Noising:
    """A picture, the seed of its noise and the schedule: all that a state follows from."""

    source: Source
    seed: int
    schedule: Schedule
    second: Schedule | None = None
    prompt: str = ""  # with which the model is asked what it sees

    def pixel_noise(self) -> Tensor:
        """(3, H, W)."""
        return noise(self.source.pixels.shape, self.seed)

    def latent_noise(self) -> Tensor:
        """(C, h, w): what a Reverse run of this seed begins with."""
        return noise(self.source.latents.shape, self.seed)

    def pixels(self, t: int) -> Tensor:
        """x_t of the pixel row, (3, H, W), x_0 being in -1 … 1."""
        return self._at(t, signed(self.source.pixels), self.pixel_noise())

    def latents(self, t: int) -> Tensor:
        """x_t of the latent row, (C, h, w)."""
        return self._at(t, self.source.latents, self.latent_noise())

    def _at(self, t: int, x0: Tensor, eps: Tensor) -> Tensor:
        alpha_bar = self.schedule.alpha_bar(t)
        return add_noise(x0, eps, math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar))


def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal noise of a seed, drawn on the CPU."""
    return torch.randn((1, *shape), generator=torch.Generator("cpu").manual_seed(seed))[0]


def signed(pixels: Tensor) -> Tensor:
    """0 … 255 to -1 … 1, float32."""
    return pixels.float() / 127.5 - 1


def source(name: str, brought: Brought, model: Model) -> Source:
    """A picture that was brought at the model's size or larger, in both spaces.

    Args:
        name: what to call it.
        brought: of `intake.bring(…, model.default_size, most=LARGEST)`.
        model: what encodes it.
    """
    width, height = model.default_size
    notes = brought.notes
    large, small = brought.picture, brought.picture
    if small.shape[-2:] != (height, width):
        small = _resized(large, height, width)
        notes += (f"reduced to {width}×{height} for the latents",)
    if max(large.shape[-2:]) > LARGEST:  # a model of larger pictures: the pixel row is for the eye
        scale = LARGEST / max(width, height)
        large = _resized(large, round(height * scale), round(width * scale))
        notes += (f"reduced to {large.shape[-1]}×{large.shape[-2]} for the pixel row",)
    latents = model.encode(small * 2 - 1)[0].float().cpu()
    return Source(name, notes, _bytes(large), _bytes(small), latents)


def picture_record(run: str, state: Noising, preview: Preview) -> dict[str, Any]:
    """All that the browser needs to draw every state: the picture and its noise in both spaces, and the schedule."""
    pixels, latents, noises = state.source.pixels, state.source.latents, (state.pixel_noise(), state.latent_noise())
    return {
        "kind": "picture", "run": run, "seed": state.seed, "name": state.source.name, "notes": list(state.source.notes),
        "pixels": {"shape": list(pixels.shape), "x0": _base64(pixels.contiguous().numpy()), "eps": half(noises[0]),
                   **moments(signed(pixels))},
        "latents": {"shape": list(latents.shape), "x0": half(latents), "eps": half(noises[1]),
                    "preview": preview_record(preview), **moments(latents)},
        "schedule": _both(state), "prompt": state.prompt,
    }  # fmt: skip


def schedule_record(run: str, state: Noising) -> dict[str, Any]:
    """Another schedule, or prompt, for the picture of this run."""
    return {"kind": "schedule", "run": run, "schedule": _both(state), "prompt": state.prompt}


def preview_record(preview: Preview) -> dict[str, Any]:
    return {"matrix": [list(row) for row in preview.matrix], "offset": list(preview.offset)}


def moments(x0: Tensor) -> dict[str, float]:
    """Mean and variance of all values; the variance of a flat picture is 0 exactly."""
    values = x0.double()
    flat = bool((values == values.flatten()[0]).all())
    return {"mean": values.mean().item(), "var": 0.0 if flat else values.var(correction=0).item()}


def half(tensor: Tensor) -> str:
    """Base64 of little-endian float16; what half precision can't hold is clamped."""
    return _base64(tensor.detach().cpu().clamp(-HALF_MAX, HALF_MAX).numpy().astype("<f2"))


def walk(state: Noising, t: int, x0: Tensor, reached: noising.Noised | None) -> dict[str, Any]:
    """State t of the chain of small steps beside the jump with the noise that gathers all of theirs.

    Args:
        state: whose schedule it is.
        t: 0 … T; 0 is x_0 itself.
        x0: (3, h, w), in -1 … 1.
        reached: what `noising.chain` has at t; None at t = 0.
    """
    zero = torch.zeros_like(x0)
    x, z, eps = (x0, zero, zero) if reached is None else (reached.latents, reached.z, reached.eps)
    alpha_bar = state.schedule.alpha_bar(t)
    jumped = noising.jump(x0, eps, alpha_bar)
    before = state.schedule.alpha_bar(max(t - 1, 0))
    mean, var = x0.mean().item(), x0.var(correction=0).item()
    return {
        "t": t, "shape": list(x0.shape), "x_chain": half(x), "x_jump": half(jumped), "z": half(z), "eps": half(eps),
        "difference": (x - jumped).abs().max().item(), "alpha_bar": alpha_bar, "beta": 1 - alpha_bar / before,
        "mean": x.mean().item(), "var": x.var(correction=0).item(),
        "theory": {"mean": math.sqrt(alpha_bar) * mean, "var": alpha_bar * var + 1 - alpha_bar},
    }  # fmt: skip


def walked(source: Source) -> Tensor:
    """What the chain starts from: the picture at the model's size, (3, h, w) in -1 … 1, at most 256 a side."""
    x0 = signed(source.small)
    scale = WALK / max(x0.shape)
    if scale >= 1:
        return x0
    return interpolate(x0[None], scale_factor=scale, mode="bicubic", antialias=True)[0].clamp(-1, 1)


def _both(state: Noising) -> dict[str, Any]:
    of = moments(signed(state.source.pixels))
    second = None if state.second is None else _schedule(state.second, of)
    return _schedule(state.schedule, of) | {"second": second}


def _schedule(schedule: Schedule, pixels: dict[str, float]) -> dict[str, Any]:
    end = noising.terminal(schedule.values, pixels["mean"], pixels["var"])
    return {
        "name": schedule.name, "steps": schedule.steps, "timesteps": list(schedule.timesteps),
        "alphas_cumprod": schedule.values.tolist(), "rescaled": schedule.rescaled, "formula": schedule.formula,
        "source": schedule.source, "terminal": None if end is None else {"db": finite(end[0]), "rest": end[1]},
    }  # fmt: skip


def finite(db: float) -> float | None:
    """What JSON has no number for, the infinities of a flat picture and of no noise, is None."""
    return db if math.isfinite(db) else None


def _resized(picture: Tensor, height: int, width: int) -> Tensor:
    return interpolate(picture, (height, width), mode="bicubic", antialias=True).clamp(0, 1)


def _bytes(picture: Tensor) -> Tensor:
    """(1, 3, H, W) in 0 … 1 as (3, H, W), uint8."""
    return picture[0].mul(255).round().byte()


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()
