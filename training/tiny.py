"""Distils the tiny autoencoder, whose decoder draws previews, from the trained one.

    python -m training.tiny --minutes 15

It learns from the latents that the diffusion model is trained on and from the full decoder's pictures of them.
"""

from __future__ import annotations

import argparse

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch.nn.functional import l1_loss, mse_loss

from training import autoencoder
from training.diffusion import LATENTS
from training.loop import Run, autocast, generator, options, parsed, share
from training.optimizer import Optimizer

STEPS, BATCH = 3_000, 8
ADAM, MUON = 1e-3, 3e-3
CHANNELS = (32, 32, 32, 32)
BLOCKS = (1, 1, 1, 1)


def build() -> AutoencoderTiny:
    """One residual block at each level; it takes and gives scaled latents."""
    return AutoencoderTiny(
        encoder_block_out_channels=CHANNELS, decoder_block_out_channels=CHANNELS, num_encoder_blocks=BLOCKS,
        num_decoder_blocks=BLOCKS, latent_channels=4, scaling_factor=1.0,
    )  # fmt: skip


def train(arguments: argparse.Namespace, vae: AutoencoderKL) -> AutoencoderTiny:
    """Runs to --steps or for --minutes."""
    device = arguments.device
    latents = torch.load(arguments.folder / LATENTS, weights_only=True)
    scale = 1 / latents.float().std().item()
    vae = vae.to(device).eval().requires_grad_(False)
    torch.manual_seed(arguments.seed)
    model = build().to(device)
    optimizer = Optimizer(model, ADAM, MUON)
    run = Run.begin("tiny", {"model": model, "optimizer": optimizer}, arguments)
    for iteration, bar in run:
        indices = torch.randint(len(latents), (arguments.batch,), generator=generator(arguments.seed, iteration))
        taken = latents[indices].float().to(device)
        with autocast(device):
            with torch.no_grad():
                picture = vae.decode(taken).sample
            decoded = model.decode(taken * scale).sample
            encoded = model.encode(picture).latents
        picture, decoded = picture.float(), decoded.float()
        loss = l1_loss(decoded, picture) + autoencoder.edges(decoded, picture) + 2 * mse_loss(decoded, picture)
        loss = loss + mse_loss(encoded.float(), taken * scale)
        loss.backward()
        optimizer.step(share(iteration, arguments.steps))
        if iteration % 50 == 0:
            bar.set_postfix_str(f"PSNR {autoencoder.decibels(decoded, picture):.1f} dB to the full decoder")
    return model


def main() -> None:
    """Trains."""
    arguments = parsed(options(__doc__, STEPS, BATCH))
    train(arguments, autoencoder.load(arguments.folder))


if __name__ == "__main__":
    main()
