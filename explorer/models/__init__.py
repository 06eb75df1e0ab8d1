"""Where models come from: the embedded one, a folder, or the Hub. One family of models is one file and one row here."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch

from explorer.models import checks, files, measured, pixels, room, sd, sdxl
from explorer.models.hub import Allowed, Hub, Progress, fetch, parse
from explorer.records import Model, SourceError

EMBEDDED = Path(__file__).parents[2] / "assets" / "models" / "emoji-ldm"

AUTO = "auto"

MODELS: dict[str, Callable[[Path, str, torch.device, torch.dtype | None], Model]] = {
    "StableDiffusionPipeline": sd.load,  # by the class that model_index.json names
    "LatentConsistencyModelPipeline": sd.load,
    "StableDiffusionXLPipeline": sdxl.load,
    "DDPMPipeline": pixels.load,
    "DDIMPipeline": pixels.load,
}


def load(
    source: str | Path | None = None,
    device: str | None = None,
    dtype: torch.dtype | str | None = None,
    *,
    progress: Progress | None = None,
    allowed: Allowed | None = None,
    hub: Hub | None = None,
) -> Model:
    """Loads a model in diffusers layout: safetensors only, no code from the model, nothing pickled.

    All is checked before it is fetched or built: what the files are, that they belong together, and that there is room.

    Args:
        source: None is the embedded model; else a folder, or a Hub id "owner/name" or "owner/name@revision".
        device: "cpu", "cuda", "cuda:1" …; None is CUDA where there is one.
        dtype: torch.float32, torch.float16, torch.bfloat16 or their names. None is float32 on the CPU, and on CUDA
            float16, or bfloat16 where the model's own config asks for it. "auto" is the same but on the CPU, where it
            is what `measured.suited` found fastest for this model; the embedded one stays in float32.
        progress: told of each of `hub.STAGES` with bytes done and bytes in all, both 0 where there is nothing to count;
            what it raises stops the loading and comes out as it is. Files that are complete stay in the cache.
        allowed: what may be given beside None; None itself: anything.
        hub: where models are fetched from and kept; None as huggingface_hub's environment variables say.

    Raises:
        SourceError: nothing usable is there; the message says what to do. `room.NoRoom` where it doesn't fit.
    """
    where, precision, tell = _device(device), _dtype(dtype), progress or _silence
    if source is not None and allowed is not None:
        source = allowed.find(str(source))
    name, folder = _folder(source, hub or Hub(), where, precision, tell)
    tell("checking", 0, 0)
    index = files.index(folder, name, MODELS, "reinstall the project" if source is None else files.HINT)
    if source is not None:
        checks.folder(folder, name, index, where, precision)
    tell("reading", 0, 0)
    try:
        read = MODELS[index.family]
        if dtype == AUTO and where.type == "cpu" and source is not None:
            model = measured.suited(lambda chosen: read(folder, name, where, chosen), folder)
        else:
            model = read(folder, name, where, precision)
        tell("warming", 0, 0)
        _try(model)
        return model
    except BaseException as error:
        room.give_back(error)
        if room.ran_out(error):
            raise room.NoRoom(f"The model {name!r} doesn't fit into memory; free some, or give a smaller one.") from error
        raise


def _try(model: Model) -> None:
    """Fits the preview, which the first frame wants: by that the VAE encodes and decodes, or fails before it matters."""
    try:
        preview = model.preview
    except RuntimeError as error:
        if room.ran_out(error):
            raise
        fault: Exception | None = error
    except (TypeError, ValueError, ArithmeticError) as error:
        fault = error
    else:
        if all(math.isfinite(number) for row in (*preview.matrix, preview.offset) for number in row):
            return
        fault = None
    raise SourceError(f"The model {model.name!r} can't decode what it encodes; fetch or save it again.") from fault


def _folder(
    source: str | Path | None, hub: Hub, device: torch.device, dtype: torch.dtype | None, tell: Progress
) -> tuple[str, Path]:
    """The name to show and the folder to read; a Hub id is downloaded, or found in the cache."""
    tell("resolving", 0, 0)
    if source is None:
        return EMBEDDED.name, EMBEDDED
    if folder := files.given(source):
        name, embedded = folder.resolve().name or str(source), folder.resolve() == EMBEDDED.resolve()
        return f"./{name}" if name == EMBEDDED.name and not embedded else name, folder  # a namesake isn't it
    if (found := parse(str(source))) is None:
        raise SourceError(
            f"The model {str(source)[:80]!r} is neither a folder nor a Hub id like 'owner/name' or 'owner/name@revision'."
        )
    return found.name, fetch(found, hub, device, dtype, MODELS, tell)


def _silence(stage: str, done: int, total: int) -> None:
    """Nobody wants to know."""


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
    if dtype is None or dtype == AUTO:
        return None
    chosen = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if chosen not in (torch.float32, torch.float16, torch.bfloat16):
        raise SourceError(f"dtype is {str(dtype)[:40]!r}; give 'auto', 'float32', 'float16' or 'bfloat16'.")
    return chosen
