"""From Steps to a Trajectory that can be kept: its capsule, what a branch needs of its origin, and decoded pictures."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from explorer import limits
from explorer.records import FORMAT, Model, Past, Request, Step, Trajectory
from explorer.schedule import plain_config, schedule
from explorer.starts import Start, branch

LIBRARIES = ("torch", "diffusers", "transformers")


def collect(model: Model, request: Request, steps: Iterable[Step], start: Start | None = None) -> Trajectory:
    """The Trajectory of the Steps that `denoise(model, request, start)` gives, whole or stopped on the way.

    One row of `denoise_batch` can be collected too; made beside others, it equals a run by itself up to rounding only,
    and so do its branches.

    With a start (Trajectory, k) it keeps, as copies, what it needs of that run to be branched again without it.

    Raises:
        RequestError: as `denoise`.
    """
    request = limits.check(request, model)
    past: tuple[Past, ...] = ()
    drawn = 0
    if isinstance(start, tuple) and len(start) == 2:
        fork = branch(schedule(request, model.scheduler_config), model, request, start)
        past, drawn = fork.past, fork.drawn
    return Trajectory(request=request, steps=tuple(steps), capsule=capsule(model), past=past, drawn=drawn)


def pictured(model: Model, trajectory: Trajectory, indices: Iterable[int] | None = None) -> Trajectory:
    """The run with some of its Steps decoded, for a trace that is played where its model is not.

    Args:
        model: the one that made the run.
        indices: of Steps of the run, at most `limits.PICTURES`; None takes the last one and four on the way.

    Raises:
        RequestError: a picture of a Step that isn't there, too many, or a run without Steps.
    """
    limits.check_steps("run", trajectory)
    steps = {step.index: step for step in trajectory.steps}
    if indices is None:
        first, last = trajectory.steps[0].index, trajectory.steps[-1].index
        indices = {first + round((last - first) * part / 5) for part in range(1, 6)}
    chosen = sorted({limits.whole("picture", i, (min(steps), max(steps))) for i in indices})
    limits.whole("pictures", len(chosen), (0, limits.PICTURES))
    return replace(trajectory, pictures={i: _small(model.decode(_seen(steps[i]))[0]) for i in chosen})


def capsule(model: Model) -> dict[str, Any]:
    """What a reader elsewhere needs to understand a run of this model, in plain values."""
    return {
        "format": FORMAT,
        **made(model),
        "model": model.name,
        "weights": model.weights,
        "prediction_type": model.prediction_type,
        "latent_scale": model.latent_scale,
        "preview": {"matrix": [list(row) for row in model.preview.matrix], "offset": list(model.preview.offset)},
        "scheduler_config": plain_config(model.scheduler_config),
        # of models that make one prediction whatever the scale; without this there are two, but at exactly 1
        **({"guidance": "embedded"} if model.abilities.guidance == "embedded" else {}),
    }


def made(model: Model) -> dict[str, Any]:
    """The part of a capsule that decides how numbers are rounded."""
    return {
        "versions": {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()},
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        **({"rounding": rounding} if (rounding := getattr(model, "rounding", "")) else {}),
    }


def alike(trajectory: Trajectory, model: Model) -> bool:
    """Whether a run was made as this model would make it now: on such a device, in its dtype, with these versions.

    Only then can it be repeated to the last bit; another machine, of which a capsule tells nothing, may still round
    otherwise.
    """
    then, now = trajectory.capsule, made(model)
    versions = [tuple(part.get("versions", {}).get(name) for name in LIBRARIES) for part in (then, now)]
    same = all(then.get(key) == now.get(key) for key in ("device", "dtype", "rounding"))
    return versions[0] == versions[1] and same and now.get("rounding") != "compiled"  # such a network promises nothing


def _seen(step: Step) -> Tensor:
    return step.latents if step.x0 is None else step.x0


def _small(picture: Tensor) -> Tensor:
    """(3, H, W) in 0 … 1 to uint8, of at most limits.PICTURE pixels along each side."""
    scale = min(1.0, limits.PICTURE / max(picture.shape[1:]))
    if scale < 1:
        picture = interpolate(picture[None], scale_factor=scale, mode="area")[0]
    return picture.clamp(0, 1).mul(255).round().to(torch.uint8)
