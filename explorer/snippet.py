"""A run as a short Python script for diffusers alone, whose final latents are the run's own, bit for bit.

Its scheduler is read off the run's row of SAMPLERS. Runs that diffusers' pipeline can't express are refused by name.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch

from explorer import limits
from explorer.collecting import LIBRARIES, alike, made
from explorer.models import EMBEDDED
from explorer.models.hub import parse
from explorer.records import Model, Request, RequestError, Trajectory
from explorer.samplers import SAMPLERS
from explorer.schedule import Schedule, schedule, settings

SCRIPT = """\
# {exactness}
# {versions}
# It writes latents.safetensors and picture.png where it is started, over older ones of these names.
import torch
from diffusers import {scheduler}, {pipeline}
from safetensors.torch import save_file

pipe = {pipeline}.from_pretrained({source}, dtype=torch.float32, use_safetensors=True){remark}
pipe.scheduler = {scheduler}.from_config({options})
latents = pipe({call}).images
save_file({{"latents": latents}}, "latents.safetensors")

with torch.inference_mode():
    decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
pipe.image_processor.postprocess(decoded)[0].save("picture.png")
"""

# A model of pixels: the pipeline's own loop, since diffusers' takes no size, and no sampler but two.
PIXELS = """\
# {exactness}
# {versions}
# It writes latents.safetensors, the picture in -1 … 1, and picture.png where it is started, over older ones of these names.
import torch
from diffusers import {scheduler}, {pipeline}
from safetensors.torch import save_file

pipe = {pipeline}.from_pretrained({source}, dtype=torch.float32, use_safetensors=True){remark}
scheduler = {scheduler}.from_config({options})
scheduler.set_timesteps({steps})
generator = torch.Generator("cpu").manual_seed({seed})
latents = torch.randn({shape}, generator=generator) * scheduler.init_noise_sigma
with torch.inference_mode():
    for t in scheduler.timesteps:
        output = pipe.unet(scheduler.scale_model_input(latents, t), t).sample
        latents = scheduler.step(output, t, latents{more}).prev_sample
save_file({{"latents": latents}}, "latents.safetensors")

picture = (latents / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
pipe.numpy_to_pil(picture)[0].convert("RGB").save("picture.png")
"""


def snippet(run: Request | Trajectory, model: Model) -> str:
    """The script of a run; it writes latents.safetensors and picture.png where it is started, over older ones.

    The claim in its first line is of a run by itself: one row of a batch is equal up to rounding.

    Args:
        run: a Request is taken to begin in noise; a Trajectory must have begun in its seed's, and be whole.
        model: the one that made or would make the run; a model from a folder is named by the folder's last part.

    Raises:
        RequestError: a value is outside its limit, or one that diffusers alone can't express; it is named.
    """
    request = limits.check(run.request if isinstance(run, Trajectory) else run, model)
    plan = schedule(request, model.scheduler_config)
    if isinstance(run, Trajectory):
        limits.check_own(run, model, "copied as a script")
        _from_noise(run, limits.latent_shape(request, model), float(plan.scheduler.init_noise_sigma))
    source, remark = _source(model)
    exactness, versions = _made(run, model)
    said = {
        "exactness": f"The same run with diffusers alone, in float32 on the CPU: {exactness}",
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "scheduler": type(plan.scheduler).__name__,
        "pipeline": model.pipeline,
        "source": source,
        "remark": remark,
        "options": _lines("pipe.scheduler.config", _options(request, model, plan.scheduler.config)),
    }
    if not model.abilities.latent:
        return PIXELS.format(**said, **_loop(request, model, plan))
    return SCRIPT.format(**said, call=_lines(_literal(request.prompt), _call(request, model, plan)))


def _loop(request: Request, model: Model, plan: Schedule) -> dict[str, Any]:
    """What the loop of a pixel model's script needs."""
    _check_noise(request, plan)
    more = ", generator=generator" if plan.sampler.stochastic != "no" else ""
    more += f", eta={request.eta!r}" if request.eta > 0 else ""
    return {"steps": request.steps, "seed": request.seed, "shape": limits.latent_shape(request, model), "more": more}


def _check_noise(request: Request, plan: Schedule) -> None:
    if request.noise_scale < 1 and plan.draws(0, request.eta):
        raise RequestError(f"noise_scale is {request.noise_scale:g}; diffusers alone injects all of the noise, 1.")


def _from_noise(run: Trajectory, shape: tuple[int, ...], sigma: float) -> None:
    first, last, seed = run.steps[0], run.steps[-1], run.request.seed
    if last.model_output is not None:
        raise RequestError(f"The run was stopped at step {last.index}, before its end; diffusers alone runs to the end.")
    noise = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)) * sigma
    if first.index != 0 or not torch.equal(first.latents, noise):
        raise RequestError(f"start is step {first.index}, not in the noise of seed {seed}; diffusers alone begins in that.")


def _made(run: Request | Trajectory, model: Model) -> tuple[str, dict[str, str]]:
    """How equal the script's latents will be, and the versions that make them so."""
    how = run.capsule if isinstance(run, Trajectory) else made(model)
    versions = {name: how["versions"].get(name, "?") for name in LIBRARIES}
    if (how["device"], how["dtype"]) != ("cpu", "float32"):
        return f"the app runs in {how['dtype']} on {how['device']}, so latents are equal up to rounding.", versions
    if isinstance(run, Trajectory) and not alike(run, model):
        return "with these versions, which made the run elsewhere, its latents are equal up to rounding.", versions
    return "on this machine, with these versions, its latents are equal to the last bit.", versions


def _source(model: Model) -> tuple[str, str]:
    """What from_pretrained takes, as a literal, and a remark on it."""
    if model.name == EMBEDDED.name:  # a folder elsewhere of this name is not called so, see explorer.models
        return _literal("/".join(EMBEDDED.parts[-3:])), "  # from the repository's root"
    if "/" in model.name and not model.name.startswith("./"):
        known = parse(model.name)
        revision = f", revision={_literal(known.revision)}" if known and known.revision else ""
        return _literal(known.repo if known else model.name) + revision, ""
    folder = "./" + model.name.removeprefix("./")  # else diffusers looks for such an id on the Hub
    return _literal(folder), "  # the path of the model's folder"


def _options(request: Request, model: Model, config: Any) -> dict[str, str]:
    """The settings that make the pipeline's own scheduler config this run's; what it has anyway is left out."""
    row = SAMPLERS[request.sampler]
    try:
        anyway = row.scheduler.from_config(dict(model.scheduler_config)).config
    except (ValueError, NotImplementedError):  # only this row's own settings make the config one of this scheduler
        anyway = {}
    asked = {**row.fixed, **settings(request)}
    names = [name for name in asked if anyway.get(name, ...) != config.get(name)]
    # what the model family sets for latents, whatever the file says, which the script's reader may not have seen
    takes = signature(row.scheduler.__init__).parameters
    names += [name for name in ("steps_offset", "clip_sample", "thresholding") if name in takes and name not in names]
    return {name: _literal(config[name]) for name in names}


def _call(request: Request, model: Model, plan: Schedule) -> dict[str, str]:
    """The pipeline's arguments, as literals."""
    guided = model.abilities.guidance == "cfg"
    guidance = _guidance(request, guided)
    _check_noise(request, plan)
    call: dict[str, Any] = {}
    if guidance != 1 and request.negative_prompt:
        call["negative_prompt"] = request.negative_prompt
    call |= {"num_inference_steps": request.steps, "guidance_scale": guidance}
    if guidance != 1 and request.guidance_rescale > 0:
        call["guidance_rescale"] = request.guidance_rescale
    if request.eta > 0:
        call["eta"] = request.eta
    sides = {"width": int(request.width or 0), "height": int(request.height or 0)}
    for side, value in sides.items():
        if value % 8:
            raise RequestError(f"{side} is {value}; diffusers alone takes multiples of 8.")
    if (*sides.values(),) != model.default_size:  # both: with one alone the pipeline takes its own default for both
        call |= sides
    literals = {name: _literal(value) for name, value in call.items()}
    return literals | {"generator": f'torch.Generator("cpu").manual_seed({request.seed})', "output_type": '"latent"'}


def _guidance(request: Request, guided: bool) -> float:
    guidance = request.guidance
    if isinstance(guidance, tuple):
        if len(set(guidance)) > 1:
            raise RequestError(
                f"guidance goes from {min(guidance):g} to {max(guidance):g} on the way; diffusers alone takes one value."
            )
        guidance = guidance[0]
    if guided and guidance < 1:
        raise RequestError(f"guidance is {guidance:g}; below 1 diffusers alone leaves the unconditional prediction out.")
    return guidance


def _literal(value: Any) -> str:
    """As Python writes it, texts in double quotes where that needs no backslash more."""
    text = repr(value)
    return f'"{text[1:-1]}"' if isinstance(value, str) and text[0] == "'" and '"' not in text else text


def _lines(first: str, named: dict[str, str]) -> str:
    """Arguments of a call, one line each where there are several."""
    if not named:
        return first
    return "\n" + "".join(f"    {line},\n" for line in (first, *(f"{name}={value}" for name, value in named.items())))
