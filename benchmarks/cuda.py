"""Our streaming engine beside diffusers on a GPU; what is measured and how is in benchmarks/rivals.py.

    python benchmarks/cuda.py [--models "SD 1.5" SDXL] [--batches 1 4 16] [--minutes 9] [--no-compile] [--help]
    python benchmarks/cuda.py --device cpu --small

This file has the name of NVIDIA's package `cuda`, and for every script of this folder its own folder comes first: torch,
which looks for that package, finds this file. It then steps aside.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).resolve().parent


def step_aside() -> None:
    """Puts NVIDIA's package in this file's place; ModuleNotFoundError, as torch expects it, where there is none."""
    before = sys.path[:]
    sys.path[:] = [path for path in before if Path(path or ".").resolve() != HERE]
    try:
        del sys.modules["cuda"]
        sys.modules["cuda"] = import_module("cuda")
    finally:
        sys.path[:] = before


if __name__ == "cuda":
    step_aside()

if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    from benchmarks.rivals import main

    main()
