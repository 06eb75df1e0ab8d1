"""What families have in common in reading a diffusers folder: networks, tokenizers and configs, and every refusal.

Nothing in a folder is trusted: safetensors only, no code, and what doesn't fit together is refused in one sentence.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.utils import logging as diffusers_logging
from transformers import CLIPTokenizer
from transformers.utils import logging as transformers_logging

from explorer.models import abilities, files, tiny
from explorer.records import SourceError

PREDICTIONS = ("epsilon", "v_prediction", "sample")
FOR_LATENTS = {"clip_sample": False, "thresholding": False}  # both cut pixels to what a picture can have


def complete(folder: Path, name: str, parts: Sequence[str]) -> None:
    """Refuses a folder that has not a folder for each part.

    Raises:
        SourceError: says which are missing.
    """
    missing = [part for part in parts if not (folder / part).is_dir()]
    if missing:
        raise SourceError(f"The model {name!r} has no {' and no '.join(missing)}; fetch or save it again.")


@contextmanager
def told(name: str, parts: Sequence[str]) -> Iterator[None]:
    """Whatever goes wrong while a model's parts are read is a SourceError; the loaders are kept quiet."""
    try:
        with quiet():
            yield
    except SourceError:
        raise
    except Exception as error:  # the loaders raise what they like on a broken file: KeyError, SafetensorError, OSError …
        raise SourceError(
            f"The model {name!r} can't be read ({type(error).__name__}): it needs {', '.join(parts[:-1])} and {parts[-1]} "
            "in diffusers layout, with safetensors weights; fetch or save it again."
        ) from error


def precision(folder: Path, device: torch.device, dtype: torch.dtype | None) -> torch.dtype:
    """The dtype that was asked for, or what suits the device: float32 on a CPU, else what the text encoder asks for."""
    if dtype is not None:
        return dtype
    said = files.read_json(folder / "text_encoder" / "config.json")
    asked = said.get("dtype", said.get("torch_dtype"))  # the name that transformers used before its version 5
    return torch.float32 if device.type == "cpu" else torch.bfloat16 if asked == "bfloat16" else torch.float16


def networks(folder: Path, name: str, kinds: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The networks of a folder by part, each of its class; the VAE in float32, see `models.latent`.

    Raises:
        SourceError: weights are missing; a loader may raise anything else.
    """
    parts: dict[str, Any] = {}
    for part, kind in kinds.items():
        place = files.place(folder, part)
        parts[part], report = kind.from_pretrained(
            place, dtype=torch.float32 if part == "vae" else dtype, use_safetensors=True, output_loading_info=True,
            variant=files.variant(place, kind.__name__),
        )  # fmt: skip
        if report["missing_keys"]:  # they would be left as the memory was
            raise SourceError(
                f"The model {name!r} lacks {len(report['missing_keys'])} weights of its {part}; fetch it again."
            )
    return parts


def tokenizer(folder: Path, name: str, part: str, text: Any) -> Any:
    """The CLIPTokenizer of a folder, which must fit the config of its text encoder.

    Raises:
        SourceError: it has tokens or lengths that the encoder doesn't take.
    """
    words = CLIPTokenizer.from_pretrained(folder, subfolder=part)
    if not 2 < len(words) <= text.vocab_size:  # transformers makes up an empty one where files lack
        raise SourceError(f"The model {name!r} has {len(words)} tokens; its text encoder takes 3 to {text.vocab_size}.")
    if not 2 < words.model_max_length <= text.max_position_embeddings:
        raise SourceError(
            f"The model {name!r} has prompts of {words.model_max_length:.6g} tokens; its text encoder takes "
            f"3 to {text.max_position_embeddings}."
        )
    return words


def rest(folder: Path, name: str, vae: Any) -> dict[str, Any]:
    """What else a model of latents is built with: its scheduler's config, what it says of itself, its tiny decoder.

    Raises:
        SourceError: one of them can't be used.
    """
    scheduler_config = files.read_json(folder / "scheduler" / "scheduler_config.json")
    check_scheduler(name, scheduler_config)
    return {
        "scheduler_config": scheduler_config,
        "own": abilities.read(folder, name),
        "tiny_vae": tiny.load(folder, name, vae.latent_channels, 2 ** (len(vae.block_out_channels) - 1)),
    }


def check_networks(name: str, unet: Any, vae: Any, width: int, added: Sequence[str | None]) -> None:
    """Refuses a U-Net that wants or gives something else than a plain text-to-image model's, and latents of another form.

    Args:
        unet, vae: their configs.
        width: of the vectors that a prompt becomes.
        added: what `addition_embed_type` may be.

    Raises:
        SourceError: says what.
    """
    takes, gives, latents = unet.in_channels, unet.out_channels, vae.latent_channels
    attends = unet.cross_attention_dim
    widths = {*attends} if isinstance(attends, list | tuple) else {attends}
    faults = {
        f"its U-Net takes {takes} channels where its latents have {latents}, as one for inpainting does": takes != latents,
        f"its U-Net gives {gives} channels for {takes}": gives != takes,
        "its U-Net is told a class": unet.class_embed_type is not None or unet.num_class_embeds is not None,
        "its U-Net encodes what it attends to": (unet.encoder_hid_dim, unet.encoder_hid_dim_type) != (None, None),
        f"its U-Net's added conditions are {str(unet.addition_embed_type)[:40]!r}": unet.addition_embed_type not in added,
        f"its U-Net attends to vectors {str(attends)[:40]} wide, and its prompts have {width}": widths != {width},
        "its VAE shifts and stretches latents by numbers of its own": any(
            vae.get(key) for key in ("latents_mean", "latents_std", "shift_factor")
        ),
    }
    for fault, found in faults.items():
        if found:
            raise SourceError(f"The model {name!r} is not a plain text-to-image model: {fault}.")


def check_scheduler(name: str, said: Mapping[str, Any]) -> None:
    """Refuses a config that the samplers here can't be built from, or would be built from wrongly.

    Raises:
        SourceError: says why.
    """
    kind, predicts = str(said.get("_class_name", ""))[:40], said.get("prediction_type", "epsilon")
    if "EDM" in kind or "FlowMatch" in kind or said.get("use_flow_sigmas"):
        raise SourceError(f"The model {name!r} was made for {kind or 'flow matching'!r}; this project can't run that.")
    if predicts not in PREDICTIONS:
        raise SourceError(f"The model {name!r} predicts {str(predicts)[:40]!r}; this project can't run that.")
    trial = DDPMScheduler.from_config({**said, **FOR_LATENTS})  # the one with the most beta schedules
    trial.set_timesteps(1)
    if not torch.isfinite(trial.alphas_cumprod).all():
        raise SourceError(f"The model {name!r} has a noise schedule that is not finite; fetch or save it again.")
    levels, steps = trial.alphas_cumprod, trial.config.num_train_timesteps
    if len(levels) != steps or levels[0] >= 1 or levels[-1] < 0 or (levels.diff() >= 0).any():
        raise SourceError(
            f"The model {name!r} has a noise schedule of {len(levels)} levels for {steps} timesteps that is none: "
            "alpha_bar must fall from below 1 toward 0, at each timestep; fetch or save it again."
        )


def settled(said: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler's config with what is set whatever it says, so that diffusers takes that over into every scheduler."""
    defaults = [key for key in said.get("_use_default_values", []) if key not in fixed]  # these it would drop
    return {"prediction_type": "epsilon", **said, **fixed, "_use_default_values": defaults}


def checksum(*modules: Any) -> str:
    """Of the first numbers of every tensor: milliseconds, and a training or a merge changes some of them."""
    heads = [p.detach().flatten()[:64].float().cpu() for module in modules for p in module.parameters()]
    return f"{zlib.crc32(torch.cat(heads).numpy().tobytes()):08x}"


def count(*modules: Any) -> int:
    """Of all their weights."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@contextmanager
def quiet() -> Iterator[None]:
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
