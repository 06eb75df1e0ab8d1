"""The two pictures of a walk between pictures: examples or files of a person's own, as latents."""

from __future__ import annotations

from typing import Any, NamedTuple

from explorer.intake import bring
from explorer.limits import show
from explorer.records import Model, RequestError
from explorer.tabs import picture_field
from explorer.tabs.picture_field import EXAMPLES, FOLDER
from explorer.walk import Walk
from explorer.walk_film import Pictures

LABELS = {"first": "The picture to start from", "second": "The picture to end at"}

Given = tuple[Any, Any]  # a file that was uploaded or None, and the name of an example


class Sources(NamedTuple):
    """What a walk between pictures goes from and to; Nones for any other walk."""

    latents: Pictures | None  # scaled, (1, C, h, w) each
    names: tuple[str, str] | None


def sources(model: Model, walk: Walk, first: Given, second: Given) -> Sources:
    """Encodes the pictures of a checked walk, where it goes between two.

    Raises:
        RequestError: one of them is no picture; says which.
    """
    if walk.kind != "pictures":
        return Sources(None, None)
    (a, name), (b, other) = (_encoded(model, field, given) for field, given in (("first", first), ("second", second)))
    return Sources((a, b), (name, other))


def _encoded(model: Model, field: str, given: Given) -> tuple[Any, str]:
    picture, example = given
    if picture is None and not (isinstance(example, str) and example in EXAMPLES):
        raise RequestError(f"{field} is {show(example)}; it must be one of {', '.join(EXAMPLES)}.")
    try:
        name, data = picture_field.read(picture) if picture is not None else _example(example)
        brought = bring(data, model.default_size)
    except RequestError as error:
        raise RequestError(f"{LABELS[field]}: {error}") from None
    return model.encode(brought.picture * 2 - 1).cpu().float(), name


def _example(name: str) -> tuple[str, bytes]:
    return EXAMPLES[name], (FOLDER / f"{name}.png").read_bytes()
