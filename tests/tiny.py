"""A tiny real pipeline, made on the spot: what the fixtures of conftest.py, and tests with other settings, build."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from explorer.models.abilities import OWN
from explorer.models.preview import fit_preview
from explorer.models.sd import StableDiffusion
from explorer.models.sdxl import StableDiffusionXL
from explorer.records import Preview

WORDS = ["a", "pizza", "cat", "red", "house", "blue", "on", "star"]

HOSTILE = "${document.title='x'}`{{x}}\\<img src=x onerror=pwned()>&'\""  # must stay a text wherever it is shown


def tiny_parts(prediction_type: str = "epsilon", **scheduler) -> dict:
    """Real components of a few thousand weights, seeded: 64 x 64 pictures, 8 x 8 x 4 latents, 16 tokens.

    The networks are the same objects at every call; who changes weights changes a copy.
    """
    return networks() | {"scheduler": _scheduler(prediction_type, **scheduler)}


def xl_parts(prediction_type: str = "epsilon", **scheduler) -> dict:
    """The same of SDXL: two text encoders, 16 and 24 wide, a pooled vector of 20, and sizes as added conditions."""
    return xl_networks() | {"scheduler": _scheduler(prediction_type, **scheduler)}


def sd2_parts(**scheduler) -> dict:
    """Like SD 2.x: v-prediction, linear projections, another number of heads at each level, a text encoder with gelu."""
    return sd2_networks() | {"scheduler": _scheduler("v_prediction", **scheduler)}


def lcm_parts(xl: bool = False, **scheduler) -> dict:
    """Like LCM: the guidance scale is an input, embedded in 33 numbers (an odd width: the last one is padding)."""
    return lcm_networks(xl) | {"scheduler": _scheduler("epsilon", **scheduler)}


def _scheduler(prediction_type: str, **scheduler) -> DDIMScheduler:
    config = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1,
              "clip_sample": False, "set_alpha_to_one": False, "prediction_type": prediction_type} | scheduler  # fmt: skip
    return DDIMScheduler(**config)


@cache
def networks() -> dict:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = _unet()
        vae = AutoencoderKL(
            block_out_channels=(4, 4, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4, norm_num_groups=4,
            up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, sample_size=64, scaling_factor=0.5,
        )  # fmt: skip
        text_encoder = CLIPTextModel(_text())
        _wake(unet)
    return {"unet": unet.eval(), "vae": vae.eval(), "text_encoder": text_encoder.eval(), "tokenizer": tiny_tokenizer()}


@cache
def xl_networks() -> dict:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        unet = _wake(_unet(**XL))
        text_encoder_2 = CLIPTextModelWithProjection(_text(hidden_size=24, hidden_act="gelu", projection_dim=20))
    return networks() | {
        "unet": unet.eval(), "text_encoder_2": text_encoder_2.eval(), "tokenizer_2": tiny_tokenizer("!"),
    }  # fmt: skip


@cache
def sd2_networks() -> dict:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        unet = _wake(_unet(attention_head_dim=(2, 4), use_linear_projection=True, cross_attention_dim=24))
        text_encoder = CLIPTextModel(_text(hidden_size=24, hidden_act="gelu", num_hidden_layers=3, projection_dim=20))
    return networks() | {"unet": unet.eval(), "text_encoder": text_encoder.eval()}


@cache
def lcm_networks(xl: bool = False) -> dict:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        unet = _wake(_unet(time_cond_proj_dim=33, **(XL if xl else {})))
        torch.nn.init.normal_(unet.time_embedding.cond_proj.weight)  # so that the scale is seen in the output
    return (xl_networks() if xl else networks()) | {"unet": unet.eval()}


XL = {
    "cross_attention_dim": 40, "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 20, "transformer_layers_per_block": (1, 2),
    "use_linear_projection": True, "attention_head_dim": (2, 4),
}  # fmt: skip


def _unet(**settings) -> UNet2DConditionModel:
    own = {"cross_attention_dim": 16, "attention_head_dim": 2} | settings
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), **own,
    )  # fmt: skip


def _wake(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Its last layer starts at zero in a fresh network."""
    torch.nn.init.normal_(unet.conv_out.weight, std=0.2)
    return unet


def _text(**settings) -> CLIPTextConfig:
    own = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2} | settings
    return CLIPTextConfig(
        vocab_size=300, max_position_embeddings=16, bos_token_id=298, eos_token_id=299, pad_token_id=299, **own
    )


def tiny_tokenizer(pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """CLIP's tokenizer class with bytes and eight words for a vocabulary, 300 tokens; SDXL's second pads with "!"."""
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
    return CLIPTokenizer(vocab=ids, merges=merges, model_max_length=16, pad_token=pad)


def tiny_pipeline(parts: dict) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def xl_pipeline(parts: dict, **settings) -> StableDiffusionXLPipeline:
    pipeline = StableDiffusionXLPipeline(**parts, add_watermarker=False, **settings)
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
    """It begins where the embedded model does, so that the pages' tests say one thing of both."""
    rest = {key: parts[key] for key in ("unet", "vae", "text_encoder", "tokenizer")}
    own = {"sampler": "DDIM", "steps": 20, "scale": 4.0}
    config = dict(parts["scheduler"].config)
    return StableDiffusion(name=name, device=torch.device("cpu"), scheduler_config=config, own=own, **rest)


def as_xl(parts: dict, name: str = "tiny-xl", **settings) -> StableDiffusionXL:
    rest, config = {key: part for key, part in parts.items() if key != "scheduler"}, dict(parts["scheduler"].config)
    made = StableDiffusionXL(name=name, device=torch.device("cpu"), scheduler_config=config, **rest, **settings)
    made.preview = preview()  # of the same VAE
    return made


def saved(folder: Path, pipeline, **own) -> Path:
    """The pipeline as a diffusers folder, with what it says of itself where that is given."""
    pipeline.save_pretrained(folder, safe_serialization=True)
    if own:
        (folder / OWN).write_text(json.dumps(own))
    return folder


class Calls:
    """A Model that counts the rows of each call of another one."""

    def __init__(self, model) -> None:
        self._model, self.rows = model, []

    def __getattr__(self, name):
        return getattr(self._model, name)

    def predict(self, latents, t, conditioning):
        self.rows.append(len(latents))
        return self._model.predict(latents, t, conditioning)
