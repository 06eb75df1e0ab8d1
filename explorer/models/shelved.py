"""What a page has of a model on the shelf: its facts, which are plain data, and where to find what computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from explorer.models import room
from explorer.records import Abilities, Conditioning, Model, Part, Preview, SourceError

FACTS = (
    "name", "device", "dtype", "weights", "prediction_type", "latent_channels", "latent_scale", "default_size",
    "scheduler_config", "abilities", "preview", "pipeline", "rounding",
)  # fmt: skip

Hold = Callable[[str], AbstractContextManager[Model]]  # a source → the model, which stays while that is open


class Shelved:
    """A Model whose weights are on a shelf, or put away: its facts are plain data, and what computes takes the weights."""

    name: str
    device: torch.device
    dtype: torch.dtype
    weights: str
    prediction_type: str
    latent_channels: int
    latent_scale: int
    default_size: tuple[int, int]
    scheduler_config: Mapping[str, Any]
    abilities: Abilities
    preview: Preview
    pipeline: str
    rounding: str

    def __init__(self, hold: Hold, source: str, model: Model) -> None:
        self._hold, self.source = hold, source
        for fact in FACTS:
            setattr(self, fact, getattr(model, fact))
        self._parts, self._unread = model.parts(), _words(model)

    @contextmanager
    def held(self) -> Iterator[Model]:
        """The model itself, which stays while this is open.

        Raises:
            SourceError: it was put away, and can't be had again as it was.
        """
        with self._hold(self.source) as model:
            if model.weights != self.weights:
                raise SourceError(f"The model {self.name!r} has changed since this page was made; load it again.")
            yield model

    def parts(self) -> tuple[Part, ...]:
        """As they were."""
        return self._parts

    def unread(self, prompt: str) -> str:
        """By the tokenizers, which stay."""
        return self._unread(prompt)

    def encode_prompt(self, prompt: str) -> Conditioning:
        with self.held() as model:
            return model.encode_prompt(prompt)

    def encode_negative(self, prompt: str) -> Conditioning:
        with self.held() as model:
            return model.encode_negative(prompt)

    def at_scale(self, conditioning: Conditioning, guidance: float) -> Conditioning:
        with self.held() as model:
            return model.at_scale(conditioning, guidance)

    def predict(self, latents: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        with self.held() as model:
            return model.predict(latents, t, conditioning)

    def encode(self, picture: Tensor) -> Tensor:
        with self.held() as model:
            return model.encode(picture)

    def posterior(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        with self.held() as model:
            return model.posterior(picture)

    def decode(self, latents: Tensor) -> Tensor:
        with self.held() as model:
            return model.decode(latents)

    def decode_tiny(self, latents: Tensor) -> Tensor | None:
        with self.held() as model:
            return model.decode_tiny(latents)


def nbytes(model: Any) -> int:
    """The bytes of all parameters and buffers of a model's networks."""
    tensors = {id(t): t.nbytes for net in _networks(model, 2) for t in (*net.parameters(), *net.buffers())}
    return sum(tensors.values())


def _networks(owner: Any, depth: int) -> Iterator[nn.Module]:
    """The networks among what an object has, in its lists and in what those objects have."""
    for value in [*vars(owner).values()]:
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, nn.Module):
                yield one
            elif depth > 1 and hasattr(one, "__dict__") and type(one).__module__.startswith("explorer."):
                yield from _networks(one, depth - 1)


def _words(model: Any) -> Callable[[str], str]:
    """The model's `unread` without its weights: readers are kept without their encoders."""
    if not hasattr(type(model), "unread"):  # something around a model
        return model.unread
    light = object.__new__(type(model))
    light.readers = tuple(copy(reader) for reader in getattr(model, "readers", ()))
    for reader in light.readers:
        del reader.encoder
    return light.unread


def let_go(models: list[Model]) -> None:
    """Gives back the memory of models that were put away; the list is emptied."""
    if not models:
        return
    for model in models:
        for forget in (getattr(model, "forget_prompts", None), getattr(getattr(model, "kernels", None), "forget", None)):
            if forget is not None:
                forget()
        del model, forget
    models.clear()
    room.reclaim()
