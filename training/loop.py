"""What every training command has in common: its options, the checkpoint, the clock, the progress bar.

A run is a list of iterations whose data and noise follow from (seed, iteration), so all that a checkpoint holds is the
iteration and the state of models and optimizers. Tensors are stored for the CPU and go to whatever device resumes.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

FOLDER = Path("checkpoints")
SAVE_EVERY = 300.0  # seconds


class Stateful(Protocol):
    """A module or an optimizer."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Any) -> Any: ...


def options(about: str | None, steps: int, batch: int) -> argparse.ArgumentParser:
    """The options that all training commands share."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=steps, help="iterations of the whole run (%(default)s)")
    parser.add_argument("--batch", type=int, default=batch, help="pictures in one iteration (%(default)s)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this long, with a checkpoint")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves it to PyTorch")
    parser.add_argument("--workers", type=int, default=0, help="processes that compose pictures")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--all", action="store_true", help="all concepts; the everyday ones otherwise")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where checkpoints lie (%(default)s)")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What the command line asks for; its --threads take effect here."""
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return arguments


def autocast(device: str) -> torch.autocast:
    """bfloat16 on CUDA and on CPUs that multiply it in hardware; elsewhere it would be slower than float32."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda" or has_bf16())


def has_bf16() -> bool:
    """Whether this CPU has AVX512-BF16."""
    return bool(torch.cpu._is_avx512_bf16_supported())


def share(iteration: int, steps: int, warm_up: int = 100, decay: float = 0.3) -> float:
    """Of the peak learning rate: linear warm-up, constant, linear decay to zero over the last part of the run."""
    return min(1.0, (iteration + 1) / warm_up, (steps - iteration) / max(1.0, steps * decay))


def generator(seed: int, iteration: int) -> torch.Generator:
    """The randomness of one iteration, on the CPU so that every device sees the same."""
    return torch.Generator().manual_seed(seed * 1_000_003 + iteration)


class Run:
    """The iterations of one training run, from a checkpoint on if asked."""

    def __init__(self, file: Path, parts: Mapping[str, Stateful], steps: int, minutes: float = math.inf) -> None:
        self.file, self.parts, self.steps = file, parts, steps
        self.until = time.monotonic() + minutes * 60
        self.done = 0

    @classmethod
    def begin(cls, name: str, parts: Mapping[str, Stateful], arguments: argparse.Namespace) -> Run:
        """The run that a command line asks for."""
        run = cls(arguments.folder / f"{name}.pt", parts, arguments.steps, arguments.minutes)
        if arguments.resume:
            run.resume()
        return run

    def resume(self) -> None:
        """Reads the checkpoint.

        Raises:
            FileNotFoundError: there is none.
        """
        state = torch.load(self.file, map_location="cpu", weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.done = state["done"]

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        state = {name: on_cpu(part.state_dict()) for name, part in self.parts.items()}
        half = self.file.with_suffix(".part")
        torch.save({"done": self.done, **state}, half)
        half.replace(self.file)

    def __iter__(self) -> Iterator[tuple[int, tqdm]]:
        """Each iteration's number and the progress bar; saves every few minutes and at the end."""
        saved = time.monotonic()
        with tqdm(total=self.steps, initial=self.done, desc=self.file.stem, mininterval=5) as bar:
            while self.done < self.steps and time.monotonic() < self.until:
                yield self.done, bar
                self.done += 1
                bar.update()
                if time.monotonic() - saved > SAVE_EVERY:
                    self.save()
                    saved = time.monotonic()
        self.save()


def on_cpu(state: Any) -> Any:
    """The same nest of dicts and lists with every tensor on the CPU."""
    if isinstance(state, Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {key: on_cpu(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(on_cpu(value) for value in state)
    return state
