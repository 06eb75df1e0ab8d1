"""Runs and decodings where the device is: here, or on ZeroGPU in the process that Hugging Face's `spaces` forks for it.

On ZeroGPU the server itself has no device: only what is decorated by `spaces.GPU` has one, in a forked worker. So one
generator is decorated, and all that computes goes through it; handlers, sessions and records stay in the server. The
worker has the model by the fork, in a closure: a model is never pickled. What does cross is bytes, both ways, with
tensors as plain CPU arrays: torch's own way of sending a tensor between processes keeps a file open for each.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from explorer import engine, limits, microscope, walk_film, walk_readings
from explorer.engine import Start
from explorer.latents import decodings as decoded
from explorer.models.shelved import Shelved
from explorer.records import Conditioning, DiffuscopeError, Model, Request, Step
from explorer.samplers import SAMPLERS
from explorer.walk import Walk, check_pictures, check_places
from explorer.walk import check as check_walk
from explorer.walk_film import Batch, Pictures

WORK: Mapping[str, Callable[..., Iterator[Any]]] = {
    "denoise": engine.denoise,
    "denoise_batch": engine.denoise_batch,
    "predict": lambda *asked: iter([_predict(*asked)]),
    "encode": lambda model, picture: iter([model.encode(picture)]),
    "decode": lambda model, latents: iter([model.decode(latents)]),
    "posterior": lambda model, picture: iter([model.posterior(picture)]),
    "decode_tiny": lambda model, latents: iter([model.decode_tiny(latents)]),
    "decodings": lambda model, latents: iter([decoded(latents, model)]),
    "film": walk_film.turn,  # a few frames each time: a whole film is longer than one turn at the device may be
    "tracks": lambda model, *asked: iter([walk_readings.tracks(model, *asked)]),
    "negatives": lambda model, *asked: iter([microscope.negatives(model, *asked)]),
}
LEAST = 10  # seconds of the device to ask for
MOST = 120  # what is asked for must be left of the person's share
EVALUATION = 0.15  # seconds, generous, of one at 512 x 512 with guidance
AREA = 512 * 512

T = TypeVar("T")


def on_gpu(model: Model) -> Model:
    """The model itself, or on ZeroGPU one that computes in the worker; to be called before the page is launched.

    Without `spaces`, and where `spaces` finds no ZeroGPU, nothing is between the model and who asks it.
    """
    try:
        import spaces
    except ImportError:
        return model

    def work(task: bytes, seconds: int) -> Generator[bytes]:
        name, arguments = unpack(task)
        try:
            for made in WORK[name](model, *arguments):
                yield pack(made)
        except (DiffuscopeError, torch.cuda.OutOfMemoryError) as error:  # what the page has a sentence for
            yield pack(error)

    decorated = spaces.GPU(work, duration=lambda task, seconds: seconds)
    return model if decorated is work else cast(Model, Remote(model, decorated))


def denoise(model: Model, request: Request, start: Start | None = None) -> Iterator[Step]:
    """`engine.denoise`, wherever the model computes; in the worker a bad start is told at the first Step."""
    if not isinstance(model, Remote):
        return _run(model, lambda one: engine.denoise(one, request, start))
    return model.remote("denoise", limits.check(request, cast(Model, model)), start)


def denoise_batch(model: Model, requests: Sequence[Request]) -> Iterator[list[Step]]:
    """`engine.denoise_batch`, wherever the model computes."""
    if not isinstance(model, Remote):
        return _run(model, lambda one: engine.denoise_batch(one, requests))
    return model.remote("denoise_batch", limits.check_batch(requests, cast(Model, model)))


def film(
    model: Model, walk: Walk, places: Sequence[float], pictures: Pictures | None = None, batch: int = 4
) -> Iterator[Batch]:
    """`walk_film.film`, wherever the model computes: there, one turn at the device for each few frames."""
    if isinstance(model, Remote):
        return walk_film.film(model, walk, places, pictures, batch, _turn)
    return _run(model, lambda one: walk_film.film(one, walk, places, pictures, batch, walk_film.turn))


def tracks(model: Model, walk: Walk, places: Sequence[float], pictures: Pictures | None = None) -> walk_readings.Tracks:
    """`walk_readings.tracks`, wherever the model computes: where its text encoder is."""
    if not isinstance(model, Remote):
        with here(model):
            return walk_readings.tracks(model, walk, places, pictures)
    walk = check_walk(walk, cast(Model, model))
    (made,) = model.remote("tracks", walk, check_places(places), check_pictures(walk, cast(Model, model), pictures))
    return made


def predict(model: Model, latents: Tensor, t: Tensor, prompt: str) -> Tensor:
    """The model's output for latents (B, C, h, w) at timesteps t (B,), with one prompt; on the CPU wherever it computes."""
    if not isinstance(model, Remote):
        with here(model):
            return _predict(model, latents, t, prompt)
    (output,) = model.remote("predict", latents, t, prompt)
    return output


def decodings(model: Model, latents: Tensor) -> list[dict[str, Any]]:
    """`latents.decodings`, wherever the model computes: in one turn at the device, and timed where it is."""
    if not isinstance(model, Remote):
        with here(model):
            return decoded(latents, model)
    (rows,) = model.remote("decodings", latents)
    return rows


def here(model: Model) -> AbstractContextManager[Any]:
    """Keeps a model in memory while this is open, if it is one that may be put away."""
    return model.held() if isinstance(model, Shelved) else nullcontext()


def duration(requests: Sequence[Request]) -> int:
    """Seconds of the device that these runs may take, the model's own size written out or not; LEAST … MOST."""
    work = sum(
        SAMPLERS[one.sampler].evaluations(one.steps) * max(1.0, (one.width or 512) * (one.height or 512) / AREA)
        for one in requests
    )
    return min(LEAST + math.ceil(EVALUATION * work), MOST)


def _run(model: Model, begin: Callable[[Model], Iterator[T]]) -> Iterator[T]:
    """What a run makes. One that may be put away stays in memory from the first to the last, or to where it is left."""
    if not isinstance(model, Shelved):
        return begin(model)
    made = _kept(model, begin)
    next(made)  # what is wrong is told at the call
    return cast(Iterator[T], made)


def _kept(model: Shelved, begin: Callable[[Model], Iterator[T]]) -> Iterator[T | None]:
    """First None, once the run has begun; from there on its end, or where it is left, lets the model go."""
    with model.held() as one:
        steps = begin(one)
        yield None
        yield from steps


def _turn(model: Any, walk: Walk, places: Sequence[float], pictures: Pictures | None) -> Iterator[list[Step]]:
    return model.remote("film", walk, places, pictures, seconds=duration([walk.request] * len(places)))


def _predict(model: Model, latents: Tensor, t: Tensor, prompt: str) -> Tensor:
    with torch.inference_mode():
        conditioning = Conditioning.batch([model.encode_prompt(prompt)] * len(latents))
        return model.predict(latents.to(model.device), t.to(model.device), conditioning).cpu()


class Remote:
    """A Model that computes in the worker; what it is, rather than what it makes, is known here."""

    def __init__(self, model: Model, work: Callable[[bytes, int], Generator[bytes]]) -> None:
        self._model, self._work = model, work
        self._no_tiny = False  # as far as it has been asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def remote(self, name: str, *arguments: Any, seconds: int | None = None) -> Iterator[Any]:
        """What a row of WORK makes, as it is made; the seconds of the device follow from the requests, or are given."""
        requests = [one for given in arguments for one in (given if isinstance(given, Sequence) else [given])]
        seconds = seconds or duration([one for one in requests if isinstance(one, Request)])
        answers = self._work(pack((name, arguments)), seconds)
        with closing(answers):  # early, and the worker stops at its next step
            for answer in answers:
                made = unpack(answer)
                if isinstance(made, Exception):
                    raise made
                yield made

    def encode(self, picture: Tensor) -> Tensor:
        (latents,) = self.remote("encode", picture)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        (picture,) = self.remote("decode", latents)
        return picture

    def posterior(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        (both,) = self.remote("posterior", picture)
        return both

    def decode_tiny(self, latents: Tensor) -> Tensor | None:
        if self._no_tiny:  # nothing to ask the device for
            return None
        (picture,) = self.remote("decode_tiny", latents)
        self._no_tiny = picture is None
        return picture


class _Pickler(pickle.Pickler):
    """Writes tensors as CPU arrays, and the read-only mappings of the records."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.dtype == torch.bfloat16:  # NumPy has none
            return _bfloat16, (value.detach().cpu().view(torch.int16).numpy(),)
        if isinstance(value, Tensor):
            return torch.from_numpy, (value.detach().cpu().numpy(),)
        if isinstance(value, MappingProxyType):
            return _read_only, (dict(value),)
        return NotImplemented


def pack(value: Any) -> bytes:
    """Records, requests and tensors as bytes; what is one tensor within a record stays one."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def unpack(data: bytes) -> Any:
    """What was packed, by this program in its other process."""
    return pickle.loads(data)


def _bfloat16(bits: NDArray[np.int16]) -> Tensor:
    return torch.from_numpy(bits).view(torch.bfloat16)


def _read_only(plain: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(plain)
