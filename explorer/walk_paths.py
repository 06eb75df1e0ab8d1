"""The paths of a walk, pure: a seed's noises, circle and sphere around them, and the way between two conditionings."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from explorer import diffusion
from explorer.records import Conditioning


def between(a: Conditioning, b: Conditioning, weight: float, path: str) -> Conditioning:
    """From a (weight 0) to b (weight 1), at both ends the object itself; a slerp goes by all tensors as one vector."""
    if weight in (0, 1) or a is b:
        return b if weight == 1 else a
    if path == "lerp":
        return a.lerp(b, weight)
    sizes = [tensor.numel() for tensor in a.tensors.values()]
    parts = diffusion.slerp(flat(a), flat(b), weight).split(sizes)
    return Conditioning({
        name: part.reshape(tensor.shape).to(tensor.dtype)
        for (name, tensor), part in zip(a.tensors.items(), parts, strict=True)
    })  # fmt: skip


def flat(conditioning: Conditioning) -> Tensor:
    """All of a conditioning's numbers as one float32 vector."""
    return torch.cat([tensor.flatten().float() for tensor in conditioning.tensors.values()])


def noises(shape: tuple[int, ...], seed: int, count: int = 1) -> list[Tensor]:
    """The first draws of a seed, on the CPU; the very first is what its plain run begins in."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def circle(a: Tensor, b: Tensor, place: float, path: str) -> Tensor:
    """cos(t) a + sin(t) b, with t of 360 degrees from place 0 to 1; by "lerp" the square of corners a, b, -a and -b.

    At the corners it is they, exactly. Two independent noises are nearly orthogonal, so that its norm stays near theirs.
    """
    corners = (a, b, -a, -b)
    turned = 4 * place
    low, high, weight = corners[int(turned) % 4], corners[(int(turned) + 1) % 4], turned % 1
    if weight == 0:
        return low
    if path == "lerp":
        return diffusion.lerp(low, high, weight)
    return math.cos(math.pi / 2 * weight) * low + math.sin(math.pi / 2 * weight) * high


def sphere(draws: list[Tensor], angle: float, place: float) -> Tensor:
    """cos(r) a + sin(r) (cos(t) u + sin(t) v): a circle of angle r around a, of which every point has a's norm.

    Args:
        draws: a, u and v, of one shape; u and v are made orthogonal to a and each other, and of a's norm.
        angle: r, in degrees.
        place: 0 … 1, a whole turn of t.
    """
    a, u, v = (draw.double() for draw in draws)
    norm, axes = a.norm(), [a / a.norm()]
    for axis in (u, v):  # Gram-Schmidt
        axis = axis - sum((axis * one).sum() * one for one in axes)
        axes.append(axis / axis.norm())
    r, t = math.radians(angle), math.tau * place
    return (norm * (math.cos(r) * axes[0] + math.sin(r) * (math.cos(t) * axes[1] + math.sin(t) * axes[2]))).float()
