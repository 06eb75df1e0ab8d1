"""How predict() calls a U-Net: eagerly at once, and by a CUDA graph as soon as one is recorded for the shapes in use.

On CUDA weights are laid out channels last. A shape that comes again is warmed in a thread of its own: first its eager
kernels are recorded as a CUDA graph, which spares their launches and rounds as they do; then, where it was asked for, a
compiled U-Net is recorded in its place. A run keeps the kernels that it began with (`Steady`), so that what is warmed
meanwhile comes with the next one. Whatever fails here leaves what was there.

On the CPU all stays eager: `models.measured` has what pays there.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, ClassVar
from weakref import ref

import torch
from torch import Tensor

from explorer.models.graphs import Call, Inputs, Told, channels_last, copied, plain, record, record_compiled, tensors

OFTEN = 3  # calls of a shape before it is warmed: the odd row counts at a sweep's beginning come once
SHAPES = 8  # kept of each U-Net; their graphs share one pool, about as large as the largest of them needs

Stage = Callable[[Any, Inputs, Any], Call]  # (U-Net, inputs, pool) → what to call for inputs of these shapes
Key = tuple[tuple[tuple[int, ...], torch.dtype], ...]


class Kernels:
    """A U-Net to be called with (latents, t, **told); gives float32, contiguous.

    Args:
        unet: on its device, in its dtype; on CUDA its weights are laid out anew, in place.
        stages: what to make of a shape that comes again, one after the other; None: what suits the device.
    """

    turn: ClassVar = threading.Lock()  # one recording at a time in a process: CUDA allows no more

    def __init__(self, unet: Any, stages: Sequence[Stage] | None = None) -> None:
        # On ZeroGPU there is no device yet, and the process that will have it may end with the run.
        cuda = unet.device.type == "cuda" and "SPACES_ZERO_GPU" not in os.environ
        if cuda:
            unet.to(memory_format=torch.channels_last)
        if stages is None:
            stages = (record,) if cuda else ()
        self.unet, self.stages, self.compiled = unet, tuple(stages), False
        self._plain = plain(unet)
        self._ready: Mapping[Key, Call] = {}  # replaced, never changed: who holds it keeps what it began with
        self._seen: Counter[Key] = Counter()
        self._refused: set[Key] = set()
        self._pool: Any = None
        self._round = 0
        self._job: threading.Thread | None = None
        self._lock = threading.Lock()

    def __call__(self, latents: Tensor, t: Tensor, **told: Any) -> Tensor:
        return self.by(self._ready, latents, t, told)

    def held(self) -> Held:
        """The same calls by what is ready now, whatever is warmed from now on."""
        return Held(self, self._ready)

    def compile(self) -> None:
        """Asks for a compiled U-Net too, on CUDA: faster, after minutes of work for each shape.

        Runs before and after the exchange differ in their last bits: from now on no run of this model promises to be
        repeated exactly.
        """
        if self.stages and not self.compiled:
            self.compiled, self.stages = True, (*self.stages, record_compiled)
            self.forget()

    def forget(self) -> None:
        """Gives back what was made for shapes, once the runs that hold it end; shapes that come again are warmed again."""
        with self._lock:
            self._ready, self._refused, self._pool, self._round = {}, set(), None, self._round + 1
            self._seen.clear()

    def ready(self) -> int:
        """For how many shapes something faster is ready."""
        return len(self._ready)

    def wait(self, seconds: float | None = None) -> bool:
        """Waits at most so long for the warming under way; whether none is left."""
        job = self._job
        if job is not None:
            job.join(seconds)
        return job is None or not job.is_alive()

    def by(self, ready: Mapping[Key, Call], latents: Tensor, t: Tensor, told: Told) -> Tensor:
        """The call by the one of `ready` that is for its shapes, else eagerly."""
        if not self.stages:
            return self._plain(latents, t, told)
        key = tuple((tuple(one.shape), one.dtype) for one in tensors(latents, t, told))
        if key in ready:
            return ready[key](latents, t, told)
        self._want(key, (latents, t, told))
        return self._plain(latents, t, told)

    def put(self, key: Key, call: Call | None, made_in: int) -> None:
        """Takes what was made for a shape; None: nothing can be. Each `forget` begins a round, and ends what it found."""
        with self._lock:
            if made_in != self._round:
                return
            if call is None:
                self._refused.add(key)
                return
            newer = {**{k: v for k, v in self._ready.items() if k != key}, key: call}
            self._ready = dict([*newer.items()][-SHAPES:])

    def _want(self, key: Key, inputs: Inputs) -> None:
        with self._lock:
            if key in self._ready or key in self._refused:
                return
            self._seen[key] += 1
            if self._seen[key] < OFTEN or (self._job is not None and self._job.is_alive()):
                return
            del self._seen[key]
            if self._pool is None and inputs[0].is_cuda:
                self._pool = torch.cuda.graph_pool_handle()
            copies = inputs[0].clone(), inputs[1].clone(), copied(inputs[2])
            task = (ref(self), self.stages, key, copies, self._pool, self._round)
            self._job = threading.Thread(target=_warm, args=task, name="warming", daemon=True)
            self._job.start()


class Held:
    """What `Kernels` had ready at one moment; shapes beyond that are called eagerly, and asked for."""

    def __init__(self, kernels: Kernels, ready: Mapping[Key, Call]) -> None:
        self.kernels, self.stages, self.compiled, self._ready = kernels, kernels.stages, kernels.compiled, ready

    def __call__(self, latents: Tensor, t: Tensor, **told: Any) -> Tensor:
        return self.kernels.by(self._ready, latents, t, told)

    def held(self) -> Held:
        """Itself."""
        return self


class Steady:
    """What a Model has from calling its U-Net by Kernels."""

    device: torch.device
    unet: Any
    kernels: Any  # Kernels, or Held for one run

    def steady(self) -> Any:
        """The model for one run: with the kernels that are ready now, to the run's end."""
        if not self.kernels.stages:
            return self
        same = copy(self)
        same.kernels = self.kernels.held()
        return same

    def lay_out_last(self) -> None:
        """Lays the U-Net out channels last; before its first run."""
        self.unet.to(memory_format=torch.channels_last)
        self.kernels = Kernels(self.unet)

    @property
    def rounding(self) -> str:
        """What else than device and dtype decides the last bits of its runs; "compiled": equal runs may differ in them."""
        if self.kernels.compiled:
            return "compiled"
        return "channels last" if self.device.type == "cpu" and channels_last(self.unet) else ""


def _warm(owner: ref[Kernels], stages: Sequence[Stage], key: Key, inputs: Inputs, pool: Any, made_in: int) -> None:
    """The thread's work. While it waits it keeps nothing of the model, which may be given up meanwhile."""
    made = False
    for stage in stages:
        with Kernels.turn, torch.inference_mode():
            kernels = owner()
            if kernels is None:
                return
            try:
                kernels.put(key, stage(kernels.unet, inputs, pool), made_in)
                made = True
            except Exception as error:  # compilers and drivers raise what they like
                logging.getLogger(__name__).info("A U-Net stays as it is: %s", error)
            del kernels
    if not made and (kernels := owner()) is not None:
        kernels.put(key, None, made_in)
