"""The records that everything else passes around, and the errors that a person may see.

A `Request` says what to run, a `Step` is one state of the run with all that is known there, a `Trajectory` is the
whole run, and `Model` is what the engine asks of a diffusion model. Nothing here imports another file of this package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

FORMAT = 2  # of a capsule and its trace; 1 had a tensor of its own for every field of every Step, and no past


class DiffuscopeError(Exception):
    """Something a person did or gave can't be used; the message is one sentence written for them."""


class RequestError(DiffuscopeError, ValueError):
    """A value of a Request, a picture or a latent is outside what can be run: names the field, the value and the limit."""


class SourceError(DiffuscopeError):
    """A model can't be loaded from where it was looked for: says what to do."""


class TraceError(DiffuscopeError):
    """A file is not a trace that can be played: says what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to run, in plain values only, so that it fits into a URL and into a trace.

    None for `spacing`, `karras`, `width` or `height` means the model's own. `explorer.limits` holds the ranges.
    """

    prompt: str = ""
    negative_prompt: str = ""
    seed: int = 0
    steps: int = 20
    guidance: float | tuple[float, ...] = 4.0  # one number, or one per evaluation; 1 = conditional only
    guidance_rescale: float = 0.0  # phi of arXiv:2305.08891, Section 3.4
    sampler: str = "DDIM"
    eta: float = 0.0  # DDIM only: 0 = deterministic, 1 = DDPM's variance
    noise_scale: float = 1.0  # share of the injected noise that is kept, for stochastic samplers
    spacing: str | None = None  # "leading", "linspace", "trailing"
    karras: bool | None = None
    width: int | None = None  # pixels
    height: int | None = None  # pixels


class Term(NamedTuple):
    """One summand, `coefficient * tensor`, of the update from one state to the next."""

    coefficient: float
    name: str  # "x_t", "eps", "x0", "z", or a named state of the scheduler such as "x0_1", the x0 of one evaluation ago
    tensor: Tensor  # (1, C, H, W)


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """One state of a run, and what was predicted *at this state*.

    `latents == alpha * x0 + sigma * eps`. For variance-preserving (VP) samplers `alpha**2 + sigma**2 == 1`; for
    variance-exploding (VE) ones alpha is 1. All tensors are float32 copies on the CPU, shape (1, C, H, W), free for a
    consumer to change; within one Step equal quantities may be one tensor. The last Step of a run has timestep 0 and no
    predictions: those fields are None, `forms` is empty.
    """

    index: int  # evaluation, 0-based; the last Step's index is the number of evaluations
    timestep: float  # of the training grid, 0 … num_train_timesteps - 1; fractional with Karras sigmas
    alpha: float
    sigma: float
    latents: Tensor  # x_t
    model_output: Tensor | None = None  # after guidance, in the model's own prediction type
    eps_uncond: Tensor | None = None  # None where guidance is exactly 1: there is one conditional call only
    eps_cond: Tensor | None = None
    eps: Tensor | None = None  # after guidance
    x0: Tensor | None = None  # after guidance
    z: Tensor | None = None  # the injected noise, None where none is drawn
    forms: Mapping[str, tuple[Term, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def terms(self) -> tuple[Term, ...]:
        """The transition to the next latents in the sampler's main form: terms whose sum they are."""
        return next(iter(self.forms.values()), ())


class Past(NamedTuple):
    """What a scheduler was shown at one evaluation: all that it takes to bring a fresh one to where it was."""

    latents: Tensor  # (1, C, H, W), float32, on the CPU
    model_output: Tensor  # likewise, after guidance


@dataclass(frozen=True, eq=False, kw_only=True)
class Trajectory:
    """A whole run: the Request that made it, its Steps, and the capsule with all that is needed to read it elsewhere.

    A branch also has what came before its first Step and still acts in it, so that it can be branched again, by itself.
    """

    request: Request
    steps: tuple[Step, ...]
    capsule: Mapping[str, Any]  # versions, dtype, device, model, weights, preview, prediction_type, scheduler_config
    # the evaluations just before the first Step that its scheduler was shown, in order, where it remembers them;
    # None: not known, since a trace of the first format left them out
    past: tuple[Past, ...] | None = ()
    drawn: int = 0  # noises that its generator had given to injections before the first Step
    # by index of a Step: its x0, or the last Step's latents, decoded by the model that made the run; (3, h, w), uint8
    pictures: Mapping[int, Tensor] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def latents(self) -> Tensor:
        """The latents at the end of the run, (1, C, H, W)."""
        return self.steps[-1].latents


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What a prompt became: opaque to the engine, but it can be batched and interpolated.

    `tensors` maps a name that only the model family knows to a tensor with a leading batch dimension.
    """

    tensors: Mapping[str, Tensor]

    @staticmethod
    def batch(rows: Sequence[Conditioning]) -> Conditioning:
        """Stacks several into one whose batch dimension is their sum."""
        if len(rows) == 1:
            return rows[0]
        return Conditioning({name: torch.cat([row.tensors[name] for row in rows]) for name in rows[0].tensors})

    def lerp(self, other: Conditioning, weight: float) -> Conditioning:
        """The straight line from here (weight 0) to `other` (weight 1)."""
        return Conditioning({name: torch.lerp(t, other.tensors[name], weight) for name, t in self.tensors.items()})


@dataclass(frozen=True, eq=False, kw_only=True)
class Origin:
    """Where one row of a batch begins, and what it is told, where a Request has no words for it; None: as requested."""

    noise: Tensor | None = None  # (1, C, H, W), float32: in place of the seed's first draw
    conditioning: Conditioning | None = None  # in place of the prompt's
    start: tuple[Tensor, int] | None = None  # (latents (1, C, H, W), k): noised with that noise at evaluation k


@dataclass(frozen=True)
class Preview:
    """A linear map from a latent to an RGB picture at the latent's own resolution: rgb = matrix · latent + offset.

    Least-squares fit to the VAE's own decodings; rgb in 0 … 1, unclamped.
    """

    matrix: tuple[tuple[float, ...], ...]  # (3, C)
    offset: tuple[float, float, float]

    @property
    def exact(self) -> bool:
        """Whether it is no fit but the picture itself, as of pixel models: 0.5 x + 0.5 of each channel, or of the one."""
        row = (0.5,) if len(self.matrix[0]) == 1 else (0.5, 0.0, 0.0)
        turned = [row] * 3 if len(row) == 1 else [row, (0.0, 0.5, 0.0), (0.0, 0.0, 0.5)]
        return [*map(tuple, self.matrix)] == turned and tuple(self.offset) == (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Part:
    """One part of a pipeline, with its real shapes at the model's default size (no batch dimension)."""

    name: str  # "tokenizer", "text_encoder", "unet", "vae"
    kind: str  # its class
    takes: tuple[int, ...]
    gives: tuple[int, ...]
    parameters: int
    facts: Mapping[str, str | int]  # what else a reader would ask for


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What a model can do and what suits it, told by its own config rather than by its name."""

    prompts: bool = True  # False: unconditional; its only prompt is the empty one
    # "cfg": two calls, with the prompt and without; "embedded": one call that is told the scale (LCM); "none": one call
    guidance: str = "cfg"
    latent: bool = True  # False: there is no VAE, the latent is the picture
    sampler: str = "DDIM"  # these four: where its form begins
    steps: int = 20
    scale: float = 4.0  # of guidance; 1 for models distilled to run without
    seed: int = 3
    examples: tuple[str, ...] = ()  # prompts to try, and the form begins with the first; none where it takes none
    distilled: bool = False  # made for a few steps
    cells: int = 1  # the sides of its latents must be multiples of this


class Model(Protocol):
    """What the engine asks of a model. Implementations live in `explorer.models`, one family per file."""

    name: str
    device: torch.device
    dtype: torch.dtype
    weights: str  # a checksum, at this dtype, of some of all that decides a prediction
    prediction_type: str  # "epsilon", "v_prediction" or "sample"
    latent_channels: int
    latent_scale: int  # pixels per latent cell along each side
    default_size: tuple[int, int]  # width, height in pixels

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """The config from which every sampler's scheduler is built."""
        ...

    @property
    def pipeline(self) -> str:
        """The class of diffusers that makes its runs, for what is copied from here."""
        ...

    @property
    def abilities(self) -> Abilities:
        """What it can do, and where its form begins."""
        ...

    @property
    def preview(self) -> Preview:
        """How to colour a latent without decoding it."""
        ...

    def encode_prompt(self, prompt: str) -> Conditioning:
        """The conditioning of one prompt, batch 1; cached, and the same object for the same prompt while cached."""
        ...

    def encode_negative(self, prompt: str) -> Conditioning:
        """What the unconditional call is told; not always `encode_prompt` of it: SDXL takes zeros for an empty one."""
        ...

    def at_scale(self, conditioning: Conditioning, guidance: float) -> Conditioning:
        """What the one call is told where `abilities.guidance` is "embedded": the conditioning and the scale; any batch."""
        ...

    def unread(self, prompt: str) -> str:
        """The end of a prompt that is too long to be read, exactly as it was written; empty where all is read."""
        ...

    def parts(self) -> tuple[Part, ...]:
        """What the pipeline is made of, in the order in which a prompt passes through it."""
        ...

    def predict(self, latents: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """The model's output for latents (B, C, H, W), already scaled by the scheduler, at timesteps t (B,); float32."""
        ...

    def encode(self, picture: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in -1 … 1 to scaled latents (B, C, H/scale, W/scale): the posterior's mean."""
        ...

    def posterior(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """What `encode` gives, and the posterior's standard deviation likewise scaled; float32, on the CPU."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, C, h, w) to pictures (B, 3, h*scale, w*scale) in 0 … 1, float32 on the CPU."""
        ...

    def decode_tiny(self, latents: Tensor) -> Tensor | None:
        """As `decode`, by the model's tiny decoder; None where it has none."""
        ...
