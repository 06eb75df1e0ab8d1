"""A walk's two axes on one sheet to take along: frames from top to bottom, each one's own denoising from left to right."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from explorer import limits
from explorer.captions import short
from explorer.pictures import to_image
from explorer.records import Preview, RequestError

COUNTS = (2, 12)  # of rows and of columns with a prediction
CELL = (96, 192)  # pixels of a cell's longer side: the least has room for the captions
GAP = 8  # pixels
LINE = 18  # pixels, of a line of text
SIDE = 168  # pixels, for the rows' names
PAPER = "#ffffff"
INK = "#1a1b1f"
SOFT = "#585c64"
BATCH = 4  # latents that are decoded at once

Decode = Callable[[Tensor], Tensor]  # latents (B, C, h, w) → pictures (B, 3, H, W) in 0 … 1


class Row(NamedTuple):
    """One frame of the film."""

    name: str  # "frame 3 of 24"
    note: str  # a line or more on what is there: a station, or its place on the path
    x0: Sequence[Tensor]  # what its run predicted at each evaluation, (C, h, w)
    picture: Tensor  # what it ended in, (3, H, W), uint8


def sheet(
    rows: Sequence[Row],
    timesteps: Sequence[float],
    preview: Preview,
    title: str,
    settings: Mapping[str, Any],
    most: tuple[int, int] = (8, 8),
    decode: Decode | None = None,
) -> Generator[tuple[int, int], None, bytes]:
    """Draws the sheet row by row: yields (drawn, of how many rows), and returns a PNG.

    Args:
        rows: the finished frames, in order, with runs of equal length.
        timesteps: of the evaluations, for the captions.
        preview: colours the predicted x0 where they are not decoded.
        title: the line above everything.
        settings: what made the film; kept in the PNG's text chunk "diffuscope" together with `rows` and `columns`, the
            indices into `rows` and of the evaluations that were chosen.
        most: 2 … 12 rows and as many predictions beside each other, and the finished picture after them; chosen evenly,
            the first and the last always.
        decode: the VAE's decoder; None shows the predictions by the preview, at the latents' own resolution.

    Raises:
        RequestError: there is no frame, or a count is out of range.
    """
    if not rows:
        raise RequestError("frames is empty; a contact sheet needs at least one frame that is finished.")
    counts = tuple(limits.whole(name, count, COUNTS) for name, count in zip(("rows", "columns"), most, strict=True))
    down, across = evenly(len(rows), counts[0]), evenly(len(timesteps), counts[1])
    return _drawn([rows[i] for i in down], across, timesteps, preview, title,
                  {**settings, "rows": down, "columns": across}, decode)  # fmt: skip


def evenly(count: int, most: int) -> list[int]:
    """At most so many of `count` places at equal distances, the first and the last always."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def _drawn(
    rows: Sequence[Row],
    across: Sequence[int],
    timesteps: Sequence[float],
    preview: Preview,
    title: str,
    said: Mapping[str, Any],
    decode: Decode | None,
) -> Generator[tuple[int, int], None, bytes]:
    height, width = rows[0].picture.shape[-2:]
    scale = min(max(1.0, CELL[0] / max(width, height)), CELL[1] / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    cell, top = max(size[0], CELL[0]), 2 * GAP + 3 * LINE
    page = Image.new(
        "RGB", (SIDE + (len(across) + 1) * (cell + GAP), top + len(rows) * (max(size[1], 2 * LINE) + GAP)), PAPER
    )
    draw, font, small = ImageDraw.Draw(page), ImageFont.load_default(14), ImageFont.load_default(12)
    draw.text((GAP, GAP), short(title, page.width - 2 * GAP, font), INK, font)
    for column, k in enumerate(across):
        left = SIDE + column * (cell + GAP)
        draw.text((left, GAP + 1.5 * LINE), f"step {k} of {len(timesteps)}", INK, small)
        draw.text((left, GAP + 2.4 * LINE), f"t = {timesteps[k]:.4g}", SOFT, small)
    draw.text((SIDE + len(across) * (cell + GAP), GAP + 1.5 * LINE), "the picture", INK, small)
    yield 0, len(rows)
    for i, row in enumerate(rows):
        below = top + i * (max(size[1], 2 * LINE) + GAP)
        draw.text((GAP, below), short(row.name, SIDE - 2 * GAP, font), INK, font)
        for k, line in enumerate(row.note.split("\n"), 1):
            draw.text((GAP, below + k * LINE), short(line, SIDE - 2 * GAP, small), SOFT, small)
        pictures = _predicted([row.x0[k] for k in across], preview, size, decode)
        pictures.append(_fitted(to_image(row.picture / 255), size))
        for column, picture in enumerate(pictures):
            page.paste(picture, (SIDE + column * (cell + GAP), below))
        yield i + 1, len(rows)
    info = PngInfo()
    info.add_itxt("diffuscope", json.dumps(said))
    buffer = io.BytesIO()
    page.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def _predicted(x0: Sequence[Tensor], preview: Preview, size: tuple[int, int], decode: Decode | None) -> list[Image.Image]:
    latents = torch.stack([one.float() for one in x0])
    if decode is not None:
        return [_fitted(to_image(picture), size) for few in latents.split(BATCH) for picture in decode(few)]
    matrix, offset = torch.tensor(preview.matrix), torch.tensor(preview.offset)
    coloured = torch.einsum("rc,bchw->brhw", matrix, latents) + offset[:, None, None]
    return [to_image(one).resize(size, Image.Resampling.NEAREST) for one in coloured]


def _fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
