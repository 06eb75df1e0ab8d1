"""A Trajectory in one .safetensors file: every tensor of every Step, and the rest as JSON in the metadata.

A branch's past and a run's decoded pictures travel with it, so that it can be branched again, and be looked at where
its model is not. Loading trusts nothing: `explorer.headers` checks the header before a number is read, every number
must be finite, and `explorer.rows` holds each Step to its terms. What is saved is held to the same before it is kept.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from secrets import token_hex
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from explorer import headers, limits, rows
from explorer.headers import KEY, Header
from explorer.records import FORMAT, Past, RequestError, Step, Term, TraceError, Trajectory
from explorer.rows import FIELDS, MOST, OWN


def save(trajectory: Trajectory, path: str | Path) -> None:
    """Writes a Trajectory; an existing file is replaced once the new one is whole and can be loaded.

    Raises:
        TraceError: the file can't be written, or the run is one that `load` would refuse.
    """
    path = _path(path)
    tensors, text = _written(trajectory)
    if len(json.dumps(text, ensure_ascii=False).encode()) > headers.MAX_HEADER - 2**13:  # the rest is the tensors' entries
        raise TraceError("The run has too many steps and settings to be kept as a trace; take fewer steps.")
    part = path.with_name(f"{path.name[:80]}.{token_hex(4)}.part")
    try:
        save_file(tensors, part, {KEY: text})
        _read(part)
        part.replace(path)
    except (SafetensorError, OSError) as error:  # safetensors' word for every OSError, with the path in it
        raise TraceError("The trace can't be written there; choose a folder that exists and can be written to.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def load(path: str | Path) -> Trajectory:
    """Reads a Trajectory that `save` wrote, here or elsewhere, in this format or an older one.

    Raises:
        TraceError: the file can't be read or is not such a trace; the message says what is wrong with it.
    """
    try:
        header, data = _read(_path(path))
    except OSError as error:
        raise TraceError(f"The trace can't be read: {error.strerror}.") from error

    def tensor(i: int, name: str) -> Tensor:
        begin, end = header.places[i, name]
        return torch.from_numpy(np.array(data[begin:end].view("<f4"))).reshape(header.shape)

    def picture(i: int) -> Tensor:
        begin, end = header.places[i, "pictures"]
        return torch.from_numpy(np.array(data[begin:end])).reshape(header.picture)

    past = None
    if header.past is not None:
        past = tuple(Past(tensor(i, "past.latents"), tensor(i, "past.model_output")) for i in range(header.past))
    return Trajectory(
        request=header.request,
        steps=tuple(_step(row, lambda name, i=i: tensor(i, name)) for i, row in enumerate(header.rows)),
        capsule=MappingProxyType(dict(header.capsule)),
        past=past,
        drawn=header.drawn,
        pictures=MappingProxyType({index: picture(i) for i, index in enumerate(header.pictures)}),
    )


def _path(path: Any) -> Path:
    if not isinstance(path, str | Path) or "\0" in str(path):
        raise TraceError("The trace's path must be a text without NUL, or a Path.")
    return Path(path)


def _written(trajectory: Trajectory) -> tuple[dict[str, Tensor], str]:
    """The tensors by name, and the rest as JSON."""
    try:
        limits.check_steps("The run", trajectory)
    except RequestError as error:
        raise TraceError(str(error)) from None
    stacks: dict[str, list[Tensor]] = defaultdict(list)
    steps = []
    for step in trajectory.steps:
        own = {name: getattr(step, name) for name in FIELDS if getattr(step, name) is not None}
        state = {t.name: t.tensor for terms in step.forms.values() for t in terms if t.name not in OWN}
        for name, tensor in (own | {f"state.{name}": tensor for name, tensor in state.items()}).items():
            if not torch.isfinite(tensor).all():
                raise TraceError(
                    f"The run's {name!r} of step {step.index} has numbers that are not finite; it can't be a trace."
                )
            stacks[name].append(tensor)
        steps.append({
            "index": step.index, "timestep": step.timestep, "alpha": step.alpha, "sigma": step.sigma,
            "fields": [*own], "state": [*state],
            "forms": {form: [[t.coefficient, t.name] for t in terms] for form, terms in step.forms.items()},
        })  # fmt: skip
    for past in trajectory.past or ():
        for name, tensor in past._asdict().items():
            stacks[f"past.{name}"].append(tensor)
    pictures = sorted(trajectory.pictures)
    tensors = {name: torch.cat(stack) for name, stack in stacks.items()}
    if pictures:
        tensors["pictures"] = torch.stack([trajectory.pictures[i] for i in pictures])
    known = 0 if trajectory.past is None and trajectory.steps[0].index == 0 else None
    capsule = dict(trajectory.capsule) | {"format": FORMAT}
    record = {"request": asdict(trajectory.request), "capsule": capsule, "steps": steps, "drawn": trajectory.drawn,
              "past": known if trajectory.past is None else len(trajectory.past), "pictures": pictures}  # fmt: skip
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TraceError("The run's texts have half a character in them; it can't be a trace.") from None
    return tensors, text


def _read(path: Path) -> tuple[Header, NDArray[np.uint8]]:
    """The checked header, and the bytes of the data, whose numbers are checked too.

    Raises:
        TraceError: one sentence.
        OSError: the file can't be read.
    """
    header = headers.read(path)
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r", offset=header.begin)
    except ValueError:  # a file that changes while it is read
        raise TraceError("The trace is damaged: its numbers are not where its header says.") from None

    def numbers(i: int, name: str) -> NDArray[np.float32]:
        begin, end = header.places[i, name]
        return data[begin:end].view("<f4")

    first = header.rows[0]["index"]
    for i, name in header.places:
        if name != "pictures" and not float(np.abs(numbers(i, name)).max()) <= MOST:  # NaN too
            step = first - (header.past or 0) + i if name.startswith("past.") else first + i
            raise TraceError(f"The trace's {name!r} of step {step} has numbers that are not finite, or beyond {MOST:g}.")
    rows.agree(header.rows, numbers)
    return header, data


def _step(row: Mapping[str, Any], tensor: Any) -> Step:
    own: dict[str, Any] = {name: tensor(name) for name in row["fields"]}
    named = {name: own[field] for name, field in OWN.items() if field in own}
    named |= {name: tensor(f"state.{name}") for name in row["state"]}
    forms = {form: tuple(Term(float(c), name, named[name]) for c, name in terms) for form, terms in row["forms"].items()}
    plain: dict[str, Any] = {name: float(row[name]) for name in ("timestep", "alpha", "sigma")}
    return Step(index=row["index"], **plain, **own, forms=MappingProxyType(forms))
