"""A tiny real pipeline, made on the spot: what the fixtures of conftest.py, and tests with other settings, build."""

from __future__ import annotations

from functools import cache

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from explorer.models.preview import fit_preview
from explorer.models.sd import StableDiffusion
from explorer.records import Preview

WORDS = ["a", "pizza", "cat", "red", "house", "blue", "on", "star"]


def tiny_parts(prediction_type: str = "epsilon", **scheduler) -> dict:
    """Real components of a few thousand weights, seeded: 64 x 64 pictures, 8 x 8 x 4 latents, 16 tokens.

    The networks are the same objects at every call; who changes weights changes a copy.
    """
    config = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1,
              "clip_sample": False, "set_alpha_to_one": False, "prediction_type": prediction_type} | scheduler  # fmt: skip
    return networks() | {"scheduler": DDIMScheduler(**config)}


@cache
def networks() -> dict:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8, block_out_channels=(8, 16), layers_per_block=1, cross_attention_dim=16, norm_num_groups=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            attention_head_dim=2,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(4, 4, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4, norm_num_groups=4,
            up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, sample_size=64, scaling_factor=0.5,
        )  # fmt: skip
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=300,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=16,
                bos_token_id=298,
                eos_token_id=299,
                pad_token_id=299,
            )
        )
        for name, parameter in unet.named_parameters():  # its last layer starts at zero in a fresh network
            if name == "conv_out.weight":
                torch.nn.init.normal_(parameter, std=0.2)
    return {"unet": unet.eval(), "vae": vae.eval(), "text_encoder": text_encoder.eval(), "tokenizer": tiny_tokenizer()}


def tiny_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer class with bytes and eight words for a vocabulary, 300 tokens in all."""
    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    vocabulary = dict.fromkeys([*pieces[:256], "a</w>"])
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        vocabulary.setdefault(parts[-1])
        while len(parts) > 1:
            merge = (parts[0], parts[1])
            if merge not in merges:
                merges.append(merge)
            parts = ["".join(merge), *parts[2:]]
            vocabulary.setdefault(parts[0])
    names = [*vocabulary][:298]
    ids = {name: i for i, name in enumerate(names)} | {"<|startoftext|>": 298, "<|endoftext|>": 299}
    merges = [m for m in merges if "".join(m) in ids and m[0] in ids and m[1] in ids]
    return CLIPTokenizer(vocab=ids, merges=merges, model_max_length=16)


def tiny_pipeline(parts: dict) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def as_model(parts: dict, name: str = "tiny") -> StableDiffusion:
    made = _model(parts, name)
    if parts["vae"] is networks()["vae"]:
        made.preview = preview()
    return made


@cache
def preview() -> Preview:
    """That of the tiny VAE, fitted once for all models that have it."""
    return fit_preview(_model(tiny_parts()))


def _model(parts: dict, name: str = "tiny") -> StableDiffusion:
    rest = {key: parts[key] for key in ("unet", "vae", "text_encoder", "tokenizer")}
    return StableDiffusion(name=name, device=torch.device("cpu"), scheduler_config=dict(parts["scheduler"].config), **rest)


class Calls:
    """A Model that counts the rows of each call of another one."""

    def __init__(self, model) -> None:
        self._model, self.rows = model, []

    def __getattr__(self, name):
        return getattr(self._model, name)

    def predict(self, latents, t, conditioning):
        self.rows.append(len(latents))
        return self._model.predict(latents, t, conditioning)
