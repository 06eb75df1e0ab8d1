"""A picture that somebody brings: checked from its header before it is decoded, then fitted to the model's size.

What was done to it (turned, cropped, flattened …) is said in words; what can't be used is refused in one sentence.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from explorer.records import RequestError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
SIDES = (8, 8192)  # pixels
AREA = 32_000_000  # pixels, decoded about 100 MB
BYTES = 20_000_000
ORIENTATION = 0x0112  # EXIF
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
BROKEN = (  # what Pillow raises on broken files
    OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, KeyError, OverflowError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
DEEP = ("I;16", "I;16B", "I;16L", "I", "F")  # modes of more than 8 bits


@dataclass(frozen=True)
class Brought:
    """A picture, ready for the model."""

    picture: Tensor  # (1, 3, height, width) in 0 … 1
    notes: tuple[str, ...]  # what was done to it, in order
    original: tuple[int, int]  # width, height in pixels


def bring(data: bytes, size: tuple[int, int], most: int | None = None) -> Brought:
    """Reads a picture file and fits it to (width, height): centred crop, then Lanczos.

    Args:
        data: the file.
        size: what the model takes, in pixels.
        most: where the picture is larger than `size` it stays so, up to this many pixels on its longer side; never
            smaller than `size`.

    Raises:
        RequestError: it is no picture, of another format, broken, too small or too large.
    """
    if not data:
        raise RequestError("The picture has no bytes; give a file that is not empty.")
    if len(data) > BYTES:
        raise RequestError(f"The picture has {len(data) / 1e6:.0f} MB; the limit is {BYTES / 1e6:.0f} MB.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own, about sizes: the header is checked here
        image = _open(data)
        _check_size(*image.size)
        try:
            return _fit(image, size, most)
        except BROKEN as error:
            raise RequestError("The picture is broken or cut short; save it again and give the new file.") from error


def _open(data: bytes) -> Image.Image:
    """The header only; nothing is decoded yet."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        kind = _kind(data)
        wanted = f"give {', '.join(FORMATS[:-1])} or {FORMATS[-1]}."
        raise RequestError(f"The picture is {kind}; {wanted}" if kind else f"The file is not a picture; {wanted}") from None
    except Image.DecompressionBombError:  # Pillow's own limit, far above this one
        raise RequestError(f"The picture has over 100 million pixels; the limit is {AREA / 1e6:.0f}.") from None
    except BROKEN as error:
        raise RequestError("The picture's header is broken; save it again and give the new file.") from error


def _kind(data: bytes) -> str:
    """What a file that is none of FORMATS is, where it is worth saying."""
    head = data[:1024].lstrip().lower()
    if head.startswith((b"%!ps", b"\xc5\xd0\xd3\xc6")):
        return "an EPS drawing"
    if b"<svg" in head:
        return "an SVG drawing"
    if head.startswith(b"%pdf"):
        return "a PDF"
    if head[4:12] in (b"ftypavif", b"ftypheic", b"ftypmif1"):
        return "an AVIF or HEIC file"
    return ""


def _check_size(width: int, height: int) -> None:
    low, high = SIDES
    for name, side in (("wide", width), ("high", height)):
        if not low <= side <= high:
            raise RequestError(f"The picture is {side} pixels {name}; it must be from {low} to {high}.")
    if width * height > AREA:
        raise RequestError(
            f"The picture has {width} × {height} pixels, {width * height / 1e6:.0f} million; the limit is {AREA / 1e6:.0f}."
        )


def _fit(image: Image.Image, size: tuple[int, int], most: int | None) -> Brought:
    notes: list[str] = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        notes.append(f"the first of {frames} frames")
    said = _orientation(image)
    image.load()  # of a TIFF it turns the picture itself
    left = _orientation(image)
    image = _plain(image, notes)
    if left in TURNS:
        image = image.transpose(TURNS[left])
    if said in TURNS:
        notes.append("turned as its EXIF says")
    original = image.size
    cropped = _crop(original, size)
    if most is not None:
        scale = max(1.0, min((cropped[2] - cropped[0]) / size[0], most / max(size)))
        size = (round(size[0] * scale), round(size[1] * scale))
    if cropped != (0, 0, *original):
        notes.append(f"cropped from {original[0]}×{original[1]} to {cropped[2] - cropped[0]}×{cropped[3] - cropped[1]}")
    if (cropped[2] - cropped[0], cropped[3] - cropped[1]) != size:
        notes.append(f"{'enlarged' if size[0] > cropped[2] - cropped[0] else 'reduced'} to {size[0]}×{size[1]}")
    fitted = image.resize(size, Image.Resampling.LANCZOS, box=cropped)
    pixels = torch.from_numpy(np.array(fitted)).permute(2, 0, 1)[None].float() / 255
    return Brought(pixels, tuple(notes), original)


def _plain(image: Image.Image, notes: list[str]) -> Image.Image:
    """Eight-bit RGB on white."""
    if image.mode in DEEP:
        notes.append("scaled from 16 bit" if image.mode != "F" else "scaled from floating point")
        values = np.asarray(image, np.float64)
        full = 65535.0 if image.mode != "F" else max(float(np.nanmax(np.abs(values))), 1e-9)
        image = Image.fromarray((np.nan_to_num(values) / full * 255).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        if np.asarray(layer)[..., 3].min() < 255:
            notes.append("laid on white where it was transparent")
        page = Image.new("RGBA", layer.size, "white")
        page.alpha_composite(layer)
        image = page.convert("RGB")
    elif image.mode == "CMYK":
        notes.append("converted from CMYK")
        image = image.convert("RGB")
    elif image.mode != "RGB":
        image = image.convert("RGB")
    return image


def _orientation(image: Image.Image) -> int:
    """EXIF's word on it; 1 where it has none that can be read."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except BROKEN:
        return 1
    return value if isinstance(value, int) else 1


def _crop(original: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest box of the wanted shape in the middle: left, top, right, bottom."""
    scale = min(original[0] / size[0], original[1] / size[1])
    width, height = (min(whole, round(side * scale)) for whole, side in zip(original, size, strict=True))
    left, top = (original[0] - width) // 2, (original[1] - height) // 2
    return left, top, left + width, top + height
