"""Which files of a model are read, and what its model_index.json says; the same for a folder and for a listing of the Hub.

Only JSON, text and safetensors of known names are ever read. Links within a given folder are followed, since the Hub's own
cache consists of them: who gives a folder may read it anyway, and what is read is of regular files and bounded. In public
mode folders are on the allow-list, or refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from explorer.records import SourceError

INDEX = "model_index.json"
OWN = "explorer.json"  # what a folder says of itself; see `abilities`
HINT = "give one in diffusers layout, as its save_pretrained() writes"
LIBRARIES = ("diffusers", "transformers", "stable_diffusion")  # the last is diffusers' own word for its safety checker
TEXT = ("CLIPTextModel", "CLIPTextModelWithProjection")
WORDS = ("CLIPTokenizer", "CLIPTokenizerFast")
NETWORKS: Mapping[str, tuple[str, ...]] = {  # by part, the classes that are read
    "unet": ("UNet2DConditionModel", "UNet2DModel"),
    "vae": ("AutoencoderKL",),
    "text_encoder": TEXT,
    "text_encoder_2": TEXT,
    "tiny_vae": ("AutoencoderTiny",),
}
TOKENIZERS: Mapping[str, tuple[str, ...]] = {"tokenizer": WORDS, "tokenizer_2": WORDS}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json",
                   "added_tokens.json")  # fmt: skip
HALF = "fp16"  # in names of files: the same weights in half precision
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".msgpack")
LONGEST = {"config": 10**6, "words": 32 * 10**6}  # bytes


class Index(NamedTuple):
    """What model_index.json says."""

    family: str  # the class of its pipeline
    parts: Mapping[str, str]  # the class of each part that is read


class Chosen(NamedTuple):
    """The files of a model that are read; all others are left where they are."""

    small: tuple[str, ...]  # configs and words
    weights: Mapping[str, tuple[str, ...]]  # by part, its safetensors
    folders: Mapping[str, str]  # by part, "unet/", or "" where older models have it at their root

    @property
    def all(self) -> tuple[str, ...]:
        """Every file that is read."""
        return (*self.small, *(file for files in self.weights.values() for file in files))


def index(folder: Path, name: str, families: Collection[str], hint: str = HINT) -> Index:
    """Reads and checks model_index.json.

    Args:
        folder: where it is.
        name: the model's.
        families: the classes of pipelines that can be run.
        hint: what to do where it can't be read.

    Raises:
        SourceError: it is not there, names code of the model's own, or a pipeline that can't be run.
    """
    try:
        said = read_json(folder / INDEX)
        family = said["_class_name"]
    except (OSError, ValueError, KeyError):
        raise SourceError(f"The model {name!r} has no readable {INDEX}; {hint}.") from None
    if not isinstance(family, str):
        raise SourceError(f"The model {name!r} brings a pipeline of its own, which this project never runs.")
    if family not in families:
        raise SourceError(f"The model {name!r} is a {family[:60]!r}; this project can run {', '.join(families)}.")
    parts = {}
    for part, value in said.items():
        if part.startswith("_") or not isinstance(value, list) or value[:1] == [None]:
            continue
        library, kind = value if len(value) == 2 else (None, None)
        if library not in LIBRARIES or not isinstance(kind, str):
            raise SourceError(
                f"The model {name!r} brings code of its own for its {part[:40]!r}, which this project never runs; "
                "give a model made of diffusers' own parts."
            )
        allowed = {**NETWORKS, **TOKENIZERS}.get(part)
        if allowed and kind not in allowed:
            raise SourceError(
                f"The model {name!r} has a {kind[:40]!r} as its {part}; this project reads {' or '.join(allowed)} there."
            )
        if allowed or part == "scheduler":
            parts[part] = kind
    return Index(family, parts)


def listing(folder: Path) -> dict[str, int]:
    """The regular files of a folder and of its parts' folders, with their sizes in bytes, links followed."""
    found = {}
    for inner in ("", *NETWORKS, *TOKENIZERS, "scheduler"):
        here = folder / inner
        if here.is_dir():
            files = (path for path in here.iterdir() if path.is_file())
            found.update({f"{inner}/{path.name}".lstrip("/"): path.stat().st_size for path in files})
    return found


def choose(files: Mapping[str, int], parts: Mapping[str, str], name: str) -> Chosen:
    """Picks what is read of a model: configs, words, and of each network one set of safetensors, the plain one first.

    Args:
        files: all that it has, with sizes in bytes; "unet/config.json" …
        parts: from its `index`.

    Raises:
        SourceError: a part or a shard is missing, there is only pickle, or a text is absurdly long.
    """
    small, weights, folders = [INDEX, *({OWN} & files.keys())], {}, {}
    if any(file.startswith("tiny_vae/") for file in files):  # ours: no model_index.json has it
        parts = {**parts, "tiny_vae": "AutoencoderTiny"}
    missing = []
    for part, kind in parts.items():
        folder = f"{part}/" if any(file.startswith(f"{part}/") for file in files) else ""
        folders[part] = folder
        if part in TOKENIZERS:
            texts = [folder + file for file in TOKENIZER_FILES if folder and folder + file in files]
        else:
            texts = [folder + ("scheduler_config.json" if part == "scheduler" else "config.json")]
        if not texts or not all(text in files for text in texts):
            missing.append(part)
            continue
        small += texts
        if part in NETWORKS:
            weights[part] = _weights(files, part, kind, folder, name)
            small += [file for file in (f"{folder}{stem(kind)}.safetensors.index.json",) if _sharded(weights[part])]
    if missing:
        raise SourceError(f"The model {name!r} has no {' and no '.join(missing)}; {cure(*missing)}.")
    for file in small:
        limit = LONGEST["words" if file.split("/")[0] in TOKENIZERS or file.endswith(".index.json") else "config"]
        if files.get(file, 0) > limit:
            raise SourceError(f"The model {name!r} has a {file} of {files[file]} bytes; {limit} at most are read.")
    return Chosen(tuple(small), weights, folders)


def _weights(files: Mapping[str, int], part: str, kind: str, folder: str, name: str) -> tuple[str, ...]:
    plain, half = (f"{folder}{stem(kind)}{variant}.safetensors" for variant in ("", f".{HALF}"))
    pattern = re.compile(re.escape(folder + stem(kind)) + r"-(\d{5})-of-(\d{5})\.safetensors")
    shards = {file: match for file in files if (match := pattern.fullmatch(file))}
    if f"{plain}.index.json" in files and not (plain in files and kind in TEXT):  # as their loaders do
        count = max((int(match[2]) for match in shards.values()), default=1)
        if {int(match[1]) for match in shards.values()} != set(range(1, count + 1)):
            lost = max(count - len(shards), 1)
            raise SourceError(f"The model {name!r} lacks {lost} of the {count} weight files of its {part}; {cure(part)}.")
        return tuple(sorted(shards))
    if plain in files:
        return (plain,)
    if half in files and f"{plain}.index.{HALF}.json" not in files:  # with one, loaders would take what it names
        return (half,)
    if any(file.startswith(folder) and file.endswith(PICKLES) for file in files):
        raise SourceError(
            f"The model {name!r} has the weights of its {part} only as pickle, which can run code and is never opened; "
            f"safetensors are needed{', or remove it' * (part == 'tiny_vae')}."
        )
    raise SourceError(f"The model {name!r} has no safetensors weights of its {part}; {cure(part)}.")


def halved(listing: Mapping[str, int]) -> dict[str, int]:
    """A listing without the plain weights of what is there in half precision too: half the bytes, for who rounds anyway."""
    end = f".{HALF}.safetensors"
    twice = {file.removesuffix(end) for file in listing if file.endswith(end)}
    twice -= {stem for stem in twice if f"{stem}.safetensors.index.{HALF}.json" in listing}
    weights = re.compile(r"(.+?)(?:-\d{5}-of-\d{5})?\.safetensors(?:\.index\.json)?")
    plain = {file for file in listing if (match := weights.fullmatch(file)) and match[1] in twice}
    return {file: size for file, size in listing.items() if file not in plain}


def variant(folder: Path, kind: str) -> str | None:
    """What from_pretrained must be told of a part's folder: "fp16" where its weights are there in half precision only.

    They are taken for what they are, since a model published so can't be had otherwise; only a float32 run would have
    gained from more digits. In shards they are refused: no published model needs that.

    Args:
        folder: the part's.
        kind: the class of the part.
    """
    half, *plain = (
        folder / f"{stem(kind)}.{end}" for end in (f"{HALF}.safetensors", "safetensors", "safetensors.index.json")
    )
    return HALF if half.exists() and not any(file.exists() for file in plain) else None


def given(text: str | Path) -> Path | None:
    """The folder that somebody named; None where it is none."""
    with suppress(OSError, RuntimeError, ValueError):  # a name too long, an unknown home, a NUL
        folder = Path(text).expanduser()
        if str(text).strip() and folder.is_dir():
            return folder
    return None


def place(folder: Path, part: str) -> Path:
    """Where a part's files are: in a folder of its own, or with older models at the root."""
    return folder / part if (folder / part).is_dir() else folder


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of bounded length; ValueError where it is anything else."""
    limit = LONGEST["words" if path.name.endswith(".index.json") else "config"]
    if not path.is_file():  # to open a pipe is to wait for ever
        raise ValueError("not a file")
    with path.open("rb") as file:
        text = file.read(limit + 1)
    if len(text) > limit:
        raise ValueError("too long")
    try:
        said = json.loads(text)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(said, dict):
        raise ValueError("not an object")
    return said


def stem(kind: str) -> str:
    """What a network's weight files are called, by its class."""
    return "model" if kind in TEXT else "diffusion_pytorch_model"


def _sharded(files: tuple[str, ...]) -> bool:
    return any("-of-" in file for file in files)


def cure(*parts: str) -> str:
    """What to do about a broken part; the tiny decoder can be done without."""
    return "save it again or remove it" if parts == ("tiny_vae",) else "fetch or save it again"
