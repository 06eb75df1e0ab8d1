"""Traces: what is saved comes back, and what is broken is refused in one sentence before it is read."""

import json
import struct

import pytest
import torch

from explorer import Request, run, trace
from explorer.records import TraceError
from explorer.samplers import SAMPLERS


@pytest.fixture
def saved(tiny_model, tmp_path):
    path = tmp_path / "run.safetensors"
    trajectory = run(tiny_model, Request(prompt="cat, ünïcödé", steps=3, sampler="DPM++ 2M SDE", guidance=(1.0, 2.0, 3.0)))
    trace.save(trajectory, path)
    return trajectory, path


@pytest.mark.parametrize("name", SAMPLERS)
def test_round_trip(tiny_model, tmp_path, name):
    trajectory = run(tiny_model, Request(prompt="cat", steps=4, sampler=name, guidance=3.0))
    trace.save(trajectory, tmp_path / "run.safetensors")
    loaded = trace.load(tmp_path / "run.safetensors")
    assert loaded.request == trajectory.request
    assert dict(loaded.capsule) == trajectory.capsule
    for ours, theirs in zip(loaded.steps, trajectory.steps, strict=True):
        assert (ours.index, ours.timestep, ours.alpha, ours.sigma) == (
            theirs.index, theirs.timestep, theirs.alpha, theirs.sigma)  # fmt: skip
        for field in trace.FIELDS:
            a, b = getattr(ours, field), getattr(theirs, field)
            assert a is b is None or torch.equal(a, b)
        assert list(ours.forms) == list(theirs.forms)
        for form in ours.forms:
            for a, b in zip(ours.forms[form], theirs.forms[form], strict=True):
                assert a[:2] == b[:2]
                assert torch.equal(a.tensor, b.tensor)


def test_a_run_goes_on_from_a_loaded_trace(tiny_model, saved):
    trajectory, path = saved
    tail = run(tiny_model, trajectory.request, (trace.load(path), 2))
    assert torch.equal(tail.latents, trajectory.latents)


def test_a_tail_saves_too(tiny_model, saved, tmp_path):
    trajectory, _ = saved
    tail = run(tiny_model, trajectory.request, (trajectory, 1))
    trace.save(tail, tmp_path / "tail.safetensors")
    assert [step.index for step in trace.load(tmp_path / "tail.safetensors").steps] == [1, 2, 3]


def test_the_capsule_says_where_it_comes_from(saved):
    capsule = trace.load(saved[1]).capsule
    assert set(capsule["versions"]) == {"torch", "diffusers", "transformers", "python"}
    assert (capsule["model"], capsule["device"], capsule["dtype"]) == ("tiny", "cpu", "float32")
    assert len(capsule["preview"]["matrix"]) == 3
    assert capsule["scheduler_config"]["beta_schedule"] == "scaled_linear"


def parts(path):
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def change_record(change):
    def apply(path):
        header, data = parts(path)
        record = json.loads(header["__metadata__"]["diffuscope"])
        change(record)
        header["__metadata__"]["diffuscope"] = json.dumps(record)
        write(path, header, data)

    return apply


def change_header(change):
    def apply(path):
        header, data = parts(path)
        change(header)
        write(path, header, data)

    return apply


def change_data(change):
    def apply(path):
        header, data = parts(path)
        write(path, header, change(bytearray(data)))

    return apply


def _without(path, field):
    header, data = parts(path)
    record = json.loads(header["__metadata__"]["diffuscope"])
    for row in record["steps"]:
        row["fields"] = [name for name in row["fields"] if name != field]
        row["forms"] = {}
        row["state"] = []
    header["__metadata__"]["diffuscope"] = json.dumps(record)
    write(path, header, data)


BROKEN = {
    "empty": lambda p: p.write_bytes(b""),
    "seven bytes": lambda p: p.write_bytes(b"1234567"),
    "truncated header": lambda p: p.write_bytes(p.read_bytes()[:100]),
    "truncated data": lambda p: p.write_bytes(p.read_bytes()[:-4]),
    "more data": lambda p: p.write_bytes(p.read_bytes() + b"1234"),
    "huge header": lambda p: p.write_bytes(struct.pack("<Q", 2**62) + p.read_bytes()[8:]),
    "a PNG": lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000)),
    "not JSON": lambda p: write(p, b"{not json", b""),
    "deep JSON": lambda p: write(p, b"[" * 100_000, b""),
    "a list": lambda p: write(p, [1, 2], b""),
    "no metadata": change_header(lambda h: h.pop("__metadata__")),
    "other metadata": change_header(lambda h: h.update(__metadata__={"format": "pt"})),
    "missing tensor": change_header(lambda h: h.pop("0001.x0")),
    "extra tensor": change_header(lambda h: h.update(extra=h["0001.x0"])),
    "float16": change_header(lambda h: h["0001.x0"].update(dtype="F16")),
    "forged shape": change_header(lambda h: h["0001.x0"].update(shape=[1, 4, 8, 9])),
    "forged shapes": change_header(lambda h: [h[k].update(shape=[1, 4, 10**9, 8]) for k in h if k[0] == "0"]),
    "negative shape": change_header(lambda h: [h[k].update(shape=[1, -4, -8, 8]) for k in h if k[0] == "0"]),
    "overlap": change_header(lambda h: h["0001.x0"].update(data_offsets=h["0001.z"]["data_offsets"])),
    "NaN": change_data(lambda d: struct.pack("<f", float("nan")) + d[4:]),
    "infinity": change_data(lambda d: d[:-4] + struct.pack("<f", float("inf"))),
    "no steps": change_record(lambda r: r.update(steps=[])),
    "steps a number": change_record(lambda r: r.update(steps=3)),
    "out of order": change_record(lambda r: r["steps"][1].update(index=7)),
    "NaN alpha": change_record(lambda r: r["steps"][1].update(alpha=float("nan"))),
    "text for sigma": change_record(lambda r: r["steps"][1].update(sigma="1")),
    "unknown term": change_record(lambda r: r["steps"][0]["forms"]["x0"].append([1.0, "y"])),
    "unknown field": change_record(lambda r: r["steps"][0]["fields"].append("secret")),
    "a level of zeros": change_record(lambda r: r["steps"][1].update(alpha=0, sigma=0)),
    "negative alpha": change_record(lambda r: r["steps"][1].update(alpha=-1)),
    "huge integers": change_record(lambda r: r["steps"][1].update(alpha=10**400)),
    "half an index": change_record(lambda r: [row.update(index=row["index"] + 0.5) for row in r["steps"]]),
    "negative index": change_record(lambda r: [row.update(index=row["index"] - 7) for row in r["steps"]]),
    "float offsets": change_header(
        lambda h: h["0001.x0"].update(data_offsets=[float(n) for n in h["0001.x0"]["data_offsets"]])
    ),
    "more rows than steps": change_record(lambda r: r["request"].update(steps=1, guidance=1.0)),
    "another size": change_record(lambda r: r["request"].update(width=128)),
    "another format": change_record(lambda r: r["capsule"].update(format=99)),
    "no model": change_record(lambda r: r["capsule"].pop("model")),
    "no x0": lambda p: _without(p, "x0"),
    "no format": change_record(lambda r: r["capsule"].pop("format")),
    "bad request": change_record(lambda r: r["request"].update(steps=10**9)),
    "odd request": change_record(lambda r: r["request"].update(shell="rm")),
    "no request": change_record(lambda r: r.pop("request")),
    "no preview": change_record(lambda r: r["capsule"].pop("preview")),
    "preview of three channels": change_record(lambda r: r["capsule"]["preview"].update(matrix=[[1, 2, 3]] * 3)),
    "preview NaN": change_record(lambda r: r["capsule"]["preview"].update(offset=[0, 0, float("nan")])),
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_files(saved, how):
    _, path = saved
    BROKEN[how](path)
    with pytest.raises(TraceError) as refusal:
        trace.load(path)
    message = str(refusal.value)
    assert "\n" not in message
    assert str(path.parent) not in message
    assert message.endswith(".")


def test_a_run_that_is_not_finite_is_not_saved(saved, tmp_path):
    saved[0].steps[1].x0[0, 0, 0, 0] = float("nan")
    with pytest.raises(TraceError, match=r"'0001.x0' has numbers that are not finite"):
        trace.save(saved[0], tmp_path / "bad.safetensors")


def test_a_place_that_cannot_be_written(saved, tmp_path):
    with pytest.raises(TraceError) as refusal:
        trace.save(saved[0], tmp_path / "no" / "run.safetensors")
    assert str(tmp_path) not in str(refusal.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(TraceError, match=r"The trace can't be read: No such file or directory."):
        trace.load(tmp_path / "none.safetensors")
