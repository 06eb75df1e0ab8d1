"""Trains the text-to-image model on the autoencoder's latents: the U-Net and the text encoder together.

    python -m training.diffusion --minutes 120

The U-Net predicts v, not eps: where the noise is almost everything, the loss on eps hardly sees the background's colour,
and x0 = (x_t − sigma eps) / alpha multiplies what it misses by 1 / alpha = 158. The betas are DDPM's linear ones, which
end at a terminal SNR of 4e-5: close enough to zero for dark backgrounds, and every sampler can use them, which can't be
said of betas rescaled to zero SNR (Lin et al., arXiv:2305.08891, Section 3).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from random import Random
from zlib import crc32

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim.swa_utils import AveragedModel
from transformers import CLIPTokenizer

from training import autoencoder, text
from training.concepts import Concept, concepts, fingerprint
from training.data import Scenes, caption, compose, load_glyphs, signed
from training.loop import Run, autocast, generator, options, parsed, share
from training.optimizer import Optimizer

STEPS, BATCH, BANK = 12_000, 48, 16_384
ADAM, MUON = 6e-4, 2e-3  # peak learning rates
EMA = 0.999
DROPOUT = 0.1  # of captions, for guidance
CHANNELS, HEADS = (96, 192, 256), (2, 4, 4)
LATENTS = "latents.pt"
SCENES = 1  # added to the seed: other scenes than the autoencoder's
NOISE = {
    "num_train_timesteps": 1000, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02,
    "prediction_type": "v_prediction", "timestep_spacing": "trailing", "clip_sample": False, "steps_offset": 1,
}  # fmt: skip


def build(channels: tuple[int, ...] = CHANNELS, heads: tuple[int, ...] = HEADS) -> UNet2DConditionModel:
    """Self- and cross-attention at every level; the whole prompt also reaches every block through the time embedding.

    That second way (`addition_embed_type="text"`, as in DeepFloyd IF) carries what the picture is of; cross-attention
    then has only to say where.
    """
    return UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=channels,
        attention_head_dim=heads, cross_attention_dim=text.WIDTH, norm_num_groups=32,
        down_block_types=("CrossAttnDownBlock2D",) * 3, up_block_types=("CrossAttnUpBlock2D",) * 3,
        resnet_time_scale_shift="scale_shift", addition_embed_type="text", addition_embed_type_num_heads=4,
    )  # fmt: skip


class TextToImage(nn.Module):
    """U-Net and text encoder as one module, so that they are averaged, stored and clipped as one."""

    def __init__(self, words: CLIPTokenizer, unet: UNet2DConditionModel | None = None) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet or build(), text.build(words)

    def forward(self, latents: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """The predicted v, (B, 4, 16, 16), for token ids (B, TOKENS)."""
        hidden = self.text_encoder(tokens)[0]
        return self.unet(latents, timesteps, encoder_hidden_states=hidden, return_dict=False)[0]


def bank(table: Sequence[Concept], vae: AutoencoderKL, seed: int, count: int, device: str, folder: Path) -> Tensor:
    """The latents of the first `count` scenes, (count, 4, 16, 16), unscaled; encoded once and kept in the folder.

    They are made anew where the folder's are of other scenes or of another autoencoder.
    """
    file = folder / LATENTS
    weights = b"".join(p.detach().cpu().numpy().tobytes() for p in vae.parameters())
    key = f"{count} scenes, seed {seed}, concepts {fingerprint(table)}, autoencoder {crc32(weights):08x}"
    if file.exists() and torch.load(file, weights_only=True, mmap=True)["key"] == key:
        return read_bank(folder)[0]
    scenes, glyphs = Scenes(table, seed), load_glyphs(table, folder)
    vae, parts = vae.to(device).eval(), []
    with torch.inference_mode(), autocast(device):
        for start in range(0, count, 64):
            batch = signed([compose(scenes[i], glyphs) for i in range(start, min(start + 64, count))])
            parts.append(vae.encode(batch.to(device)).latent_dist.mode().half().cpu())
    latents = torch.cat(parts)
    torch.save({"key": key, "latents": latents}, file)
    return latents


def read_bank(folder: Path) -> tuple[Tensor, float]:
    """The folder's latents, unscaled, and the factor that makes their variance 1."""
    latents = torch.load(folder / LATENTS, weights_only=True)["latents"]
    return latents, scaling(latents)


def scaling(latents: Tensor) -> float:
    """The factor that makes their variance 1."""
    return 1 / latents.float().std().item()


class Prompts:
    """Captions of the bank's scenes as token ids: another wording each time, none at all in one of ten."""

    def __init__(self, table: Sequence[Concept], words: CLIPTokenizer, seed: int) -> None:
        self.table, self.words, self.scenes = table, words, Scenes(table, seed)

    def __call__(self, indices: Sequence[int], random: Random) -> Tensor:
        texts = ["" if random.random() < DROPOUT else caption(self.scenes[i], self.table, random) for i in indices]
        return text.ids(self.words, texts)


def averaged(model: nn.Module) -> AveragedModel:
    """The exponential moving average of the weights; young averages forget faster."""

    def update(averages: list[Tensor], values: list[Tensor], count: Tensor) -> None:
        decay = min(EMA, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averages, values, 1 - decay)

    return AveragedModel(model, multi_avg_fn=update)


def train(arguments: argparse.Namespace, vae: AutoencoderKL) -> AveragedModel:
    """Runs to --steps or for --minutes; returns the averaged model."""
    device, table, seed = arguments.device, concepts(not arguments.all), arguments.seed
    words = text.tokenizer()
    latents = bank(table, vae, seed + SCENES, arguments.bank, device, arguments.folder)
    scale = scaling(latents)
    prompts = Prompts(table, words, seed + SCENES)
    noising = DDPMScheduler.from_config(NOISE)

    torch.manual_seed(seed)
    model = TextToImage(words).to(device)
    if device == "cpu":
        model.unet.set_attn_processor(AttnProcessor())  # the CPU's fused attention is slow backwards
    else:
        model.to(memory_format=torch.channels_last)
    average = averaged(model)
    optimizer = Optimizer(model, ADAM, MUON)
    run = Run.begin("diffusion", {"model": model, "average": average, "optimizer": optimizer}, arguments)
    forward = torch.compile(model) if arguments.compile else model
    smooth = 0.0
    for iteration, bar in run:
        source = generator(seed, iteration)
        indices = torch.randint(len(latents), (arguments.batch,), generator=source)
        tokens = prompts(indices.tolist(), Random(f"prompts {seed} {iteration}")).to(device)
        x0 = latents[indices].float() * scale
        noise = torch.randn(x0.shape, generator=source)
        timesteps = torch.randint(len(noising), (arguments.batch,), generator=source)
        noisy, target = noising.add_noise(x0, noise, timesteps), noising.get_velocity(x0, noise, timesteps)
        with autocast(device):
            predicted = forward(noisy.to(device), timesteps.to(device), tokens)
        loss = mse_loss(predicted.float(), target.to(device))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(share(iteration, arguments.steps))
        average.update_parameters(model)
        if iteration % 20 == 0:
            smooth = loss.item() if not smooth else 0.9 * smooth + 0.1 * loss.item()
            bar.set_postfix_str(f"loss {smooth:.4f}")
    return average


def main() -> None:
    """Trains."""
    parser = options(__doc__, STEPS, BATCH)
    parser.add_argument("--bank", type=int, default=BANK, help="scenes whose latents are made beforehand (%(default)s)")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available(),
        help="compile the networks; on a CPU a fifth faster, but it needs a C++ compiler",
    )  # fmt: skip
    arguments = parsed(parser)
    train(arguments, autoencoder.load(arguments.folder))


if __name__ == "__main__":
    main()
