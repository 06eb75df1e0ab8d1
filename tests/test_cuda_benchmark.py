"""benchmarks/cuda.py on the CPU: all that it times makes the same latents, and its table is whole. Never its times."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import rivals
from benchmarks.shapes import flops

FOLDER = Path(rivals.__file__).parent


@pytest.fixture(scope="module")
def bench():
    """One small run of the script, in float32, so that what differs is a fault."""
    flags = ["--small", "--device", "cpu", "--dtype", "float32", "--steps", "4", "--rounds", "1", "--batches", "2"]
    return rivals.main(flags)


def test_all_that_is_timed_makes_the_same_latents(bench):
    runs = ["ours, streaming", "ours, silent", "ours, streaming, eager", "diffusers"]
    assert [(row["model"], row["run"]) for row in bench.rows] == [(m, r) for m in ("small", "small XL") for r in runs]
    for row in bench.rows:
        assert row["error"] < 1e-4, row
        assert row["rate"] > 0
        assert row["share"] == pytest.approx(row["flops"] / bench.ceiling)
        assert row["flops"] == pytest.approx(row["rate"] * flops(row["model"], 4))


def test_the_table_and_the_targets_are_printed(bench, capsys):
    quick = bench.rows[0] | {"model": "SD 1.5", "batch": 1, "rate": 130.0, "share": 0.25}
    bench.rows += [
        quick,
        quick | {"run": "ours, streaming, compiled", "rate": 140.0},
        quick | {"run": "ours, silent", "rate": 132.6},
        quick | {"batch": 16, "rate": 20.0, "share": 0.6},
    ]
    said = rivals.verdicts(bench)
    del bench.rows[-4:]
    assert said[0] == "SD 1.5 at 512², batch 1: 140.0 it/s (ours, streaming, compiled); target ≥ 123 on an H200"
    assert said[1].startswith("batch 16: 2.29 times batch 1's images a second and 60.0% of the ceiling")
    assert "SD 1.5, batch 1, ours, streaming: +2.0% over silent; target ≤ +3%" in said
    before = len(bench.rows)
    bench.measure("small", 1, {"made up": lambda steps: torch.zeros(1)}, {"made up": 0.5}, 4)
    row = capsys.readouterr().out.strip()
    assert row.count("|") == rivals.HEADER.count("|")
    assert row.startswith("| small | 1 | made up | ")
    assert row.endswith("| 5.0e-01 |")
    del bench.rows[before:]


def test_operations_are_those_of_the_published_shapes():
    """SD 1.5's U-Net at 512² takes about 0.8 TFLOP a row."""
    assert flops("SD 1.5", 2) == pytest.approx(1.607e12, rel=0.01)


def test_it_says_what_there_was_no_time_for(capsys):
    late = rivals.main(["--small", "--device", "cpu", "--minutes", "0", "--batches", "1"])
    assert late.rows == []
    assert "(small, batch 1: no time is left)" in capsys.readouterr().out


@pytest.mark.parametrize("installed", [True, False])
def test_the_script_steps_aside_for_nvidias_package(tmp_path, installed):
    """Scripts of its folder import torch, which imports `cuda.bindings` where it can."""
    if installed:
        (tmp_path / "cuda" / "bindings").mkdir(parents=True)
        (tmp_path / "cuda" / "bindings" / "__init__.py").write_text("driver = 7")
    code = (
        f"import sys; sys.path[:0] = [{str(FOLDER)!r}]; sys.path.append({str(tmp_path)!r})\n"
        "try:\n    from cuda.bindings import driver\n    print(driver)\n"
        "except ImportError:\n    print('none')\n"
        f"assert sys.path[0] == {str(FOLDER)!r}"
    )
    made = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert made.stdout.strip() == ("7" if installed else "none")
