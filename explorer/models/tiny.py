"""The optional tiny decoder: a diffusers AutoencoderTiny in `tiny_vae/` beside a model's parts, for scaled latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny

from explorer.records import SourceError

FOLDER = "tiny_vae"


def load(folder: Path, name: str, channels: int, scale: int) -> Any:
    """The AutoencoderTiny of a model folder, float32; None where the folder has none.

    Args:
        folder: the model's.
        name: the model's, for what is said of it.
        channels, scale: of the model's latents; the tiny decoder must take and give the same shapes.

    Raises:
        SourceError: it is broken, or for other latents.
    """
    if not (folder / FOLDER).is_dir():
        return None
    try:
        model, report = AutoencoderTiny.from_pretrained(
            folder, subfolder=FOLDER, torch_dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
        lacking = len(report["missing_keys"])
    except Exception as error:  # the loaders raise what they like on a broken file
        raise SourceError(
            f"The model {name!r} has a {FOLDER} that can't be read ({type(error).__name__}); save it again or remove it."
        ) from error
    if lacking:  # they would be left as the memory was
        raise SourceError(f"The model {name!r} lacks {lacking} weights of its {FOLDER}; save it again or remove it.")
    if not _fits(model, channels, scale):
        raise SourceError(
            f"The model {name!r} has a {FOLDER} for other latents than its own, which have {channels} channels and "
            f"{scale}×{scale} pixels a cell; remove it."
        )
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def _fits(model: Any, channels: int, scale: int) -> bool:
    try:
        picture = model.decode(torch.zeros(1, channels, 2, 3)).sample
    except RuntimeError:
        return False
    return picture.shape == (1, 3, 2 * scale, 3 * scale) and bool(torch.isfinite(picture).all())
