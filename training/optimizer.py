"""Muon for the weight matrices, AdamW for everything else.

On the autoencoder, 250 iterations of it did what took AdamW over a thousand (same data, each at its best learning rate
of three), for a third more time per iteration. Muon: Jordan et al. 2024, kellerjordan.github.io/posts/muon.
"""

from __future__ import annotations

from collections.abc import Callable
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
        """For a checkpoint; the columns of matrices are in the order of contiguous weights, whatever theirs is."""
        adam, muon = (optimizer.state_dict() for optimizer in self._optimizers)
        return {"adam": adam, "muon": self._reordered(muon, _contiguous)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        adam, muon = self._optimizers
        adam.load_state_dict(state["adam"])
        muon.load_state_dict(self._reordered(state["muon"], _like))

    def _reordered(self, state: dict[str, Any], order: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Any]:
        """Muon's state with the columns of every matrix in another order."""

        def moved(value: Any, weight: Tensor) -> Any:
            return order(value, weight) if isinstance(value, Tensor) and value.ndim == 2 else value

        states = {
            i: {name: moved(value, self._weights[i]) for name, value in kept.items()} for i, kept in state["state"].items()
        }
        return {**state, "state": states}


def _rows(values: Tensor, weight: Tensor) -> Tensor:
    """Values with the weight's memory order: Muon doesn't mind which order the columns are in."""
    return values if weight.is_contiguous() else values.movedim(1, -1)


def _contiguous(matrix: Tensor, weight: Tensor) -> Tensor:
    """A matrix in the weight's memory order, with the columns of a contiguous weight."""
    if weight.is_contiguous():
        return matrix
    out, inner, *kernel = weight.shape
    return matrix.view(out, *kernel, inner).movedim(-1, 1).reshape(matrix.shape)


def _like(matrix: Tensor, weight: Tensor) -> Tensor:
    """The way back."""
    return _rows(matrix.view(weight.shape), weight).reshape(matrix.shape)
