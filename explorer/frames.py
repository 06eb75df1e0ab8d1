"""Step → the small record that the browser gets.

The browser receives latents, not pictures: it colours them with the preview matrix and keeps the history itself, so a
record holds one Step and nothing of the Steps before it. Everything in it is plain JSON.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from explorer.pictures import to_png
from explorer.records import Preview, Step

HALF_MAX = 65504.0  # the largest finite float16


def encode(
    step: Step,
    *,
    run: str,
    n: int,
    model_preview: Preview,
    picture: str | None = None,
    steps: int | None = None,
    first: int = 0,
) -> dict[str, Any]:
    """The record of one Step.

    Args:
        step: what to send.
        run: the run's id; the player drops frames of any other run.
        n: how many Steps the run has, so that the timeline has its full length from the first frame on.
        model_preview: the linear map from a latent to a colour.
        picture: a data URI of the decoded latents, where they were decoded.
        steps: the Request's steps, where the player should say that they are not the evaluations.
        first: the run's first Step, where it went on from another's.
    """
    planes = {"x_t": step.latents, "eps": step.eps, "x0": step.x0, "eps_uncond": step.eps_uncond, "eps_cond": step.eps_cond}
    if model_preview.exact and step.eps_uncond is None:
        planes["eps_cond"] = None  # the very eps, and a picture has many pixels
    record = {
        "run": run,
        "i": step.index,
        "n": n,
        "t": _finite(step.timestep),
        "alpha": _finite(step.alpha),
        "sigma": _finite(step.sigma),
        "shape": list(step.latents.shape[1:]),  # [C, H, W]
        "planes": {name: _plane(tensor) for name, tensor in planes.items() if tensor is not None},
        "preview": {
            "matrix": [[round(value, 6) for value in row] for row in model_preview.matrix],
            "offset": [round(value, 6) for value in model_preview.offset],
        },
        "forms": {name: [[_finite(term.coefficient), term.name] for term in terms] for name, terms in step.forms.items()},
        "norms": _norms(step),
    }
    if model_preview.exact:
        record["pixels"] = True  # the browser then speaks of pixels, and of no decoding
    if picture is not None:
        record["picture"] = picture
    if steps is not None:
        record["steps"] = steps
    if first:
        record["from"] = first
    return record


def data_uri(picture: Tensor) -> str:
    """A decoded picture (1, 3, H, W) in 0 … 1 as a PNG data URI."""
    return "data:image/png;base64," + base64.b64encode(to_png(picture)).decode()


def _plane(tensor: Tensor) -> str:
    """(1, C, H, W) as base64 of little-endian float16; what half precision can't hold is clamped, not made infinite."""
    half = tensor[0].detach().cpu().clamp(-HALF_MAX, HALF_MAX).numpy().astype("<f2")
    return base64.b64encode(half.tobytes()).decode()


def _norms(step: Step) -> Mapping[str, float | None]:
    """Root mean squares, so that they read the same at every latent size; cfg is eps_cond - eps_uncond."""
    cfg = None if step.eps_cond is None or step.eps_uncond is None else step.eps_cond - step.eps_uncond
    tensors = {"x_t": step.latents, "eps": step.eps, "x0": step.x0, "cfg": cfg}
    return {name: None if t is None else _finite(t.square().mean().sqrt().item()) for name, t in tensors.items()}


def _finite(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None
