"""What pays on this CPU: bfloat16 and channels last, measured on the model's own U-Net, and how many threads.

Measured at a model's first start and remembered in a small file of the user's cache folder; a file that can't be read
or written is measured again. This is only for who asks for it: a model rounds as its dtype does, and float32 is what
repeats diffusers' pipelines and recorded runs to the last bit.

What doesn't pay, by benchmarks/RESULTS.md: channels last in float32, and torch.compile, which takes minutes to save at
most a quarter of a run of seconds.
"""

from __future__ import annotations

import json
import os
import platform
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from explorer.models import files
from explorer.records import Conditioning, Model, SourceError

WAYS = {  # dtype, channels last
    "float32": (torch.float32, False),
    "bfloat16": (torch.bfloat16, False),
    "bfloat16, channels last": (torch.bfloat16, True),
}
CELLS = 16  # along each side of the latents that are measured with, where the model's own are larger
SECONDS = 1.0  # of measuring, beyond the first two rounds
GAIN = 0.85  # of float32's time, at most, for another dtype to be worth its rounding
CLOSE = 0.05  # ‖other - float32‖ / ‖float32‖ of one prediction; more is a fault of this CPU's bfloat16
KEPT = 64  # models remembered
CGROUP = Path("/sys/fs/cgroup")


def suited(load: Callable[[torch.dtype], Model], folder: Path, file: Path | None = None) -> Model:
    """The model in the one of WAYS that is fastest on this CPU.

    Args:
        load: loads it in a dtype, on the CPU; called once, or once for each way at its first start here.
        folder: the model's, whose U-Net's config it is known by.
        file: where results are remembered; None: in the user's cache folder.

    Raises:
        SourceError: as `load`.
    """
    file = file or remembering()
    known, key = _read(file), _key(folder)
    if known.get(key) in WAYS:
        return _made(load, known[key])
    made = {"float32": load(torch.float32)}
    with suppress(SourceError, MemoryError):  # no room for all of them
        for way in [*WAYS][1:]:
            made[way] = _made(load, way)
    chosen = "float32"
    if len(made) > 1:
        with suppress(RuntimeError):  # a CPU that has no bfloat16 for some kernel
            chosen = [*made][fastest([*made.values()])]
        _write(file, {**known, key: chosen})
    return made[chosen]


def fastest(models: Sequence[Model]) -> int:
    """Which of several models takes least time, if that is clearly less than the first one's, and it is close to that.

    They take turns, on two rows as under guidance; each one's fastest call counts, since whatever else runs on the
    machine only ever slows one down.
    """
    exact, count = models[0], len(models)
    latents = torch.randn(2, exact.latent_channels, *_sides(exact), generator=torch.Generator().manual_seed(0))
    best, outputs = [float("inf")] * count, [latents] * count
    rounds, since = 0, time.perf_counter()
    prompts = [Conditioning.batch([model.encode_prompt("")] * 2) for model in models]
    while rounds < 2 or (rounds < 6 and time.perf_counter() - since < SECONDS):
        for i, (model, prompt) in enumerate(zip(models, prompts, strict=True)):
            outputs[i], seconds = _timed(model, latents, prompt)
            best[i] = min(best[i], seconds)
        rounds += 1
    errors = [float((output - outputs[0]).norm() / outputs[0].norm()) for output in outputs]
    worth = [i for i in range(1, count) if errors[i] < CLOSE and best[i] < GAIN * best[0]]
    return min(worth, key=best.__getitem__, default=0)


def cores(root: Path = CGROUP) -> int:
    """How many threads torch should use: its own choice, or fewer where a container is given less of the machine.

    torch counts the cores that it may run on, not the time on them that a container may have; with more threads than
    that they wait for one another. An OMP_NUM_THREADS of the person's own stays.

    Args:
        root: where Linux tells of control groups, version 2 or 1.
    """
    chosen = torch.get_num_threads()
    share = None if "OMP_NUM_THREADS" in os.environ else _share(root)
    return chosen if share is None else max(1, min(chosen, round(share)))


def remembering() -> Path:
    """The file of results: XDG_CACHE_HOME, or .cache in the home folder."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(chosen) if os.path.isabs(chosen) else Path(os.path.expanduser("~"), ".cache")
    return folder / "diffuscope" / "cpu.json"


def _made(load: Callable[[torch.dtype], Any], way: str) -> Any:
    dtype, last = WAYS[way]
    model = load(dtype)
    if last:
        model.lay_out_last()
    return model


def _timed(model: Model, latents: Tensor, prompt: Conditioning) -> tuple[Tensor, float]:
    begin = time.perf_counter()
    output = model.predict(latents, torch.full((len(latents),), 500), prompt)
    return output, time.perf_counter() - begin


def _sides(model: Model) -> tuple[int, int]:
    """Height and width of latents to measure with: the model's own, halved while they are large and stay whole."""
    width, height = (side // model.latent_scale for side in model.default_size)
    whole = 2 * getattr(model.abilities, "cells", 1)
    while max(width, height) > CELLS and width % whole == 0 and height % whole == 0:
        width, height = width // 2, height // 2
    return height, width


def _key(folder: Path) -> str:
    """This CPU, this torch with its threads, and this U-Net's shapes."""
    config = files.place(folder, "unet") / "config.json"
    shapes = zlib.crc32(config.read_bytes()) if config.is_file() else 0
    return f"{_cpu()}, torch {torch.__version__}, {torch.get_num_threads()} threads, U-Net {shapes:08x}"


def _cpu() -> str:
    """Its name, and a checksum of what it can do, since virtual machines often have no name of their own."""
    said: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            said.setdefault(name.strip(), value.strip())
    can = zlib.crc32(said.get("flags", said.get("Features", "")).encode())
    return f"{said.get('model name') or platform.processor() or platform.machine()} {can:08x}"


def _read(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {k: v for k, v in said.items() if isinstance(v, str)} if isinstance(said, dict) else {}


def _write(file: Path, known: Mapping[str, str]) -> None:
    """All at once, so that another start never reads half of it; where it can't be written, nothing is remembered."""
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_text(json.dumps(dict([*known.items()][-KEPT:]), indent=1), encoding="utf-8")
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)


def _share(root: Path) -> float | None:
    """How many cores' time this process may have; None where nothing is said."""
    with suppress(OSError, ValueError):
        quota, period = (root / "cpu.max").read_text(encoding="ascii").split()[:2]
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    return None
