"""A dissolving picture to take along: a contact sheet as PNG, and the dissolve as GIF, with captions."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from explorer.forward import Noising
from explorer.limits import whole
from explorer.noising import snr_db
from explorer.pictures import to_image
from explorer.records import Preview

COLUMNS = (2, 20)
FRAMES = 40  # of the GIF, at most
CELL = 256  # pixels a side of one picture, at most
GAP = 8  # pixels
LINE = 16  # pixels, of the GIF's caption
SIDE = 84  # pixels, for the rows' names
PAPER = "#ffffff"
INK = "#1a1b1f"
SOFT = "#585c64"
ROWS = ("pixels", "latents")


def places(steps: int, count: int) -> list[int]:
    """`count` places of the timeline 0 … T at equal distances, both ends included; fewer where T is smaller."""
    return sorted({round(steps * i / (count - 1)) for i in range(count)})


def sheet(state: Noising, preview: Preview, columns: int) -> bytes:
    """A PNG of two rows, pixels above latents, with a caption over each column.

    Args:
        state: what dissolves.
        preview: colours the latents.
        columns: 2 … 20; 11 at T = 10 are all states x_0 … x_10, as in the classic figure.

    Raises:
        RequestError: columns out of range.
    """
    columns = whole("columns", columns, COLUMNS)
    chosen = places(state.schedule.steps, columns)
    pairs = [_pair(state, preview, t) for t in chosen]
    width, height = pairs[0][0].size
    cell, line = max(width, 84), 16 if width < 200 else 20  # room for the captions
    top = 2 * GAP + 3 * line
    page = Image.new("RGB", (SIDE + len(chosen) * (cell + GAP), top + 2 * (height + GAP)), PAPER)
    draw, font, small = ImageDraw.Draw(page), ImageFont.load_default(line - 2), ImageFont.load_default(line - 4)
    draw.text((GAP, GAP), title(state), INK, font)
    for row, name in enumerate(ROWS):
        draw.text((GAP, top + row * (height + GAP) + height / 2), name, INK, font, anchor="lm")
    for column, (t, pair) in enumerate(zip(chosen, pairs, strict=True)):
        left = SIDE + column * (cell + GAP)
        for below, words in enumerate(caption(state, t)):
            draw.text((left, 1.5 * GAP + (1 + below) * line), words, SOFT if below else INK, small)
        for row, picture in enumerate(pair):
            page.paste(picture, (left, top + row * (height + GAP)))
    info = PngInfo()
    info.add_itxt("diffuscope", json.dumps(settings(state) | {"t": chosen}))
    buffer = io.BytesIO()
    page.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def gif(state: Noising, preview: Preview) -> bytes:
    """The dissolve as an endless GIF, pixels beside latents; it rests on the picture and on the noise."""
    chosen = places(state.schedule.steps, FRAMES)
    frames = []
    for t in chosen:
        pair = _pair(state, preview, t)
        width, height = pair[0].size
        frame = Image.new("RGB", (2 * width + 3 * GAP, height + 2 * GAP + 2 * LINE), PAPER)
        for side, picture in enumerate(pair):
            frame.paste(picture, (GAP + side * (width + GAP), GAP))
        words = "   ".join(caption(state, t))
        ImageDraw.Draw(frame).text((GAP, height + 2 * GAP), words, INK, ImageFont.load_default(11 if width < 160 else 13))
        frames.append(frame.quantize(255, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE))
    lengths = [900, *[100] * (len(frames) - 2), 1400]  # milliseconds
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=lengths, loop=0, disposal=1)
    return buffer.getvalue()


def caption(state: Noising, t: int) -> tuple[str, str]:
    """What a column says: which state it is, and its SNR at a variance of 1. Pillow's own font has no Greek."""
    alpha_bar = state.schedule.alpha_bar(t)
    if t == 0:
        return "x_0", "no noise"
    return f"x_{t}", f"SNR {float(snr_db(alpha_bar)):.1f} dB"


def title(state: Noising) -> str:
    made = state.schedule
    rescaled = "" if made.rescaled else ", betas not rescaled"
    name = "".join(c if c.isascii() and c.isprintable() else "?" for c in state.source.name)
    return f"{name}: {made.name} schedule, T = {made.steps}{rescaled}, seed {state.seed}"


def settings(state: Noising) -> dict[str, object]:
    """What the sheet was made from, for the PNG's text chunk."""
    made = state.schedule
    return {"picture": state.source.name, "seed": state.seed, "schedule": made.name, "steps": made.steps,
            "rescaled": made.rescaled}  # fmt: skip


def _pair(state: Noising, preview: Preview, t: int) -> Sequence[Image.Image]:
    """Both rows' pictures of a state, of one size."""
    pixels = state.pixels(t).add(1).div(2)
    every = -(-max(pixels.shape[-2:]) // CELL)  # by leaving out rather than averaging: noise keeps its spread
    large = to_image(pixels[:, ::every, ::every])
    latents = state.latents(t)
    matrix, offset = torch.tensor(preview.matrix), torch.tensor(preview.offset)
    coloured: Tensor = torch.einsum("rc,chw->rhw", matrix, latents) + offset[:, None, None]
    return large, to_image(coloured).resize(large.size, Image.Resampling.NEAREST)
