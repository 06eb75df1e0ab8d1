"""What benchmarks/cuda.py times: one request through our engine, streaming or silent, and through diffusers' pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from benchmarks.shapes import Random, Shapes, embeddings
from explorer import Request, engine, frames
from explorer.models.speed import Kernels

PROMPT, NEGATIVE, GUIDANCE = "pizza", "cat", 4.0
AGREEING = 4  # steps after which latents are compared with float32's
Run = Callable[[int], Tensor]  # of so many steps → last latents, (B, C, H, W)


class Nothing:
    """An outbox that sends nothing: what the loop costs by itself."""

    def __init__(self, device: torch.device) -> None:
        self.late = 0

    def send(self, fields: list[Any]) -> Nothing:
        self.last = torch.cat([one["latents"] for one in fields])
        return self

    def steps(self) -> list[Tensor]:
        return [self.last]


@contextmanager
def silent() -> Iterator[None]:
    outbox, engine.Outbox = engine.Outbox, Nothing  # type: ignore[misc]
    try:
        yield
    finally:
        engine.Outbox = outbox  # type: ignore[misc]


def requests(steps: int, batch: int) -> list[Request]:
    plain = Request(prompt=PROMPT, negative_prompt=NEGATIVE, guidance=GUIDANCE, steps=steps)
    return [Request(**{**vars(plain), "seed": seed}) for seed in range(batch)]


def ours(model: Any, batch: int) -> Run:
    """Consumed as the page does: every Step kept, and made a record."""

    def run(steps: int) -> Tensor:
        kept = []
        for lanes in engine.denoise_batch(model, requests(steps, batch)):
            kept.append(lanes)
            for step in lanes:
                frames.encode(step, run="", n=steps + 1, model_preview=model.preview)
        return torch.cat([step.latents for step in kept[-1]])

    return run


def ours_silent(model: Any, batch: int) -> Run:
    def run(steps: int) -> Tensor:
        with silent():
            return [*engine.denoise_batch(model, requests(steps, batch))][-1][0].cpu()  # type: ignore

    return run


def theirs(pipeline: Any, model: Random, batch: int) -> Run:
    prompts = embeddings(model, PROMPT, NEGATIVE, batch)
    cells = pipeline.unet.config.sample_size
    noise = [torch.randn(1, 4, cells, cells, generator=torch.Generator().manual_seed(seed)) for seed in range(batch)]
    noise = torch.cat(noise).to(model.device, model.dtype)

    def run(steps: int) -> Tensor:
        return pipeline(
            **prompts, latents=noise, num_inference_steps=steps, guidance_scale=GUIDANCE, output_type="latent",
            height=cells * 8, width=cells * 8,
        ).images.float().cpu()  # fmt: skip

    return run


def warm(model: Any, run: Run, what: str) -> None:
    """Runs until what is made in the background is there."""
    run(AGREEING)
    if model.kernels.stages:
        model.kernels.wait()
        if not model.kernels.ready():
            raise RuntimeError(f"no {what} was made")
    run(AGREEING)


def reference(made: Shapes, batch: int) -> Tensor:
    """The last latents of a short run in float32, without TF32: the first two rows, each run by itself."""
    model = made.model(torch.float32)
    model.kernels = Kernels(model.unet, stages=())
    allowed, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        return torch.cat([[*engine.denoise(model, one)][-1].latents for one in requests(AGREEING, min(batch, 2))])
    finally:
        torch.backends.cudnn.allow_tf32 = allowed
