"""Muon for the weight matrices, AdamW for everything else.

On the autoencoder, 250 iterations of it did what took AdamW over a thousand (same data, each at its best learning rate
of three), for a third more time per iteration. Muon: Jordan et al. 2024, kellerjordan.github.io/posts/muon.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

NARROW = 8  # first and last layers have fewer channels than this and stay with AdamW


class Optimizer:
    """Both optimizers as one. A convolution's weight is a matrix with a row for each output channel."""

    def __init__(self, model: nn.Module, adam: float, muon: float) -> None:
        """Args: the peak learning rates."""
        embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
        self._weights = [
            p for p in model.parameters() if p.ndim > 1 and min(p.shape[:2]) > NARROW and id(p) not in embeddings
        ]
        matrices = {id(p) for p in self._weights}
        rest = [p for p in model.parameters() if id(p) not in matrices]
        self._matrices = [nn.Parameter(_rows(p.data, p).view(len(p), -1)) for p in self._weights]  # the same memory
        self._peaks = (adam, muon)
        self._optimizers = (
            torch.optim.AdamW(rest, lr=adam, betas=(0.9, 0.99), weight_decay=0.01, fused=True),
            torch.optim.Muon(self._matrices, lr=muon, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        )

    def step(self, share: float) -> None:
        """One update at this share of the peak learning rates; clears the gradients."""
        for weight, matrix in zip(self._weights, self._matrices, strict=True):
            matrix.grad = None if weight.grad is None else _rows(weight.grad, weight).reshape(matrix.shape)
            weight.grad = None
        for optimizer, peak in zip(self._optimizers, self._peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * share
            optimizer.step()
            optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        adam, muon = self._optimizers
        return {"adam": adam.state_dict(), "muon": muon.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        for optimizer, name in zip(self._optimizers, ("adam", "muon"), strict=True):
            optimizer.load_state_dict(state[name])


def _rows(values: Tensor, weight: Tensor) -> Tensor:
    """Values with the weight's memory order: Muon doesn't mind which order the columns are in."""
    return values if weight.is_contiguous() else values.movedim(1, -1)
