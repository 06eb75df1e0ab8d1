"""Decoded pictures as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor


def to_image(picture: Tensor) -> Image.Image:
    """One picture, (3, H, W) or (1, 3, H, W) in 0 … 1, as an 8-bit RGB image; rounds to nearest, as diffusers does."""
    pixels = picture.reshape(picture.shape[-3:]).clamp(0, 1).permute(1, 2, 0).mul(255).round().byte()
    return Image.fromarray(pixels.contiguous().numpy())


def save_png(picture: Tensor, path: str | Path, settings: Mapping[str, str] | None = None) -> None:
    """Writes a picture with its settings in the PNG's text chunks, whatever the file is called."""
    Path(path).write_bytes(to_png(picture, settings))


def to_png(picture: Tensor, settings: Mapping[str, str] | None = None) -> bytes:
    """A picture as the bytes of a PNG, with its settings in the text chunks."""
    info = PngInfo()
    for key, value in (settings or {}).items():
        info.add_itxt(key, value)
    buffer = io.BytesIO()
    to_image(picture).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()
