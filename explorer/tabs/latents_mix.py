"""What the folds of the Latents tab decode: one latent by each decoder there is, and mixtures of two latents.

A latent is named as the browser names it: the key of what is held (see `latents_store.Shelf`) and the edits made to it.
"""

from __future__ import annotations

import json
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor

from explorer import edits, latents
from explorer.intake import bring
from explorer.latents import Held
from explorer.records import Model, RequestError
from explorer.tabs.latents_asking import Answer, Asked, parts
from explorer.tabs.latents_store import Shelf, checked, kept, uri
from explorer.tabs.picture_field import EXAMPLES, FOLDER

ENDS = 8  # pairs whose decodings are kept
GONE_SECOND = "The second picture is not kept here any more; choose or hold another."


@dataclass(frozen=True, eq=False)
class Pair:
    """Two latents of one shape, and what the VAE makes of each."""

    a: Tensor  # (C, h, w)
    b: Tensor  # (C, h, w)
    picture_a: Tensor  # (3, H, W) in 0 … 1
    picture_b: Tensor  # (3, H, W) in 0 … 1


def edited(shelf: Shelf, key: Any, changes: Any) -> tuple[Held, Tensor]:
    """What is held under a key, and its latents (C, h, w) after these edits.

    Raises:
        RequestError: it is gone, or never was; or an edit is none.
    """
    held = kept(shelf, key)
    return held, edits.apply(held.mean, checked(held, changes))


def decoders(model: Model, shelf: Shelf) -> Asked:
    """[key, edits] → one row for each decoder there is: its picture, its errors against the full VAE, its milliseconds."""

    def decoders(wanted: Any) -> Answer:
        key, changes = parts(wanted, 2)
        _, own = edited(shelf, key, changes)
        rows = [{**row, "picture": uri(row["picture"])} for row in latents.decodings(own, model)]
        return {"rows": rows, "shape": list(own.shape)}

    return decoders


def mixing(model: Model, shelf: Shelf) -> tuple[Asked, Asked]:
    """ends: [a, b] → both decoded, with what their norms follow from; mix: [a, b, share, kind] → the mixture decoded.

    `a` is [key, edits] and `b` the same or the name of an example.
    """

    @cache
    def example(name: str) -> Held:
        brought = bring((FOLDER / f"{name}.png").read_bytes(), model.default_size)
        return latents.from_picture(EXAMPLES[name], brought, model)

    def second(named: Any) -> tuple[str, Tensor]:
        if isinstance(named, str):
            if named not in EXAMPLES:
                raise RequestError(f"The second picture is {named[:40]!r}; it must be one of {', '.join(EXAMPLES)}.")
            held = example(named)
            return held.name, held.mean
        key, changes = parts(named, 2)
        if shelf.get(key) is None:
            raise RequestError(GONE_SECOND)
        held, own = edited(shelf, key, changes)
        return held.name, own

    pairs: OrderedDict[str, Pair] = OrderedDict()

    def pair(first: Any, named: Any) -> Pair:
        key, changes = parts(first, 2)
        _, a = edited(shelf, key, changes)
        name, b = second(named)
        known = json.dumps([key, changes, named if isinstance(named, str) else parts(named, 2)])  # and nothing else sent
        if a.shape != b.shape:
            sizes = f"The latent on the stage is {_size(a)} and that of {name} is {_size(b)}"
            raise RequestError(f"{sizes}; only latents of one size can be mixed.")
        if known not in pairs:
            pairs[known] = Pair(a, b, model.decode(a[None])[0], model.decode(b[None])[0])
        pairs.move_to_end(known)
        while len(pairs) > ENDS:
            pairs.popitem(last=False)
        return pairs[known]

    def ends(wanted: Any) -> Answer:
        first, named = parts(wanted, 2)
        two = pair(first, named)
        norms = float(two.a.norm()), float(two.b.norm())
        cosine = float(two.a.flatten() @ two.b.flatten()) / (norms[0] * norms[1] or 1.0)
        angle = math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
        return {"a": uri(two.picture_a), "b": uri(two.picture_b), "norms": norms, "angle": angle, "count": two.a.numel()}

    def mix(wanted: Any) -> Answer:
        first, named, share, kind = parts(wanted, 4)
        two = pair(first, named)
        mixed = latents.mix(two.a, two.b, share, kind)
        start = time.perf_counter()
        picture = model.decode(mixed[None])[0]
        ms = 1000 * (time.perf_counter() - start)
        faded = latents.crossfade(two.picture_a, two.picture_b, share)
        apart, between = _mae(picture, faded), _mae(two.picture_a, two.picture_b)
        return {"picture": uri(picture), "norm": float(mixed.norm()), "ms": ms, "apart": apart, "between": between}

    return ends, mix


def _mae(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())


def _size(one: Tensor) -> str:
    return " × ".join(map(str, one.shape))
