"""Stable Diffusion 1.x and 2.x, SD-Turbo and LCM: VAE, conditional U-Net, one CLIP text encoder, as diffusers has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from explorer.models import reading
from explorer.models.latent import LatentDiffusion, Reader
from explorer.records import Conditioning

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
NETWORKS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}


class StableDiffusion(LatentDiffusion):
    """The Model of this family."""

    pipeline = "StableDiffusionPipeline"
    scale = 7.5
    fixed = reading.FOR_LATENTS | {"steps_offset": 1}  # as the pipeline itself sets it, whatever the file says

    def __init__(self, *, text_encoder: Any, tokenizer: Any, **rest: Any) -> None:
        """A CLIPTextModel and its CLIPTokenizer; the rest is `LatentDiffusion`'s."""
        super().__init__(readers=[Reader(tokenizer, text_encoder)], **rest)
        self.text_encoder, self.tokenizer = text_encoder, tokenizer

    def _encode(self, prompt: str) -> Conditioning:
        """CLIP's last hidden states."""
        tokens = self.readers[0].tokens(prompt)
        mask = tokens.attention_mask if getattr(self.text_encoder.config, "use_attention_mask", False) else None
        hidden = self.text_encoder(tokens.input_ids.to(self.device), None if mask is None else mask.to(self.device))[0]
        return Conditioning({"hidden": hidden.to(self.dtype)})


def load(folder: Path, name: str, device: torch.device, dtype: torch.dtype | None) -> StableDiffusion:
    """Reads the five parts of a diffusers folder, and the tiny decoder where there is one.

    Raises:
        SourceError: a part is missing, broken or of another kind.
    """
    reading.complete(folder, name, PARTS)
    with reading.told(name, PARTS):
        parts = reading.networks(folder, name, NETWORKS, reading.precision(folder, device, dtype))
        text, unet, vae = (parts[part].config for part in ("text_encoder", "unet", "vae"))
        tokenizer = reading.tokenizer(folder, name, "tokenizer", text)
        reading.check_networks(name, unet, vae, text.hidden_size, added=(None, "text"))  # "text" pools the prompt itself
        return StableDiffusion(name=name, device=device, tokenizer=tokenizer, **parts, **reading.rest(folder, name, vae))
