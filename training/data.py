"""Pictures with captions, composed from glyphs: concept, background, place and size, and a caption that says so.

    python -m training.data

reads the glyphs from the font once (checkpoints/glyphs.npz) and draws a sheet of examples with their captions. Every
scene follows from (seed, index) alone, so that a training run can stop and go on exactly.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from training.concepts import Concept, concepts

SIDE = 128
FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")  # Debian's fonts-noto-color-emoji
FONT_SIZE, GLYPH = 109, (136, 128)  # the one size that the font's bitmaps have
GLYPHS = "glyphs.npz"  # in the folder of checkpoints

COLOURS = {
    "white": (255, 255, 255), "black": (0, 0, 0), "gray": (128, 128, 128), "red": (214, 40, 40),
    "orange": (245, 140, 30), "yellow": (250, 220, 60), "green": (50, 150, 70), "light blue": (150, 205, 245),
    "blue": (40, 80, 200), "purple": (125, 60, 165), "pink": (250, 160, 195), "brown": (115, 70, 40),
}  # fmt: skip
WHITE_SHARE, GRADIENT_SHARE, PLACED_SHARE, SIZED_SHARE, PAIR_SHARE = 0.3, 0.2, 0.15, 0.15, 0.2
SIZES = {"": (0.72, 0.9), "small": (0.4, 0.5), "large": (0.95, 1.05)}  # the glyph's width over the picture's
SIZE_WORDS = {"small": ("small", "tiny", "little"), "large": ("large", "big", "huge")}
PAIR_SIZE = (0.42, 0.5)
HELD_COLOURS, HELD_PAIRS = 10, 8  # one in so many is never trained on

Picture = NDArray[np.uint8]  # (SIDE, SIDE, 3)


@dataclass(frozen=True)
class Scene:
    """What is in a picture; `boxes` are centre and width of each glyph, over the picture's side."""

    concepts: tuple[int, ...]  # one or two, left to right, as indices into the table
    boxes: tuple[tuple[float, float, float], ...]
    colour: str
    gradient: float | None = None  # direction in turns; None is plain
    place: str = ""  # "", "left", "right"
    size: str = ""  # "", "small", "large"


def held_out(concept: Concept, colour: str) -> bool:
    """Whether this concept is never trained on this background; white, what captions don't name, is always trained."""
    return colour != "white" and crc32(f"{concept.name} on {colour}".encode()) % HELD_COLOURS == 0


def held_out_pair(a: Concept, b: Concept) -> bool:
    """Whether these two are never trained on together, in either order."""
    return crc32(" and ".join(sorted((a.name, b.name))).encode()) % HELD_PAIRS == 0


class Scenes:
    """An endless list of training scenes; the i-th follows from seed and i."""

    def __init__(self, table: Sequence[Concept], seed: int) -> None:
        self.table, self.seed = table, seed

    def __getitem__(self, index: int) -> Scene:
        random = Random(f"scene {self.seed} {index}")
        while True:
            scene = self.draw(random)
            if not self.held_out(scene):
                return scene

    def held_out(self, scene: Scene) -> bool:
        """Whether a scene has a combination that is never trained on."""
        shown = [self.table[i] for i in scene.concepts]
        return any(held_out(concept, scene.colour) for concept in shown) or (
            len(shown) == 2 and held_out_pair(shown[0], shown[1])
        )

    def draw(self, random: Random) -> Scene:
        """Any scene, held out or not."""
        colour = "white" if random.random() < WHITE_SHARE else random.choice([c for c in COLOURS if c != "white"])
        gradient = random.random() if random.random() < GRADIENT_SHARE else None
        if random.random() < PAIR_SHARE:
            return replace(pair(*random.sample(range(len(self.table)), 2), colour, random), gradient=gradient)
        place = random.choice(("left", "right")) if random.random() < PLACED_SHARE else ""
        size = random.choice(("small", "large")) if not place and random.random() < SIZED_SHARE else ""
        scene = single(random.randrange(len(self.table)), colour, random, place, size)
        return replace(scene, gradient=gradient)


def single(concept: int, colour: str, random: Random, place: str = "", size: str = "") -> Scene:
    """One concept, in the middle unless `place` says otherwise."""
    width = random.uniform(*SIZES["small" if place else size])
    x = {"": 0.5, "left": 0.26, "right": 0.74}[place] + random.uniform(-0.03, 0.03)
    box = (x, 0.5 + random.uniform(-0.03, 0.03), width)
    return Scene((concept,), (box,), colour, place=place, size=size)


def pair(left: int, right: int, colour: str, random: Random) -> Scene:
    """Two concepts side by side."""
    boxes = tuple(
        (x + random.uniform(-0.015, 0.015), 0.5 + random.uniform(-0.04, 0.04), random.uniform(*PAIR_SIZE))
        for x in (0.26, 0.74)
    )
    return Scene((left, right), boxes, colour)


def compose(scene: Scene, glyphs: NDArray[np.uint8]) -> Picture:
    """Draws a scene; `glyphs` is (n, 128, 136, 4), in the table's order."""
    picture = Image.fromarray(_background(scene), "RGB")
    for concept, (x, y, width) in zip(scene.concepts, scene.boxes, strict=True):
        size = round(width * SIDE), round(width * SIDE * GLYPH[1] / GLYPH[0])
        glyph = Image.fromarray(glyphs[concept], "RGBA").resize(size, Image.Resampling.BICUBIC)
        picture.paste(glyph, (round(x * SIDE - size[0] / 2), round(y * SIDE - size[1] / 2)), glyph)
    return np.asarray(picture)


def _background(scene: Scene) -> Picture:
    colour = np.array(COLOURS[scene.colour], np.float32)
    if scene.gradient is None:
        return np.broadcast_to(colour.astype(np.uint8), (SIDE, SIDE, 3)).copy()
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    angle = 2 * np.pi * scene.gradient
    slope = (np.cos(angle) * axis + np.sin(angle) * axis[:, None]) / 2**0.5  # -1 … 1
    return np.clip(colour + 30 * slope[..., None], 0, 255).astype(np.uint8)


def caption(scene: Scene, table: Sequence[Concept], random: Random) -> str:
    """One of the many ways to say what a scene shows. No word of a background means white."""
    words = [_subject(table[i], scene, random) for i in scene.concepts]
    text = random.choice(("{} and {}",) * 4 + ("{} next to {}",)).format(*words) if len(words) == 2 else words[0]
    if scene.place:
        text += random.choice((" on the {}", " at the {}", ", {}", " {}")).format(scene.place)
    ground = scene.colour
    if scene.gradient is not None:
        text += random.choice(
            (f" on {_a(ground)} gradient", f", {ground} gradient", f" on {_a(ground)} gradient background")
        )
    elif ground != "white" or random.random() < 0.5:
        text += random.choice((f" on {_a(ground)} background", f" on {ground}", f", {ground} background"))
    lead = random.choice(("", "", "", "an emoji of ", "a picture of ", "emoji of ", "picture of "))
    return lead + text


def _subject(concept: Concept, scene: Scene, random: Random) -> str:
    keyword_share = 0.35 if len(scene.concepts) == 1 else 0.15
    word = concept.name
    if concept.keywords and random.random() < keyword_share:
        word = random.choice(concept.keywords)
    if scene.size:
        word = f"{random.choice(SIZE_WORDS[scene.size])} {word}"
    return random.choice((word, word, word if word.endswith("s") else _a(word), f"the {word}"))


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def signed(pictures: Sequence[Picture]) -> Tensor:
    """Pictures as a network takes them, (B, 3, H, W) in −1 … 1."""
    return torch.from_numpy(np.stack(pictures)).movedim(-1, 1).float() / 127.5 - 1


def draw_glyphs(table: Sequence[Concept], font: Path = FONT) -> NDArray[np.uint8]:
    """All glyphs of a table, (n, 128, 136, 4), straight alpha.

    Raises:
        FileNotFoundError: the font isn't there; the message names Debian's package.
    """
    if not font.is_file():
        raise FileNotFoundError(f"{font} is missing: install Debian's package fonts-noto-color-emoji.")
    drawn = ImageFont.truetype(str(font), FONT_SIZE)
    glyphs = np.zeros((len(table), GLYPH[1], GLYPH[0], 4), np.uint8)
    for glyph, concept in zip(glyphs, table, strict=True):
        picture = Image.new("RGBA", GLYPH)
        ImageDraw.Draw(picture).text((0, 0), concept.emoji, font=drawn, embedded_color=True)
        glyph[:] = np.asarray(picture)
    return glyphs


def load_glyphs(table: Sequence[Concept], folder: Path) -> NDArray[np.uint8]:
    """The glyphs of a table from the file that this command wrote, or from the font where it hasn't run yet."""
    file = folder / GLYPHS
    if not file.exists():
        everything = concepts()
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, names=np.array([c.name for c in everything]), glyphs=draw_glyphs(everything))
    stored = np.load(file)
    rows = {name: row for row, name in enumerate(stored["names"])}
    return stored["glyphs"][[rows[concept.name] for concept in table]]


def sheet(pictures: Sequence[Picture], captions: Sequence[str], columns: int = 8) -> Image.Image:
    """A contact sheet, each picture over its caption."""
    room = SIDE + 30
    rows = -(-len(pictures) // columns)
    page = Image.new("RGB", (columns * (SIDE + 8) + 8, rows * room + 8), "white")
    draw = ImageDraw.Draw(page)
    small = ImageFont.load_default(10)
    for i, (picture, text) in enumerate(zip(pictures, captions, strict=True)):
        x, y = 8 + i % columns * (SIDE + 8), 8 + i // columns * room
        page.paste(Image.fromarray(picture), (x, y))
        draw.rectangle((x - 1, y - 1, x + SIDE, y + SIDE), outline=(221, 221, 221))
        line = text if len(text) <= 26 else text[: text.rfind(" ", 0, 27)]
        draw.text((x, y + SIDE + 2), line, fill=(60, 60, 60), font=small)
        draw.text((x, y + SIDE + 14), text[len(line) :].strip()[:28], fill=(60, 60, 60), font=small)
    return page


def main() -> None:
    """Stores the glyphs and draws the sheet of examples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--everyday", action="store_true", help="only the everyday concepts, as on a CPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("checkpoints"))
    arguments = parser.parse_args()
    table = concepts(arguments.everyday)
    glyphs, scenes = load_glyphs(table, arguments.folder), Scenes(table, arguments.seed)
    shown = [scenes[i] for i in range(64)]
    texts = [caption(scene, table, Random(f"caption {i}")) for i, scene in enumerate(shown)]
    sheet([compose(scene, glyphs) for scene in shown], texts).save(arguments.folder / "data.png")
    print(f"{len(table)} concepts; {GLYPHS} and data.png are in {arguments.folder}")


if __name__ == "__main__":
    main()
