"""Which prediction and which betas the embedded model should be trained with: small networks, one training each.

    python benchmarks/schedules.py --folder checkpoints --steps 600

Every network sees the same latents, captions, noise and timesteps in the same order, and then draws the same prompts from
the same noise. Told are the backgrounds, which are what schedules and predictions differ in, and the error of x0.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from torch.nn.functional import mse_loss

sys.path.insert(0, str(Path(__file__).parents[1]))

from training import autoencoder, text
from training.concepts import concepts
from training.data import COLOURS, held_out
from training.diffusion import ADAM, MUON, NOISE, SCENES, Prompts, TextToImage, averaged, build, read_bank
from training.evaluate import EDGE, background
from training.loop import FOLDER, autocast, generator, parsed, share
from training.optimizer import Optimizer

STABLE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "v, linear": NOISE,
    "epsilon, linear": NOISE | {"prediction_type": "epsilon"},
    "v, linear rescaled to zero SNR": NOISE | {"rescale_betas_zero_snr": True},
    "v, Stable Diffusion's": NOISE | STABLE,
}
CHANNELS, HEADS = (64, 96, 128), (2, 2, 2)  # half as wide as the embedded model's
BATCH, ASKED, STEPS, GUIDANCE = 32, 8, 20, 4.0
DARK = ("black", "blue", "purple", "brown")
TIMES = range(99, 1000, 100)  # where the error of x0 is taken


def train(noise: Mapping[str, Any], bank: Tensor, steps: int) -> TextToImage:
    """One network; the mean of its weights."""
    words, noising = text.tokenizer(), DDPMScheduler.from_config(noise)
    prompts = Prompts(concepts(everyday=True), words, SCENES)
    torch.manual_seed(0)
    model = TextToImage(words, build(CHANNELS, HEADS))
    model.unet.set_attn_processor(AttnProcessor())
    average, optimizer = averaged(model), Optimizer(model, ADAM, MUON)
    for iteration in range(steps):
        source = generator(0, iteration)
        indices = torch.randint(len(bank), (BATCH,), generator=source)
        tokens = prompts(indices.tolist(), Random(iteration))
        x0 = bank[indices]
        eps = torch.randn(x0.shape, generator=source)
        timesteps = torch.randint(len(noising), (BATCH,), generator=source)
        target = eps if noise["prediction_type"] == "epsilon" else noising.get_velocity(x0, eps, timesteps)
        with autocast("cpu"):
            predicted = model(noising.add_noise(x0, eps, timesteps), timesteps, tokens)
        mse_loss(predicted.float(), target).backward()
        optimizer.step(share(iteration, steps))
        average.update_parameters(model)
    return average.module.eval()


@torch.inference_mode()
def draw(model: TextToImage, noise: Mapping[str, Any], asked: Sequence[str], vae: AutoencoderKL, scale: float) -> Tensor:
    """Pictures of the prompts, (B, 3, 128, 128) in 0 … 1, as the app draws them."""
    words, sampler = text.tokenizer(), DDIMScheduler.from_config({**noise, "set_alpha_to_one": False})
    sampler.set_timesteps(STEPS)
    x = torch.randn(len(asked), 4, 16, 16, generator=generator(1, 0))
    tokens = text.ids(words, [*[""] * len(asked), *asked])
    with autocast("cpu"):
        for t in sampler.timesteps:
            without, within = model(torch.cat([x, x]), t, tokens).float().chunk(2)
            x = sampler.step(without + GUIDANCE * (within - without), t, x).prev_sample
        return (vae.decode(x / scale).sample.float() / 2 + 0.5).clamp(0, 1)


@torch.inference_mode()
def error(model: TextToImage, noise: Mapping[str, Any], bank: Tensor) -> float:
    """Root mean square error of x0, over all of TIMES alike, with the captions' tokens left empty."""
    words, noising, found = text.tokenizer(), DDPMScheduler.from_config(noise), []
    tokens = text.ids(words, [""] * len(bank))
    for t in TIMES:
        eps, at = torch.randn(bank.shape, generator=generator(2, t)), torch.full((len(bank),), t)
        x_t, alpha = noising.add_noise(bank, eps, at), noising.alphas_cumprod[t].sqrt()
        sigma = (1 - alpha**2).sqrt()
        with autocast("cpu"):
            predicted = model(x_t, at, tokens).float()
        x0 = (x_t - sigma * predicted) / alpha if noise["prediction_type"] == "epsilon" else alpha * x_t - sigma * predicted
        found.append(mse_loss(x0, bank).item())
    return (sum(found) / len(found)) ** 0.5


def border(picture: Tensor) -> Tensor:
    """The median colour of a picture's upper and lower border, 0 … 255."""
    rows = torch.cat([picture[:, :EDGE].flatten(1), picture[:, -EDGE:].flatten(1)], dim=1)
    return rows.median(dim=1).values * 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="where the autoencoder and its latents lie (%(default)s)"
    )
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parsed(parser)
    latents, scale = read_bank(arguments.folder)
    latents, vae = latents.float() * scale, autoencoder.load(arguments.folder).eval()
    random, table = Random(5), concepts(everyday=True)
    grounds = [colour for colour in COLOURS for _ in range(ASKED)]
    allowed = {colour: [c.name for c in table if not held_out(c, colour)] for colour in COLOURS}
    asked = [f"{random.choice(allowed[colour])} on {colour}" for colour in grounds]
    print("| trained with | background right | error of dark ones, of 255 | of all | error of x0 | s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, noise in VARIANTS.items():
        start = time.perf_counter()
        model = train(noise, latents, arguments.steps)
        took = time.perf_counter() - start
        pictures = draw(model, noise, asked, vae, scale)
        right = sum(background(picture) == colour for picture, colour in zip(pictures, grounds, strict=True)) / len(grounds)
        far = [
            (border(picture) - torch.tensor(COLOURS[colour])).abs().mean().item()
            for picture, colour in zip(pictures, grounds, strict=True)
        ]
        dark = [value for value, colour in zip(far, grounds, strict=True) if colour in DARK]
        off = error(model, noise, latents[:128])
        print(
            f"| {name} | {right:.0%} | {sum(dark) / len(dark):.1f} | {sum(far) / len(far):.1f} | {off:.3f} | {took:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
