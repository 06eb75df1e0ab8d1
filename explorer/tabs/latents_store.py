"""The latents that are on people's stages, kept for a while, and what the browser gets of them while they are touched.

A key is a random token, and knowing it is enough to look. `touch` may be called by anybody with anything: it answers
{"error": one sentence} and raises nothing.
"""

from __future__ import annotations

import base64
import io
import json
import time
from secrets import token_hex
from typing import Any

from torch import Tensor

from explorer import edits, latents
from explorer.forward import half, preview_record
from explorer.latents import Held
from explorer.pictures import to_image
from explorer.records import Model, RequestError
from explorer.sessions import MIB
from explorer.tabs.keep import Keep
from explorer.tabs.latents_asking import Asked, guard, parts

SESSION_BYTES = 16 * MIB
TOTAL_BYTES = 256 * MIB
TEXT = 1_000_000  # characters of a list of edits
ROOM = 1.5  # of a histogram, as a multiple of the largest value before any edit
GONE = "This latent is not kept here any more; choose an example or give the picture again."

Record = dict[str, Any]
Edits = tuple[edits.Edit, ...]


class Shelf(Keep[Held]):
    """What is held, by key."""

    def __init__(self, session_bytes: int = SESSION_BYTES, total_bytes: int = TOTAL_BYTES) -> None:
        super().__init__(nbytes, session_bytes, total_bytes)

    def put(self, session: str, held: Held) -> str:
        """Keeps it under a new key, which it returns."""
        key = token_hex(8)
        self.keep(session, key, held)
        return key


def nbytes(held: Held) -> int:
    """The bytes of a picture and its latents; an example that several hold counts for each."""
    return sum(tensor.nbytes for tensor in (held.picture, held.mean, held.std) if tensor is not None)


def toucher(model: Model, shelf: Shelf) -> Asked:
    """touch: [key, edits] → the edited latents, their numbers and what the VAE decodes of them."""

    def touch(wanted: Any) -> Record:
        key, wishes = parts(wanted, 2)
        held = kept(shelf, key)
        return {"key": key, **touched(held, checked(held, wishes), model)}

    return guard()(touch)


def kept(shelf: Shelf, key: Any) -> Held:
    """What is held under a key.

    Raises:
        RequestError: nothing is.
    """
    held = shelf.get(key)
    if held is None:
        raise RequestError(GONE)
    return held


def checked(held: Held, wishes: Any) -> Edits:
    """Edits for these latents, from JSON text or from what it holds; None and empty are none.

    Raises:
        RequestError: no JSON, no list, or an edit that can't be made.
    """
    channels, height, width = held.mean.shape
    return edits.checked(listed(wishes), (channels, height, width))


def listed(wishes: Any) -> Any:
    """What a JSON text holds; what is none already stays as it is.

    Raises:
        RequestError: it is no JSON, or endless.
    """
    if wishes in ("", None):
        return []
    if not isinstance(wishes, str):
        return wishes
    if len(wishes) > TEXT:
        raise RequestError(f"edits has {len(wishes)} characters; the limit is {TEXT}.")
    try:
        return json.loads(wishes)
    except (ValueError, RecursionError):
        raise RequestError(
            f'edits is {wishes[:40]!r}, which is not JSON; a list such as [{{"op": "mute", "channel": 0}}] is needed.'
        ) from None


def record(key: str, held: Held, made: Edits, model: Model) -> Record:
    """All that the stage draws: what was given, its latents, and what the decoder makes of them after the edits."""
    first = touched(held, (), model)
    now = touched(held, made, model) if made else first
    return {
        "kind": "latents", "key": key, "name": held.name, "notes": list(held.notes), "shape": list(held.mean.shape),
        "original": uri(held.picture), "base": first["planes"], "spread": None if held.std is None else half(held.std),
        "carries": first["facts"], "preview": preview_record(model.preview),
        "compression": latents.compression(held.picture.shape, held.mean.shape), **now,
    }  # fmt: skip


def touched(held: Held, made: Edits, model: Model) -> Record:
    """The part of a record that edits change; histograms keep the edges that the latents had before, and some room."""
    edited = edits.apply(held.mean, made)
    facts = latents.channel_facts(edited, held.picture, ROOM * float(held.mean.abs().max()))
    begun = time.perf_counter()
    picture = model.decode(edited[None])[0]
    took = time.perf_counter() - begun
    return {
        "edits": [dict(edit) for edit in made], "words": [edits.words(edit) for edit in made], "planes": half(edited),
        "facts": facts, "fidelity": latents.fidelity(held.picture, picture),
        "picture": uri(picture), "ms": round(1000 * took, 1),
    }  # fmt: skip


def uri(picture: Tensor) -> str:
    """(3, H, W) in 0 … 1 as a data URI. PNG of the least effort: exact, and 1 ms at 128 × 128 against 3 of the default."""
    buffer = io.BytesIO()
    to_image(picture).save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
