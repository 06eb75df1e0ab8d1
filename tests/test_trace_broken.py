"""Broken traces of both formats: each is refused in one sentence, fast and in little memory."""

import json
import os
import struct
import time
import tracemalloc
from dataclasses import replace

import pytest
import torch
from test_trace import first_format

from explorer import Request, run, trace
from explorer.collecting import pictured
from explorer.headers import MAX_HEADER
from explorer.records import Step, TraceError

SECONDS, BYTES = 0.5, 50e6


@pytest.fixture(scope="module")
def runs(tiny_model):
    """A branch with a past and pictures, and a whole run as the first format kept it."""
    request = Request(prompt="cat", steps=5, sampler="DPM++ 2M SDE", guidance=(1.0, 2.0, 3.0, 4.0, 5.0))
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


def without(field):
    def change(record):
        for row in record["steps"]:
            row.update(fields=[name for name in row["fields"] if name != field], forms={}, state=[])

    return change_record(change)


def entry(name, **changes):
    return change_header(lambda h: h[name].update(changes))


def capsule(**changes):
    return change_record(lambda r: r["capsule"].update(changes))


def row(i, **changes):
    return change_record(lambda r: r["steps"][i].update(changes))


def asked(**changes):
    return change_record(lambda r: r["request"].update(changes))


def everywhere(change):
    """A change of every step's row."""
    return change_record(lambda r: [change(row) for row in r["steps"]])


def metadata(text: str) -> bytes:
    return json.dumps({"__metadata__": {"diffuscope": text}}).encode()


BOTH = {
    "empty": lambda p: p.write_bytes(b""),
    "seven bytes": lambda p: p.write_bytes(b"1234567"),
    "eight bytes": lambda p: p.write_bytes(struct.pack("<Q", 8)),
    "truncated in the header": lambda p: p.write_bytes(p.read_bytes()[:100]),
    "truncated before the data": lambda p: write(p, parts(p)[0], b""),
    "truncated in the middle": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size * 3 // 4]),
    "truncated by a number": lambda p: p.write_bytes(p.read_bytes()[:-4]),
    "truncated by a byte": lambda p: p.write_bytes(p.read_bytes()[:-1]),
    "more data": lambda p: p.write_bytes(p.read_bytes() + b"1234"),
    "a header of 2**62": lambda p: p.write_bytes(struct.pack("<Q", 2**62) + p.read_bytes()[8:]),
    "a header of 0": lambda p: p.write_bytes(struct.pack("<Q", 0) + p.read_bytes()[8:]),
    "a header one longer": lambda p: p.write_bytes(struct.pack("<Q", len(json.dumps(parts(p)[0]))) + p.read_bytes()[8:]),
    "two gigabytes of nothing": lambda p: os.truncate(p, 2**31),
    "a PNG": lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000)),
    "a zip": lambda p: p.write_bytes(b"PK\x03\x04" + bytes(10**6)),
    "a pickle": lambda p: p.write_bytes(b"\x80\x04\x95" + bytes(10**6)),
    "not JSON": lambda p: write(p, b"{not json", b""),
    "not text": lambda p: write(p, b"\xff\xfe" * 500, b""),
    "deep JSON": lambda p: write(p, b"[" * 100_000, b""),
    "deep objects": lambda p: write(p, b'{"a":' * 100_000, b""),
    "deep JSON in the metadata": lambda p: write(p, metadata("[" * 100_000), b""),
    "deep config": capsule(scheduler_config={"betas": json.loads("[" * 400 + "]" * 400)}),
    "a list": lambda p: write(p, [1, 2], b""),
    "no metadata": change_header(lambda h: h.pop("__metadata__")),
    "other metadata": change_header(lambda h: h.update(__metadata__={"format": "pt"})),
    "metadata a number": change_header(lambda h: h.update(__metadata__={"diffuscope": 7})),
    "metadata a list": change_header(lambda h: h.update(__metadata__={"diffuscope": "[1, 2]"})),
    "a tensor that is a number": change_header(lambda h: h.update(extra=3)),
    "NaN at the beginning": change_data(lambda d: struct.pack("<f", float("nan")) + d[4:]),
    "infinity on the way": change_data(lambda d: d[:5120] + struct.pack("<f", float("-inf")) + d[5124:]),
    "no steps": change_record(lambda r: r.update(steps=[])),
    "one step": change_record(lambda r: r.update(steps=r["steps"][:1])),
    "a step less": change_record(lambda r: r["steps"].pop()),
    "a step more": change_record(lambda r: r["steps"].append(r["steps"][-1] | {"index": r["steps"][-1]["index"] + 1})),
    "steps a number": change_record(lambda r: r.update(steps=3)),
    "a step that is a text": change_record(lambda r: r["steps"].insert(0, "step")),
    "an endless number of steps": change_record(lambda r: r.update(steps=r["steps"] * 2000)),
    "out of order": row(1, index=7),
    "half an index": everywhere(lambda row: row.update(index=row["index"] + 0.5)),
    "negative index": everywhere(lambda row: row.update(index=row["index"] - 9)),
    "an index that is true": change_record(lambda r: [row.update(index=i == 1) for i, row in enumerate(r["steps"][:2])]),
    "NaN alpha": row(1, alpha=float("nan")),
    "infinite sigma": row(1, sigma=float("inf")),
    "text for sigma": row(1, sigma="1"),
    "a level of zeros": row(1, alpha=0, sigma=0),
    "negative alpha": row(1, alpha=-1),
    "huge integers": row(1, alpha=10**400),
    "an integer of 5000 digits": lambda p: write(p, metadata('{"capsule":' + "9" * 5000 + "}"), b""),
    "unknown term": change_record(lambda r: r["steps"][0]["forms"]["x0"].append([1.0, "y"])),
    "a coefficient that is a text": change_record(lambda r: r["steps"][0]["forms"]["x0"].append(["1", "x0"])),
    "a term of three": change_record(lambda r: r["steps"][0]["forms"]["x0"].append([1.0, "x0", 2])),
    "a form with a tag for a name": row(0, forms={"<img src=x>": []}),
    "unknown field": change_record(lambda r: r["steps"][0]["fields"].append("secret")),
    "a field twice": change_record(lambda r: r["steps"][0]["fields"].append("x0")),
    "fields a text": row(0, fields="latents"),
    "another key in a step": row(0, note="x"),
    "no x0": without("x0"),
    "no latents": without("latents"),
    "more rows than steps": asked(steps=1, guidance=1.0),
    "fewer values of guidance": asked(guidance=[1.0]),
    "another size": asked(width=128),
    "no size": asked(width=None),
    "bad request": asked(steps=10**9),
    "a prompt of a megabyte": asked(prompt="x" * 900_000),
    "a prompt that is a list": asked(prompt=["cat"]),
    "NaN guidance": asked(guidance=float("nan")),
    "odd request": asked(shell="rm"),
    "request lacks a field": change_record(lambda r: r["request"].pop("eta")),
    "no request": change_record(lambda r: r.pop("request")),
    "another key in the record": change_record(lambda r: r.update(note="x")),
    "no capsule": change_record(lambda r: r.pop("capsule")),
    "capsule a list": change_record(lambda r: r.update(capsule=[])),
    "another format": capsule(format=99),
    "format true": capsule(format=True),
    "no format": change_record(lambda r: r["capsule"].pop("format")),
    "no model": change_record(lambda r: r["capsule"].pop("model")),
    "a model's name of a megabyte": capsule(model="m" * 900_000),
    "versions a list": capsule(versions=["torch"]),
    "a thousand versions": capsule(versions={str(i): "1" for i in range(1000)}),
    "another key in the capsule": capsule(note="x"),
    "no preview": change_record(lambda r: r["capsule"].pop("preview")),
    "preview of three channels": capsule(preview={"matrix": [[1, 2, 3]] * 3, "offset": [0, 0, 0]}),
    "preview of no channels": capsule(preview={"matrix": [[]] * 3, "offset": [0, 0, 0]}),
    "preview of two rows": capsule(preview={"matrix": [[1, 2, 3, 4]] * 2, "offset": [0, 0, 0]}),
    "preview NaN": capsule(preview={"matrix": [[1, 2, 3, 4]] * 3, "offset": [0, 0, float("nan")]}),
    "latent scale 0": capsule(latent_scale=0),
    "latent scale 3": capsule(latent_scale=3),
    "latent scale a text": capsule(latent_scale="8"),
}

NEW = {
    "missing tensor": change_header(lambda h: h.pop("x0")),
    "missing past": change_header(lambda h: h.pop("past.model_output")),
    "extra tensor": change_header(lambda h: h.update(extra=h["x0"])),
    "float16": entry("x0", dtype="F16"),
    "latents as bytes": entry("x0", dtype="U8", shape=[3, 4, 8, 32]),
    "dtype a list": entry("x0", dtype=["F32"]),
    "another key in an entry": entry("x0", note=1),
    "no dtype": change_header(lambda h: h["x0"].pop("dtype")),
    "forged shape": entry("x0", shape=[3, 4, 8, 9]),
    "same size, other shape": entry("x0", shape=[3, 4, 4, 16]),
    "one stack for two": entry("x0", shape=[1, 12, 8, 8]),
    "huge shape": entry("x0", shape=[3, 4, 10**9, 8]),
    "absurd shape": entry("x0", shape=[10**9] * 50_000),
    "negative shape": entry("x0", shape=[3, -4, -8, 8]),
    "a shape of zero": entry("x0", shape=[0, 4, 8, 8]),
    "a shape of texts": entry("x0", shape=["3", "4", "8", "8"]),
    "no shape": entry("x0", shape=None),
    "overlap": change_header(lambda h: h["x0"].update(data_offsets=h["z"]["data_offsets"])),
    "swapped offsets": change_header(lambda h: h["x0"]["data_offsets"].reverse()),
    "negative offsets": entry("x0", data_offsets=[-3072, 0]),
    "offsets past the end": change_header(
        lambda h: h["x0"].update(data_offsets=[n + 10**9 for n in h["x0"]["data_offsets"]])
    ),
    "float offsets": change_header(lambda h: h["x0"].update(data_offsets=[float(n) for n in h["x0"]["data_offsets"]])),
    "a past before the beginning": change_record(lambda r: r.update(past=3)),
    "a shorter past": change_record(lambda r: r.update(past=1)),
    "a past of a text": change_record(lambda r: r.update(past="2")),
    "drawn without end": change_record(lambda r: r.update(drawn=10**12)),
    "drawn -1": change_record(lambda r: r.update(drawn=-1)),
    "pictures out of order": change_record(lambda r: r["pictures"].reverse()),
    "pictures of other steps": change_record(lambda r: r.update(pictures=[i + 10 for i in r["pictures"]])),
    "pictures without end": change_record(lambda r: r.update(pictures=[2] * 100_000)),
    "a picture less": change_record(lambda r: r["pictures"].pop()),
    "pictures of floats": change_header(lambda h: h["pictures"].update(dtype="F32", shape=[4, 3, 32, 32])),
    "a picture of one line": change_header(lambda h: h["pictures"].update(shape=[4, 3, 1, 4096])),
    "pictures of four colours": change_header(lambda h: h["pictures"].update(shape=[4, 4, 48, 64])),
    "infinity in the past": change_data(lambda d: d[: -4 * 12288 - 4] + struct.pack("<f", float("inf")) + d[-4 * 12288 :]),
    "the first format's number": capsule(format=1),
}

OLD = {
    "missing tensor": change_header(lambda h: h.pop("0001.x0")),
    "extra tensor": change_header(lambda h: h.update(extra=h["0001.x0"])),
    "float16": entry("0001.x0", dtype="F16"),
    "forged shape": entry("0001.x0", shape=[1, 4, 8, 9]),
    "same size, other shape": entry("0001.x0", shape=[1, 4, 4, 16]),
    "forged shapes": change_header(lambda h: [h[k].update(shape=[1, 4, 10**9, 8]) for k in h if k[0] == "0"]),
    "negative shape": change_header(lambda h: [h[k].update(shape=[1, -4, -8, 8]) for k in h if k[0] == "0"]),
    "overlap": change_header(lambda h: h["0001.x0"].update(data_offsets=h["0001.z"]["data_offsets"])),
    "the second format's number": capsule(format=2),
}

HEAVY = {  # the longest header that is parsed at all, full of what costs most
    "8 MB of lists": b"[" + b"[]," * (2**23 // 3) + b"[]]",
    "lists": b"[" + b"[]," * (MAX_HEADER // 3 - 1) + b"[]",
    "objects": b"[" + b"{}," * (MAX_HEADER // 3 - 1) + b"{}",
    "small objects": b"[" + b'{"a":1},' * (MAX_HEADER // 8 - 1) + b"0",
    "keys": b"{" + b",".join(b'"%x":0' % i for i in range(10**5)) + b"}",
    "tensors": b"{" + b",".join(b'"%x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}' % i for i in range(16_000)) + b"}",
    "floats": b"[" + b"1e9," * (MAX_HEADER // 4 - 1) + b"0]",
    "lists in the metadata": metadata("[" + "[]," * (MAX_HEADER // 3 - 100) + "[]]"),
    "objects in the metadata": metadata("[" + "{}," * (MAX_HEADER // 3 - 100) + "{}]"),
    "wide letters in the metadata": metadata("[" + "[]," * (MAX_HEADER // 3 - 200) + '"😀"]'),
    "a million steps": metadata('{"capsule":{"format":2},"steps":[' + "0," * (MAX_HEADER // 2 - 100) + "0]}"),
}


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
    (BOTH | NEW)[how](saved)
    assert_refused(saved)


@pytest.mark.parametrize("how", [*BOTH, *OLD])
def test_broken_files_of_the_first_format(old, how):
    (BOTH | OLD)[how](old)
    assert_refused(old)


@pytest.mark.parametrize("how", HEAVY)
def test_heavy_headers(tmp_path, how):
    path = tmp_path / "heavy.safetensors"
    path.write_bytes(struct.pack("<Q", len(HEAVY[how])) + HEAVY[how] + bytes(64))
    assert len(HEAVY[how]) > MAX_HEADER // 2
    assert_refused(path)


def test_a_large_file_that_ends_in_nan(tmp_path, runs):
    """Sixty megabytes of good numbers, and the last of them is none."""
    zeros = torch.zeros(1, 4, 128, 128)
    step = Step(index=0, timestep=1.0, alpha=1.0, sigma=1.0, latents=zeros, model_output=zeros, eps=zeros, x0=zeros)
    request = replace(runs[1].request, guidance=4.0, steps=60, width=1024, height=1024)
    path = tmp_path / "large.safetensors"
    trace.save(replace(runs[1], request=request, steps=tuple(replace(step, index=i) for i in range(61))), path)
    assert path.stat().st_size > 60e6
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(struct.pack("<f", float("nan")))
    assert "has numbers that are not finite" in assert_refused(path)


def test_what_it_says(saved):
    """Some sentences, whole."""
    raw = saved.read_bytes()
    for change, sentence in (
        (BOTH["truncated by a number"], "The trace should hold {} bytes of numbers; it holds {}."),
        (NEW["overlap"], "The trace's tensors leave gaps, overlap, or are not as long as their shapes say."),
        (NEW["float16"], "The trace's tensors must be float32, its pictures uint8, and nothing else."),
        (BOTH["another format"], "The trace is of another version's format; this one reads formats 1 to 2."),
        (BOTH["bad request"], "The trace's request can't be used: steps is 1000000000; it must be from 1 to 1000."),
        (BOTH["not JSON"], "The file is not a trace of this project: its header has not the right form."),
    ):
        saved.write_bytes(raw)
        size = len(parts(saved)[1])
        change(saved)
        assert assert_refused(saved) == sentence.format(size, size - 4)


def test_the_table_is_long_enough():
    assert len(BOTH | NEW) >= 100
