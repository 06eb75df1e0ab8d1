"""The one place where a Request, a start and a picture are checked, for the page, the API and the command line alike.

Each refusal is a RequestError of one sentence that names the field, the value and the limit; those of plain values,
whatever the field, are `explorer.values`' and can be had from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from explorer.records import Model, Request, RequestError, Trajectory
from explorer.samplers import SAMPLERS, Sampler
from explorer.values import PROMPT, number, several, show, text, whole

__all__ = [
    "GUIDANCE", "NOISES", "PICTURE", "PICTURES", "PROMPT", "SEED", "SIZE", "SPACINGS", "STEPS", "UNIT", "WORK", "check",
    "check_batch", "check_for", "check_latents", "check_own", "check_steps", "foreign", "latent_shape", "noises", "number",
    "several", "show", "text", "told", "whole",
]  # fmt: skip

STEPS = (1, 1000)
GUIDANCE = (-5.0, 30.0)
SEED = (0, 2**32 - 1)
SIZE = (32, 2048)  # pixels
UNIT = (0.0, 1.0)  # eta, noise_scale, guidance_rescale
PICTURES = 16  # decoded pictures in a trace
PICTURE = 512  # pixels along each of their sides
SPACINGS = ("leading", "linspace", "trailing")
WORK = 2**26  # steps * pixels * batch: 256 steps at 512x512, 4096 at 128x128
NOISES = 4  # a branch's generator may have made as many as this many of the longest runs, so that it is soon there again


def check(request: Request, model: Model, batch: int = 1) -> Request:
    """The request with plain, whole values and its size filled in from the model.

    For a model that has no guidance the scale is 1 and there is nothing to rescale, whatever was asked; one that is told
    the scale has no negative prompt and nothing to rescale either.

    Raises:
        RequestError: a value has the wrong type or is outside its limit, or the model takes no prompts.
    """
    can = model.abilities
    checked = check_for(request, model.default_size, model.latent_scale * can.cells, batch)
    for field in ("prompt", "negative_prompt"):
        told(field, getattr(checked, field), model)
    if can.guidance == "embedded":
        return replace(checked, negative_prompt="", guidance_rescale=0.0)
    return replace(checked, guidance=1.0, guidance_rescale=0.0) if can.guidance == "none" else checked


def told(field: str, prompt: Any, model: Model) -> str:
    """A prompt that a model can be told.

    Raises:
        RequestError: it is no text, or the model takes no prompts.
    """
    if text(field, prompt) and not model.abilities.prompts:
        raise RequestError(f"{field} is {show(prompt)}, but this model takes no prompts; leave it empty.")
    return prompt


def check_for(request: Request, default_size: tuple[int, int], multiple: int, batch: int = 1) -> Request:
    """`check` for a model of which only the default size (width, height) and what sides are multiples of are known."""
    if not isinstance(request, Request):
        raise RequestError(f"A Request is needed, not {show(request)}.")
    sampler = _sampler(request.sampler)
    steps = whole("steps", request.steps, STEPS)
    if sampler.max_steps is not None and steps > sampler.max_steps:
        raise RequestError(f"steps is {steps}, but {sampler.name} takes at most {sampler.max_steps}.")
    width = _size("width", request.width, default_size[0], multiple)
    height = _size("height", request.height, default_size[1], multiple)
    work = steps * width * height * batch
    if work > WORK:
        raise RequestError(
            f"steps x width x height x batch is {steps} x {width} x {height} x {batch} = {work}; the limit is {WORK}."
        )
    eta = number("eta", request.eta, UNIT)
    noise_scale = number("noise_scale", request.noise_scale, UNIT)
    if eta > 0 and sampler.stochastic != "eta":
        raise RequestError(f"eta is {eta:g}, but {sampler.name} has none; it must be 0 there.")
    if noise_scale < 1 and sampler.stochastic == "no":
        raise RequestError(f"noise_scale is {noise_scale:g}, but {sampler.name} injects no noise; it must be 1 there.")
    return replace(
        request,
        prompt=text("prompt", request.prompt),
        negative_prompt=text("negative_prompt", request.negative_prompt),
        seed=whole("seed", request.seed, SEED),
        steps=steps,
        guidance=_guidance(request.guidance, sampler.evaluations(steps)),
        guidance_rescale=number("guidance_rescale", request.guidance_rescale, UNIT),
        eta=eta,
        noise_scale=noise_scale,
        spacing=_spacing(request.spacing, sampler),
        karras=_karras(request.karras, sampler),
        width=width,
        height=height,
    )


def check_batch(requests: Sequence[Request], model: Model) -> list[Request]:
    """Checks every request of a batch: same number of evaluations and same size.

    Raises:
        RequestError: as `check`, or the batch is empty or doesn't fit together.
    """
    if isinstance(requests, Request) or not isinstance(requests, Sequence) or not requests:
        raise RequestError(f"requests is {show(requests)}; a list of at least one Request is needed.")
    checked = [check(request, model, batch=len(requests)) for request in requests]
    first = checked[0]
    for i, other in enumerate(checked[1:], 1):
        if (other.width, other.height) != (first.width, first.height):
            raise RequestError(
                f"Request {i} is {other.width}x{other.height}, but the first is {first.width}x{first.height}; "
                "a batch needs one size."
            )
        counts = [SAMPLERS[r.sampler].evaluations(r.steps) for r in (first, other)]
        if counts[0] != counts[1]:
            raise RequestError(
                f"Request {i} makes {counts[1]} evaluations, but the first makes {counts[0]}; a batch needs one number."
            )
    return checked


def latent_shape(request: Request, model: Model) -> tuple[int, int, int, int]:
    """(1, C, H, W) of a checked request's latents."""
    scale, width, height = model.latent_scale, int(request.width or 0), int(request.height or 0)
    return (1, model.latent_channels, height // scale, width // scale)


def foreign(trajectory: Trajectory, model: Model) -> bool:
    """Whether another model made this run, as far as its capsule tells.

    Told by name and shapes, the VAE by its preview, the rest by the checksum of its weights where both are of one dtype.

    Raises:
        RequestError: the run has no Steps, or not all between two.
    """
    check_steps("run", trajectory)
    kept, preview = trajectory.capsule, model.preview
    if [kept.get(key) for key in ("model", "prediction_type", "latent_scale")] != [
        model.name, model.prediction_type, model.latent_scale,
    ] or trajectory.latents.shape[1] != model.latent_channels:  # fmt: skip
        return True
    same_dtype = kept.get("dtype") == str(model.dtype).removeprefix("torch.")  # else rounded otherwise
    if same_dtype and kept.get("weights", model.weights) != model.weights:  # older traces have none
        return True
    ours = np.array([*zip(*preview.matrix, strict=True), preview.offset])  # (C + 1, 3)
    theirs = np.array([*zip(*kept["preview"]["matrix"], strict=True), kept["preview"]["offset"]])
    return float(np.abs(ours - theirs).max()) > 0.05 * float(np.abs(ours).max())  # devices round differently


def check_own(trajectory: Trajectory, model: Model, wish: str) -> None:
    """Refuses what only the model that made a run can do with it.

    Args:
        wish: "decoded", "forked": what the run can't be here; it can always be played.

    Raises:
        RequestError: the run is another model's.
    """
    if not foreign(trajectory, model):
        return
    name = show(trajectory.capsule["model"])
    other = "another model of that name" if trajectory.capsule["model"] == model.name else show(model.name)
    raise RequestError(f"This run was made by the model {name}, and here is {other}: it can be played but not {wish}.")


def check_steps(field: str, trajectory: Trajectory) -> None:
    """Refuses a run that has no Steps, or not all between two.

    Raises:
        RequestError: says where one is missing.
    """
    if not trajectory.steps:
        raise RequestError(f"{field} has no steps; at least one is needed.")
    for i, step in enumerate(trajectory.steps, trajectory.steps[0].index):
        if step.index != i:
            raise RequestError(f"{field} has step {step.index} where {i} should be; its steps must be in a row.")


def noises(width: int, height: int) -> int:
    """How many noises a generator may have given before a branch of this size, in pixels, begins."""
    return NOISES * min(2 * STEPS[1], WORK // (width * height))


def check_latents(field: str, latents: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """A latent that was handed in, as float32 on the CPU.

    Raises:
        RequestError: not a tensor of this shape, not a dense real one, or not finite.
    """
    if not isinstance(latents, torch.Tensor):
        raise RequestError(f"{field} is {show(latents)}; a tensor of shape {shape} is needed.")
    if tuple(latents.shape) != shape:
        raise RequestError(f"{field} has shape {tuple(latents.shape)}; shape {shape} is needed.")
    if latents.layout != torch.strided or latents.is_meta or latents.is_complex():
        kind = f"{latents.dtype} of layout {latents.layout} on {latents.device}".replace("torch.", "")
        raise RequestError(f"{field} is a tensor of {kind}; a dense tensor of real numbers is needed.")
    latents = latents.detach().to("cpu", torch.float32, copy=True)  # the caller may go on writing to theirs
    if not torch.isfinite(latents).all():
        raise RequestError(f"{field} has values that are not finite; all must be.")
    return latents


def _sampler(name: Any) -> Sampler:
    if not isinstance(name, str) or name not in SAMPLERS:
        raise RequestError(f"sampler is {show(name)}; it must be one of {', '.join(SAMPLERS)}.")
    return SAMPLERS[name]


def _guidance(value: Any, evaluations: int) -> float | tuple[float, ...]:
    if not isinstance(value, tuple):
        return number("guidance", value, GUIDANCE)
    if len(value) != evaluations:
        raise RequestError(f"guidance has {len(value)} values; this run makes {evaluations} evaluations, one value each.")
    return tuple(number(f"guidance[{i}]", v, GUIDANCE) for i, v in enumerate(value))


def _spacing(value: Any, sampler: Sampler) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or value not in SPACINGS:
        raise RequestError(f"spacing is {show(value)}; it must be one of {', '.join(SPACINGS)}.")
    if not sampler.spacing:
        raise RequestError(f"spacing is {value!r}, but {sampler.name} has a spacing of its own; leave it out there.")
    return value


def _karras(value: Any, sampler: Sampler) -> bool | None:
    if value is None or value is False:
        return value
    if value is not True:
        raise RequestError(f"karras is {show(value)}; it must be True or False.")
    if not sampler.karras:
        raise RequestError(f"karras is True, but {sampler.name} has no Karras sigmas; leave it out there.")
    return True


def _size(field: str, value: Any, default: int, multiple: int) -> int:
    if value is None:
        return default
    size = whole(field, value, (min(SIZE[0], default), SIZE[1]))
    if size % multiple:
        raise RequestError(f"{field} is {size}; it must be a multiple of {multiple}.")
    return size
