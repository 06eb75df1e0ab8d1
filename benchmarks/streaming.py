"""Streaming everything against streaming nothing: `denoise()` beside diffusers' plain pipeline, interleaved in one run.

    python benchmarks/streaming.py [--pairs 20] [--steps 20] [--threads N] [--device cuda]

Each pair is one run of StableDiffusionPipeline with no callback, one of `denoise()` with every intermediate copied out
and the prompt's conditioning cached, and one with it cold, in an order that rotates from pair to pair.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

sys.path.insert(0, str(Path(__file__).parents[1]))

from explorer import Request, denoise, load_model
from explorer.models import EMBEDDED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_model(device=options.device)
    pipeline = StableDiffusionPipeline.from_pretrained(EMBEDDED, dtype=model.dtype).to(model.device)
    pipeline.set_progress_bar_config(disable=True)
    request = Request(prompt="pizza on a blue background", negative_prompt="cat", steps=options.steps, guidance=4.0)
    latents: dict[str, torch.Tensor] = {}

    def plain() -> None:
        latents["plain"] = pipeline(
            request.prompt, negative_prompt=request.negative_prompt, num_inference_steps=request.steps,
            guidance_scale=request.guidance, generator=torch.Generator().manual_seed(request.seed), output_type="latent",
        ).images  # fmt: skip

    def cached() -> None:
        latents["cached"] = list(denoise(model, request))[-1].latents

    def cold() -> None:
        model.forget_prompts()
        latents["cold"] = list(denoise(model, request))[-1].latents

    seconds: dict[str, list[float]] = {"plain": [], "cached": [], "cold": []}
    runs = [("plain", plain), ("cached", cached), ("cold", cold)]
    for pair in range(-2, options.pairs):  # two for warming up
        shift = pair % 3
        for name, function in runs[shift:] + runs[:shift]:
            if name == "cached":
                model.encode_prompt(request.prompt), model.encode_negative(request.negative_prompt)
            begin = time.perf_counter()
            function()
            if model.device.type == "cuda":
                torch.cuda.synchronize()
            if pair >= 0:
                seconds[name].append(time.perf_counter() - begin)
    exact = all(torch.equal(latents["plain"].float().cpu(), latents[name]) for name in ("cached", "cold"))
    assert exact or model.device.type == "cuda"  # in float16 ours keeps the state in float32
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{platform.machine()}, {os.cpu_count()} cores, {options.threads} threads, load {os.getloadavg()[0]:.2f}, "
          f"Python {platform.python_version()}, torch {version('torch')}, diffusers {version('diffusers')}; "
          f"{model.device}, {model.dtype}, {options.steps} steps, {options.pairs} pairs, "
          f"latents {'equal bit for bit' if exact else 'close'}")  # fmt: skip
    print("\n| run | median s | quartiles s | ratio to plain |\n| --- | --- | --- | --- |")
    for name, values in seconds.items():
        low, _, high = statistics.quantiles(values, n=4)
        print(f"| {name} | {medians[name]:.4f} | {low:.4f} – {high:.4f} | {medians[name] / medians['plain']:.4f} |")


if __name__ == "__main__":
    main()
