"""SDXL, its turbo and lightning kind and LCM of it: two text encoders, and conditions besides the prompt.

arXiv:2307.01952, Section 2: both encoders' vectors side by side, the second one's pooled vector, and the size that a
picture had, where it was cropped and the size it is to have, added to the timestep's embedding.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from explorer.models import files, reading
from explorer.models.latent import LatentDiffusion, Reader
from explorer.records import Conditioning, SourceError

PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
NETWORKS = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}
IDS = 6  # numbers that say sizes and crop


class StableDiffusionXL(LatentDiffusion):
    """The Model of this family."""

    pipeline = "StableDiffusionXLPipeline"
    scale = 5.0

    def __init__(
        self,
        *,
        text_encoder: Any,  # CLIPTextModel
        text_encoder_2: Any,  # CLIPTextModelWithProjection
        tokenizer: Any,  # CLIPTokenizer, both
        tokenizer_2: Any,
        zeros_for_empty: bool = True,  # what the unconditional call is told where there is no negative prompt
        **rest: Any,  # LatentDiffusion's
    ) -> None:
        super().__init__(readers=[Reader(tokenizer, text_encoder), Reader(tokenizer_2, text_encoder_2)], **rest)
        self.text_encoder, self.tokenizer = text_encoder, tokenizer
        self.text_encoder_2, self.tokenizer_2 = text_encoder_2, tokenizer_2
        self.zeros_for_empty = zeros_for_empty
        self._sized: tuple[tuple[int, int], Tensor] = ((0, 0), torch.empty(0))  # one upload per size, not one per step

    def _encode(self, prompt: str) -> Conditioning:
        """The last but one hidden states of both, side by side, and "pooled", (1, width), of the second."""
        outputs = [
            reader.encoder(reader.tokens(prompt).input_ids.to(self.device), output_hidden_states=True)
            for reader in self.readers
        ]
        hidden = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
        return Conditioning({"hidden": hidden.to(self.dtype), "pooled": outputs[-1].text_embeds.to(self.dtype)})

    def encode_negative(self, prompt: str) -> Conditioning:
        """Zeros for an empty one, unless the model was trained with the empty prompt's own vectors."""
        return self.encode_prompt(prompt) if prompt or not self.zeros_for_empty else self._nothing

    def _added(self, latents: Tensor, conditioning: Conditioning) -> dict[str, Tensor]:
        """As if the picture had always had the size that it is to have, and was not cropped."""
        height, width = (side * self.latent_scale for side in latents.shape[2:])
        size, ids = self._sized
        if size != (height, width):
            ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=self.dtype).to(self.device)
            self._sized = ((height, width), ids)
        return {"text_embeds": conditioning.tensors["pooled"], "time_ids": ids.expand(len(latents), -1)}

    @cached_property
    def _nothing(self) -> Conditioning:
        tensors = self.encode_prompt("").tensors
        return Conditioning({name: torch.zeros_like(tensor) for name, tensor in tensors.items()})


def load(folder: Path, name: str, device: torch.device, dtype: torch.dtype | None) -> StableDiffusionXL:
    """Reads the seven parts of a diffusers folder, and the tiny decoder where there is one.

    Raises:
        SourceError: a part is missing, broken or of another kind.
    """
    if (folder / "text_encoder_2").is_dir() and not (folder / "text_encoder").is_dir():
        raise SourceError(
            f"The model {name!r} has the second text encoder only, as SDXL's refiner, which goes on from another model's "
            "latents; load the base model."
        )
    reading.complete(folder, name, PARTS)
    with reading.told(name, PARTS):
        index = files.read_json(folder / files.INDEX)
        parts = reading.networks(folder, name, NETWORKS, reading.precision(folder, device, dtype))
        texts = [parts[part].config for part in ("text_encoder", "text_encoder_2")]
        for part, text in zip(("tokenizer", "tokenizer_2"), texts, strict=True):
            parts[part] = reading.tokenizer(folder, name, part, text)
        _check(name, index, parts)
        return StableDiffusionXL(
            name=name, device=device, zeros_for_empty=bool(index.get("force_zeros_for_empty_prompt", True)), **parts,
            **reading.rest(folder, name, parts["vae"].config),
        )  # fmt: skip


def _check(name: str, index: dict[str, Any], parts: dict[str, Any]) -> None:
    """Refuses what StableDiffusionXLPipeline has no words for either, or would fail at.

    Raises:
        SourceError: says what.
    """
    texts = [parts[part].config for part in ("text_encoder", "text_encoder_2")]
    unet, places = parts["unet"].config, [parts[part].model_max_length for part in ("tokenizer", "tokenizer_2")]
    reading.check_networks(name, unet, parts["vae"].config, sum(text.hidden_size for text in texts), added=("text_time",))
    if index.get("requires_aesthetics_score"):
        raise SourceError(f"The model {name!r} is told an aesthetic score, as SDXL's refiner; load the base model.")
    if places[0] != places[1]:
        raise SourceError(f"The model {name!r} has tokenizers of {places[0]} and {places[1]} tokens; they must be equal.")
    takes = unet.projection_class_embeddings_input_dim
    gives = IDS * unet.addition_time_embed_dim + texts[1].projection_dim
    if takes != gives:
        raise SourceError(
            f"The model {name!r} has a U-Net that takes {takes} numbers beside the prompt, but its configs make {gives}, "
            "with sizes and crop; this project runs SDXL's base kind only."
        )
