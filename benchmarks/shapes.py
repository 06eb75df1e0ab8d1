"""Models of real shapes with random weights, for measuring: nothing is downloaded, and speed doesn't look at values."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from explorer.models.latent import LatentDiffusion
from explorer.models.sdxl import StableDiffusionXL
from explorer.records import Conditioning

SD15 = {
    "sample_size": 64, "block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768, "attention_head_dim": 8,
}  # fmt: skip
SDXL = {
    "sample_size": 128, "block_out_channels": (320, 640, 1280), "cross_attention_dim": 2048,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10), "attention_head_dim": (5, 10, 20), "use_linear_projection": True,
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
SMALL = {
    "sample_size": 16, "block_out_channels": (16, 32), "cross_attention_dim": 24, "attention_head_dim": 4,
    "norm_num_groups": 8, "layers_per_block": 1, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip
SMALL_XL = SMALL | {
    "transformer_layers_per_block": (1, 2), "use_linear_projection": True, "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 6 * 8 + 20,
}  # fmt: skip
CONFIGS = {"SD 1.5": SD15, "SDXL": SDXL, "small": SMALL, "small XL": SMALL_XL}
SCHEDULER = {
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1, "clip_sample": False,
    "set_alpha_to_one": False, "prediction_type": "epsilon", "_class_name": "DDIMScheduler",
}  # fmt: skip
TOKENS = 77


class Random(LatentDiffusion):
    """A model that takes any prompt for a random conditioning, the same for the same prompt."""

    pipeline = "StableDiffusionPipeline"
    scale = 7.5

    def _encode(self, prompt: str) -> Conditioning:
        generator = torch.Generator().manual_seed(zlib.crc32(prompt.encode()))
        width = self.unet.config.cross_attention_dim
        made = {"hidden": torch.randn(1, TOKENS, width, generator=generator)}
        if self.unet.config.addition_embed_type:
            said = self.unet.config
            pooled = said.projection_class_embeddings_input_dim - 6 * said.addition_time_embed_dim
            made["pooled"] = torch.randn(1, pooled, generator=generator)
        return Conditioning({name: tensor.to(self.device, self.dtype) for name, tensor in made.items()})


class RandomXL(Random):
    """The same, told sizes as SDXL's U-Net is."""

    _sized = ((0, 0), torch.empty(0))
    _added = StableDiffusionXL._added


@dataclass(frozen=True)
class Shapes:
    """The U-Net of one model, in float32 on the device."""

    name: str
    unet: Any

    def model(self, dtype: torch.dtype) -> Random:
        """It with weights of its own, as the engine wants a model."""
        unet = deepcopy(self.unet).to(dtype)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            vae = AutoencoderKL(
                block_out_channels=(4, 4, 4, 4), down_block_types=("DownEncoderBlock2D",) * 4, norm_num_groups=4,
                up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4,
            )  # fmt: skip
        kind = RandomXL if unet.config.addition_embed_type else Random
        return kind(name=self.name, vae=vae, unet=unet, readers=(), scheduler_config=SCHEDULER, device=unet.device)

    def pipeline(self, dtype: torch.dtype) -> Any:
        """Diffusers' own pipeline around weights of its own, in diffusers' layout; it takes embeddings for prompts."""
        parts: dict[str, Any] = {"vae": None, "text_encoder": None, "tokenizer": None}
        parts |= {"unet": deepcopy(self.unet).to(dtype), "scheduler": DDIMScheduler.from_config(SCHEDULER)}
        if self.unet.config.addition_embed_type:
            pipeline = StableDiffusionXLPipeline(**parts, text_encoder_2=None, tokenizer_2=None)
            pipeline.default_sample_size = self.unet.config.sample_size
        else:
            none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
            pipeline = StableDiffusionPipeline(**parts, **none)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def shapes(name: str, device: torch.device) -> Shapes:
    """One of CONFIGS with random weights, whose predictions are about as large as noise."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []), device:
        torch.manual_seed(0)
        unet = UNet2DConditionModel(**CONFIGS[name]).eval().requires_grad_(False)
        latents, t, told = inputs(unet, 1, 16, device)
    unet.conv_out.weight /= unet(latents, t, **told).sample.std()
    unet.conv_out.bias.zero_()
    return Shapes(name, unet)


def inputs(unet: Any, rows: int, side: int, device: torch.device) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """What a U-Net is called with: latents (rows, 4, side, side), timesteps, and what else it is told; float32."""
    said, made = unet.config, {"device": device}
    told: dict[str, Any] = {"encoder_hidden_states": torch.randn(rows, TOKENS, said.cross_attention_dim, **made)}
    if said.addition_embed_type:
        pooled = said.projection_class_embeddings_input_dim - 6 * said.addition_time_embed_dim
        ids = torch.zeros(rows, 6, **made)
        told["added_cond_kwargs"] = {"text_embeds": torch.randn(rows, pooled, **made), "time_ids": ids}
    return torch.randn(rows, 4, side, side, **made), torch.full((rows,), 500, **made), told


def flops(name: str, rows: int) -> int:
    """Floating-point operations of one call at the model's own size, counted on shapes alone."""
    meta = torch.device("meta")
    with meta:
        unet = UNet2DConditionModel(**CONFIGS[name]).eval()
    latents, t, told = inputs(unet, rows, unet.config.sample_size, meta)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        unet(latents, t, **told)
    return counter.get_total_flops()


def embeddings(model: Random, prompt: str, negative: str, rows: int) -> Mapping[str, Tensor]:
    """The same conditionings as arguments of diffusers' pipelines."""
    made: dict[str, Tensor] = {}
    for begin, text in (("", prompt), ("negative_", negative)):
        told = model.encode_prompt(text).tensors
        made[f"{begin}prompt_embeds"] = told["hidden"].expand(rows, -1, -1)
        if "pooled" in told:
            made[f"{begin}pooled_prompt_embeds"] = told["pooled"].expand(rows, -1)
    return made
