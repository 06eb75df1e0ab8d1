"""A dissolving picture to take along: a contact sheet as PNG, and the dissolve as GIF, with captions."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from explorer.forward import Noising, moments, signed
from explorer.limits import whole
from explorer.noising import snr_db
from explorer.pictures import to_image
from explorer.records import Preview

COLUMNS = (2, 20)
FRAMES = 40  # of the GIF, at most
CELL = 256  # pixels a side of one picture, at most
GAP = 8  # pixels
LINE = 16  # pixels, of a line of the GIF's caption
SIDE = 84  # pixels, for the rows' names
PAPER = "#ffffff"
INK = "#1a1b1f"
SOFT = "#585c64"
BATCH = 4  # latents that are decoded at once

Decode = Callable[[Tensor], Tensor]  # latents (B, C, h, w) → pictures (B, 3, H, W) in 0 … 1


def places(steps: int, count: int) -> list[int]:
    """`count` places of the timeline 0 … T at equal distances, both ends included; fewer where T is smaller."""
    return sorted({round(steps * i / (count - 1)) for i in range(count)})


def sheet(state: Noising, preview: Preview, columns: int, decode: Decode | None = None) -> bytes:
    """A PNG of rows: pixels, latents, and the latents decoded; t is over each column, the measured SNR over each picture.

    Args:
        state: what dissolves.
        preview: colours the latents; of a pixel model there is one row.
        columns: 2 … 20; 11 at T = 10 are all states x_0 … x_10, as in the classic figure.
        decode: the VAE's decoder; None leaves the third row out.

    Raises:
        RequestError: columns out of range.
    """
    columns = whole("columns", columns, COLUMNS)
    chosen = places(state.schedule.steps, columns)
    pairs = [_pair(state, preview, t) for t in chosen]
    rows = {"pixels": [pair[0] for pair in pairs]}
    if not preview.exact:
        rows["latents"] = [pair[1] for pair in pairs]
    if decode is not None and not preview.exact:
        rows["decoded"] = _decoded(state, chosen, decode, pairs[0][0].size)
    of = variances(state)
    said = [captions(state, t, of) for t in chosen]
    width, height = pairs[0][0].size
    cell, line = max(width, 84), 16 if width < 200 else 20  # room for the captions
    top, row_height = 2 * GAP + 2 * line, line + height + GAP
    page = Image.new("RGB", (SIDE + len(chosen) * (cell + GAP), top + len(rows) * row_height + GAP), PAPER)
    draw, font, small = ImageDraw.Draw(page), ImageFont.load_default(line - 2), ImageFont.load_default(line - 4)
    draw.text((GAP, GAP), title(state), INK, font)
    for column, t in enumerate(chosen):
        draw.text((SIDE + column * (cell + GAP), GAP + 1.3 * line), f"t = {t}", INK, font)
    for row, (name, pictures) in enumerate(rows.items()):
        below = top + row * row_height + line
        draw.text((GAP, below + height / 2), name, INK, font, anchor="lm")
        for column, picture in enumerate(pictures):
            left = SIDE + column * (cell + GAP)
            draw.text((left, below - line + 1), said[column][min(row, 1)], SOFT, small)
            page.paste(picture, (left, below))
    info = PngInfo()
    info.add_itxt("diffuscope", json.dumps(settings(state) | {"t": chosen, "rows": [*rows]}))
    buffer = io.BytesIO()
    page.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def gif(state: Noising, preview: Preview) -> bytes:
    """The dissolve as an endless GIF, pixels beside latents, each named below; it rests on the picture and on the noise."""
    chosen, of = places(state.schedule.steps, FRAMES), variances(state)
    width, height = _pair(state, preview, 0)[0].size
    font, below = ImageFont.load_default(11 if width < 160 else 13), height + 2 * GAP
    wide = max(2 * width + 3 * GAP, math.ceil(font.getlength(title(state))) + 2 * GAP)  # small panes, a long name
    second = (wide - GAP) // 2 + GAP  # where the latents begin: their caption may be wider than they are
    frames = []
    for t in chosen:
        frame = Image.new("RGB", (wide, below + 3 * LINE + GAP), PAPER)
        draw = ImageDraw.Draw(frame)
        draw.text((GAP, below - 2), title(state), INK, font)
        draw.text((GAP, below + LINE - 2), f"t = {t} of {state.schedule.steps}", INK, font)
        panes = zip((GAP, second), ("pixels", "latents"), _pair(state, preview, t), captions(state, t, of), strict=True)
        for left, name, picture, words in [*panes][: 1 if preview.exact else 2]:
            frame.paste(picture, (left, GAP))
            draw.text((left, below + 2 * LINE - 2), f"{name}, {words}", SOFT, font)
        frames.append(frame.quantize(255, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE))
    lengths = [900, *[100] * (len(frames) - 2), 1400]  # milliseconds
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=lengths, loop=0, disposal=1)
    return buffer.getvalue()


def captions(state: Noising, t: int, variances: Sequence[float]) -> list[str]:
    """The measured SNR at t of rows of these variances, in words. Pillow's own font has no Greek."""
    if t == 0:
        return ["no noise" for _ in variances]
    levels = [float(snr_db(state.schedule.alpha_bar(t), variance)) for variance in variances]
    return [f"SNR {db:.1f} dB" if math.isfinite(db) else "flat: SNR 0" for db in levels]


def variances(state: Noising) -> list[float]:
    """Of the pixels' values, -1 … 1, and of the latents'."""
    return [moments(x0)["var"] for x0 in (signed(state.source.pixels), state.source.latents)]


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


def _decoded(state: Noising, chosen: Sequence[int], decode: Decode, size: tuple[int, int]) -> list[Image.Image]:
    """The latents' states as the decoder sees them, a few at a time."""
    latents = torch.stack([state.latents(t) for t in chosen])
    pictures = [picture for few in latents.split(BATCH) for picture in decode(few)]
    return [to_image(picture).resize(size, Image.Resampling.LANCZOS) for picture in pictures]
