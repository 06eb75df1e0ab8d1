"""A guidance sweep against as many single runs, interleaved in one process.

    python benchmarks/guidance.py [--scales 8] [--steps 20] [--pairs 10] [--threads N] [--device cuda]

Each pair is one `sweep()` over all scales and `denoise()` once per scale, in an order that alternates from pair to pair.
Both copy every intermediate out, with the prompts' conditionings cached. Target with 8 scales and 20 steps: 0.9 or less.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from explorer import Request, denoise, load_model
from explorer.records import Model
from explorer.sweep import sweep

Seconds = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scales", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    before = os.getloadavg()[0]
    model = load_model(device=options.device)
    seconds = measure(model, steps=options.steps, scales=options.scales, pairs=options.pairs)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {options.threads} threads, load {before:.2f} before and "
          f"{os.getloadavg()[0]:.2f} after, Python {platform.python_version()}, torch {version('torch')}")  # fmt: skip
    print(report(seconds, model, steps=options.steps, scales=options.scales))


def measure(model: Model, *, steps: int, scales: int, pairs: int, warm: int = 1) -> Seconds:
    """Seconds of each sweep and of each set of single runs; the two must agree in their latents.

    Args:
        model: what predicts.
        steps, scales: of each sweep; the scales are 1.5, 2.5, 3.5 …, so that every single run makes two rows a step.
        pairs: how many of each are timed.
        warm: pairs that are run before and not timed.
    """
    request = Request(prompt="pizza on a blue background", steps=steps)
    values = [1.5 + i for i in range(scales)]
    latents: dict[str, list[torch.Tensor]] = {}

    def together() -> None:
        *_, last = sweep(model, request, values)
        latents["sweep"] = [step.latents for step in last]

    def singles() -> None:
        runs = (list(denoise(model, replace(request, guidance=w))) for w in values)
        latents["singles"] = [steps_[-1].latents for steps_ in runs]

    functions = {"sweep": together, "singles": singles}
    seconds: Seconds = {name: [] for name in functions}
    for pair in range(-warm, pairs):
        for name in sorted(functions, reverse=pair % 2 == 1):
            begin = time.perf_counter()
            functions[name]()
            if model.device.type == "cuda":
                torch.cuda.synchronize()
            if pair >= 0:
                seconds[name].append(time.perf_counter() - begin)
    for a, b in zip(latents["sweep"], latents["singles"], strict=True):
        size = max(1.0, float(b.abs().max()))
        assert float((a - b).abs().max()) <= 1e-3 * size or model.dtype != torch.float32
    return seconds


def ratio(seconds: Seconds, of: Callable[[list[float]], float] = statistics.median) -> float:
    """The median sweep over the median set of single runs, or the fastest ones, which other work disturbs least."""
    return of(seconds["sweep"]) / of(seconds["singles"])


def report(seconds: Seconds, model: Model, *, steps: int, scales: int) -> str:
    """What was measured, as a table for RESULTS.md."""
    lines = [
        f"{model.device}, {model.dtype}, {steps} steps, {scales} scales, {len(seconds['sweep'])} pairs: "
        f"ratio {ratio(seconds):.3f} of the medians (target 0.9), {ratio(seconds, min):.3f} of the fastest",
        "",
        "| run | median s | min – max s |",
        "| --- | --- | --- |",
    ]
    for name, values in seconds.items():
        lines.append(f"| {name} | {statistics.median(values):.3f} | {min(values):.3f} – {max(values):.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
