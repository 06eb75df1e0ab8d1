"""Room for a model on the disk and in memory, looked at before anything is fetched or built.

Free memory is what this process may still have: what the machine has left, or less where a container is held to less.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import shutil
import sys
import traceback
from contextlib import suppress
from pathlib import Path

import torch

from explorer.records import SourceError

DISK = 0.2e9  # bytes that stay free for what else is written meanwhile
WORK = 0.3e9  # bytes beside the weights, for the activations of one small picture
FULL = (errno.ENOSPC, errno.EDQUOT)
# How torch, CUDA and the operating system say it in exceptions that have no class of their own.
SPENT = ("not enough memory", "can't allocate memory", "out of memory", "cannot allocate memory", "std::bad_alloc")
FULL_WORDS = ("no space left", "disk quota exceeded")


class NoRoom(SourceError):
    """A model is too big for the disk or the memory; who can make room may try again."""

    def __init__(self, sentence: str, needed: int = 0, free: int = 0, *, disk: bool = False) -> None:
        super().__init__(sentence)
        self.needed, self.free = needed, free  # bytes; 0: not known, since it showed only while loading
        self.disk = disk  # rather than memory: to put another model away doesn't help


def on_disk(name: str, needed: int, where: Path) -> None:
    """Raises NoRoom where `needed` bytes don't fit into the file system of `where`, which need not exist yet."""
    there = next(path for path in (where, *where.absolute().parents) if path.exists())
    free = int(max(shutil.disk_usage(there).free - DISK, 0))
    if needed > free:
        raise NoRoom(
            f"The model {name!r} needs {gb(needed)} of disk, and {gb(free)} are free; delete something, or set HF_HOME.",
            needed,
            free,
            disk=True,
        )


def in_memory(name: str, weights: int, device: torch.device) -> None:
    """Raises NoRoom where `weights` bytes fit no more on the device, or on their way there into the machine's memory."""
    needed = int(weights + WORK)
    for place, free in _places(device).items():
        if needed > free:
            raise NoRoom(
                f"The model {name!r} needs {gb(needed)} of {place}, and {gb(free)} are free; "
                "close what else runs, or give a smaller model.",
                needed,
                free,
            )


def free_memory(device: torch.device) -> int:
    """Bytes that a model may still take there: on a GPU what CUDA has left, else what this process has."""
    return min(_places(device).values())


def _places(device: torch.device) -> dict[str, int]:
    if device.type != "cuda":
        return {"memory": free_ram()}
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own, and free
    return {"GPU memory": free + kept, "memory": free_ram()}


def free_ram(root: Path = Path("/")) -> int:
    """Bytes of RAM that this process may still have: the kernel's MemAvailable, or what its control groups leave.

    Args:
        root: where `proc` and `sys` are.
    """
    free = [_available(root)]
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        groups = []
    for group in groups:
        _, controllers, own = group.split(":", 2)
        if not controllers:
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "file")
        elif "memory" in controllers.split(","):
            mount, names = (
                root / "sys/fs/cgroup/memory",
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"),
            )
        else:
            continue
        folder = mount / own.lstrip("/")
        while folder.is_relative_to(mount):  # a parent's limit holds too; in a container its own group is the mount
            free += _left(folder, *names)
            folder = folder.parent
    return max(min(free), 0)


def _left(folder: Path, limit: str, usage: str, cache: str) -> list[int]:
    """What one control group leaves, as a list of one; empty where it has no limit. Files in its cache can go."""
    try:
        most, used = (int((folder / name).read_text(encoding="ascii")) for name in (limit, usage))
    except (OSError, ValueError):  # "max" is no number
        return []
    try:
        rows = (line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        cached = next((int(value) for key, value in rows if key == cache), 0)
    except (OSError, ValueError):
        cached = 0
    return [most - max(used - cached, 0)]


def _available(root: Path) -> int:
    try:
        for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return _by_sysconf()


def _by_sysconf() -> int:
    """Where there is no /proc: half of what the machine has; where that isn't known either, no limit at all."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return 2**63


def ran_out(error: BaseException | None) -> bool:
    """Whether an exception, or one that it came from, says that there was no memory left."""
    while error is not None:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in SPENT):
            return True
        error = error.__cause__ or error.__context__
    return False


def give_back(error: BaseException) -> None:
    """Lets go of the half-built networks that the frames of a failed load hold, and gives their memory back."""
    chain: BaseException | None = error
    while chain is not None:
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__
    reclaim()


def reclaim() -> None:
    """Gives the memory of what nothing refers to any more back to the device and to the system."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":  # glibc keeps what it was given back in blocks below 32 MB
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def disk_full(error: BaseException | None) -> bool:
    """Whether an exception, or one that it came from, says that nothing more could be written."""
    while error is not None:
        if getattr(error, "errno", None) in FULL or any(words in str(error).lower() for words in FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def gb(count: float) -> str:
    """12.3 GB, of 10^9 bytes each; 0.02 GB where there are few."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e9:.2f} GB"
