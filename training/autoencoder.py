"""Trains the autoencoder on composed pictures.

    python -m training.autoencoder --minutes 60

Most of the run sees 64-pixel crops, which are cheap; the last part whole pictures, whose mean and spread the group
norms must learn.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, l1_loss, mse_loss
from torch.utils.data import DataLoader, Dataset

from training.concepts import Concept, concepts
from training.data import SIDE, Scenes, compose, load_glyphs, signed
from training.loop import Run, autocast, generator, options, parsed, share
from training.optimizer import Optimizer

STEPS, BATCH, CROP = 6_000, 16, 64
WHOLE = 0.2  # share of the run, at its end, that sees whole pictures
ADAM, MUON = 1.5e-3, 3e-3  # peak learning rates
KL = 1e-4
QUIET = -6.0  # the posterior's first log-variance: at 0 the noise drowns what a young encoder has to say
CHANNELS = (16, 48, 96, 128)


def build() -> AutoencoderKL:
    """f8, 4 channels: 128×128×3 → 16×16×4."""
    model = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, sample_size=SIDE, norm_num_groups=8, layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, block_out_channels=CHANNELS,
    )  # fmt: skip
    with torch.no_grad():
        model.quant_conv.bias[4:] = QUIET
    return model


def load(folder: Path) -> AutoencoderKL:
    """The autoencoder of a checkpoint folder.

    Raises:
        FileNotFoundError: it hasn't been trained yet.
    """
    vae = build()
    vae.load_state_dict(torch.load(folder / "vae.pt", map_location="cpu", weights_only=True)["model"])
    return vae


class Crops(Dataset):
    """The i-th batch of a run: (B, 3, S, S) in −1 … 1, crops until `whole`, then a quarter as many whole pictures."""

    def __init__(self, table: Sequence[Concept], glyphs: NDArray[np.uint8], seed: int, batch: int, whole: int) -> None:
        self.scenes, self.glyphs = Scenes(table, seed), glyphs
        self.seed, self.batch, self.whole = seed, batch, whole

    def __getitem__(self, iteration: int) -> Tensor:
        random = Random(f"crops {self.seed} {iteration}")
        side, count = (CROP, self.batch) if iteration < self.whole else (SIDE, max(1, self.batch // 4))
        pictures = []
        for k in range(count):
            picture = compose(self.scenes[iteration * self.batch + k], self.glyphs)
            x, y = random.randint(0, SIDE - side), random.randint(0, SIDE - side)
            pictures.append(picture[y : y + side, x : x + side])
        return signed(pictures)


def loss(decoded: Tensor, picture: Tensor) -> Tensor:
    """L1, its edges, its 4×4 means and its square: sharp lines, right colours, and what PSNR counts."""
    means = l1_loss(avg_pool2d(decoded, 4), avg_pool2d(picture, 4))
    return l1_loss(decoded, picture) + edges(decoded, picture) + 0.5 * means + 2 * mse_loss(decoded, picture)


def edges(decoded: Tensor, picture: Tensor) -> Tensor:
    """L1 of the differences of neighbouring pixels, along both axes."""
    across, down = (l1_loss(decoded.diff(dim=d), picture.diff(dim=d)) for d in (-1, -2))
    return across + down


def decibels(decoded: Tensor, picture: Tensor) -> float:
    """PSNR of pictures in −1 … 1."""
    return -10 * math.log10(mse_loss(decoded.detach().float().clamp(-1, 1), picture.clamp(-1, 1)).item() / 4)


def train(arguments: argparse.Namespace) -> AutoencoderKL:
    """Runs to --steps or for --minutes."""
    device, whole = arguments.device, round(arguments.steps * (1 - WHOLE))
    torch.manual_seed(arguments.seed)
    model = build().to(device)
    if device != "cpu":
        model.to(memory_format=torch.channels_last)
    optimizer = Optimizer(model, ADAM, MUON)
    run = Run.begin("vae", {"model": model, "optimizer": optimizer}, arguments)
    forward = torch.compile(_through) if device != "cpu" else _through
    table = concepts(not arguments.all)
    crops = Crops(table, load_glyphs(table, arguments.folder), arguments.seed, arguments.batch, whole)
    for (iteration, bar), batch in zip(run, batches(crops, run, arguments.workers), strict=False):
        picture = batch.to(device)
        side = picture.shape[-1] // 8
        noise = torch.randn(len(picture), 4, side, side, generator=generator(arguments.seed, iteration)).to(device)
        with autocast(device):
            decoded, divergence = forward(model, picture, noise)
        total = loss(decoded.float(), picture) + KL * divergence
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(share(iteration, arguments.steps))
        if iteration % 50 == 0:
            bar.set_postfix_str(f"PSNR {decibels(decoded, picture):.1f} dB")
    return model


def _through(model: AutoencoderKL, picture: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    posterior = model.encode(picture).latent_dist
    latents = posterior.mean + posterior.std * noise
    divergence = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).float().mean()
    return model.decode(latents).sample, divergence


def batches(crops: Dataset, run: Run, workers: int) -> DataLoader:
    """The batches from where the run stands."""
    return DataLoader(crops, batch_size=None, sampler=range(run.done, run.steps), num_workers=workers)


def main() -> None:
    """Trains."""
    train(parsed(options(__doc__, STEPS, BATCH)))


if __name__ == "__main__":
    main()
