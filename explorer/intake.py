"""A picture that somebody brings: checked from its header before it is decoded, then fitted to the model's size.

What was done to it (turned, cropped, flattened …) is said in words; what can't be used is refused in one sentence.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError
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
BITS = 258  # TIFF's tag: bits per sample
BAND = 256  # rows that are converted at once: a second picture beside the first would be most of the memory


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
        try:
            return _fit(_open(data), size, most)
        except RequestError:
            raise
        except BROKEN as error:
            raise RequestError("The picture is broken or cut short; save it again and give the new file.") from error


def _open(data: bytes) -> Image.Image:
    """The header only, its size checked; nothing is decoded yet."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        kind = _kind(data)
        wanted = f"give {', '.join(FORMATS[:-1])} or {FORMATS[-1]}."
        raise RequestError(f"The picture is {kind}; {wanted}" if kind else f"The file is not a picture; {wanted}") from None
    except Image.DecompressionBombError:  # Pillow's own limit, far above this one
        raise RequestError(f"The picture has over 100 million pixels; the limit is {AREA / 1e6:.0f}.") from None
    except BROKEN as error:
        raise RequestError("The picture's header is broken; save it again and give the new file.") from error
    _check_size(*image.size)
    return image


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
    bits = _bits(image)
    said = _orientation(image)
    image.load()  # of a TIFF it turns the picture itself
    if (left := _orientation(image)) in TURNS:
        image = image.transpose(TURNS[left])
    original = image.size
    cropped = box = _crop(original, size)
    if image.mode not in ("RGB", "L") and cropped != (0, 0, *original):
        image, box = image.crop(cropped), (0, 0, cropped[2] - cropped[0], cropped[3] - cropped[1])  # less to convert
    if image.mode in DEEP:
        image = _scaled(image, bits, notes)
    elif bits > 8:  # Pillow has read it as 8 bit already
        notes.append(f"scaled from {bits} bit")
    image = _plain(image, notes)
    if said in TURNS:
        notes.append("turned as its EXIF says")
    if most is not None:
        scale = max(1.0, min((cropped[2] - cropped[0]) / size[0], most / max(size)))
        size = (round(size[0] * scale), round(size[1] * scale))
    if cropped != (0, 0, *original):
        notes.append(f"cropped from {original[0]}×{original[1]} to {cropped[2] - cropped[0]}×{cropped[3] - cropped[1]}")
    if (cropped[2] - cropped[0], cropped[3] - cropped[1]) != size:
        notes.append(f"{'enlarged' if size[0] > cropped[2] - cropped[0] else 'reduced'} to {size[0]}×{size[1]}")
    fitted = image.resize(size, Image.Resampling.LANCZOS, box=box).convert("RGB")
    pixels = torch.from_numpy(np.array(fitted)).permute(2, 0, 1)[None].float() / 255
    return Brought(pixels, tuple(notes), original)


def _plain(image: Image.Image, notes: list[str]) -> Image.Image:
    """Eight-bit RGB on white, or grey."""
    if image.has_transparency_data:
        page, clear = Image.new("RGB", image.size), False
        for top, band in _bands(image):
            layer = band.convert("RGBA")
            clear = clear or bool(np.asarray(layer.getchannel("A")).min() < 255)
            white = Image.new("RGBA", layer.size, "white")
            white.alpha_composite(layer)
            page.paste(white.convert("RGB"), (0, top))
        notes += ["laid on white where it was transparent"] * clear
        return page
    if image.mode == "CMYK":
        notes.append("converted from CMYK")
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


def _bits(image: Image.Image) -> int:
    """Of one channel, by the header; Pillow's mode doesn't say it of pictures in colour."""
    if isinstance(image, PngImagePlugin.PngImageFile):
        return 16 if image.tile and "16" in str(image.tile[0][3]) else 8
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(BITS, (8,)))
    return 8


def _scaled(image: Image.Image, bits: int, notes: list[str]) -> Image.Image:
    """A grey picture of whole numbers of more than 8 bits, or of floating point, as 8 bit.

    16 bit without a sign goes by its full range. Other numbers have none that is used: those of floating point are taken
    to be 0 … 1, or up to the largest where that is above 1, whole numbers up to the largest.

    Raises:
        RequestError: there is nothing to be seen: no number at all, or none above 0 where some lie below.
    """
    low, high, odd = _range(image)
    if low > high:
        raise RequestError("The picture's values are all NaN or infinite; give one with numbers in it.")
    if high <= 0 and low < 0:
        raise RequestError(f"The picture's values are all below 0, from {low:g} to {high:g}; give one with some above.")
    if image.mode.startswith("I;16"):
        full, words = 65535.0, "scaled from 16 bit"
    elif image.mode == "F":
        full, words = max(high, 1.0), "scaled from floating point"
        words += f" by its largest value, {high:.4g}" if high > 1 else ""
    else:
        full, words = max(high, 1.0), f"scaled from {bits} bit by its largest value, {high:.0f}"
    notes.append(words)
    notes += ["values below 0 as black"] * (low < 0) + [f"{odd} values that are no numbers as black"] * bool(odd)
    page = Image.new("L", image.size)
    for top, band in _bands(image):
        numbers = np.nan_to_num(np.asarray(band, np.float32), nan=0, posinf=0, neginf=0)
        page.paste(Image.fromarray((numbers * np.float32(255 / full)).clip(0, 255).round().astype(np.uint8)), (0, top))
    return page


def _range(image: Image.Image) -> tuple[float, float, int]:
    """Least and largest of the values that are numbers, and how many are none; inf and -inf where all are none."""
    low, high, odd = np.inf, -np.inf, 0
    for _, band in _bands(image):
        values = np.asarray(band)
        numbers = values[np.isfinite(values)]
        odd += values.size - numbers.size
        if numbers.size:
            low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
    return low, high, odd


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The picture's rows, BAND at a time, and where each band begins."""
    for top in range(0, image.height, BAND):
        yield top, image.crop((0, top, image.width, min(top + BAND, image.height)))


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
