"""Copies a run's tensors to the CPU as Steps, without holding up the device.

On a CPU a copy is a clone, made at once. On CUDA the copies go through pinned memory on a stream of their own and are
waited for one evaluation later, when they have long arrived: the host never waits for the sampling.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from explorer.records import Step, Term

Fields = dict[str, Any]  # a Step's fields; tensors anywhere, forms as lists of (coefficient, name, tensor)


class Outbox:
    """Sends off the fields of Steps; `late` says how many parcels to hold back before opening the oldest."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.late = 0 if self._stream is None else 1

    def send(self, fields: list[Fields]) -> Parcel:
        """Begins to copy every tensor once; call on the sampling's own stream."""
        tensors = {id(tensor): tensor for one in fields for tensor in _tensors(one)}
        if self._stream is None:
            with torch.inference_mode(False):  # plain tensors, which a consumer may change
                return Parcel(fields, {key: t.to("cpu", copy=True) for key, t in tensors.items()}, None)
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        copies = {}
        with torch.cuda.stream(self._stream):
            for key, tensor in tensors.items():
                if tensor.device.type == "cpu":
                    copies[key] = tensor
                    continue
                copies[key] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
                copies[key].copy_(tensor, non_blocking=True)
                tensor.record_stream(self._stream)
        return Parcel(fields, copies, self._stream.record_event())


class Parcel:
    """The Steps of one evaluation on their way; `steps()` waits for them."""

    def __init__(self, fields: list[Fields], copies: dict[int, Tensor], arrival: Any) -> None:
        self._fields, self._copies, self._arrival = fields, copies, arrival

    def steps(self) -> list[Step]:
        """The Steps, in order; call once."""
        if self._arrival is not None:
            self._arrival.synchronize()
            with torch.inference_mode(False):  # out of the pinned pool, which belongs to the next evaluations
                self._copies = {key: copy.clone() for key, copy in self._copies.items()}
        return [self._step(one) for one in self._fields]

    def _step(self, one: Fields) -> Step:
        plain: dict[str, Any] = {
            key: self._copies[id(v)] if isinstance(v, Tensor) else v for key, v in one.items() if key != "forms"
        }
        forms = {
            form: tuple(Term(c, name, self._copies[id(tensor)]) for c, name, tensor in terms)
            for form, terms in one.get("forms", {}).items()
        }
        return Step(**plain, forms=MappingProxyType(forms))


def _tensors(one: Fields) -> list[Tensor]:
    fields = [value for value in one.values() if isinstance(value, Tensor)]
    return fields + [tensor for terms in one.get("forms", {}).values() for _, _, tensor in terms]
