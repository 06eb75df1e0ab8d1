"""What a trace's header says, checked before anything of the file is believed.

The header is JSON, and cheap: bounded in length before it is parsed, and parsed before a number of the data is read.
Two formats: in the second, all tensors of one name are one stack, `x0` of shape (n, C, H, W), so that a header stays
small however long the run; the first had an entry for each, `0012.x0` of shape (1, C, H, W).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from explorer import limits, rows
from explorer.records import FORMAT, DiffuscopeError, Request, TraceError
from explorer.rows import finite, whole

KEY = "diffuscope"  # of the metadata
MAX_HEADER = 2**20  # bytes; a run of 1999 evaluations takes some 620 KB
MAX_PARTS = 60_000  # lists and objects in it; each costs 20 times its two letters, and the longest run has a third
MAX_FILE = 2**30  # bytes
CHANNELS = (1, 64)
GRID = (1, 10**6)  # training timesteps
CAPSULE = {
    "format",
    "versions",
    "model",
    "device",
    "dtype",
    "prediction_type",
    "latent_scale",
    "preview",
    "scheduler_config",
}
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")

Place = tuple[int, int]  # from one byte of the data to another


@dataclass(frozen=True, eq=False)
class Header:
    """A checked header: what the run is, and where in the data each of its tensors lies."""

    request: Request
    capsule: Mapping[str, Any]
    rows: list[dict[str, Any]]  # one per Step, as `explorer.trace.save` wrote it
    drawn: int
    past: int | None  # evaluations of the past; None where it is not known
    pictures: list[int]  # indices of Steps
    shape: tuple[int, ...]  # of every tensor, (1, C, H, W)
    picture: tuple[int, ...]  # shape of each picture, (3, h, w)
    begin: int  # of the data in the file
    places: Mapping[tuple[int, str], Place]  # by number of the row (or of the evaluation, or picture) and name


def read(path: Path) -> Header:
    """Reads and checks the header of a trace.

    Raises:
        TraceError: one sentence.
        OSError: the file can't be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or size > MAX_FILE or not 2 <= length <= min(MAX_HEADER, size - 8):
            raise TraceError(f"The trace is {size} bytes with a header of {length}; it is damaged or no trace at all.")
        text = file.read(length)
    try:
        entries = _parse(text.decode())
        record = _parse(entries.pop("__metadata__")[KEY])
        return _checked(entries, record, 8 + length, size)
    except TraceError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError):
        raise TraceError("The file is not a trace of this project: its header has not the right form.") from None


def _parse(text: str) -> Any:
    if text.count("[") + text.count("{") > MAX_PARTS:
        raise TraceError("The trace's header has more parts than a run can have.")
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise TraceError("The trace's header says something twice.")
    return made


def _checked(entries: dict[str, Any], record: dict[str, Any], begin: int, size: int) -> Header:
    version = record["capsule"]["format"]
    if type(version) is not int or not 1 <= version <= FORMAT:
        raise TraceError(f"The trace is of another version's format; this one reads formats 1 to {FORMAT}.")
    known = {"request", "capsule", "steps"} | ({"past", "drawn", "pictures"} if version > 1 else set())
    if set(record) != known:
        raise TraceError("The trace's record has not the parts of its format.")
    channels, grid = _capsule(record["capsule"])
    steps, scale = record["steps"], record["capsule"]["latent_scale"]
    request = _request(record["request"], scale)
    rows.check(steps, request, grid, told="guidance" in record["capsule"])
    width, height = int(request.width or 0), int(request.height or 0)
    first, last = steps[0]["index"], steps[-1]["index"]
    past, drawn, pictures = (record[key] for key in ("past", "drawn", "pictures")) if version > 1 else (None, 0, [])
    past = 0 if version == 1 and first == 0 else past
    if not whole(past, 0, first) and not (past is None and first > 0):
        raise TraceError(f"The trace's past must be of 0 to {first} evaluations.")
    if not whole(drawn, 0, limits.noises(width, height)):
        raise TraceError(f"The trace's noises before it must be 0 to {limits.noises(width, height)}.")
    if len(pictures) > limits.PICTURES or pictures != sorted({i for i in pictures if whole(i, first, last)}):
        raise TraceError(f"The trace's pictures must be of up to {limits.PICTURES} of its steps, in order.")
    shape = (1, channels, height // scale, width // scale)
    names = [(i, name) for i, row in enumerate(steps) for name in rows.names(row)]
    names += [(i, f"past.{name}") for name in ("latents", "model_output") for i in range(past or 0)]
    names += [(i, "pictures") for i in range(len(pictures))]
    shapes = _entries(entries, size - begin)
    places = _stacked(entries, shapes, names, shape) if version > 1 else _scattered(entries, shapes, names, shape)
    picture = tuple(shapes["pictures"][1:]) if pictures else ()
    return Header(request, record["capsule"], steps, drawn, past, pictures, shape, picture, begin, places)


def _capsule(capsule: Mapping[str, Any]) -> tuple[int, int]:
    """The number of latent channels and of training timesteps, after a look at every part of the capsule."""
    # older ones have no checksum of their weights, and most models no guidance of their own
    if set(capsule) - {"weights", "guidance", "rounding"} != CAPSULE or capsule.get("guidance", "embedded") != "embedded":
        raise TraceError("The trace's capsule has not the parts of its format.")
    words = [capsule["model"], capsule["device"], capsule["dtype"], capsule.get("weights", ""), capsule.get("rounding", "")]
    words += [*capsule["versions"], *capsule["versions"].values()]
    if not all(isinstance(word, str) and len(word) <= 200 and word.isprintable() for word in words) or len(words) > 20:
        raise TraceError("The trace does not say in plain words which model and versions made it.")
    limits.whole("latent_scale", capsule["latent_scale"], (1, 64))
    matrix, offset = capsule["preview"]["matrix"], capsule["preview"]["offset"]
    channels = len(matrix[0])
    if [len(row) for row in (*matrix, offset)] != [channels] * 3 + [3] or not whole(channels, *CHANNELS):
        raise TraceError("The trace's preview matrix has not 3 rows of one length, or its offset has not 3 numbers.")
    if not all(finite(value) for row in (*matrix, offset) for value in row):
        raise TraceError("The trace's preview matrix has something that is not a finite number.")
    config, kind = capsule["scheduler_config"], capsule["prediction_type"]
    if kind not in PREDICTION_TYPES or config.get("prediction_type") != kind:
        raise TraceError(
            f"The trace's prediction_type must be one of {', '.join(PREDICTION_TYPES)}, and its scheduler's too."
        )
    for key, value in config.items():
        parts = value if isinstance(value, list) else [value]
        if not key.isprintable() or not all(_plain(part) for part in parts):
            raise TraceError("The trace's scheduler config has something that is not a plain value.")
    grid = config.get("num_train_timesteps", 1000)
    if not whole(grid, *GRID):
        raise TraceError(f"The trace's num_train_timesteps must be a whole number from {GRID[0]} to {GRID[1]}.")
    return channels, grid


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, bool) or finite(value) or (isinstance(value, str) and value.isprintable())


def _request(plain: Mapping[str, Any], scale: int) -> Request:
    """The request of a trace, held to the same limits as any other; sizes are always written out."""
    if set(plain) != {field.name for field in fields(Request)}:
        raise TraceError("The trace's request has not the fields of this version.")
    plain = dict(plain)
    if isinstance(plain["guidance"], list):
        plain["guidance"] = tuple(plain["guidance"])
    if not all(isinstance(plain[side], int) for side in ("width", "height")):
        raise TraceError("The trace's request does not say how large its picture is.")
    try:
        return limits.check_for(Request(**plain), (scale, scale), scale)
    except DiffuscopeError as error:
        raise TraceError(f"The trace's request can't be used: {error}") from None


def _entries(entries: Mapping[str, Any], size: int) -> dict[str, list[int]]:
    """The shape of every tensor, after a look at each entry: together they are all of the data, without gap or overlap."""
    for entry in entries.values():
        if set(entry) != {"dtype", "shape", "data_offsets"} or entry["dtype"] not in ("F32", "U8"):
            raise TraceError("The trace's tensors must be float32, its pictures uint8, and nothing else.")
        numbers = [*entry["shape"], *entry["data_offsets"]]
        if len(numbers) > 6 or not all(whole(n, 0, MAX_FILE) for n in numbers):
            raise TraceError("The trace's tensors have shapes or places that can't be.")
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: entry["data_offsets"][0]):
        nbytes = math.prod(entry["shape"]) * (4 if entry["dtype"] == "F32" else 1)
        if entry["data_offsets"] != [end, end + nbytes]:
            raise TraceError("The trace's tensors leave gaps, overlap, or are not as long as their shapes say.")
        end += nbytes
    if end != size:
        raise TraceError(f"The trace should hold {end} bytes of numbers; it holds {size}.")
    return {name: entry["shape"] for name, entry in entries.items()}


def _stacked(
    entries: Mapping[str, Any], shapes: Mapping[str, list[int]], names: list[tuple[int, str]], shape: tuple[int, ...]
) -> dict[tuple[int, str], Place]:
    counts = Counter(name for _, name in names)
    _same(entries, counts)
    for name, count in counts.items():
        if name == "pictures":
            one, kind = [3, *shapes[name][2:]], "U8"
            fits = len(one) == 3 and all(1 <= side <= limits.PICTURE for side in one)
        else:
            one, kind, fits = [*shape[1:]], "F32", True
        if shapes[name] != [count, *one] or not fits or entries[name]["dtype"] != kind:
            raise TraceError(
                f"The trace's tensor {name!r} should be {count} of its kind, of the size that its request says."
            )
    used: Counter[str] = Counter()
    places = {}
    for i, name in names:
        begin, end = entries[name]["data_offsets"]
        nbytes = (end - begin) // counts[name]
        places[i, name] = (begin + used[name] * nbytes, begin + (used[name] + 1) * nbytes)
        used[name] += 1
    return places


def _scattered(
    entries: Mapping[str, Any], shapes: Mapping[str, list[int]], names: list[tuple[int, str]], shape: tuple[int, ...]
) -> dict[tuple[int, str], Place]:
    keys = {(i, name): f"{i:04d}.{name}" for i, name in names}
    _same(entries, keys.values())
    if any(shapes[key] != [*shape] or entries[key]["dtype"] != "F32" for key in keys.values()):
        raise TraceError("The trace's tensors must all be float32, and of the size that its request says.")
    return {place: tuple(entries[key]["data_offsets"]) for place, key in keys.items()}


def _same(entries: Mapping[str, Any], names: Iterable[str]) -> None:
    wanted = set(names)
    if set(entries) != wanted:
        raise TraceError(
            f"The trace should have {len(wanted)} tensors with certain names; it has {len(entries)}, or others."
        )
