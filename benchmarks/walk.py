"""The film of a walk: memory of 120 frames, and milliseconds a frame at several batch sizes, in turn in one process.

    python benchmarks/walk.py [--frames 120] [--steps 20] [--pairs 3] [--threads N] [--device cuda]

Each turn films the same eight frames once per batch size, in an order that alternates. Then one film of --frames frames
is walked through and let go: what it adds to the process's peak (and on CUDA to the device's) must not grow with frames.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from explorer import Request, load_model
from explorer.records import Model
from explorer.walk import Station, Walk, check, places
from explorer.walk_film import film

BATCHES = (1, 4, 8)
STATIONS = (Station("pizza", 1), Station("cat on a blue background", 2), Station("red star", 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    before = os.getloadavg()[0]
    model = load_model(device=options.device)
    milliseconds = speed(model, steps=options.steps, pairs=options.pairs)
    added = memory(model, steps=options.steps, frames=options.frames)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {options.threads} threads, load {before:.2f} before and "
          f"{os.getloadavg()[0]:.2f} after, Python {platform.python_version()}, torch {version('torch')}")  # fmt: skip
    print(report(milliseconds, added, model, steps=options.steps, frames=options.frames))


def speed(model: Model, *, steps: int, pairs: int, warm: int = 1) -> dict[int, list[float]]:
    """Milliseconds a frame of each film of eight, by batch size; all must agree in their last latents.

    Args:
        model: what predicts.
        steps: of each frame's run.
        pairs: how many films of each batch size are timed.
        warm: as many of each are made before and not timed.
    """
    walk = check(Walk(stations=STATIONS, frames=8, request=Request(steps=steps)), model)
    found: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    ends: dict[int, dict[int, torch.Tensor]] = {}
    for turn in range(-warm, pairs):
        for batch in BATCHES if turn % 2 == 0 else BATCHES[::-1]:
            begin = time.perf_counter()
            ends[batch] = _filmed(model, walk, batch)
            if turn >= 0:
                found[batch].append((time.perf_counter() - begin) * 1000 / walk.frames)
    for batch in BATCHES[1:]:
        for frame, latents in ends[1].items():
            size = max(1.0, float(latents.abs().max()))
            assert float((ends[batch][frame] - latents).abs().max()) <= 1e-3 * size or model.dtype != torch.float32
    return found


def memory(model: Model, *, steps: int, frames: int, batch: int = 4) -> dict[str, float]:
    """MB that a film of so many frames, each let go as it comes, adds to the peaks that a film of eight had reached."""
    request = Request(steps=steps)
    for count in (8, frames):
        before = _peaks(model)
        _filmed(model, check(Walk(stations=STATIONS, frames=count, request=request), model), batch)
        after = _peaks(model)
    return {name: after[name] - before[name] for name in after} | {f"{name} in all": value for name, value in after.items()}


def report(milliseconds: dict[int, list[float]], added: dict[str, float], model: Model, *, steps: int, frames: int) -> str:
    """What was measured, as a table for RESULTS.md."""
    lines = [
        f"{model.device}, {model.dtype}, {steps} steps, films of 8 frames, {len(milliseconds[1])} of each batch size",
        "",
        "| batch | median ms a frame | min – max |",
        "| --- | --- | --- |",
    ]
    for batch, values in milliseconds.items():
        lines.append(f"| {batch} | {statistics.median(values):.0f} | {min(values):.0f} – {max(values):.0f} |")
    told = ", ".join(f"{name} {value:.1f} MB" for name, value in added.items())
    return "\n".join([*lines, "", f"{frames} frames in batches of 4, beside a film of 8: {told}"])


def _filmed(model: Model, walk: Walk, batch: int) -> dict[int, torch.Tensor]:
    """Last latents by frame: what little of a film is kept here."""
    ends = {}
    for one in film(model, walk, places(walk), batch=batch):
        if one.evaluation == one.evaluations:
            ends |= {frame: step.latents for frame, step in zip(one.frames, one.steps, strict=True)}
    return ends


def _peaks(model: Model) -> dict[str, float]:
    """MB: the largest resident set that the process has had, and on CUDA the most that was allocated."""
    scale = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    peaks = {"peak RSS": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale}
    if model.device.type == "cuda":
        peaks["peak device memory"] = torch.cuda.max_memory_allocated(model.device) / 2**20
    return peaks


if __name__ == "__main__":
    main()
