"""Broken traces of both formats: each is refused in its own sentence, fast and in little memory."""

import os
import struct
import time
import tracemalloc
from dataclasses import replace

import pytest
import torch
from broken_traces import BOTH, HEAVY, NEW, OLD
from test_trace import first_format

from explorer import Request, run, trace
from explorer.collecting import pictured
from explorer.headers import MAX_FILE, MAX_HEADER
from explorer.records import Step, Term, TraceError

SECONDS, BYTES = 0.5, 50e6


@pytest.fixture(scope="module")
def runs(tiny_model):
    """A branch with a past and pictures, and a whole run as the first format kept it."""
    request = Request(prompt="cat", steps=5, sampler="DPM++ 2M SDE", guidance=(2.0, 2.0, 3.0, 4.0, 5.0))
    whole = run(tiny_model, request)
    return pictured(tiny_model, run(tiny_model, request, (whole, 2))), replace(whole, capsule=whole.capsule | {"format": 1})


@pytest.fixture
def saved(runs, tmp_path):
    trace.save(runs[0], tmp_path / "run.safetensors")
    assert len(trace.load(tmp_path / "run.safetensors").steps) == 4
    return tmp_path / "run.safetensors"


@pytest.fixture
def old(runs, tmp_path):
    first_format(runs[1], tmp_path / "old.safetensors")
    assert len(trace.load(tmp_path / "old.safetensors").steps) == 6
    return tmp_path / "old.safetensors"


def assert_refused(path) -> str:
    seconds = []
    for _ in range(2):  # the shorter one: a collection of the whole process's garbage may fall into either
        began = time.process_time()
        with pytest.raises(TraceError) as refusal:
            trace.load(path)
        seconds.append(time.process_time() - began)
    assert min(seconds) < SECONDS
    tracemalloc.start()
    try:
        with pytest.raises(TraceError):
            trace.load(path)
        assert tracemalloc.get_traced_memory()[1] < BYTES
    finally:
        tracemalloc.stop()
    message = str(refusal.value)
    assert "\n" not in message
    assert str(path.parent) not in message
    assert path.name not in message
    assert not any(word in message for word in ("Traceback", "Error", "Exception", "NoneType", "list index"))
    assert message.endswith(".")
    assert ". " not in message
    assert 20 < len(message) < 300
    return message


@pytest.mark.parametrize("how", [*BOTH, *NEW])
def test_broken_files(saved, how):
    change, sentence = (BOTH | NEW)[how]
    change(saved)
    assert sentence in assert_refused(saved)


@pytest.mark.parametrize("how", [*BOTH, *OLD])
def test_broken_files_of_the_first_format(old, how):
    change, sentence = (BOTH | OLD)[how]
    change(old)
    assert sentence in assert_refused(old)


@pytest.mark.parametrize("how", HEAVY)
def test_heavy_headers(tmp_path, how):
    path = tmp_path / "heavy.safetensors"
    path.write_bytes(struct.pack("<Q", len(HEAVY[how])) + HEAVY[how] + bytes(64))
    assert len(HEAVY[how]) > MAX_HEADER // 2
    assert_refused(path)


def test_a_large_file_that_ends_in_nan(tmp_path, runs):
    """Sixty megabytes of good numbers, and the last of them is none."""
    zeros = torch.zeros(1, 4, 128, 128)
    fields = dict.fromkeys(("latents", "model_output", "eps_uncond", "eps_cond", "eps", "x0"), zeros)
    step = Step(index=0, timestep=1.0, alpha=1.0, sigma=0.0, **fields, forms={"x0": (Term(1.0, "x0", zeros),)})
    request = replace(runs[1].request, sampler="UniPC", guidance=4.0, steps=41, width=1024, height=1024)
    steps = tuple(replace(step, index=i) for i in range(41))
    path = tmp_path / "large.safetensors"
    trace.save(replace(runs[1], request=request, steps=steps), path)
    assert path.stat().st_size > 60e6
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(struct.pack("<f", float("nan")))
    assert "has numbers that are not finite" in assert_refused(path)


def test_a_file_too_large_to_be_looked_at(saved):
    size = saved.stat().st_size
    os.truncate(saved, MAX_FILE)
    assert "bytes of numbers; it holds" in assert_refused(saved)
    os.truncate(saved, MAX_FILE + 1)
    assert f"The trace is {MAX_FILE + 1} bytes with a header of " in assert_refused(saved)
    os.truncate(saved, size)
    assert len(trace.load(saved).steps) == 4
