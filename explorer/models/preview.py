"""The linear preview: the 4-to-3 matrix that colours a latent without the VAE, fitted to the VAE's own decodings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from explorer.records import Model, Preview

PICTURES = 24
CELLS = 8  # latent cells along each side: small, so that a large VAE on a CPU takes about a second


@torch.inference_mode()
def fit_preview(model: Model) -> Preview:
    """Least squares from latents to their decodings, averaged over each latent cell.

    The latents are encodings of made-up pictures (blurred fields of colour with a disc on them), so that any VAE can
    be fitted without data. Deterministic.
    """
    latents = model.encode(_pictures(PICTURES, CELLS * model.latent_scale) * 2 - 1)  # (B, C, h, w)
    colours = avg_pool2d(model.decode(latents), model.latent_scale)  # (B, 3, h, w)
    cells = latents.float().cpu().movedim(1, -1).flatten(0, 2).double()  # (n, C)
    design = torch.cat([cells, torch.ones(len(cells), 1, dtype=torch.double)], dim=1)
    solution = torch.linalg.lstsq(design, colours.movedim(1, -1).flatten(0, 2).double()).solution  # (C + 1, 3)
    matrix = tuple(tuple(float(v) for v in row) for row in solution[:-1].T)
    red, green, blue = (float(v) for v in solution[-1])
    return Preview(matrix=matrix, offset=(red, green, blue))


def _pictures(count: int, side: int) -> Tensor:
    """(count, 3, side, side) in 0 … 1: a soft gradient between two colours, with a disc of a third."""
    generator = torch.Generator().manual_seed(0)
    a, b, c = torch.rand(3, count, 3, 1, 1, generator=generator)
    ramp = torch.linspace(0, 1, side)
    slope = torch.rand(count, 1, 1, 1, generator=generator)
    mix = slope * ramp + (1 - slope) * ramp[:, None]
    x, y, r = (torch.rand(3, count, 1, 1, 1, generator=generator) * 0.6 + 0.2).unbind(0)
    disc = ((ramp - x) ** 2 + (ramp[:, None] - y) ** 2 < (r * 0.6) ** 2).float()
    return (a * (1 - mix) + b * mix) * (1 - disc) + c * disc
