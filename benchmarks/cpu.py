"""What pays on this CPU: dtype, layout, threads and torch.compile, one U-Net call at a time, in turn in one process.

    python benchmarks/cpu.py [--rounds 9] [--threads 1 2] [--size 256] [--compile] [--skip-large]

Two U-Nets: the embedded model's at its own size, and SD 1.5's shapes with random weights at --size. Two rows a call, as
under guidance. Then whole runs of the embedded model in float32 and bfloat16, and how close their pictures are.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.shapes import inputs, shapes
from explorer import Request, load_model, run
from explorer.models.graphs import plain

VARIANTS = [("float32", False), ("float32", True), ("bfloat16", False), ("bfloat16", True)]  # dtype, channels last
RUNS = [("pizza", "DDIM"), ("cat with tears of joy on black", "DPM++ 2M"), ("red house on a blue background", "Euler a"),
        ("star", "UniPC"), ("dog", "Heun")]  # fmt: skip


@torch.inference_mode()
def calls(name: str, unet: Any, side: int, options: argparse.Namespace) -> None:
    """A row for each variant and number of threads; ratios are to float32 as it comes, in the same turn."""
    latents, t, told = inputs(unet, 2, side, torch.device("cpu"))
    made: dict[str, tuple[Any, torch.dtype, bool]] = {}
    for dtype, last in VARIANTS:
        copy = deepcopy(unet).to(getattr(torch, dtype))
        if last:
            copy.to(memory_format=torch.channels_last)
        made[f"{dtype}, channels last" if last else dtype] = (copy, getattr(torch, dtype), last)
    if options.compile and name == "embedded":
        for dtype in ("float32", "bfloat16"):
            made[f"{dtype}, compiled"] = (torch.compile(made[dtype][0], dynamic=False), made[dtype][1], False)
    works: dict[str, Callable[[], Tensor]] = {}
    for variant, (network, dtype, last) in made.items():
        words = {"encoder_hidden_states": told["encoder_hidden_states"].to(dtype)}
        given = latents.to(memory_format=torch.channels_last) if last else latents
        works[variant] = partial(plain(network), given, t, words)
    outputs, first = {}, {}
    for variant, work in works.items():
        begin = time.perf_counter()
        outputs[variant] = work()
        first[variant] = time.perf_counter() - begin
    for threads in options.threads:
        torch.set_num_threads(threads)
        seconds: dict[str, list[float]] = {variant: [] for variant in works}
        for turn in range(-1, options.rounds if name == "embedded" else min(options.rounds, 3)):
            for variant, work in works.items():
                begin = time.perf_counter()
                work()
                if turn >= 0:
                    seconds[variant].append(time.perf_counter() - begin)
        for variant in works:
            ratios = [a / b for a, b in zip(seconds[variant], seconds["float32"], strict=True)]
            error = float((outputs[variant] - outputs["float32"]).norm() / outputs["float32"].norm())
            took = [1000 * f(seconds[variant]) for f in (statistics.median, min)]
            note = f" (first call {first[variant]:.0f} s)" if "compiled" in variant else ""
            print(f"| {name} | {threads} | {variant}{note} | {took[0]:.0f} | {took[1]:.0f} "
                  f"| {statistics.median(ratios):.2f} | {error:.1e} |", flush=True)  # fmt: skip
    torch.set_num_threads(options.threads[0])


def runs() -> None:
    """Whole runs of 20 steps in both dtypes, in turn, and how close their pictures are."""
    exact, quick = load_model(device="cpu"), load_model(device="cpu", dtype="bfloat16")
    print("\n| run of 20 steps | float32, s | bfloat16, s | ratio | PSNR, dB |\n| --- | --- | --- | --- | --- |")
    for seed, (prompt, sampler) in enumerate(RUNS):
        request = Request(prompt=prompt, seed=seed, sampler=sampler)
        pictures, seconds = [], []
        for model in (exact, quick):
            begin = time.perf_counter()
            latents = run(model, request).latents
            seconds.append(time.perf_counter() - begin)
            pictures.append(exact.decode(latents))
        close = -10 * math.log10(float((pictures[0] - pictures[1]).square().mean()))
        figures = f"{seconds[0]:.2f} | {seconds[1]:.2f} | {seconds[1] / seconds[0]:.2f} | {close:.1f}"
        print(f"| {prompt}, {sampler} | {figures} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, torch.get_num_threads()])
    parser.add_argument("--size", type=int, default=256, help="of SD 1.5's pictures")
    parser.add_argument("--compile", action="store_true", help="also compiled; takes minutes")
    parser.add_argument("--skip-large", action="store_true", help="the embedded model only")
    options = parser.parse_args()
    options.threads = [*dict.fromkeys(options.threads)]
    logging.set_verbosity_error()
    print(f"{platform.machine()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, "
          f"load {os.getloadavg()[0]:.2f}, Python {platform.python_version()}, torch {version('torch')}, "
          f"diffusers {version('diffusers')}; {options.rounds} rounds\n\n"
          "| U-Net | threads | as | median ms | fastest ms | ratio | relative error |\n"
          "| --- | --- | --- | --- | --- | --- | --- |", flush=True)  # fmt: skip
    embedded = load_model(device="cpu").unet
    calls("embedded", embedded, embedded.config.sample_size, options)
    if not options.skip_large:
        calls(f"SD 1.5's, {options.size}²", shapes("SD 1.5", torch.device("cpu")).unet, options.size // 8, options)
    runs()


if __name__ == "__main__":
    main()
