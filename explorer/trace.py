"""A Trajectory in one .safetensors file: every tensor of every Step, and the rest as JSON in the metadata.

Loading trusts nothing: the header's size, the keys, shapes, dtypes, offsets and the finiteness of every number are
checked on the mapped file before a tensor is made.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from explorer import limits
from explorer.records import DiffuscopeError, Request, Step, Term, TraceError, Trajectory
from explorer.samplers import SAMPLERS

KEY = "diffuscope"  # of the metadata
MAX_HEADER = 2**23  # bytes; a run of 1000 Heun steps takes 4 MB
MAX_FILE = 2**30  # bytes
FIELDS = ("latents", "model_output", "eps_uncond", "eps_cond", "eps", "x0", "z")
OWN = {"x_t": "latents", "eps": "eps", "x0": "x0", "z": "z"}  # terms whose tensor is a field of the Step


def save(trajectory: Trajectory, path: str | Path) -> None:
    """Writes a Trajectory; an existing file is replaced.

    Raises:
        TraceError: the file can't be written, or the run has numbers that are not finite.
    """
    tensors: dict[str, Tensor] = {}
    rows = []
    for i, step in enumerate(trajectory.steps):
        present = [name for name in FIELDS if getattr(step, name) is not None]
        state = {t.name: t.tensor for terms in step.forms.values() for t in terms if t.name not in OWN}
        # clones: a Step may hold one tensor under two names, and the format wants each to have its own memory
        tensors |= {_key(i, name): getattr(step, name).clone() for name in present}
        tensors |= {_key(i, "state", name): tensor.clone() for name, tensor in state.items()}
        rows.append({
            "index": step.index, "timestep": step.timestep, "alpha": step.alpha, "sigma": step.sigma,
            "fields": present, "state": list(state),
            "forms": {form: [[t.coefficient, t.name] for t in terms] for form, terms in step.forms.items()},
        })  # fmt: skip
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise TraceError(f"The run's tensor {key!r} has numbers that are not finite; it can't be kept as a trace.")
    record = {"request": asdict(trajectory.request), "capsule": dict(trajectory.capsule), "steps": rows}
    try:
        save_file(tensors, path, {KEY: json.dumps(record)})
    except SafetensorError as error:  # its word for every OSError, with the path in it
        raise TraceError("The trace can't be written there; choose a folder that exists and can be written to.") from error


def load(path: str | Path) -> Trajectory:
    """Reads a Trajectory that `save` wrote, here or elsewhere.

    Raises:
        TraceError: the file is not such a trace, or is damaged; one sentence.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or size > MAX_FILE or not 2 <= length <= min(MAX_HEADER, size - 8):
                raise TraceError(f"The trace is {size} bytes with a header of {length}; it is damaged or no trace at all.")
            header = json.loads(file.read(length))
        record = json.loads(header["__metadata__"][KEY])
        del header["__metadata__"]
        request = _request(record["request"], record["capsule"])
        keys = _keys(record["steps"], SAMPLERS[request.sampler].evaluations(request.steps))
        if record["capsule"]["format"] != 1:
            raise TraceError("The trace is of another version's format.")
        if not isinstance(record["capsule"]["model"], str):
            raise TraceError("The trace does not say which model made it.")
    except TraceError:
        raise
    except OSError as error:
        raise TraceError(f"The trace can't be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise TraceError("The file is not a trace of this project: its header has not the right form.") from None
    shape = _shape(header, keys, record["capsule"], size - 8 - length)
    scale = record["capsule"]["latent_scale"]
    if (request.height, request.width) != (shape[2] * scale, shape[3] * scale):
        raise TraceError(
            f"The trace's latents are {shape[3]}x{shape[2]}, but its request is {request.width}x{request.height}."
        )
    data = np.memmap(path, dtype="<f4", mode="r", offset=8 + length) if (8 + length) % 4 == 0 else None
    if data is None:
        raise TraceError("The trace's header ends between two numbers; it is damaged.")
    tensors = {}
    for key in keys:
        begin, end = (offset // 4 for offset in header[key]["data_offsets"])
        if not np.isfinite(data[begin:end]).all():
            raise TraceError(f"The trace's tensor {key[:40]!r} has numbers that are not finite.")
        tensors[key] = (begin, end)
    arrays = {key: torch.from_numpy(np.array(data[b:e])).reshape(shape) for key, (b, e) in tensors.items()}
    steps = tuple(_step(i, row, arrays) for i, row in enumerate(record["steps"]))
    return Trajectory(request=request, steps=steps, capsule=MappingProxyType(record["capsule"]))


def _key(i: int, *names: str) -> str:
    return ".".join((f"{i:04d}", *names))


def _request(plain: Mapping[str, Any], capsule: Mapping[str, Any]) -> Request:
    """The request of a trace, held to the same limits as any other; sizes are always written out."""
    if set(plain) != {field.name for field in fields(Request)}:
        raise TraceError("The trace's request has not the fields of this version.")
    plain = dict(plain)
    if isinstance(plain["guidance"], list):
        plain["guidance"] = tuple(plain["guidance"])
    scale = limits.whole("latent_scale", capsule["latent_scale"], (1, 64))
    try:
        return limits.check_for(Request(**plain), (scale, scale), scale)
    except DiffuscopeError as error:
        raise TraceError(f"The trace's request can't be used: {error}") from error


def _keys(rows: Any, evaluations: int) -> set[str]:
    """The tensors that the rows speak of; each row must be whole and in order."""
    if not isinstance(rows, list) or not 2 <= len(rows) <= evaluations + 2:  # PNDM can begin with one more
        raise TraceError(f"The trace should have up to {evaluations + 1} steps, and at least 2.")
    first = rows[0]["index"]
    keys = set()
    for i, row in enumerate(rows):
        numbers = [row["timestep"], row["alpha"], row["sigma"]]
        numbers += [coefficient for terms in row["forms"].values() for coefficient, _ in terms]
        level = all(_finite(n) for n in numbers) and row["alpha"] >= 0 <= row["sigma"] and row["alpha"] + row["sigma"] > 0
        if not level or type(first) is not int or not 0 <= first <= evaluations or row["index"] != first + i:
            raise TraceError(f"The trace's step {i} is out of order, or has a level that can't be.")
        known = {name for name, field in OWN.items() if field in row["fields"]} | set(row["state"])
        used = {name for terms in row["forms"].values() for _, name in terms}
        whole = {"latents", "model_output", "eps", "x0"} if i < len(rows) - 1 else {"latents"}
        if not whole <= set(row["fields"]) or not set(row["fields"]) <= set(FIELDS) or not used <= known:
            raise TraceError(f"The trace's step {i} speaks of tensors that it has not.")
        keys |= {_key(i, name) for name in row["fields"]} | {_key(i, "state", name) for name in row["state"]}
    return keys


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30


def _shape(header: Mapping[str, Any], keys: set[str], capsule: Mapping[str, Any], size: int) -> tuple[int, ...]:
    """The one shape of all tensors, after a look at every entry of the header."""
    if set(header) != keys:
        raise TraceError(f"The trace should have {len(keys)} tensors with certain names; it has {len(header)}, or others.")
    try:
        shapes = {tuple(entry["shape"]) for entry in header.values()}
        dtypes = {entry["dtype"] for entry in header.values()}
        spans = sorted(tuple(entry["data_offsets"]) for entry in header.values())
        integral = all(type(offset) is int for span in spans for offset in span)
        matrix, offset = capsule["preview"]["matrix"], capsule["preview"]["offset"]
        rows = [len(row) for row in matrix]
        fine = all(_finite(v) for row in [*matrix, offset] for v in row)
    except (KeyError, TypeError, ValueError):
        raise TraceError("The trace's header has not the right form.") from None
    if dtypes != {"F32"} or len(shapes) != 1 or not integral:
        raise TraceError("The trace's tensors must all be float32 and of one shape.")
    shape = shapes.pop()
    whole = len(shape) == 4 and all(isinstance(n, int) and 0 < n <= limits.SIZE[1] for n in shape)
    if not whole or shape[0] != 1 or rows != [shape[1]] * 3 or len(offset) != 3 or not fine:
        raise TraceError("The trace's tensors and its preview matrix have shapes that don't fit together.")
    nbytes = 4 * math.prod(shape)
    if spans != [(i * nbytes, (i + 1) * nbytes) for i in range(len(spans))] or size != nbytes * len(spans):
        raise TraceError(f"The trace should hold {nbytes * len(spans)} bytes of numbers in order; it holds {size}.")
    return shape


def _step(i: int, row: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Step:
    own: dict[str, Any] = {name: arrays[_key(i, name)] for name in row["fields"]}
    named = {name: own[field] for name, field in OWN.items() if field in own}
    named |= {name: arrays[_key(i, "state", name)] for name in row["state"]}
    forms = {form: tuple(Term(float(c), name, named[name]) for c, name in terms) for form, terms in row["forms"].items()}
    plain: dict[str, Any] = {name: float(row[name]) for name in ("timestep", "alpha", "sigma")}
    return Step(index=row["index"], **plain, **own, forms=MappingProxyType(forms))
