"""Renders the Forward tab's example pictures into assets/examples: four by the embedded model, two drawn at 512 x 512.

    python benchmarks/examples.py

remake.py runs it where the weights change.
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parents[1]))

from explorer import Request, load_model, run
from explorer.pictures import to_image

FOLDER = Path(__file__).parents[1] / "assets" / "examples"
RENDERED = {  # name: prompt and seed
    "cat": ("cat with tears of joy on black", 3),
    "house": ("a house on a blue background", 7),
    "tangerine": ("tangerine", 11),
    "star": ("star on black", 11),
}
SIDE, OVER = 512, 2  # pixels, and how many times larger it is drawn


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    model = load_model(device="cpu")
    for name, (prompt, seed) in RENDERED.items():
        made = run(model, Request(prompt=prompt, seed=seed, steps=30))
        to_image(model.decode(made.latents)).save(FOLDER / f"{name}.png", optimize=True)
    for name, draw in {"night": night, "chart": chart}.items():
        page = Image.new("RGB", (SIDE * OVER, SIDE * OVER))
        draw(ImageDraw.Draw(page), SIDE * OVER)
        small = page.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        small.quantize(128, dither=Image.Dither.NONE).save(FOLDER / f"{name}.png", optimize=True)


def night(draw: ImageDraw.ImageDraw, side: int) -> None:
    """A dark picture, whose mean a schedule without zero terminal SNR leaves in sight."""
    draw.rectangle((0, 0, side, side), (8, 12, 30))
    stars = random.Random(4)
    for _ in range(70):
        x, y, size = stars.random() * side, stars.random() * side * 0.7, stars.choice((3, 3, 4, 6))
        draw.ellipse((x - size, y - size, x + size, y + size), (214, 220, 240))
    moon = side * 0.09
    draw.ellipse((side * 0.7 - moon, side * 0.22 - moon, side * 0.7 + moon, side * 0.22 + moon), (246, 232, 190))
    hills = ((0.72, 0.07, 5.1, (22, 34, 60)), (0.8, 0.05, 7.7, (15, 24, 44)), (0.9, 0.04, 4.3, (6, 10, 20)))
    for base, swing, wave, colour in hills:
        ridge = [(x, side * (base + swing * math.sin(wave * x / side + 9 * base))) for x in range(0, side + 8, 8)]
        draw.polygon([(0, side), *ridge, (side, side)], colour)


def chart(draw: ImageDraw.ImageDraw, side: int) -> None:
    """Stripes from coarse to fine, and patches of plain colour: noise takes the fine ones first."""
    draw.rectangle((0, 0, side, side), (255, 255, 255))
    rows, edge = 5, side // 16
    high = (side - 2 * edge) * 0.62 / rows
    for row in range(rows):
        width = (side - 2 * edge) / (4 * 2**row)
        for stripe in range(4 * 2**row):
            left, top = edge + stripe * width, edge + row * high
            if stripe % 2 == 0:
                draw.rectangle((left, top, left + width, top + high * 0.86), (20, 22, 28))
    colours = ((196, 48, 43), (226, 140, 32), (236, 206, 72), (62, 142, 88), (44, 100, 190), (118, 72, 170))
    width, top = (side - 2 * edge) / len(colours), edge + rows * high + edge * 0.4
    for place, colour in enumerate(colours):
        draw.rectangle((edge + place * width, top, edge + (place + 0.92) * width, side - edge), colour)


if __name__ == "__main__":
    main()
