"""Pixel diffusion: an unconditional UNet2DModel on the picture itself, as DDPMPipeline and DDIMPipeline lay it out.

The latent is the picture, in -1 … 1: nothing encodes and nothing decodes it, and the preview is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor

from explorer.models import files, reading
from explorer.models.speed import Kernels, Steady
from explorer.records import Abilities, Conditioning, Part, Preview, SourceError

# The last is what DDPMScheduler was called when google/ddpm-cifar10-32 was published; diffusers still reads it as one.
SCHEDULERS = ("DDPMScheduler", "DDIMScheduler", "GaussianDDPMScheduler")
PARTS = ("unet", "scheduler")
STEPS = 50
GREY = (0.299, 0.587, 0.114)  # of red, green and blue, as Pillow makes a picture grey (ITU-R 601)


class PixelDiffusion(Steady):
    """The Model of this family; see `explorer.records.Model` for what each member means."""

    pipeline = "DDPMPipeline"  # DDIMPipeline for DDIM

    def __init__(self, *, name: str, unet: Any, scheduler_config: Mapping[str, Any], device: torch.device) -> None:
        self.name, self.device, self.dtype = name, device, unet.dtype
        self.weights = reading.checksum(unet)
        self.unet = unet.to(device).eval()
        self.kernels = Kernels(self.unet)
        self.scheduler_config: Mapping[str, Any] = _scheduler_config(scheduler_config)
        self.prediction_type: str = self.scheduler_config["prediction_type"]
        self.latent_channels: int = unet.config.in_channels
        self.latent_scale = 1
        sample = unet.config.sample_size
        height, width = (sample, sample) if isinstance(sample, int) else sample
        self.default_size: tuple[int, int] = (width, height)
        # DDIM for those made with DDPM too, which needs about 1000 steps where DDIM shows the same network in 50.
        self.abilities = Abilities(
            prompts=False, guidance="none", latent=False, sampler="DDIM", steps=STEPS, scale=1.0,
            cells=2 ** (len(unet.config.block_out_channels) - 1),
        )  # fmt: skip
        self.preview = Preview(_halves(self.latent_channels), (0.5, 0.5, 0.5))
        self._nothing = Conditioning({"nothing": torch.zeros(1, 0, device=device)})

    def encode_prompt(self, prompt: str) -> Conditioning:
        """Nothing, (1, 0), whatever the prompt: `explorer.limits` refuses all but the empty one."""
        return self._nothing

    def encode_negative(self, prompt: str) -> Conditioning:
        """The same."""
        return self._nothing

    def at_scale(self, conditioning: Conditioning, guidance: float) -> Conditioning:
        """As it is: there is no guidance."""
        return conditioning

    def unread(self, prompt: str) -> str:
        """All of it."""
        return prompt

    def parts(self) -> tuple[Part, ...]:
        """The U-Net alone."""
        unet, (width, height) = self.unet.config, self.default_size
        picture = (self.latent_channels, height, width)
        attention = sum("Attn" in block for block in (*unet.down_block_types, *unet.up_block_types))
        return (
            Part("unet", type(self.unet).__name__, picture, picture, reading.count(self.unet),
                 {"channels": ", ".join(map(str, unet.block_out_channels)), "blocks with attention": attention,
                  "predicts": self.prediction_type}),
        )  # fmt: skip

    @torch.inference_mode()
    def predict(self, latents: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """The U-Net's output for (B, C, H, W) at timesteps (B,), float32."""
        return self.kernels(latents, t)

    @torch.inference_mode()
    def encode(self, picture: Tensor) -> Tensor:
        """(B, 3, H, W) in -1 … 1 as it is; for a network of grey pictures their luma, (B, 1, H, W)."""
        picture = picture.to(self.device, torch.float32)
        if self.latent_channels == 3:
            return picture
        return (picture * torch.tensor(GREY, device=self.device)[:, None, None]).sum(1, keepdim=True)

    def posterior(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """The picture, without any spread."""
        latents = self.encode(picture).cpu()
        return latents, torch.zeros_like(latents)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """To 0 … 1; grey as three equal channels."""
        return (latents.cpu().float() / 2 + 0.5).clamp(0, 1).expand(-1, 3, -1, -1).contiguous()

    def decode_tiny(self, latents: Tensor) -> None:
        """There is no decoder, so there is no tiny one."""
        return None


def load(folder: Path, name: str, device: torch.device, dtype: torch.dtype | None) -> PixelDiffusion:
    """Reads the U-Net and the scheduler's config of a diffusers folder, where older ones have them at its root.

    Raises:
        SourceError: a part is missing, broken or of another kind.
    """
    with reading.told(name, PARTS):
        config = files.read_json(files.place(folder, "unet") / "config.json")
        scheduler_config = files.read_json(files.place(folder, "scheduler") / "scheduler_config.json")
        if fault := _fault(config, scheduler_config):
            raise SourceError(f"The model {name!r} {fault}; of pixel models this project runs plain unconditional ones.")
        reading.check_scheduler(name, scheduler_config)
        if dtype is None:
            dtype = torch.float32 if device.type == "cpu" else torch.float16
        unet = reading.networks(folder, name, {"unet": UNet2DModel}, dtype)["unet"]
        return PixelDiffusion(name=name, unet=unet, scheduler_config=scheduler_config, device=device)


def _fault(config: Mapping[str, Any], scheduler: Mapping[str, Any]) -> str:
    """What the files say that can't be run here, as the end of "The model 'x' …"; empty where nothing is."""
    kind, sampler = config.get("_class_name"), scheduler.get("_class_name")
    if kind != "UNet2DModel":
        return f"has a {str(kind)[:40]!r} where a UNet2DModel is needed"
    if sampler not in SCHEDULERS:
        return f"has a {str(sampler)[:40]!r} where a {' or '.join(SCHEDULERS[:2])} is needed"
    variance = scheduler.get("variance_type", "fixed_small")
    if variance not in ("fixed_small", "fixed_small_log", "fixed_large"):
        return f"has the variance_type {str(variance)[:40]!r}"
    return _unet_fault(config)


def _unet_fault(config: Mapping[str, Any]) -> str:
    """The same of the U-Net's own config, before any weight is read."""
    if config.get("class_embed_type") is not None or config.get("num_class_embeds") is not None:
        return "is told a class"
    takes, gives = config.get("in_channels", 3), config.get("out_channels", 3)
    if takes in (1, 3) and gives == 2 * takes:
        return "predicts its variance too"
    if takes not in (1, 3) or gives != takes:
        return f"takes {str(takes)[:40]} channels and gives {str(gives)[:40]}, not 1 or 3 of a picture"
    embedding = config.get("time_embedding_type", "positional")
    if embedding != "positional":  # "fourier" divides by t; "learned" has no timesteps between two
        return f"embeds its timesteps by {str(embedding)[:40]!r}"
    sample = config.get("sample_size")
    sides = sample if isinstance(sample, list | tuple) else (sample, sample)
    multiple = 2 ** (len(config["block_out_channels"]) - 1)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 and side % multiple == 0 for side in sides):
        return f"has the sample_size {str(sample)[:40]!r}, which is not a multiple of its U-Net's {multiple}"
    return ""


def _scheduler_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as the file has it, with the scheduler's own defaults where other schedulers have others.

    Pixels are clipped: x0 to -1 … 1 unless the file says otherwise. In latents clipping means nothing; see `models.sd`.
    """
    own = {"prediction_type": "epsilon", "clip_sample": True, "thresholding": False}
    return reading.settled(config, {key: config.get(key, value) for key, value in own.items()})


def _halves(channels: int) -> tuple[tuple[float, ...], ...]:
    """0.5 of each channel to its colour, or of the one to all three."""
    if channels == 1:
        return ((0.5,),) * 3
    return tuple(tuple(0.5 * (row == column) for column in range(3)) for row in range(3))
