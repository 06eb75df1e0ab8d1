"""The formats of a film, each a generator that writes one picture after the other and returns the file.

GIF and WebP are put together from single pictures that Pillow encodes: its own writers of whole films leave out a frame
that equals the one before, and keep every picture until the end. A PNG strip is compressed row by row, MP4 is x264's.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Generator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from explorer.records import RequestError

SAMPLE = 2**14  # pixels from which a GIF's palette is made
SOFT = 512  # pixels a side: where both are less, halving the resolution of colour would be seen
STRIP = 16384  # pixels, of a strip's row: browsers draw no canvas that is much wider
EXIF_DESCRIPTION = 0x010E  # ASCII by its standard, as `settings` are here
PNG_KEY = "diffuscope"
LINES = 32  # of a strip that are filtered at once
BT709 = 1  # of H.264's tables of primaries, transfer and matrix
STUDIO = 1  # luma from 16 to 235

Picture = np.ndarray  # (H, W, 3), uint8
Written = Generator[tuple[int, int], None, bytes]  # pictures that are written, of how many


class Plan(NamedTuple):
    """What a writer is told beside the pictures."""

    route: Sequence[int]  # indices of the pictures, in the order in which they are shown
    fps: int
    loop: bool
    settings: str  # ASCII


Writer = Callable[[Sequence[Picture], Plan], Written]


def gif(frames: Sequence[Picture], plan: Plan) -> Written:
    """A palette of 256 colours for every picture, no dither.

    Measured on a walk of the embedded model (24 x 128 x 128, PSNR to the pictures): a palette each by median cut and
    k-means 38.6 dB and the least flicker where pixels rest, by octree 36.6; one palette for all 35.7, dithered 33.7.
    """
    pieces = []
    for i, frame in enumerate(frames):
        pieces.append(_gif_image(frame))
        yield i + 1, len(frames)
    height, width = frames[0].shape[:2]
    parts = [b"GIF89a", struct.pack("<HHBBB", width, height, 0x70, 0, 0)]
    if plan.loop:
        parts.append(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")  # 0: without end
    parts += [b"\x21\xfe", _sub_blocks(plan.settings.encode("ascii"))]  # a comment
    for k, length in zip(plan.route, lengths(len(plan.route), plan.fps, 100), strict=True):
        parts += [b"\x21\xf9\x04\x04", struct.pack("<H", length), b"\x00\x00", pieces[k]]  # it stays until the next
    return b"".join([*parts, b";"])


def webp(frames: Sequence[Picture], plan: Plan) -> Written:
    """Exact where pictures are small, of quality 90 else; the settings as EXIF's description.

    Lossy WebP halves the resolution of colour as MP4 does: 32.8 dB at 128 x 128, 45.6 at 512 x 512 (measured as above).
    """
    height, width = frames[0].shape[:2]
    exact = max(height, width) < SOFT
    how: dict[str, Any] = {"lossless": True, "quality": 30, "method": 2} if exact else {"quality": 90, "method": 4}
    pieces = []
    for i, frame in enumerate(frames):
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "WEBP", **how)
        pieces.append(buffer.getvalue()[12:])  # without its RIFF header: the chunk of the picture
        yield i + 1, len(frames)
    size = _three(width - 1) + _three(height - 1)
    parts = [
        _riff(b"VP8X", bytes([0x08 | 0x02, 0, 0, 0]) + size),  # EXIF and animation
        _riff(b"ANIM", b"\xff\xff\xff\xff" + struct.pack("<H", 0 if plan.loop else 1)),
    ]
    for k, length in zip(plan.route, lengths(len(plan.route), plan.fps, 1000), strict=True):
        parts.append(_riff(b"ANMF", bytes(6) + size + _three(length) + b"\x02" + pieces[k]))  # laid over, not blended
    exif = Image.Exif()
    exif[EXIF_DESCRIPTION] = plan.settings
    parts.append(_riff(b"EXIF", exif.tobytes().removeprefix(b"Exif\x00\x00")))
    return _riff(b"RIFF", b"".join([b"WEBP", *parts]))


def png(frames: Sequence[Picture], plan: Plan) -> Written:
    """All pictures side by side, left to right; in several rows where one would be wider than STRIP; exact."""
    height, width = frames[0].shape[:2]
    columns = strip_columns(len(plan.route), width)
    rows = [plan.route[i : i + columns] for i in range(0, len(plan.route), columns)]
    packer, file = zlib.compressobj(6), io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    file.write(_png(b"IHDR", struct.pack(">IIBBBBB", columns * width, len(rows) * height, 8, 2, 0, 0, 0)))
    file.write(_png(b"iTXt", PNG_KEY.encode() + bytes(5) + plan.settings.encode("ascii")))
    above = np.zeros((1, 3 * columns * width), np.uint8)
    for done, row in enumerate(rows):
        band = np.full((height, columns * width, 3), 255, np.uint8)  # white where the last row ends
        for column, k in enumerate(row):
            band[:, column * width : (column + 1) * width] = frames[k]
            yield done * columns + column + 1, len(plan.route)
        for lines in np.split(band.reshape(height, -1), range(LINES, height, LINES)):
            filtered = np.diff(lines, axis=0, prepend=above)  # filter 2: what changed from the line above, modulo 256
            above = lines[-1:].copy()
            file.write(_png(b"IDAT", packer.compress(np.insert(filtered, 0, 2, axis=1).tobytes())))
    file.write(_png(b"IDAT", packer.flush()) + _png(b"IEND", b""))
    return file.getvalue()


def mp4(frames: Sequence[Picture], plan: Plan) -> Written:
    """H.264 in yuv420p with its index first, which is what browsers play from the first byte on.

    Its colour has half the pictures' resolution. So pixels of a small picture are doubled, and none of its colour is
    lost; of a larger one an odd last line and column are shown twice, since sides must be even.
    """
    av = library()
    from av.video.reformatter import ColorRange, Colorspace, Interpolation

    height, width = frames[0].shape[:2]
    scale = doubling(width, height)
    with TemporaryDirectory(prefix="diffuscope-") as folder:  # the index is moved to the front in a second pass
        path = Path(folder) / "film.mp4"
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
            container.metadata["comment"] = plan.settings
            stream = container.add_stream("libx264", rate=plan.fps, options={"crf": "16", "preset": "medium"})
            stream.width, stream.height, stream.pix_fmt = even(width * scale), even(height * scale), "yuv420p"
            coder = stream.codec_context
            coder.thread_count = 1  # the same file every time, and the machine's other cores are others'
            coder.colorspace = coder.color_primaries = coder.color_trc = BT709
            coder.color_range = STUDIO
            for i, k in enumerate(plan.route):
                pixels = frames[k].repeat(scale, 0).repeat(scale, 1)
                pixels = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), "edge")
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                    format="yuv420p", interpolation=Interpolation.AREA, src_color_range=ColorRange.JPEG,
                    dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG,
                )  # fmt: skip
                frame.pts = i
                container.mux(stream.encode(frame))
                yield i + 1, len(plan.route)
            container.mux(stream.encode(None))
        return path.read_bytes()


def library() -> Any:
    """FFmpeg, by PyAV; imported when it is asked for, so that all else goes without it.

    Raises:
        RequestError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise RequestError("MP4 needs the package av, which is not installed here; take GIF or WebP.") from None
    return av


def lengths(count: int, fps: int, unit: int) -> list[int]:
    """How long each picture is shown, in 1/unit of a second: whole numbers whose sums are never off by more than a half."""
    ends = [round(i * unit / fps) for i in range(count + 1)]
    return [b - a for a, b in pairwise(ends)]


def strip_columns(count: int, width: int) -> int:
    """How many pictures stand side by side in a strip."""
    return min(count, max(1, STRIP // width))


def doubling(width: int, height: int) -> int:
    """By how much an MP4's pixels are enlarged: 1 or 2."""
    return 2 if max(width, height) < SOFT else 1


def even(side: int) -> int:
    return side + side % 2


def _gif_image(frame: Picture) -> bytes:
    """A picture with its own palette, as it stands in a GIF: descriptor, colours, LZW."""
    image, (height, width) = Image.fromarray(frame), frame.shape[:2]
    if (every := -(-height * width // SAMPLE)) == 1:
        flat = image.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1)
    else:
        step = int(np.ceil(every**0.5))
        few = Image.fromarray(np.ascontiguousarray(frame[::step, ::step]))
        palette = few.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1)
        flat = image.quantize(palette=palette, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    flat.save(buffer, "GIF", interlace=0)
    data = buffer.getvalue()
    colours = data[10] & 7  # 2 ** (colours + 1) of them
    at = 13 + 3 * 2 ** (colours + 1)
    table = data[13:at]
    while data[at] == 0x21:  # an extension: its name and blocks, up to an empty one
        at += 2
        while data[at]:
            at += data[at] + 1
        at += 1
    return data[at : at + 9] + bytes([0x80 | colours]) + table + data[at + 10 : -1]


def _sub_blocks(data: bytes) -> bytes:
    """GIF's way to write what is longer than 255 bytes."""
    blocks = (data[i : i + 255] for i in range(0, len(data), 255))
    return b"".join(bytes([len(block)]) + block for block in blocks) + b"\x00"


def _three(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _riff(name: bytes, data: bytes) -> bytes:
    """A chunk of WebP's container; an odd one is followed by a zero."""
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _png(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
