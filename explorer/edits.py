"""Edits of a latent: what a person may do to it by hand, as a list of plain records.

An edit is plain JSON, {"op": name, parameters …}, so that a list of them is all there is to undo, redo and send. Whatever
comes from outside passes `checked` first; `apply` then makes them one after another, and never writes to what it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor

from explorer import limits, touching
from explorer.records import RequestError

Edit = Mapping[str, Any]
Shape = tuple[int, int, int]  # C, h, w
MOST = 256  # edits in a list
CELLS = 2048  # painted in one edit
ALL_CELLS = 16_384  # painted in a list
LIMITS: Mapping[str, int] = MappingProxyType({"edits": MOST, "cells of one edit": CELLS, "cells of all edits": ALL_CELLS})
FAR = 1000.0  # no value may leave ±FAR: a VAE gives some ±5, and float16 ends at 65504


@dataclass(frozen=True)
class Parameter:
    """What an edit must say of itself beside its op."""

    kind: str  # "channel", "channel or all" (null is all), "number", "whole", "choice", "cells"
    low: float = 0.0  # "number" and "whole", both ends included
    high: float = 0.0
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Op:
    """One kind of edit: its words, what it must be told, and the function that does it."""

    name: str
    says: str  # what it does
    done: str  # what was done, for `words`
    parameters: Mapping[str, Parameter]
    function: Callable[..., Tensor]  # (latents (C, h, w), **parameters) → new latents (C, h, w)


def checked(edits: Any, shape: Shape) -> tuple[Edit, ...]:
    """Edits as plain JSON in the order of their op's parameters, each within its limits; what was given isn't kept.

    Args:
        edits: a list of at most LIMITS["edits"]; channels and cells are 0-based, a null channel means all.
        shape: of the latents that they are for.

    Raises:
        RequestError: names the edit (1-based), its field, the value and the limit.
    """
    if not isinstance(edits, list | tuple):
        raise RequestError(f"edits is {limits.show(edits)}; a list of at most {MOST} edits is needed.")
    if len(edits) > MOST:
        raise RequestError(f"edits has {len(edits)} edits; the limit is {MOST}.")
    parts = [edit.get("cells") for edit in edits if isinstance(edit, Mapping)]
    painted = sum(len(cells) for cells in parts if isinstance(cells, list | tuple))
    if painted > ALL_CELLS:  # before a look at each
        raise RequestError(f"edits has {painted} painted cells; the limit is {ALL_CELLS}.")
    return tuple(_edit(i, edit, shape) for i, edit in enumerate(edits, 1))


def apply(latents: Tensor, edits: Sequence[Edit]) -> Tensor:
    """Makes checked edits one after another; a pure function, so that the same list gives the same latents.

    Args:
        latents: scaled, (C, h, w).

    Returns:
        New latents of the same shape.

    Raises:
        RequestError: together they bring a value further than ±FAR.
    """
    edited = latents.clone()
    for edit in edits:
        edited = _made(edited, edit)
    if edits and not _near(edited):
        raise RequestError(f"{_first_far(latents, edits)} brings values beyond ±{FAR:g}; scale, shift or sharpen by less.")
    return edited


def words(edit: Edit) -> str:
    """A checked edit as a person would say it, channels counted from 0 as in the edit: "channel 2 muted"."""
    said = dict(edit)
    if "channel" in edit:
        said["channel"] = "all channels" if edit["channel"] is None else f"channel {edit['channel']}"
    match edit["op"]:
        case "paint":
            said["cells"] = f"{len(edit['cells'])} cell{'s' if len(edit['cells']) > 1 else ''}"
            said["wide"] = 2 * int(edit["radius"]) + 1  # of the disc: see touching.paint
        case "roll":
            across = f"{abs(edit['dx'])} {'left' if edit['dx'] < 0 else 'right'}"
            along = f"{abs(edit['dy'])} {'up' if edit['dy'] < 0 else 'down'}"
            said["ways"] = across if not edit["dy"] else along if not edit["dx"] else f"{across}, {along}"
        case "flip":
            said["axis"] = "left to right" if edit["axis"] == "horizontal" else "top to bottom"
    return OPS[edit["op"]].done.format(**said).replace("-", "−")


def _made(latents: Tensor, edit: Edit) -> Tensor:
    return OPS[edit["op"]].function(latents, **{name: value for name, value in edit.items() if name != "op"})


def _near(latents: Tensor) -> bool:
    return bool((latents.abs() <= FAR).all())  # NaN is not


def _first_far(latents: Tensor, edits: Sequence[Edit]) -> str:
    for i, edit in enumerate(edits, 1):
        latents = _made(latents, edit)
        if not _near(latents):
            return f"edit {i} ({edit['op']})"
    return "the last edit"


def _edit(i: int, edit: Any, shape: Shape) -> Edit:
    if not isinstance(edit, Mapping):
        raise RequestError(f"edit {i} is {limits.show(edit)}; an object with an op is needed.")
    name = edit.get("op")
    if not isinstance(name, str) or name not in OPS:
        raise RequestError(f"edit {i}: op is {limits.show(name)}; it must be one of {', '.join(OPS)}.")
    where, parameters = f"edit {i} ({name})", OPS[name].parameters
    for key in edit:
        if key != "op" and key not in parameters:
            raise RequestError(f"{where} has the field {limits.show(key)}; it takes {', '.join(parameters)} only.")
    for key in parameters:
        if key not in edit:
            raise RequestError(f"{where} has no {key}; it needs {', '.join(parameters)}.")
    values = {key: _value(f"{where}: {key}", edit[key], parameter, shape) for key, parameter in parameters.items()}
    return {"op": name, **values}


def _value(field: str, value: Any, parameter: Parameter, shape: Shape) -> Any:
    match parameter.kind:
        case "channel or all" if value is None:
            return None
        case "channel" | "channel or all":
            return limits.whole(field, value, (0, shape[0] - 1))
        case "whole":
            return limits.whole(field, value, (int(parameter.low), int(parameter.high)))
        case "number":
            return limits.number(field, value, (parameter.low, parameter.high))
        case "choice":
            if not isinstance(value, str) or value not in parameter.choices:
                raise RequestError(f"{field} is {limits.show(value)}; it must be {' or '.join(parameter.choices)}.")
            return value
        case _:
            return _cells(field, value, shape)


def _cells(field: str, value: Any, shape: Shape) -> list[list[int]]:
    if not isinstance(value, list | tuple):
        raise RequestError(f"{field} is {limits.show(value)}; a list of 1 to {CELLS} cells [x, y] is needed.")
    if not 1 <= len(value) <= CELLS:
        raise RequestError(f"{field} has {len(value)} cells; it must have 1 to {CELLS}.")
    width, height = shape[2], shape[1]
    cells = []
    for i, cell in enumerate(value):
        if not isinstance(cell, list | tuple) or len(cell) != 2:
            raise RequestError(f"{field}[{i}] is {limits.show(cell)}; a cell is [x, y], two whole numbers.")
        x, y = cell
        if not (type(x) is type(y) is int and 0 <= x < width and 0 <= y < height):  # the rule, without a call for each
            x = limits.whole(f"{field}[{i}] x", x, (0, width - 1))
            y = limits.whole(f"{field}[{i}] y", y, (0, height - 1))
        cells.append([x, y])
    return cells


ALL = Parameter("channel or all")
ONE = Parameter("channel")
CELLS_AWAY = Parameter("whole", -256, 256)  # the side of the largest latents

OPS: Mapping[str, Op] = {
    op.name: op
    for op in (
        Op("mute", "Sets a channel to 0, the prior's mean.", "{channel} muted", {"channel": ALL}, touching.mute),
        Op("scale", "Multiplies a channel by a factor.", "{channel} scaled by {factor:g}",
           {"channel": ALL, "factor": Parameter("number", -4, 4)}, touching.scale),
        Op("shift", "Adds a number to a channel.", "{channel} shifted by {amount:g}",
           {"channel": ALL, "amount": Parameter("number", -4, 4)}, touching.shift),
        Op("swap", "Exchanges two channels.", "channels {a} and {b} swapped", {"a": ONE, "b": ONE}, touching.swap),
        Op("blur", "Blurs a channel with a Gaussian.", "{channel} blurred, sigma {sigma:g}",
           {"channel": ALL, "sigma": Parameter("number", 0, 4)}, touching.blur),
        Op("sharpen", "Adds to a channel what a blur would take away.", "{channel} sharpened by {amount:g}",
           {"channel": ALL, "amount": Parameter("number", 0, 4)}, touching.sharpen),
        Op("noise", "Adds Gaussian noise to a channel.", "{channel} noised by {amount:g}, seed {seed}",
           {"channel": ALL, "amount": Parameter("number", 0, 2), "seed": Parameter("whole", *limits.SEED)}, touching.noise),
        Op("paint", "Sets the cells under a round brush.",
           "{channel} painted {value:g} along {cells}, {wide} wide (radius {radius:g})",
           {"channel": ALL, "value": Parameter("number", -8, 8), "radius": Parameter("number", 0, 8),
            "cells": Parameter("cells", 1, CELLS)}, touching.paint),
        Op("roll", "Moves all channels; what leaves on one side comes in on the other.", "rolled {ways}",
           {"dx": CELLS_AWAY, "dy": CELLS_AWAY}, touching.roll),
        Op("flip", "Mirrors all channels.", "flipped {axis}",
           {"axis": Parameter("choice", choices=("horizontal", "vertical"))}, touching.flip),
    )
}  # fmt: skip
