"""A U-Net's call, as it is or recorded as a CUDA graph: what `models.speed` chooses from.

Graphs are recorded by hand, since those of torch.compile belong to the thread that made them (pytorch/pytorch#123177),
and a page's runs wander between threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

WARMUPS = 3  # calls before recording: libraries set themselves up, and Triton chooses among its kernels
ROOM = 0.15  # of the card's memory must be free for recording
MODE = "max-autotune-no-cudagraphs"  # of torch.compile

Told = Mapping[str, Any]  # what a U-Net is told besides: tensors, dicts of tensors, None
Inputs = tuple[Tensor, Tensor, Told]  # latents (B, C, H, W), timesteps (B,), told
Call = Callable[[Tensor, Tensor, Told], Tensor]


def plain(unet: Any) -> Call:
    """Calls a U-Net as it is: its inputs in its dtype and its layout; gives float32, contiguous."""
    dtype, layout = unet.dtype, torch.channels_last if channels_last(unet) else torch.preserve_format

    def call(latents: Tensor, t: Tensor, told: Told) -> Tensor:
        output = unet(latents.to(dtype, memory_format=layout), t, **told, return_dict=False)[0]
        return output.to(torch.float32, memory_format=torch.contiguous_format)

    return call


def channels_last(unet: Any) -> bool:
    """Whether its convolutions are laid out so."""
    last = torch.channels_last
    return any(p.ndim == 4 and p.is_contiguous(memory_format=last) and not p.is_contiguous() for p in unet.parameters())


def record(unet: Any, inputs: Inputs, pool: Any) -> Call:
    """Its eager kernels as a graph: they round as they always do."""
    return Graph(plain(unet), inputs, pool)


def record_compiled(unet: Any, inputs: Inputs, pool: Any) -> Call:
    """Compiled for exactly these shapes, and recorded: minutes of work, and it rounds otherwise."""
    return Graph(plain(torch.compile(unet, mode=MODE, dynamic=False)), inputs, pool)


class Graph:
    """One call as a CUDA graph; what it is given is copied into its own inputs, and what it gives is a copy.

    Args:
        call: what to record.
        inputs: of the shapes that it will be for.
        pool: of memory, shared by graphs that are never replayed at once, as all of one device here; None: its own.

    Raises:
        RuntimeError: there is too little memory left, or something in the call can't be recorded.
    """

    def __init__(self, call: Call, inputs: Inputs, pool: Any = None) -> None:
        device = inputs[0].device
        free, total = torch.cuda.mem_get_info(device)
        if free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device) < ROOM * total:
            raise RuntimeError("too little memory is free for a CUDA graph")
        self._lane = _lane(device)
        with torch.cuda.device(device):
            own = inputs[0].clone(), inputs[1].clone(), copied(inputs[2])
            self._inputs = tensors(*own)
            self._lane.warming.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._lane.warming):
                for _ in range(WARMUPS):
                    call(*own)
            self._lane.warming.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            # "thread_local": what other threads do meanwhile, a run for instance, neither spoils nor enters the recording.
            with torch.cuda.graph(self._graph, pool, self._lane.recording, capture_error_mode="thread_local"):
                self._output = call(*own)

    def __call__(self, latents: Tensor, t: Tensor, told: Told) -> Tensor:
        lane, stream = self._lane, torch.cuda.current_stream(latents.device)
        with lane.lock:
            stream.wait_event(lane.done)
            for own, given in zip(self._inputs, tensors(latents, t, told), strict=True):
                own.copy_(given, non_blocking=True)
            self._graph.replay()
            output = self._output.clone()
            lane.done.record(stream)
        return output


class _Lane:
    """What the graphs of one device share. They use one another's memory, so one is replayed after the other.

    On `recording` nothing is ever run: cuBLAS keeps a scratch buffer for each stream, and a graph goes on using the one
    of the stream that it was recorded on.
    """

    def __init__(self, device: torch.device) -> None:
        self.warming, self.recording = torch.cuda.Stream(device), torch.cuda.Stream(device)
        self.lock, self.done = threading.Lock(), torch.cuda.Event()


@cache
def _lane(device: torch.device) -> _Lane:
    return _Lane(device)


def tensors(latents: Tensor, t: Tensor, told: Told) -> list[Tensor]:
    """All tensors of a call, always in the same order."""
    found = [latents, t]
    for value in told.values():
        values = value.values() if isinstance(value, Mapping) else (value,)
        found += [one for one in values if isinstance(one, Tensor)]
    return found


def copied(told: Told) -> dict[str, Any]:
    """The same with tensors of its own."""
    return {
        name: value.clone() if isinstance(value, Tensor) else copied(value) if isinstance(value, Mapping) else value
        for name, value in told.items()
    }
