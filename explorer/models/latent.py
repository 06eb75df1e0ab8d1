"""What families of latent diffusion have in common: a VAE, a conditional U-Net and CLIP's readers of prompts.

A family says how a prompt becomes a conditioning and what else its U-Net is told; all else is here.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from explorer.models.abilities import abilities
from explorer.models.preview import fit_preview
from explorer.models.reading import FOR_LATENTS, checksum, count, settled
from explorer.models.speed import Kernels, Steady
from explorer.records import Conditioning, Part, Preview

PROMPTS = 64  # conditionings kept; 77 x 768 float32 is 0.24 MB, SDXL's 0.6


class Reader:
    """A CLIP tokenizer with its text encoder."""

    def __init__(self, tokenizer: Any, encoder: Any) -> None:
        self.tokenizer, self.encoder = tokenizer, encoder
        self.places: int = tokenizer.model_max_length
        self._lock = threading.Lock()  # truncation is a switch on the tokenizer itself

    def tokens(self, prompt: str) -> Any:
        """`input_ids` and `attention_mask`, (1, places) each; what exceeds the places is cut off."""
        with self._lock:
            return self.tokenizer(
                [prompt], padding="max_length", max_length=self.places, truncation=True, return_tensors="pt"
            )

    def unread(self, prompt: str) -> str:
        """What lies beyond the last token that fits; the start and end tokens take two places."""
        with self._lock:
            tokens = self.tokenizer([prompt], add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = tokens["offset_mapping"][0]
        return prompt[offsets[self.places - 2][0] :] if len(offsets) > self.places - 2 else ""


class LatentDiffusion(Steady, ABC):
    """A Model of latents; see `explorer.records.Model` for what each member means.

    The VAE stays in float32: diffusers' own configs ask for it (`force_upcast`), and it runs once a picture.
    """

    pipeline: ClassVar[str]
    scale: ClassVar[float]  # of guidance, where that pipeline begins
    fixed: ClassVar[Mapping[str, Any]] = FOR_LATENTS  # of the scheduler's config

    def __init__(
        self,
        *,
        name: str,
        vae: Any,  # AutoencoderKL, float32
        unet: Any,  # UNet2DConditionModel
        readers: Sequence[Reader],
        scheduler_config: Mapping[str, Any],
        device: torch.device,
        tiny_vae: Any = None,  # AutoencoderTiny, float32
        own: Mapping[str, Any] | None = None,  # see `models.abilities`
    ) -> None:
        self.name, self.device, self.dtype = name, device, unet.dtype  # the VAE's may differ
        encoders = [reader.encoder for reader in readers]
        self.weights = checksum(unet, *encoders)  # before they go to a device that may not be there to look at
        self.vae = vae.to(device).eval()
        self.tiny_vae = None if tiny_vae is None else tiny_vae.to(device).eval()
        self.unet = unet.to(device).eval()
        self.kernels = Kernels(self.unet)
        for encoder in encoders:
            encoder.to(device).eval()
        self.readers = tuple(readers)
        self.scheduler_config: Mapping[str, Any] = settled(scheduler_config, self.fixed)
        self.prediction_type: str = self.scheduler_config["prediction_type"]
        self.latent_channels: int = unet.config.in_channels
        self.latent_scale: int = 2 ** (len(vae.config.block_out_channels) - 1)
        sample = unet.config.sample_size
        height, width = (sample, sample) if isinstance(sample, int) else sample
        self.default_size = (width * self.latent_scale, height * self.latent_scale)
        self.abilities = abilities(unet.config, scheduler_config, self.scale, own)
        self._prompts: OrderedDict[str, Conditioning] = OrderedDict()
        self._lock = threading.Lock()

    @abstractmethod
    def _encode(self, prompt: str) -> Conditioning:
        """What the readers make of a prompt: "hidden", (1, tokens, width), and what else the family needs."""

    def _added(self, latents: Tensor, conditioning: Conditioning) -> dict[str, Tensor] | None:
        """What the U-Net is told besides, of latents (B, C, H, W)."""
        return None

    @torch.inference_mode()
    def encode_prompt(self, prompt: str) -> Conditioning:
        """Kept for the last `PROMPTS` prompts; what exceeds the tokenizer's length is cut off."""
        with self._lock:
            if prompt in self._prompts:
                self._prompts.move_to_end(prompt)
                return self._prompts[prompt]
        conditioning = self._encode(prompt)
        with self._lock:
            conditioning = self._prompts.setdefault(prompt, conditioning)
            while len(self._prompts) > PROMPTS:
                self._prompts.popitem(last=False)
        return conditioning

    def encode_negative(self, prompt: str) -> Conditioning:
        """An empty one is a prompt like any other here."""
        return self.encode_prompt(prompt)

    def at_scale(self, conditioning: Conditioning, guidance: float) -> Conditioning:
        """With the scale's embedding, (B, width), for a U-Net that takes one; else as it is."""
        if self.abilities.guidance != "embedded":
            return conditioning
        rows = len(conditioning.tensors["hidden"])
        return Conditioning({**conditioning.tensors, "scale": self._embedded(guidance).expand(rows, -1)})

    def unread(self, prompt: str) -> str:
        """What no reader reads."""
        return min((reader.unread(prompt) for reader in self.readers), key=len)

    def parts(self) -> tuple[Part, ...]:
        """Tokenizer, text encoder, U-Net and the VAE's decoder; two readers are one part of two."""
        unet, vae = self.unet.config, self.vae.config
        width, height = self.default_size
        latent = (self.latent_channels, height // self.latent_scale, width // self.latent_scale)
        tokenizers, encoders = zip(*((reader.tokenizer, reader.encoder) for reader in self.readers), strict=True)
        texts = [encoder.config for encoder in encoders]
        hidden = (self.readers[0].places, sum(text.hidden_size for text in texts))
        attention = sum("Attn" in block for block in (*unet.down_block_types, *unet.up_block_types))
        return (
            Part("tokenizer", _both(type(one).__name__ for one in tokenizers), (), hidden[:1], 0,
                 {"vocabulary": _both(map(len, tokenizers))}),
            Part("text_encoder", _both(type(one).__name__ for one in encoders), hidden[:1], hidden, count(*encoders),
                 {"layers": _both(text.num_hidden_layers for text in texts),
                  "heads": _both(text.num_attention_heads for text in texts)}),
            Part("unet", type(self.unet).__name__, latent, latent, count(self.unet),
                 {"channels": ", ".join(map(str, unet.block_out_channels)), "blocks with cross-attention": attention,
                  "predicts": self.prediction_type}),
            Part("vae", type(self.vae).__name__, latent, (3, height, width), count(self.vae.decoder),
                 {"channels": ", ".join(map(str, vae.block_out_channels)), "scaling factor": f"{vae.scaling_factor:.4g}"}),
        )  # fmt: skip

    def forget_prompts(self) -> None:
        """Empties the cache of conditionings."""
        with self._lock:
            self._prompts.clear()

    @torch.inference_mode()
    def predict(self, latents: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """The U-Net's output for (B, C, H, W) at timesteps (B,), float32."""
        told = conditioning.tensors
        scale = told.get("scale")
        if scale is None and self.abilities.guidance == "embedded":  # asked outside of a run
            scale = self._usual.expand(len(latents), -1)
        added = self._added(latents, conditioning)
        return self.kernels(latents, t, encoder_hidden_states=told["hidden"], timestep_cond=scale, added_cond_kwargs=added)

    @torch.inference_mode()
    def encode(self, picture: Tensor) -> Tensor:
        """(B, 3, H, W) in -1 … 1 to the posterior's mean, scaled."""
        posterior = self.vae.encode(picture.to(self.device, torch.float32)).latent_dist
        return posterior.mode() * self.vae.config.scaling_factor

    @torch.inference_mode()
    def posterior(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(z | picture), scaled; arXiv:1312.6114, Eq. 9, arXiv:2112.10752, Section 3.1."""
        spread, scale = self.vae.encode(picture.to(self.device, torch.float32)).latent_dist, self.vae.config.scaling_factor
        return (spread.mode() * scale).cpu(), (spread.std * scale).cpu()

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents to pictures in 0 … 1."""
        decoded = self.vae.decode(latents.to(self.device, torch.float32) / self.vae.config.scaling_factor)
        return (decoded.sample * 0.5 + 0.5).clamp(0, 1).cpu()

    @torch.inference_mode()
    def decode_tiny(self, latents: Tensor) -> Tensor | None:
        """The same by the tiny decoder, which takes scaled latents; None where there is none."""
        taken = latents.to(self.device, torch.float32)
        return None if self.tiny_vae is None else (self.tiny_vae.decode(taken).sample * 0.5 + 0.5).clamp(0, 1).cpu()

    @cached_property
    def preview(self) -> Preview:
        """Fitted at first use."""
        return fit_preview(self)

    @cached_property
    def _usual(self) -> Tensor:
        return self._embedded(self.abilities.scale)

    def _embedded(self, guidance: float) -> Tensor:
        return scale_embedding(guidance, self.unet.config.time_cond_proj_dim).to(self.device, self.dtype)


def scale_embedding(guidance: float, width: int) -> Tensor:
    """A guidance scale as an input of the U-Net, (1, width) float32: sines and cosines of 1000 (w - 1).

    As diffusers' LatentConsistencyModelPipeline has it, to the last bit; arXiv:2310.04378, Section 4.2, where the scale is
    this one less 1, and the embedding is arXiv:1706.03762's, Section 3.5.
    """
    half = width // 2
    steps = torch.exp(torch.arange(half, dtype=torch.float32) * -(torch.log(torch.tensor(10000.0)) / (half - 1)))
    angles = (torch.tensor([guidance - 1.0]) * 1000.0)[:, None] * steps[None, :]
    embedding = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)
    return torch.nn.functional.pad(embedding, (0, width % 2))


def _both(values: Iterable[Any]) -> str:
    """In words; equal ones once."""
    return " and ".join(dict.fromkeys(map(str, values)))
