"""A sweep to take along: a contact sheet as PNG, one picture for each scale with its caption."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from explorer.captions import plain, short
from explorer.records import Request

CELL = 256  # pixels a side of one picture, at most
LEAST = 192  # and at least: the captions need the room
GAP = 12  # pixels
LINE = 18  # pixels
WIDEST = 4  # columns
PAPER = "#ffffff"
INK = "#1a1b1f"
SOFT = "#585c64"


class Cell(NamedTuple):
    """One picture of the sheet."""

    picture: Image.Image
    scale: float
    label: str  # what it is called: its scale, or of one that changes along the run where it goes
    name: str  # what that means
    clipped: float  # share of the picture's values, 0 … 1
    saturation: float  # mean, 0 … 1
    weights: tuple[float, ...] | None = None  # w at each evaluation, where it changes along the run


def sheet(request: Request, cells: Sequence[Cell], dial: str) -> bytes:
    """A PNG of all cells, at most four beside each other, each with its scale, what that means, and its share of
    values at 0 or 1.

    Args:
        request: what all have in common.
        cells: 1 … 12 of one size.
        dial: the name of w(t).
    """
    width, height = cells[0].picture.size
    scale = min(CELL / max(width, height), 1.0) if max(width, height) > LEAST else LEAST / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    columns = min(len(cells), WIDEST if len(cells) > 6 else 3)
    rows = -(-len(cells) // columns)
    cell, top = max(size[0], LEAST), GAP + 2 * LINE
    page = Image.new("RGB", (GAP + columns * (cell + GAP), top + rows * (size[1] + 3 * LINE + GAP)), PAPER)
    draw, font, small = ImageDraw.Draw(page), ImageFont.load_default(14), ImageFont.load_default(12)
    made = f"seed {request.seed}, {request.steps} steps, {request.sampler}, w(t) {dial}"
    words = f"{plain(request.prompt) or 'no prompt'}: {made}"
    draw.text((GAP, GAP), short(words, page.width - 2 * GAP, font), INK, font)
    for k, one in enumerate(cells):
        left, up = GAP + k % columns * (cell + GAP), top + k // columns * (size[1] + 3 * LINE + GAP)
        page.paste(one.picture.convert("RGB").resize(size, Image.Resampling.LANCZOS), (left, up))
        for below, (text, ink, type_) in enumerate(zip(caption(one), (INK, SOFT, SOFT), (font, small, small), strict=True)):
            draw.text((left, up + size[1] + 3 + below * LINE), text, ink, type_)
    info = PngInfo()
    info.add_itxt("diffuscope", json.dumps(settings(request, cells, dial)))
    buffer = io.BytesIO()
    page.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def caption(cell: Cell) -> tuple[str, str, str]:
    """The lines below a picture."""
    return plain(cell.label), plain(cell.name), f"{100 * cell.clipped:.1f}% at 0 or 1, saturation {cell.saturation:.2f}"


def settings(request: Request, cells: Sequence[Cell], dial: str) -> Mapping[str, Any]:
    """What the sheet was made from, for the PNG's text chunk."""
    made = {name: value for name, value in asdict(request).items() if name != "guidance"}
    changing = {"weights": [cell.weights for cell in cells]} if any(cell.weights for cell in cells) else {}
    return made | {"scales": [cell.scale for cell in cells], "dial": dial} | changing
