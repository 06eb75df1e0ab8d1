"""A latent as a file: the one on the stage, edits included, to take along; and one that is brought, put on the stage."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from explorer import latent_files, latents
from explorer.records import Model, RequestError
from explorer.tabs.common import session, slug, told
from explorer.tabs.latents_asking import Answer, Asked, parts
from explorer.tabs.latents_mix import edited
from explorer.tabs.latents_store import Record, Shelf, record

LARGEST = 2**23  # bytes of a file: 1 x 16 x 256 x 256 float64, more than any latent here
NAME = 60  # characters of a file's name that are shown
EDITS = 8192  # characters of edits that a file says of itself
FORMATS = ("safetensors", "npy")


def saving(model: Model, shelf: Shelf) -> Asked:
    """[key, edits, format] → {"name", "data"}: the latent as a file, in base64."""

    def save(wanted: Any) -> Answer:
        key, changes, form = parts(wanted, 3)
        if form not in FORMATS:
            raise RequestError(f"format is {str(form)[:40]!r}; it must be {' or '.join(FORMATS)}.")
        held, own = edited(shelf, key, changes)
        if form == "npy":
            data = latent_files.to_npy(own)
        else:
            made = json.dumps(changes or [])
            facts = {
                "model": model.name,
                "picture": held.name,
                "scaled": "yes",
                "edits": made if len(made) < EDITS else "many",
            }
            data = latent_files.to_safetensors(own, facts)
        words = slug(held.name)[:40]
        name = f"diffuscope-latent-{words or 'picture'}{'-edited' if changes else ''}.{form}"
        return {"name": name, "data": base64.b64encode(data).decode(), "bytes": len(data)}

    return save


def opener(model: Model, shelf: Shelf) -> Callable[..., Iterator[Record]]:
    """The listener: a file that the browser read, {"name", "data"}, becomes what is on the stage."""

    @told
    def open_latent(file: Any, request: gr.Request) -> Iterator[Record]:
        here = session(request)
        shelf.open(here)
        name, data = received(file)
        width, height = (side // model.latent_scale for side in model.default_size)
        own = latent_files.read(data, (model.latent_channels, height, width))
        held = latents.from_latents(name, own, model)
        key = shelf.put(here, held)
        yield record(key, held, (), model)

    return open_latent


def received(file: Any) -> tuple[str, bytes]:
    """The name and the bytes of a file that came as {"name", "data": base64}.

    Raises:
        RequestError: it is no file, or a large one.
    """
    data = file.get("data") if isinstance(file, dict) else None
    if not isinstance(data, str):
        raise RequestError("The latent is not a file; open a .safetensors or a .npy.")
    if len(data) > LARGEST * 4 // 3 + 4:
        raise RequestError(f"The file has more than {LARGEST / 2**20:.0f} MB, the limit of a latent.")
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("The file did not arrive whole; open it again.") from None
    name = file.get("name")
    return (name if isinstance(name, str) and name else "a latent")[:NAME], content
