"""A model's configs and weights, checked before anything is built from them: whole, sane, and belonging together.

Nothing here runs what a model brings, unpickles it, or takes the memory that it asks for: configs and the headers of its
safetensors are read, both bounded, and its networks are built without storage ("meta") to compare their shapes.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from explorer.models import files, room
from explorer.models.files import TEXT, Chosen
from explorer.models.reading import check_scheduler, quiet
from explorer.records import SourceError

TIMESTEPS = 10_000  # of training; all known models have 1000
ATTENTION = ("eager", "sdpa", "flash_attention_2")  # that transformers brings itself
SIDE = 4096  # cells or pixels that a config may call its size
FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}  # bytes each
OTHERS = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}

LONGEST = 25 * 10**6  # bytes of a header
Header = Mapping[str, tuple[str, tuple[int, ...]]]  # of a safetensors file: dtype and shape by name


def folder(path: Path, name: str, index: files.Index, device: torch.device, dtype: torch.dtype | None) -> None:
    """Checks a whole model in a folder: that it is complete, whole and sane, and that there is memory for it.

    Raises:
        SourceError: something of that is not so.
    """
    try:
        chosen = files.choose(files.listing(path), index.parts, name)
        found = headers(path, chosen, name)
    except OSError as error:
        raise SourceError(f"The model {name!r} has files that can't be read ({type(error).__name__}).") from error
    room.in_memory(name, memory(found, device, dtype), device)
    configs(path, chosen, index.parts, found, name)


def headers(folder: Path, chosen: Chosen, name: str) -> dict[str, Header]:
    """By part, what the headers of its weight files say; each file is as long as its header says.

    Raises:
        SourceError: a file is cut off, or not what it should be.
    """
    found: dict[str, Header] = {}
    for part, shards in chosen.weights.items():
        merged: dict[str, tuple[str, tuple[int, ...]]] = {}
        for file in shards:
            try:
                merged |= header(folder / file)
            except (OSError, ValueError):
                raise SourceError(
                    f"The model {name!r} has a broken {file}, cut off or not safetensors; {files.cure(part)}."
                ) from None
        found[part] = merged
    return found


def header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Reads a safetensors header: 8 bytes of length, JSON, then the tensors without a gap to the end of the file.

    Raises:
        ValueError: it is cut off, or not that.
    """
    with path.open("rb") as file:
        size, length = path.stat().st_size, int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(LONGEST, size - 8):
            raise ValueError("length")
        text = file.read(length)
    try:
        found, end = _tensors(json.loads(text))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("entries") from error
    if 8 + length + end != size:
        raise ValueError("size")
    return found


def _tensors(entries: dict[str, Any]) -> tuple[dict[str, tuple[str, tuple[int, ...]]], int]:
    """Dtypes and shapes by name, and where the last tensor ends."""
    entries.pop("__metadata__", None)
    end, found = 0, {}
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        shape, (first, last) = entry["shape"], entry["data_offsets"]
        if not all(isinstance(side, int) and side >= 0 for side in shape) or first != end:
            raise ValueError("shape")
        end = first + math.prod(shape) * {**FLOATS, **OTHERS}[entry["dtype"]]
        if end != last:
            raise ValueError("offsets")
        found[name] = entry["dtype"], tuple(shape)
    return found, end


def memory(headers: Mapping[str, Header], device: torch.device, dtype: torch.dtype | None) -> int:
    """Bytes that the weights will take once loaded; the VAE's are float32 whatever the rest is."""
    usual = dtype.itemsize if dtype else 4 if device.type == "cpu" else 2
    widths = {part: 4 if part.endswith("vae") else usual for part in headers}
    return sum(math.prod(shape) * widths[part] for part, header in headers.items() for _, shape in header.values())


def configs(folder: Path, chosen: Chosen, parts: Mapping[str, str], headers: Mapping[str, Header], name: str) -> None:
    """Checks that all configs can be used, and that each network's weights have the shapes that its config asks for.

    Raises:
        SourceError: a config is broken, absurd, asks for the model's own code, or belongs to other weights.
    """
    for file in chosen.small:
        if not file.endswith(("config.json", ".index.json")):  # words are the tokenizer's; the index was read first
            continue
        part = next((part for part, inner in chosen.folders.items() if inner and file.startswith(inner)), "unet")
        try:
            config = files.read_json(folder / file)
        except (OSError, ValueError):
            raise SourceError(f"The model {name!r} has no readable {file}; {files.cure(part)}.") from None
        if asked := _code(config):
            raise SourceError(
                f"The model {name!r} asks for code of its own in {file} ({asked}), which this project never runs."
            )
        if "quantization_config" in config:
            raise SourceError(f"The model {name!r} has a quantized {part}, which can't be read here; give the full one.")
        if file.endswith(".index.json"):
            _names(config, chosen, file, name)
        elif file.endswith("scheduler_config.json"):
            steps = config.get("num_train_timesteps", 1000)
            if type(steps) is not int or not 1 <= steps <= TIMESTEPS:
                raise SourceError(
                    f"The model {name!r} has {str(steps)[:40]!r} training timesteps; from 1 to {TIMESTEPS} can be run."
                )
            _schedules(config, name)
        elif part in headers and file.endswith("config.json"):
            _fits(config, parts.get(part, "AutoencoderTiny"), headers[part], part, name)


def _schedules(config: Mapping[str, Any], name: str) -> None:
    try:
        with quiet():
            check_scheduler(name, config)
    except SourceError:
        raise
    except Exception as error:  # diffusers raises what it likes on a config that makes no sense
        raise SourceError(
            f"The model {name!r} has a scheduler config that none can be built from ({type(error).__name__}); "
            f"{files.cure('scheduler')}."
        ) from error


def _names(index: Mapping[str, Any], chosen: Chosen, file: str, name: str) -> None:
    """An index of shards must name the very shards that were looked at: loaders open whatever it names, pickle too."""
    said = index.get("weight_map")
    named = {str(value) for value in said.values()} if isinstance(said, dict) else set()
    inner = file[: file.rfind("/") + 1]
    if {inner + shard for shard in named} not in [{*shards} for shards in chosen.weights.values()]:
        raise SourceError(f"The model {name!r} has an {file} that names other files than its shards; fetch it again.")


def _code(config: Mapping[str, Any]) -> str:
    """The key by which a config would have a loader fetch and run code; empty where none does."""
    for said in (config, *(value for value in config.values() if isinstance(value, dict))):
        if "auto_map" in said:
            return "auto_map"
        for key, value in said.items():  # transformers takes "owner/name" there for compiled code on the Hub
            if "attn_implementation" in key and isinstance(value, str | dict) and value not in ATTENTION:
                return "attn_implementation"
    return ""


def _fits(config: Mapping[str, Any], kind: str, header: Header, part: str, name: str) -> None:
    said = config.get("_class_name", kind)
    if said != kind:
        raise SourceError(f"The model {name!r} has a {str(said)[:40]!r} as its {part}, not the {kind}; {files.cure(part)}.")
    if absurd := _absurd(_inner(config) if kind in TEXT else config, len(header)):
        raise SourceError(
            f"The model {name!r} has a {part} config with {absurd}, which its weights can't have; {files.cure(part)}."
        )
    try:
        with quiet(), torch.device("meta"):
            network = _build(kind, config)
    except Exception as error:  # a constructor raises what it likes on a config that makes no sense
        raise SourceError(
            f"The model {name!r} has a {part} config that no {kind} can be built from ({type(error).__name__}); "
            f"{files.cure(part)}."
        ) from error
    needed = Counter(_squeezed(t.shape) for t in network.state_dict().values() if t.is_floating_point())
    given = Counter(_squeezed(shape) for dtype, shape in header.values() if dtype in FLOATS)
    if lacking := (needed - given).total():
        raise SourceError(
            f"The model {name!r} has weights of another architecture for its {part}: {lacking} of the {needed.total()} "
            f"that its config asks for are not there; {files.cure(part)}."
        )


def _build(kind: str, config: Mapping[str, Any]) -> torch.nn.Module:
    if kind in TEXT:
        return getattr(transformers, kind)(transformers.CLIPTextConfig.from_dict(dict(_inner(config))))
    return getattr(diffusers, kind).from_config(dict(config))


def _inner(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A text encoder's own config, where it is one of CLIP as a whole."""
    inner = config.get("text_config") if config.get("model_type") == "clip" else None
    return inner if isinstance(inner, dict) and inner else config


def _absurd(config: Mapping[str, Any], weights: int) -> str:
    """What would make a constructor run for hours: more layers than the file has weights; empty where nothing does."""
    deep = len(config["block_out_channels"]) if isinstance(config.get("block_out_channels"), list) else 1
    for key, value in config.items():
        numbers = [*_numbers(value)]
        if ("layers" in key or "blocks" in key) and numbers:
            deep *= max(1, *numbers)
        if key == "sample_size" and any(not 0 < number <= SIDE for number in numbers):
            return f"the sample_size {str(value)[:40]}"
    return f"{min(deep, 10**99):.6g} layers" if deep > weights else ""


def _numbers(value: Any) -> list[int]:
    if isinstance(value, list):
        return [number for item in value for number in _numbers(item)]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without ones: older files keep a linear layer as a convolution of one pixel, under another name."""
    return tuple(side for side in shape if side != 1)
