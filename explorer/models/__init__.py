"""Where models come from: the embedded one, a folder, or the Hub. One family of models is one file and one row here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import torch

from explorer.models import sd
from explorer.records import Model, SourceError

EMBEDDED = Path(__file__).parents[2] / "assets" / "models" / "emoji-ldm"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
WANTED = [
    "model_index.json",
    *(f"{part}/*.{ending}" for part in (*sd.PARTS, "tiny_vae") for ending in ("json", "txt", "safetensors")),
]  # nothing that can run
UNWANTED = ["*.fp16.*", "*.non_ema.*", "*/*/*"]  # the same weights again

MODELS: dict[str, Callable[[Path, str, torch.device, torch.dtype | None], Model]] = {
    "StableDiffusionPipeline": sd.load,  # by the class that model_index.json names
}


def load(source: str | Path | None = None, device: str | None = None, dtype: torch.dtype | str | None = None) -> Model:
    """Loads a model in diffusers layout: safetensors only, no code from the model, nothing pickled.

    Args:
        source: None is the embedded model; else a folder, or a Hub id "owner/name".
        device: "cpu", "cuda", "cuda:1" …; None is CUDA where there is one.
        dtype: torch.float32, torch.float16, torch.bfloat16 or their names. None is float32 on the CPU, and on CUDA
            float16, or bfloat16 where the model's own config asks for it.

    Raises:
        SourceError: nothing usable is there; the message says what to do.
    """
    where = _device(device)
    name, folder = _folder(source)
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        family = index["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        hint = "reinstall the project" if source is None else "give the folder that a diffusers save_pretrained() wrote"
        raise SourceError(f"The model {name!r} has no readable model_index.json; {hint}.") from None
    if not isinstance(family, str) or family not in MODELS:
        raise SourceError(f"The model {name!r} is a {family!r}; this project can run {', '.join(MODELS)}.")
    return MODELS[family](folder, name, where, _dtype(dtype))


def _folder(source: str | Path | None) -> tuple[str, Path]:
    """The name to show and the folder to read; a Hub id is downloaded, or found in the cache."""
    if source is None:
        return EMBEDDED.name, EMBEDDED
    try:
        folder = Path(source).expanduser()
        if folder.is_dir():
            name, embedded = folder.resolve().name, folder.resolve() == EMBEDDED.resolve()
            return f"./{name}" if name == EMBEDDED.name and not embedded else name, folder  # a namesake isn't it
    except (OSError, RuntimeError, ValueError):  # a name too long, an unknown home, a NUL
        pass
    if not HUB_ID.fullmatch(str(source)):
        raise SourceError(f"The model {str(source)[:80]!r} is neither a folder nor a Hub id like 'owner/name'.")
    from huggingface_hub import snapshot_download

    try:
        return str(source), Path(snapshot_download(str(source), allow_patterns=WANTED, ignore_patterns=UNWANTED))
    except Exception as error:  # the hub client raises some twenty kinds, down to its HTTP library's own
        raise SourceError(
            f"The model {str(source)!r} can't be fetched from the Hub ({type(error).__name__}); "
            "check its name, the network and your access, or give a folder."
        ) from error


def _device(device: str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise SourceError(f"device is {str(device)[:40]!r}; give 'cpu', 'cuda' or 'cuda:1'.") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise SourceError(f"device is {str(chosen)!r}, but {torch.cuda.device_count()} CUDA devices are here; give 'cpu'.")
    if chosen.type not in ("cpu", "cuda"):
        raise SourceError(f"device is {str(chosen)!r}; give 'cpu' or 'cuda'.")
    return chosen


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    if dtype is None:
        return None
    chosen = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if chosen not in (torch.float32, torch.float16, torch.bfloat16):
        raise SourceError(f"dtype is {str(dtype)[:40]!r}; give 'float32', 'float16' or 'bfloat16'.")
    return chosen
