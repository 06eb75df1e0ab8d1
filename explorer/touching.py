"""What each edit does to a latent, in closed form: pure functions that give new latents and write to none.

All take scaled latents (C, h, w), float32, on the CPU, and already checked values; `channel` is 0-based, None means all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TRUNCATE = 4.0  # sigmas at which the Gaussian ends, as in scipy


def _changed(latents: Tensor, channel: int | None, change: Callable[[Tensor], Tensor]) -> Tensor:
    """One channel changed, or all; `change` takes and gives (n, h, w) and writes to nothing."""
    if channel is None:
        return change(latents)
    edited = latents.clone()
    edited[channel] = change(latents[channel : channel + 1])[0]
    return edited


def mute(latents: Tensor, channel: int | None) -> Tensor:
    """0, the mean of the prior that the latent's scale is made for."""
    return _changed(latents, channel, torch.zeros_like)


def scale(latents: Tensor, channel: int | None, factor: float) -> Tensor:
    return _changed(latents, channel, lambda x: factor * x)


def shift(latents: Tensor, channel: int | None, amount: float) -> Tensor:
    return _changed(latents, channel, lambda x: x + amount)


def swap(latents: Tensor, a: int, b: int) -> Tensor:
    order = list(range(len(latents)))
    order[a], order[b] = b, a
    return latents[order]


def blur(latents: Tensor, channel: int | None, sigma: float) -> Tensor:
    """A Gaussian of `sigma` cells; beyond the edge the latent is mirrored, edge cell included, so that its mean stays."""
    rows, columns = _gaussian(latents.shape[1], sigma), _gaussian(latents.shape[2], sigma)
    return _changed(latents, channel, lambda x: rows @ x @ columns)  # both matrices are symmetric


def sharpen(latents: Tensor, channel: int | None, amount: float) -> Tensor:
    """Unsharp masking: `amount` times what a blur of sigma 1 takes away, added."""
    return _changed(latents, channel, lambda x: x + amount * (x - blur(x, None, 1.0)))


def noise(latents: Tensor, channel: int | None, amount: float, seed: int) -> Tensor:
    """x + amount · eps; a seed means the same eps for a channel whether it is noised alone or with all others."""
    eps = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
    return _changed(latents, channel, lambda x: x + amount * (eps if channel is None else eps[channel : channel + 1]))


def paint(latents: Tensor, channel: int | None, value: float, radius: float, cells: Sequence[Sequence[int]]) -> Tensor:
    """`value` in every cell whose centre is at most `radius` cells from the centre of one of `cells`, each [x, y]."""
    reach, (down, right) = int(radius), _disc(radius)
    x, y = np.array(cells).T[..., None]
    h, w = latents.shape[1:]
    under = np.zeros((h + 2 * reach, w + 2 * reach), bool)  # with a margin, since discs reach over the edge
    under[y + down, x + right] = True
    painted = torch.from_numpy(under[reach : reach + h, reach : reach + w])
    return _changed(latents, channel, lambda part: part.masked_fill(painted, value))


def roll(latents: Tensor, dx: int, dy: int) -> Tensor:
    """By whole cells to the right and down; what leaves on one side comes in on the other."""
    return latents.roll((dy, dx), (-2, -1))


def flip(latents: Tensor, axis: str) -> Tensor:
    """Left and right changed over ("horizontal"), or top and bottom ("vertical")."""
    return latents.flip(-1 if axis == "horizontal" else -2)


@lru_cache(maxsize=64)
def _disc(radius: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cells within a radius, as places down and right from the corner of the square around them."""
    reach = int(radius)
    i, j = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    down, right = np.nonzero(i**2 + j**2 <= radius**2)
    return down, right


@lru_cache(maxsize=64)
def _gaussian(size: int, sigma: float) -> Tensor:
    """The blur along one side as a matrix (size, size): symmetric, and each of its rows sums to 1.

    A mirrored signal has period 2 · size, so the kernel is folded onto that first.
    """
    reach = int(TRUNCATE * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2) if reach else np.ones(1)
    folded = np.bincount(offsets % (2 * size), kernel / kernel.sum(), 2 * size)
    i, j = np.ogrid[:size, :size]
    return torch.from_numpy(folded[(i - j) % (2 * size)] + folded[i + j + 1]).float()
