"""A Trajectory in one .safetensors file: every tensor of every Step, and the rest as JSON in the metadata.

A branch's past and a run's decoded pictures travel with it, so that it can be branched again, and be looked at where
its model is not. Loading trusts nothing: `explorer.headers` checks the header before a number is read, and every number
must be finite before a tensor is made.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from explorer import headers
from explorer.headers import FIELDS, KEY, OWN
from explorer.records import FORMAT, Past, Step, Term, TraceError, Trajectory


def save(trajectory: Trajectory, path: str | Path) -> None:
    """Writes a Trajectory; an existing file is replaced.

    Raises:
        TraceError: the file can't be written, or the run has numbers that are not finite.
    """
    stacks: dict[str, list[Tensor]] = defaultdict(list)
    rows = []
    for i, step in enumerate(trajectory.steps):
        own = {name: getattr(step, name) for name in FIELDS if getattr(step, name) is not None}
        state = {t.name: t.tensor for terms in step.forms.values() for t in terms if t.name not in OWN}
        for name, tensor in (own | {f"state.{name}": tensor for name, tensor in state.items()}).items():
            if not torch.isfinite(tensor).all():
                raise TraceError(f"The run's {name!r} of step {i} has numbers that are not finite; it can't be a trace.")
            stacks[name].append(tensor)
        rows.append({
            "index": step.index, "timestep": step.timestep, "alpha": step.alpha, "sigma": step.sigma,
            "fields": [*own], "state": [*state],
            "forms": {form: [[t.coefficient, t.name] for t in terms] for form, terms in step.forms.items()},
        })  # fmt: skip
    for past in trajectory.past:
        for name, tensor in past._asdict().items():
            stacks[f"past.{name}"].append(tensor)
    pictures = sorted(trajectory.pictures)
    tensors = {name: torch.cat(stack) for name, stack in stacks.items()}
    if pictures:
        tensors["pictures"] = torch.stack([trajectory.pictures[i] for i in pictures])
    capsule = dict(trajectory.capsule) | {"format": FORMAT}
    record = {"request": asdict(trajectory.request), "capsule": capsule, "steps": rows,
              "past": len(trajectory.past), "drawn": trajectory.drawn, "pictures": pictures}  # fmt: skip
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    if len(json.dumps(text, ensure_ascii=False).encode()) > headers.MAX_HEADER - 2**13:  # the rest is the tensors' entries
        raise TraceError("The run has too many steps and settings to be kept as a trace; take fewer steps.")
    try:
        save_file(tensors, path, {KEY: text})
    except SafetensorError as error:  # its word for every OSError, with the path in it
        raise TraceError("The trace can't be written there; choose a folder that exists and can be written to.") from error


def load(path: str | Path) -> Trajectory:
    """Reads a Trajectory that `save` wrote, here or elsewhere, in this format or an older one.

    Raises:
        TraceError: the file is not such a trace, or is damaged; one sentence.
    """
    try:
        header = headers.read(Path(path))
        data = np.memmap(path, dtype=np.uint8, mode="r", offset=header.begin)
    except OSError as error:
        raise TraceError(f"The trace can't be read: {error.strerror}.") from error
    except ValueError:  # of memmap: a file that changes while it is read
        raise TraceError("The trace is damaged: its numbers are not where its header says.") from None
    for (i, name), (begin, end) in header.places.items():
        if name != "pictures" and not np.isfinite(data[begin:end].view("<f4")).all():
            raise TraceError(f"The trace's {name!r} of step {i} has numbers that are not finite.")

    def tensor(i: int, name: str) -> Tensor:
        begin, end = header.places[i, name]
        return torch.from_numpy(np.array(data[begin:end].view("<f4"))).reshape(header.shape)

    def picture(i: int) -> Tensor:
        begin, end = header.places[i, "pictures"]
        return torch.from_numpy(np.array(data[begin:end])).reshape(header.picture)

    return Trajectory(
        request=header.request,
        steps=tuple(_step(row, lambda name, i=i: tensor(i, name)) for i, row in enumerate(header.rows)),
        capsule=MappingProxyType(dict(header.capsule)),
        past=tuple(Past(tensor(i, "past.latents"), tensor(i, "past.model_output")) for i in range(header.past)),
        drawn=header.drawn,
        pictures=MappingProxyType({index: picture(i) for i, index in enumerate(header.pictures)}),
    )


def _step(row: Mapping[str, Any], tensor: Any) -> Step:
    own: dict[str, Any] = {name: tensor(name) for name in row["fields"]}
    named = {name: own[field] for name, field in OWN.items() if field in own}
    named |= {name: tensor(f"state.{name}") for name in row["state"]}
    forms = {form: tuple(Term(float(c), name, named[name]) for c, name in terms) for form, terms in row["forms"].items()}
    plain: dict[str, Any] = {name: float(row[name]) for name in ("timestep", "alpha", "sigma")}
    return Step(index=row["index"], **plain, **own, forms=MappingProxyType(forms))
