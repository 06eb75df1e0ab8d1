"""Room for a model: what of the memory and of the disk this process may still have."""

import os
from pathlib import Path

import pytest
import torch

from explorer import load_model
from explorer.models import room

GROUPS = {
    "no container": ({"proc/self/cgroup": "0::/\n"}, 8_000_000 * 1024),
    "version 2": (
        {"proc/self/cgroup": "0::/user/app\n", "sys/fs/cgroup/user/app/memory.max": "3000\n",
         "sys/fs/cgroup/user/app/memory.current": "1500\n", "sys/fs/cgroup/user/app/memory.stat": "anon 1\nfile 1000\n"},
        2500,
    ),
    "version 2, of a parent": (
        {"proc/self/cgroup": "0::/user/app\n", "sys/fs/cgroup/user/app/memory.max": "max\n",
         "sys/fs/cgroup/user/memory.max": "3000\n", "sys/fs/cgroup/user/memory.current": "2900\n"},
        100,
    ),
    "version 2, seen from inside": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "700\n", "sys/fs/cgroup/memory.current": "900\n"}, 0,
    ),
    "version 1": (
        {"proc/self/cgroup": "4:cpu,memory:/x/y\n3:cpuset:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "5000",
         "sys/fs/cgroup/memory/memory.usage_in_bytes": "4000", "sys/fs/cgroup/memory/memory.stat": "total_cache 500\n"},
        1500,
    ),
    "nonsense": ({"proc/self/cgroup": "\xff\n:\n", "sys/fs/cgroup/memory.max": "-"}, 8_000_000 * 1024),
}  # fmt: skip


@pytest.mark.parametrize("how", GROUPS)
def test_memory_that_a_container_may_have(tmp_path, how):
    files, free = GROUPS[how]
    for name, text in ({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    8000000 kB\n"} | files).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert room.free_ram(tmp_path) == free


def test_where_no_file_tells_the_memory(tmp_path):
    assert room.free_ram(tmp_path) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_memory_of_a_gpu(tiny_folder):
    device = torch.device("cuda")
    free, _ = torch.cuda.mem_get_info(device)
    assert room.free_memory(device) <= free + torch.cuda.memory_reserved()
    with pytest.raises(room.NoRoom, match=r"needs \d+\.\d GB of GPU memory, and \d+\.\d GB are free"):
        room.in_memory("x", int(free * 1.5), device)
    assert load_model(tiny_folder, "cuda").dtype == torch.float16


def test_room_on_the_disk(tmp_path):
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    room.on_disk("x", 10**6, tmp_path / "not" / "yet")
    with pytest.raises(room.NoRoom, match=r"^The model 'x' needs \d+\.\d GB of disk, and \d+\.\d GB are free; ") as refusal:
        room.on_disk("x", 2 * free, tmp_path)
    assert (refusal.value.needed, refusal.value.disk) == (2 * free, True)
    assert refusal.value.free == pytest.approx(free, rel=0.1)
    assert str(tmp_path) not in str(refusal.value)


def test_what_says_that_there_is_no_room():
    with pytest.raises(RuntimeError) as refusal:
        torch.empty(2**55)
    assert room.ran_out(refusal.value)
    assert not room.ran_out(RuntimeError("shapes differ"))
    assert not room.ran_out(None)
    with pytest.raises(OSError, match="No space left") as refusal:
        Path("/dev/full").write_text("x")
    assert room.disk_full(refusal.value)
    assert not room.disk_full(FileNotFoundError())
    assert room.gb(12.34e9) == "12.3 GB"
    assert room.gb(1.5e7) == "0.01 GB"
