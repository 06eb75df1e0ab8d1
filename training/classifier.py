"""The judge: a small network that names the concept in a picture, trained on composed glyphs and nothing generated.

It sees a 64-pixel window: the whole picture at half size, or one half of a two-concept picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, interpolate

from training.concepts import Concept, fingerprint
from training.data import COLOURS, SIDE, Picture, compose, held_out, signed, single
from training.loop import Run, autocast, generator, share
from training.optimizer import Optimizer

WINDOW = 64
ADAM, MUON = 1e-3, 3e-3
SOFTEST = 0.4  # generated pictures are softer than glyphs: some training windows are shrunk to this and back
CENTRES = (0.26, 0.74)  # of the glyphs in a two-concept picture


class Classifier(nn.Module):
    """Four strided levels and a linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in pairwise((3, 32, 64, 128, 256)):
            layers += [nn.Conv2d(a, b, 3, 2, 1), nn.GroupNorm(8, b), nn.ReLU()]
            layers += [nn.Conv2d(b, b, 3, 1, 1), nn.GroupNorm(8, b), nn.ReLU()]
        self.levels = nn.Sequential(*layers)
        self.head = nn.Linear(256 * 4, classes)

    def forward(self, windows: Tensor) -> Tensor:
        """(B, 3, 64, 64) in −1 … 1 to logits."""
        return self.head(avg_pool2d(self.levels(windows), 2).flatten(1))


def whole(pictures: Tensor) -> Tensor:
    """Pictures (B, 3, 128, 128) in 0 … 1 as windows."""
    return avg_pool2d(pictures, SIDE // WINDOW) * 2 - 1


def halves(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """The left and the right window of two-concept pictures, at full size."""
    top = (SIDE - WINDOW) // 2
    left, right = (max(0, min(SIDE - WINDOW, round(x * SIDE) - WINDOW // 2)) for x in CENTRES)
    return tuple(pictures[:, :, top : top + WINDOW, x : x + WINDOW] * 2 - 1 for x in (left, right))  # type: ignore[return-value]


def train(
    table: Sequence[Concept], glyphs: NDArray[np.uint8], folder: Path, minutes: float, steps: int, batch: int, seed: int,
    device: str,
) -> Classifier | None:  # fmt: skip
    """Trains a judge of these concepts, or reads the finished one from the folder; None if the minutes end before."""
    file = folder / f"judge-{fingerprint(table)}-{steps}-{batch}-{seed}.pt"
    torch.manual_seed(seed)
    model = Classifier(len(table)).to(device)
    optimizer = Optimizer(model, ADAM, MUON)
    run = Run(file, {"model": model, "optimizer": optimizer}, steps, minutes)
    if file.exists():
        run.resume()
    for iteration, bar in run:
        random = Random(f"judge {seed} {iteration}")
        labels = [random.randrange(len(table)) for _ in range(batch)]
        windows = torch.stack([_window(table, label, glyphs, random) for label in labels])
        windows += torch.randn(windows.shape, generator=generator(seed, iteration)) * random.uniform(0, 0.1)
        with autocast(device):
            logits = model(windows.to(device))
        loss = cross_entropy(logits.float(), torch.tensor(labels, device=device), label_smoothing=0.05)
        loss.backward()
        optimizer.step(share(iteration, steps))
        if iteration % 20 == 0:
            right = (logits.argmax(1).cpu() == torch.tensor(labels)).float().mean().item()
            bar.set_postfix_str(f"{right:.0%} right")
    return model.eval() if run.done == run.steps else None


def _window(table: Sequence[Concept], label: int, glyphs: NDArray[np.uint8], random: Random) -> Tensor:
    """One training window: any place and size that a caption can ask for, any background not held out, sharp or soft."""
    size = random.choice(("", "", "", "small", "large"))
    place = random.choice(("", "", "", "left", "right"))
    colours = [colour for colour in COLOURS if not held_out(table[label], colour)]
    scene = single(label, random.choice(colours), random, place, size)
    picture = compose(scene, glyphs)
    if random.random() < 0.4:  # as one half of a two-concept picture would show it
        x, y, width = scene.boxes[0]
        side = width * SIDE * random.uniform(1.0, 1.25)
        left, top = x * SIDE - side / 2 + random.uniform(-4, 4), y * SIDE - side / 2 + random.uniform(-4, 4)
        image = Image.fromarray(picture).transform(
            (WINDOW, WINDOW), Image.Transform.EXTENT, (left, top, left + side, top + side), Image.Resampling.BILINEAR,
            fillcolor=COLOURS[scene.colour],
        )  # fmt: skip
    else:
        image = Image.fromarray(picture).resize((WINDOW, WINDOW), Image.Resampling.BOX)
    window = signed([np.array(image)])[0]
    if random.random() < 0.5:
        small = interpolate(window[None], scale_factor=random.uniform(SOFTEST, 1), mode="area")
        window = interpolate(small, (WINDOW, WINDOW), mode="bilinear")[0]
    return window * random.uniform(0.85, 1.1) + random.uniform(-0.1, 0.1)


def to_tensor(pictures: Sequence[Picture]) -> Tensor:
    """uint8 pictures as (B, 3, 128, 128) in 0 … 1."""
    return torch.from_numpy(np.stack(pictures)).movedim(-1, 1).float() / 255
