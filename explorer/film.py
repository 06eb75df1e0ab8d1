"""A film as a file: its pictures as GIF, MP4, animated WebP or as a strip in one PNG, with what made it in the metadata."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from explorer import film_writers, limits
from explorer.film_writers import EXIF_DESCRIPTION, PNG_KEY, Picture, Plan, Writer, Written
from explorer.records import RequestError

FPS = (1, 60)  # pictures a second
SIDE = 2048  # pixels, of a picture's longer side
PIXELS = 2**26  # of all pictures together, each counted once: 256 of 512 x 512
SETTINGS = 2**18  # characters; eight prompts of the longest kind, written in ASCII
STRANGE = "The file has no settings of a film in it."


@dataclass(frozen=True, kw_only=True)
class Format:
    """One way to write a film."""

    label: str
    summary: str  # for the person who chooses: a sentence with the label before it
    ending: str
    write: Writer
    fps: tuple[int, int] = FPS


FORMATS = {
    "gif": Format(
        label="GIF",
        summary="plays everywhere, in 256 colours a picture",
        ending="gif",
        write=film_writers.gif,
        fps=(1, 50),  # its clock has 1/100 s, and browsers slow down what is shown for less than two of them
    ),
    "mp4": Format(label="MP4", summary="is the smallest", ending="mp4", write=film_writers.mp4),
    "webp": Format(label="WebP", summary="has all colours and loops in browsers", ending="webp", write=film_writers.webp),
    "png": Format(
        label="PNG strip", summary="has every pixel, the pictures side by side", ending="png", write=film_writers.png
    ),
}


def encode(
    frames: Sequence[Picture], format: str, fps: int, back_and_forth: bool, loop: bool, settings: Mapping[str, Any]
) -> bytes:
    """`encoding` at once."""
    steps = encoding(frames, format, fps, back_and_forth, loop, settings)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def encoding(
    frames: Sequence[Picture], format: str, fps: int, back_and_forth: bool, loop: bool, settings: Mapping[str, Any]
) -> Written:
    """Writes a film picture by picture: yields (written, of how many), and returns the file.

    Frames are asked for one by one, more than once each, and only a few are held: a sequence that makes them when they
    are asked for needs little more room than its file. A PNG strip holds one of its rows. Measured beyond the frames, 120
    of 512 x 512 there and back: GIF 62 MB (its file: 40), MP4 58 (3), WebP 11 (4), PNG strip 105 (56).

    Args:
        frames: pictures (H, W, 3), uint8, all of one size, at least one.
        format: a name of FORMATS.
        fps: 1 … 60, whole; 1 … 50 of a GIF.
        back_and_forth: after the last picture all others in reverse, each end once: 2n - 2 pictures.
        loop: whether a GIF or WebP begins again at its end; an MP4 and a strip can't say so.
        settings: what made the film: texts, numbers, yes and no; `settings` reads them back.

    Raises:
        RequestError: there is no picture, or one can't be used, or too many pixels; fps, format or settings can't be.
    """
    if not isinstance(format, str) or format not in FORMATS:
        raise RequestError(f"format is {limits.show(format)}; it must be one of {', '.join(FORMATS)}.")
    chosen = FORMATS[format]
    speed = limits.whole("fps", fps, FPS)
    if speed > chosen.fps[1]:
        raise RequestError(f"fps is {speed}; a {chosen.label} shows at most {chosen.fps[1]} pictures a second.")
    for name, value in (("back_and_forth", back_and_forth), ("loop", loop)):
        if not isinstance(value, bool):
            raise RequestError(f"{name} is {limits.show(value)}; it must be True or False.")
    _check(frames)
    return chosen.write(frames, Plan(route(len(frames), back_and_forth), speed, loop, _text(settings)))


def route(count: int, back_and_forth: bool) -> list[int]:
    """The pictures in the order in which they are shown; there and back each end is shown once."""
    there = list(range(count))
    return there + there[-2:0:-1] if back_and_forth else there


def settings(data: bytes) -> dict[str, Any]:
    """What made the film of a file.

    Raises:
        RequestError: the file was not written here, or is an MP4 where the package av is missing.
    """
    try:
        text = _read(data)
        found = json.loads(text)
    except (OSError, ValueError, KeyError, TypeError, SyntaxError, IndexError):  # what Pillow and av raise, too
        raise RequestError(STRANGE) from None
    if not isinstance(found, dict):
        raise RequestError(STRANGE)
    return found


def _check(frames: Sequence[Picture]) -> None:
    if len(frames) == 0:
        raise RequestError("frames is empty; a film needs at least one picture that is finished.")
    size: tuple[int, ...] = ()
    for i, frame in enumerate(frames):
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            kind = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else limits.show(frame)
            raise RequestError(f"frames[{i}] is {kind}; whole numbers of 8 bit (uint8), (height, width, 3), are needed.")
        height, width = frame.shape[:2]
        if min(height, width) < 1 or max(height, width) > SIDE:
            raise RequestError(f"frames[{i}] has {width} x {height} pixels; a side must be from 1 to {SIDE}.")
        if size and frame.shape != size:
            raise RequestError(f"frames[{i}] has {width} x {height} pixels, but the first {size[1]} x {size[0]}.")
        size = frame.shape
        if len(frames) * height * width > PIXELS:
            raise RequestError(
                f"frames are {len(frames)} x {width} x {height} = {len(frames) * width * height} pixels; "
                f"the limit is {PIXELS}."
            )


def _text(settings: Mapping[str, Any]) -> str:
    """JSON in ASCII: a GIF's comment and EXIF's description may have nothing else."""
    for name, value in settings.items():
        if not isinstance(name, str) or not (value is None or isinstance(value, str | int | float)):
            raise RequestError(f"settings[{name!r}] is {limits.show(value)}; a text or a number is needed.")
        if isinstance(value, float) and not math.isfinite(value):
            raise RequestError(f"settings[{name!r}] is {value}; it must be finite.")
    text = json.dumps(dict(settings))
    if len(text) > SETTINGS:
        raise RequestError(f"settings have {len(text)} characters; the limit is {SETTINGS}.")
    return text


def _read(data: bytes) -> str:
    if data[4:8] == b"ftyp":
        with film_writers.library().open(io.BytesIO(data)) as container:
            return str(container.metadata["comment"])
    with Image.open(io.BytesIO(data), formats=("GIF", "WEBP", "PNG")) as image:
        if image.format == "GIF":
            return bytes(image.info["comment"]).decode("ascii")
        return str(image.getexif()[EXIF_DESCRIPTION] if image.format == "WEBP" else image.text[PNG_KEY])  # type: ignore
