"""Distils the tiny autoencoder, whose decoder draws previews, from the trained one.

    python -m training.tiny --minutes 15
    python -m training.tiny --vae assets/models/emoji-ldm/vae --to tiny_vae

It learns from the latents that the diffusion model is trained on and from the full decoder's pictures of them. With
--vae it does so for an autoencoder that lies in diffusers layout: its latents are then encodings of composed pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from training import autoencoder
from training.concepts import concepts
from training.data import Scenes, compose, load_glyphs, signed
from training.diffusion import read_bank
from training.loop import Run, autocast, generator, options, parsed, share
from training.optimizer import Optimizer

STEPS, BATCH = 3_000, 8
ADAM, MUON = 1e-3, 3e-3
CHANNELS = (32, 32, 32, 32)
ENCODER, DECODER = (0, 1, 1, 1), (3, 3, 1, 0)  # blocks at each level: those at full size cost most and add least
NOISE = 0.5  # at most, of the latents' deviation, on half of each batch: what people do to a latent is seldom an encoding
SCENES, HELD = 2, 3  # added to the seed: other scenes than the other stages', and the ones that the result is measured on
MEASURED = 64

Latents = Callable[[int], Tensor]  # an iteration's latents, unscaled, (B, 4, h, w)


def build() -> AutoencoderTiny:
    """Residual blocks where they are cheap; it takes and gives scaled latents."""
    return AutoencoderTiny(
        encoder_block_out_channels=CHANNELS, decoder_block_out_channels=CHANNELS, num_encoder_blocks=ENCODER,
        num_decoder_blocks=DECODER, latent_channels=4, scaling_factor=1.0,
    )  # fmt: skip


def stored(arguments: argparse.Namespace) -> tuple[Latents, float]:
    """Rows of the diffusion model's bank, and what scales them."""
    bank, scale = read_bank(arguments.folder)

    def latents(iteration: int) -> Tensor:
        indices = torch.randint(len(bank), (arguments.batch,), generator=generator(arguments.seed, iteration))
        return bank[indices].float()

    return latents, scale


def composed(arguments: argparse.Namespace, vae: AutoencoderKL, seed: int) -> tuple[Latents, float]:
    """Encodings of composed pictures, new ones at every iteration, and what scales them."""
    table = concepts(not arguments.all)
    scenes, glyphs = Scenes(table, seed), load_glyphs(table, arguments.folder)

    def latents(iteration: int) -> Tensor:
        first = iteration * arguments.batch
        pictures = signed([compose(scenes[first + k], glyphs) for k in range(arguments.batch)])
        with torch.no_grad(), autocast(arguments.device):
            return vae.encode(pictures.to(arguments.device)).latent_dist.mode().float()

    return latents, vae.config.scaling_factor


def train(arguments: argparse.Namespace, vae: AutoencoderKL, given: tuple[Latents, float] | None = None) -> AutoencoderTiny:
    """Runs to --steps or for --minutes, on the bank's latents unless others are given with what scales them."""
    device = arguments.device
    latents, scale = given or stored(arguments)
    vae = vae.to(device).eval().requires_grad_(False)
    torch.manual_seed(arguments.seed)
    model = build().to(device)
    optimizer = Optimizer(model, ADAM, MUON)
    run = Run.begin("tiny", {"model": model, "optimizer": optimizer}, arguments)
    for iteration, bar in run:
        clean = latents(iteration).to(device)
        half = (len(clean) + 1) // 2
        taken = torch.cat([clean[:half], noised(clean[half:], NOISE / scale, generator(arguments.seed, iteration))])
        with autocast(device):
            with torch.no_grad():
                picture = vae.decode(taken).sample
            decoded = model.decode(taken * scale).sample
            encoded = model.encode(picture[:half]).latents
        picture, decoded = picture.float(), decoded.float()
        loss = l1_loss(decoded, picture) + autoencoder.edges(decoded, picture) + 2 * mse_loss(decoded, picture)
        loss = loss + mse_loss(encoded.float(), clean[:half] * scale)
        loss.backward()
        optimizer.step(share(iteration, arguments.steps))
        if iteration % 50 == 0:
            bar.set_postfix_str(f"PSNR {autoencoder.decibels(decoded, picture):.1f} dB to the full decoder")
    return model


def noised(latents: Tensor, most: float, random: torch.Generator) -> Tensor:
    """Latents (B, C, h, w) with noise of deviations drawn from 0 … `most`."""
    level = most * torch.rand(len(latents), 1, 1, 1, generator=random)
    return latents + (level * torch.randn(latents.shape, generator=random)).to(latents.device)


@torch.inference_mode()
def measure(model: AutoencoderTiny, vae: AutoencoderKL, given: tuple[Latents, float], batches: int) -> float:
    """Mean PSNR, in dB, of its pictures against the full decoder's, both clamped."""
    latents, scale = given
    values = []
    for i in range(batches):
        taken = latents(i)
        for ours, theirs in zip(model.decode(taken * scale).sample, vae.decode(taken).sample, strict=True):
            values.append(autoencoder.decibels(ours, theirs))
    return sum(values) / len(values)


def main() -> None:
    """Trains; with --to, writes what diffusers loads, float16, and says how near it is to the full decoder."""
    parser = options(__doc__, STEPS, BATCH)
    parser.add_argument("--vae", type=Path, help="an AutoencoderKL's folder, instead of this project's own checkpoint")
    parser.add_argument("--to", type=Path, help="the folder to write, in diffusers layout")
    arguments = parsed(parser)
    if arguments.vae is None:
        vae = autoencoder.load(arguments.folder)
        given = stored(arguments)
    else:
        vae = AutoencoderKL.from_pretrained(arguments.vae, torch_dtype=torch.float32).to(arguments.device).eval()
        given = composed(arguments, vae, arguments.seed + SCENES)
    model = train(arguments, vae, given)
    if arguments.to is not None:
        others, _ = composed(arguments, vae, arguments.seed + HELD)
        batches = max(1, MEASURED // arguments.batch)
        print(f"PSNR {measure(model, vae, (others, given[1]), batches):.2f} dB to the full decoder on other pictures")
        write(model, arguments.to)


def write(model: AutoencoderTiny, to: Path) -> None:
    """The folder that `explorer` and diffusers load; float16."""
    model.cpu().half().save_pretrained(to)


if __name__ == "__main__":
    main()
