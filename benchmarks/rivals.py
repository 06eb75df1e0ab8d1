"""Our streaming engine beside diffusers, eager and compiled, on SD 1.5's and SDXL's shapes with random weights.

    python benchmarks/cuda.py [--models "SD 1.5" SDXL] [--batches 1 4 16] [--minutes 9] [--no-compile] [--dtype bfloat16]
    python benchmarks/cuda.py --device cpu --small

All runs of one model and batch take turns in one process, in an order that rotates. A run is DDIM with guidance, from
its request to its last latents; "it/s" counts its evaluations, each of twice the batch's rows, by CUDA events.

- ours, streaming: `denoise_batch()` with every intermediate copied out, and each Step made the record that a page gets
- ours, silent: the same loop with nothing copied out
- …, eager: our U-Net as it is, not recorded as a CUDA graph; …, compiled: compiled, and recorded
- diffusers: its pipeline as it comes; diffusers, compiled: torch.compile with graphs of its own, channels last

Rows are printed as they come, so that what a lease cuts short is not lost. Compiling takes minutes each time: in a lease
of ten minutes, one model and one or two batches a call.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable
from copy import copy
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch
from diffusers.utils import logging

from benchmarks.runs import AGREEING, Run, ours, ours_silent, reference, theirs, warm
from benchmarks.shapes import Shapes, flops, shapes
from explorer import limits
from explorer.models import graphs
from explorer.models.speed import Kernels

MODES = {"max-autotune-no-cudagraphs": "max-autotune", "default": "reduce-overhead"}  # ours: theirs
HEADER = "| model | batch | run | it/s | images·it/s | TFLOP/s | of the ceiling | relative error |"


class Bench:
    """What all measurements share: the device, its clock and its ceiling, and the time that is left."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.device = options, torch.device(options.device)
        self.dtype = getattr(torch, options.dtype)
        self.until = time.monotonic() + 60 * options.minutes
        self.compiling = 60.0 * options.compile_minutes  # seconds that compiling once may take, learnt on the way
        self.rows: list[dict[str, Any]] = []
        self.ceiling = self._ceiling()

    def left(self) -> float:
        return self.until - time.monotonic()

    def clock(self, work: Callable[[], Any]) -> float:
        """Seconds of some work, by events on CUDA."""
        if self.device.type != "cuda":
            begin = time.perf_counter()
            work()
            return time.perf_counter() - begin
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1000

    def _ceiling(self) -> float:
        """Floating-point operations a second of a large matrix product of random numbers in this dtype."""
        n, calls = (256, 4) if self.options.small else (8192, 20)
        a, b = (torch.randn(n, n, device=self.device).to(self.dtype) for _ in range(2))
        for _ in range(3):
            a @ b
        seconds = statistics.median(self.clock(lambda: [a @ b for _ in range(calls)]) / calls for _ in range(5))
        return 2 * n**3 / seconds

    def measure(self, name: str, batch: int, runs: dict[str, Run], errors: dict[str, float], steps: int) -> None:
        """Times the runs in turn, as long as time is left, and prints a row for each."""
        per = flops(name, 2 * batch)
        seconds: dict[str, list[float]] = {run: [] for run in runs}
        order = [*runs]
        for turn in range(self.options.rounds):
            if turn > 1 and self.left() < 0:
                break
            for run in order[turn % len(order) :] + order[: turn % len(order)]:
                seconds[run].append(self.clock(lambda run=run: runs[run](steps)))
        for run in runs:
            rate = steps / statistics.median(seconds[run])
            spread = [steps / max(seconds[run]), steps / min(seconds[run])]
            row = {"model": name, "batch": batch, "run": run, "rate": rate, "spread": spread, "steps": steps}
            row |= {"flops": per * rate, "share": per * rate / self.ceiling, "error": errors[run]}
            self.rows.append(row)
            print(f"| {name} | {batch} | {run} | {rate:.2f} ({spread[0]:.2f} – {spread[1]:.2f}) | {rate * batch:.2f} "
                  f"| {per * rate / 1e12:.4g} | {row['share']:.1%} | {errors[run]:.1e} |", flush=True)  # fmt: skip


def one(bench: Bench, made: Shapes, batch: int) -> None:
    """All runs of one model at one batch size."""
    options, name = bench.options, made.name
    exact = reference(made, batch)
    model, pipeline = made.model(bench.dtype), made.pipeline(bench.dtype)
    eager = copy(model)
    eager.kernels = Kernels(model.unet, stages=())
    runs: dict[str, Run] = {
        "ours, streaming": ours(model, batch), "ours, silent": ours_silent(model, batch),
        "ours, streaming, eager": ours(eager, batch), "diffusers": theirs(pipeline, model, batch),
    }  # fmt: skip
    warm(model, runs["ours, streaming"], "graph")
    if options.compile:
        runs |= compiled(bench, made, model, batch)
    errors = {}
    for run, work in runs.items():
        latents = work(AGREEING)[: len(exact)]
        errors[run] = float((latents - exact).norm() / exact.norm())
    size = model.default_size
    steps = max(AGREEING, min(options.steps, limits.WORK // (size[0] * size[1] * batch)))
    once = bench.clock(lambda: runs["diffusers"](AGREEING)) / AGREEING
    bench.measure(name, batch, runs, errors, max(AGREEING, min(steps, int(options.seconds / once))))


def compiled(bench: Bench, made: Shapes, model: Any, batch: int) -> dict[str, Run]:
    """Ours and theirs, compiled; without those for which there is no time, or which fail."""
    mode, runs = bench.options.mode, {}

    def attempt(what: str, work: Callable[[], None]) -> bool:
        if bench.left() < bench.compiling:
            print(f"(no time to compile {what}: {bench.left():.0f} s are left)", flush=True)
            return False
        begin = time.monotonic()
        try:
            work()
        except Exception as error:
            print(f"({what} could not be compiled: {str(error).splitlines()[0][:200]})", flush=True)
            return False
        bench.compiling = 0.8 * (time.monotonic() - begin) + 5
        print(f"({what} compiled in {time.monotonic() - begin:.0f} s)", flush=True)
        return True

    quick, graphs.MODE = copy(model), mode
    quick.kernels = Kernels(model.unet, stages=(graphs.record_compiled,))
    ours_quick = ours(quick, batch)
    if bench.device.type == "cuda" and attempt("ours", lambda: warm(quick, ours_quick, "compiled U-Net")):
        runs |= {"ours, streaming, compiled": ours_quick, "ours, silent, compiled": ours_silent(quick, batch)}
    pipeline = made.pipeline(bench.dtype)
    pipeline.unet.to(memory_format=torch.channels_last)
    backend = {"backend": bench.options.backend} | ({"mode": MODES[mode]} if bench.options.backend == "inductor" else {})
    unet = pipeline.unet
    pipeline.unet = torch.compile(unet, dynamic=False, **backend)
    run = theirs(pipeline, model, batch)
    if attempt("diffusers", lambda: [run(AGREEING) for _ in range(2)]):
        runs["diffusers, compiled"] = run
    return runs


def verdicts(bench: Bench) -> list[str]:
    """The issue's targets beside what was measured."""
    rows = {(row["model"], row["batch"], row["run"]): row for row in bench.rows}

    def best(batch: int) -> dict[str, Any] | None:
        found = [rows.get(("SD 1.5", batch, f"ours, streaming{end}")) for end in ("", ", compiled")]
        return max(filter(None, found), key=lambda row: row["rate"], default=None)

    said, first, last = [], best(1), best(16)
    if first:
        said.append(f"SD 1.5 at 512², batch 1: {first['rate']:.1f} it/s ({first['run']}); target ≥ 123 on an H200")
    if first and last:
        ratio = 16 * last["rate"] / first["rate"]
        said.append(f"batch 16: {ratio:.2f} times batch 1's images a second and {last['share']:.1%} of the ceiling; "
                    "target ≥ 2 or ≥ 50%")  # fmt: skip
    for (name, batch, run), row in rows.items():
        quiet = rows.get((name, batch, run.replace("streaming", "silent")))
        if "streaming" in run and quiet:
            over = quiet["rate"] / row["rate"] - 1
            said.append(f"{name}, batch {batch}, {run}: {over:+.1%} over silent; target ≤ +3%")
    return said


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    result.add_argument("--device", default="cuda")
    result.add_argument("--small", action="store_true", help="tiny networks, in seconds: shows that all runs agree")
    result.add_argument("--models", nargs="+", default=None, help='of "SD 1.5" and SDXL')
    result.add_argument("--batches", nargs="+", type=int, default=None)
    result.add_argument("--steps", type=int, default=50, help="of a timed run, at most")
    result.add_argument("--seconds", type=float, default=3.0, help="that a timed run of diffusers' takes, about, at most")
    result.add_argument("--rounds", type=int, default=5)
    result.add_argument("--minutes", type=float, default=9.0, help="nothing new is begun after")
    result.add_argument("--compile-minutes", type=float, default=3.0, help="that compiling once is first taken to need")
    result.add_argument("--dtype", default="bfloat16")
    result.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None)
    result.add_argument("--mode", choices=MODES, default="max-autotune-no-cudagraphs")
    result.add_argument("--backend", default="inductor", help="of torch.compile, for diffusers'")
    return result


def main(argv: list[str] | None = None) -> Bench:
    """Prints the tables; returns what was measured."""
    options = parser().parse_args(argv)
    options.compile = not options.small if options.compile is None else options.compile
    names = options.models or (["small", "small XL"] if options.small else ["SD 1.5", "SDXL"])
    batches = options.batches or ([1, 2] if options.small else [1, 4, 16])
    logging.set_verbosity_error()
    bench = Bench(options)
    cuda = bench.device.type == "cuda"
    where = torch.cuda.get_device_name(bench.device) if cuda else f"{platform.machine()}, {os.cpu_count()} cores"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {where}, Python {platform.python_version()}, torch {version('torch')}, "
          f"CUDA {torch.version.cuda}, diffusers {version('diffusers')}; {options.dtype}, at most {options.steps} steps, "
          f"{options.rounds} rounds; a matrix product runs at {bench.ceiling / 1e12:.4g} TFLOP/s\n\n"
          f"{HEADER}\n|{' --- |' * HEADER.count(' | ')} --- |", flush=True)  # fmt: skip
    for name in names:
        made = shapes(name, bench.device)
        for batch in batches:
            if bench.left() < 0:
                print(f"({name}, batch {batch}: no time is left)", flush=True)
                continue
            one(bench, made, batch)
            gc.collect()
            if cuda:
                torch.cuda.empty_cache()
    print("\n" + "\n".join(verdicts(bench)))
    return bench
