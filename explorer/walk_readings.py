"""What can be read of a walk: along its path before anything is denoised, and of its frames between neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from explorer.latents import fidelity
from explorer.records import Model
from explorer.walk import Walk, check, check_pictures, check_places, origin
from explorer.walk_paths import flat


class Tracks(NamedTuple):
    """What lies along a path, a value per place, in their order."""

    of: str  # what norm and angle are of, since it moves: "noise", or "latents" between pictures
    norm: tuple[float, ...]  # / sqrt(number of values): near 1 for noise
    other_norm: tuple[float, ...] | None  # the same by the other one of lerp and slerp; None for a sphere, which has none
    angle: tuple[float, ...]  # degrees covered since the first place, 0 there
    cosine: tuple[float, ...]  # of the conditioning, all its numbers as one vector, with the first place's


def tracks(model: Model, walk: Walk, places: Sequence[float], pictures: tuple[Tensor, Tensor] | None = None) -> Tracks:
    """Reads the path of a walk, with nothing denoised. Arguments and errors as of `walk_film.film`."""
    walk = check(walk, model)
    placed, pictures = check_places(places), check_pictures(walk, model, pictures)
    other = None if walk.kind == "sphere" else replace(walk, noise_path="lerp" if walk.noise_path == "slerp" else "slerp")
    norms, others, angles, cosines = [], [], [0.0], []
    first = before = None
    for place in placed:
        moved, told = _here(model, walk, place, pictures)
        first = told if first is None else first
        if before is not None:
            angles.append(angles[-1] + angle(before, moved))
        norms.append(_norm(moved))
        cosines.append(float(torch.nn.functional.cosine_similarity(first, told, dim=0).clamp(-1, 1)))
        if other is not None:
            others.append(_norm(_here(model, other, place, pictures)[0]))
        before = moved
    of = "latents" if walk.kind == "pictures" else "noise"
    return Tracks(of, tuple(norms), tuple(others) if other is not None else None, tuple(angles), tuple(cosines))


def distances(
    latents: Sequence[Tensor | None], pictures: Sequence[Tensor | None], closed: bool = False
) -> list[tuple[float, float] | None]:
    """How far each frame is from the next: the root mean square of the latents' difference, and 1 - SSIM of the pictures.

    Args:
        latents: (1, C, h, w) per frame, at the end of its run; None where there is none yet.
        pictures: (3, H, W) per frame, uint8 or 0 … 1; likewise.
        closed: whether the last frame's next one is the first.

    Returns:
        One pair for each frame but the last, of a closed walk for that too; None where a frame is missing.
    """
    count = len(latents)
    pairs = [(i, (i + 1) % count) for i in range(count if closed else count - 1)]
    return [_distance(latents[i], latents[j], pictures[i], pictures[j]) for i, j in pairs]


def rms(a: Tensor, b: Tensor) -> float:
    """Root mean square of a difference."""
    return float((a.double() - b.double()).square().mean().sqrt())


def angle(a: Tensor, b: Tensor) -> float:
    """Degrees between two tensors as vectors, exact for small ones too; 0 where one of them is 0."""
    a, b = a.double().flatten(), b.double().flatten()
    if not (a.any() and b.any()):
        return 0.0
    a, b = a / a.norm(), b / b.norm()
    return math.degrees(2 * math.atan2(float((a - b).norm()), float((a + b).norm())))


def _here(model: Model, walk: Walk, place: float, pictures: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """What moves, and the conditioning as one vector."""
    _, here = origin(model, walk, place, pictures)
    moved = here.noise if here.start is None else here.start[0]
    assert moved is not None
    assert here.conditioning is not None
    return moved, flat(here.conditioning).double().cpu()


def _norm(tensor: Tensor) -> float:
    return float(tensor.double().square().mean().sqrt())


def _distance(a: Tensor | None, b: Tensor | None, one: Tensor | None, other: Tensor | None) -> tuple[float, float] | None:
    if a is None or b is None or one is None or other is None:
        return None
    ssim = fidelity(_unit(one), _unit(other))["ssim"]
    assert ssim is not None
    return rms(a, b), max(0.0, 1 - ssim)


def _unit(picture: Tensor) -> Tensor:
    return picture.float() / 255 if picture.dtype == torch.uint8 else picture
