"""Stable-Diffusion-type models: VAE, conditional U-Net, one CLIP text encoder, as diffusers lays them out."""

from __future__ import annotations

import json
import threading
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from explorer.models import tiny
from explorer.models.preview import fit_preview
from explorer.records import Abilities, Conditioning, Part, Preview, SourceError

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
PROMPTS = 64  # conditionings kept; 77 x 768 float32 is 0.24 MB


class StableDiffusion:
    """The Model of this family; see `explorer.records.Model` for what each member means.

    The VAE stays in float32: diffusers' own configs ask for it (`force_upcast`), and it runs once a picture.
    """

    def __init__(
        self,
        *,
        name: str,
        vae: Any,  # AutoencoderKL, float32
        unet: Any,  # UNet2DConditionModel
        text_encoder: Any,  # CLIPTextModel
        tokenizer: Any,  # CLIPTokenizer
        scheduler_config: Mapping[str, Any],
        device: torch.device,
        tiny_vae: Any = None,  # AutoencoderTiny, float32
    ) -> None:
        self.name, self.device, self.dtype = name, device, unet.dtype  # the VAE's may differ
        self.weights = _checksum(unet, text_encoder)  # before they go to a device that may not be there to look at
        self.vae = vae.to(device).eval()
        self.tiny_vae = None if tiny_vae is None else tiny_vae.to(device).eval()
        self.unet = unet.to(device).eval()
        self.text_encoder = text_encoder.to(device).eval()
        self.tokenizer = tokenizer
        self.scheduler_config: Mapping[str, Any] = _scheduler_config(scheduler_config)
        self.prediction_type: str = self.scheduler_config["prediction_type"]
        self.latent_channels: int = unet.config.in_channels
        self.latent_scale: int = 2 ** (len(vae.config.block_out_channels) - 1)
        sample = unet.config.sample_size
        height, width = (sample, sample) if isinstance(sample, int) else sample
        self.default_size = (width * self.latent_scale, height * self.latent_scale)
        self.abilities = Abilities()
        self._prompts: OrderedDict[str, Conditioning] = OrderedDict()
        self._lock, self._words = threading.Lock(), threading.Lock()

    @torch.inference_mode()
    def encode_prompt(self, prompt: str) -> Conditioning:
        """CLIP's last hidden states, (1, tokens, width); what exceeds the tokenizer's length is cut off."""
        with self._lock:
            if prompt in self._prompts:
                self._prompts.move_to_end(prompt)
                return self._prompts[prompt]
        with self._words:  # truncation is a switch on the tokenizer itself
            ids = self.tokenizer(
                [prompt], padding="max_length", max_length=self.tokenizer.model_max_length, truncation=True,
                return_tensors="pt",
            )  # fmt: skip
        mask = ids.attention_mask if getattr(self.text_encoder.config, "use_attention_mask", False) else None
        hidden = self.text_encoder(ids.input_ids.to(self.device), None if mask is None else mask.to(self.device))[0]
        conditioning = Conditioning({"hidden": hidden.to(self.dtype)})
        with self._lock:
            conditioning = self._prompts.setdefault(prompt, conditioning)
            while len(self._prompts) > PROMPTS:
                self._prompts.popitem(last=False)
        return conditioning

    def encode_negative(self, prompt: str) -> Conditioning:
        """An empty one is a prompt like any other here."""
        return self.encode_prompt(prompt)

    def unread(self, prompt: str) -> str:
        """What lies beyond the last token that fits; the start and end tokens take two places."""
        places = self.tokenizer.model_max_length - 2
        with self._words:
            tokens = self.tokenizer([prompt], add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = tokens["offset_mapping"][0]
        return prompt[offsets[places][0] :] if len(offsets) > places else ""

    def parts(self) -> tuple[Part, ...]:
        """Tokenizer, text encoder, U-Net and the VAE's decoder."""
        words, text, unet, vae = self.tokenizer, self.text_encoder.config, self.unet.config, self.vae.config
        width, height = self.default_size
        latent = (self.latent_channels, height // self.latent_scale, width // self.latent_scale)
        hidden = (words.model_max_length, text.hidden_size)
        attention = sum("Attn" in block for block in (*unet.down_block_types, *unet.up_block_types))
        return (
            Part("tokenizer", type(words).__name__, (), hidden[:1], 0, {"vocabulary": len(words)}),
            Part("text_encoder", type(self.text_encoder).__name__, hidden[:1], hidden, _count(self.text_encoder),
                 {"layers": text.num_hidden_layers, "heads": text.num_attention_heads}),
            Part("unet", type(self.unet).__name__, latent, latent, _count(self.unet),
                 {"channels": ", ".join(map(str, unet.block_out_channels)), "blocks with cross-attention": attention,
                  "predicts": self.prediction_type}),
            Part("vae", type(self.vae).__name__, latent, (3, height, width), _count(self.vae.decoder),
                 {"channels": ", ".join(map(str, vae.block_out_channels)), "scaling factor": f"{vae.scaling_factor:.4g}"}),
        )  # fmt: skip

    def forget_prompts(self) -> None:
        """Empties the cache of conditionings."""
        with self._lock:
            self._prompts.clear()

    @torch.inference_mode()
    def predict(self, latents: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """The U-Net's output for (B, C, H, W) at timesteps (B,), float32."""
        hidden = conditioning.tensors["hidden"]
        return self.unet(latents.to(self.dtype), t, encoder_hidden_states=hidden, return_dict=False)[0].float()

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


def load(folder: Path, name: str, device: torch.device, dtype: torch.dtype | None) -> StableDiffusion:
    """Reads the five parts of a diffusers folder, and the tiny decoder where there is one.

    Raises:
        SourceError: a part is missing, broken or of another kind.
    """
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise SourceError(f"The model {name!r} has no {' and no '.join(missing)}; fetch or save it again.")
    try:
        with _quiet():
            return _read(folder, name, device, dtype)
    except SourceError:
        raise
    except Exception as error:  # the loaders raise what they like on a broken file: KeyError, SafetensorError, OSError …
        raise SourceError(
            f"The model {name!r} can't be read ({type(error).__name__}): it needs unet, vae, text_encoder, tokenizer and "
            "scheduler in diffusers layout, with safetensors weights; fetch or save it again."
        ) from error


def _read(folder: Path, name: str, device: torch.device, dtype: torch.dtype | None) -> StableDiffusion:
    config = json.loads((folder / "text_encoder" / "config.json").read_text(encoding="utf-8"))
    if dtype is None:
        asked = config.get("dtype", config.get("torch_dtype"))  # the name that transformers used before its version 5
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16 if asked == "bfloat16" else torch.float16
    kinds = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
    parts: dict[str, Any] = {}
    for part, kind in kinds.items():
        precision = torch.float32 if part == "vae" else dtype
        parts[part], report = kind.from_pretrained(
            folder, subfolder=part, dtype=precision, use_safetensors=True, output_loading_info=True
        )
        if report["missing_keys"]:  # they would be left as the memory was
            raise SourceError(
                f"The model {name!r} lacks {len(report['missing_keys'])} weights of its {part}; fetch it again."
            )
    tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
    text, unet, vae = parts["text_encoder"].config, parts["unet"].config, parts["vae"].config
    if not 2 < len(tokenizer) <= text.vocab_size:  # transformers makes up an empty one where files lack
        raise SourceError(f"The model {name!r} has {len(tokenizer)} tokens; its text encoder takes 3 to {text.vocab_size}.")
    if not 2 < tokenizer.model_max_length <= text.max_position_embeddings:
        raise SourceError(
            f"The model {name!r} has prompts of {tokenizer.model_max_length:.6g} tokens; its text encoder takes "
            f"3 to {text.max_position_embeddings}."
        )
    others = (unet.time_cond_proj_dim, unet.class_embed_type, unet.encoder_hid_dim)
    added = unet.addition_embed_type not in (None, "text")  # "text" pools the prompt that it gets anyway
    if others != (None,) * 3 or added or unet.in_channels != vae.latent_channels or unet.out_channels != unet.in_channels:
        raise SourceError(
            f"The model {name!r} is not a plain text-to-image model: its U-Net wants or gives something else."
        )
    scheduler_config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    parts["tiny_vae"] = tiny.load(folder, name, vae.latent_channels, 2 ** (len(vae.block_out_channels) - 1))
    model = StableDiffusion(name=name, device=device, tokenizer=tokenizer, scheduler_config=scheduler_config, **parts)
    if model.prediction_type not in ("epsilon", "v_prediction", "sample"):
        raise SourceError(f"The model {name!r} predicts {str(model.prediction_type)[:40]!r}; this project can't run that.")
    trial = DDPMScheduler.from_config(model.scheduler_config)  # the one with the most beta schedules
    trial.set_timesteps(1)
    if not torch.isfinite(trial.alphas_cumprod).all():
        raise SourceError(f"The model {name!r} has a noise schedule that is not finite; fetch or save it again.")
    return model


def _scheduler_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with what StableDiffusionPipeline itself sets, whatever the file says; thresholding is for pixels."""
    fixed = {"steps_offset": 1, "clip_sample": False, "thresholding": False}
    defaults = [key for key in config.get("_use_default_values", []) if key not in fixed]  # else diffusers drops them
    return {"prediction_type": "epsilon", **config, **fixed, "_use_default_values": defaults}


def _checksum(*modules: Any) -> str:
    """Of the first numbers of every tensor: milliseconds, and a training or a merge changes some of them."""
    heads = [p.detach().flatten()[:64].float().cpu() for module in modules for p in module.parameters()]
    return f"{zlib.crc32(torch.cat(heads).numpy().tobytes()):08x}"


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@contextmanager
def _quiet():
    """Loaders print progress bars and hints that mean nothing to a person at this page."""
    levels = diffusers_logging.get_verbosity(), transformers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(levels[0])
        transformers_logging.set_verbosity(levels[1])
        diffusers_logging.enable_progress_bar()
        transformers_logging.enable_progress_bar()
