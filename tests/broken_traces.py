"""The ways in which a trace can be broken, by name: what is done to the file, and a piece of the sentence that tells.

Each is done to a branch of DPM++ 2M SDE from step 2 of 5, with a past of 2 and 3 pictures; those in OLD and in BOTH also to
a whole run of it in the first format. Otherwise the files are sound, so that no other guard can be what refuses them.
"""

from __future__ import annotations

import json
import os
import struct

from explorer.headers import MAX_HEADER

FORM = "not a trace of this project: its header has not the right form."
BYTES = "bytes of numbers; it holds"
DAMAGED = "it is damaged or no trace at all."
GAPS = "leave gaps, overlap, or are not as long as their shapes say."
KIND = "must be float32, its pictures uint8, and nothing else."
PLACES = "have shapes or places that can't be."
TENSORS = "tensors with certain names; it has"
WORDS = "does not say in plain words which model and versions made it."
NAMES = "has a form or a state with a name that can't be."
LACKS = "lacks something that a step has, or speaks of tensors that it has not."
LEVEL = "has a timestep, alpha or sigma that is not a finite number."
SIZES = "of its kind, of the size that its request says."


def parts(path):
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def record(change):
    def apply(path):
        header, data = parts(path)
        record = json.loads(header["__metadata__"]["diffuscope"])
        change(record)
        header["__metadata__"]["diffuscope"] = json.dumps(record)
        write(path, header, data)

    return apply


def header(change):
    def apply(path):
        header, data = parts(path)
        change(header)
        write(path, header, data)

    return apply


def tensor(name):
    """Adds a tensor in its own place, with its own numbers: only its name is wrong."""

    def apply(path):
        header, data = parts(path)
        header[name] = {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}
        write(path, header, data + bytes(4))

    return apply


def without(name):
    """Takes the last tensor of the data away with its numbers: only it is missing."""

    def apply(path):
        header, data = parts(path)
        begin, end = header.pop(name)["data_offsets"]
        for other in header.values():
            if "data_offsets" in other:
                other["data_offsets"] = [n - (end - begin) * (n >= end) for n in other["data_offsets"]]
        write(path, header, data[:begin] + data[end:])

    return apply


def number(name, value, place=0):
    """Overwrites one number of a tensor."""

    def apply(path):
        header, data = parts(path)
        begin = header[name]["data_offsets"][0] + 4 * place
        write(path, header, data[:begin] + struct.pack("<f", value) + data[begin + 4 :])

    return apply


def field(name):
    """Takes a field away from every step, and its tensor too."""

    def apply(path):
        header, data = parts(path)
        record = json.loads(header["__metadata__"]["diffuscope"])
        for row in record["steps"]:
            row["fields"] = [one for one in row["fields"] if one != name]
        header["__metadata__"]["diffuscope"] = json.dumps(record)
        write(path, header, data)
        for one in [one for one in header if one == name or (one.endswith(f".{name}") and one[0] == "0")]:
            without(one)(path)

    return apply


def entry(name, **changes):
    return header(lambda h: h[name].update(changes))


def capsule(**changes):
    return record(lambda r: r["capsule"].update(changes))


def config(**changes):
    return record(lambda r: r["capsule"]["scheduler_config"].update(changes))


def row(i, **changes):
    return record(lambda r: r["steps"][i].update(changes))


def form(*terms):
    return record(lambda r: r["steps"][0]["forms"]["x0"].extend(terms))


def asked(**changes):
    return record(lambda r: r["request"].update(changes))


def everywhere(change):
    """A change of every step's row."""
    return record(lambda r: [change(row) for row in r["steps"]])


def metadata(text: str) -> bytes:
    return json.dumps({"__metadata__": {"diffuscope": text}}).encode()


def twice(path):
    """A key twice in the metadata, with two values."""
    header, data = parts(path)
    text = header["__metadata__"]["diffuscope"]
    header["__metadata__"]["diffuscope"] = text.replace('"drawn":', '"seed": 1, "drawn":').replace(
        '"seed"', '"seed": 9, "seed"', 1
    )
    write(path, header, data)


BOTH = {
    "empty": (lambda p: p.write_bytes(b""), DAMAGED),
    "seven bytes": (lambda p: p.write_bytes(b"1234567"), DAMAGED),
    "eight bytes": (lambda p: p.write_bytes(struct.pack("<Q", 8)), DAMAGED),
    "truncated in the header": (lambda p: p.write_bytes(p.read_bytes()[:100]), DAMAGED),
    "truncated before the data": (lambda p: write(p, parts(p)[0], b""), BYTES),
    "truncated in the middle": (lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size * 3 // 4]), BYTES),
    "truncated by a number": (lambda p: p.write_bytes(p.read_bytes()[:-4]), BYTES),
    "truncated by a byte": (lambda p: p.write_bytes(p.read_bytes()[:-1]), BYTES),
    "more data": (lambda p: p.write_bytes(p.read_bytes() + b"1234"), BYTES),
    "a header of 2**62": (lambda p: p.write_bytes(struct.pack("<Q", 2**62) + p.read_bytes()[8:]), DAMAGED),
    "a header of 0": (lambda p: p.write_bytes(struct.pack("<Q", 0) + p.read_bytes()[8:]), DAMAGED),
    "a header too short": (lambda p: p.write_bytes(struct.pack("<Q", 64) + p.read_bytes()[8:]), FORM),
    "two gigabytes of nothing": (lambda p: os.truncate(p, 2**31), DAMAGED),
    "a PNG": (lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000)), DAMAGED),
    "a zip": (lambda p: p.write_bytes(b"PK\x03\x04" + bytes(10**6)), DAMAGED),
    "a pickle": (lambda p: p.write_bytes(b"\x80\x04\x95" + bytes(10**6)), DAMAGED),
    "not JSON": (lambda p: write(p, b"{not json", b""), FORM),
    "not text": (lambda p: write(p, b"\xff\xfe" * 500, b""), FORM),
    "deep JSON": (lambda p: write(p, b"[" * 50_000, b""), FORM),
    "deep objects": (lambda p: write(p, b'{"a":' * 50_000, b""), FORM),
    "deep JSON in the metadata": (lambda p: write(p, metadata("[" * 50_000), b""), FORM),
    "too many parts": (lambda p: write(p, b"[" * 100_000, b""), "has more parts than a run can have."),
    "a list": (lambda p: write(p, [1, 2], b""), FORM),
    "no metadata": (header(lambda h: h.pop("__metadata__")), FORM),
    "other metadata": (header(lambda h: h.update(__metadata__={"format": "pt"})), FORM),
    "metadata a number": (header(lambda h: h.update(__metadata__={"diffuscope": 7})), FORM),
    "metadata a list": (header(lambda h: h.update(__metadata__={"diffuscope": "[1, 2]"})), FORM),
    "a key twice": (twice, "says something twice."),
    "a tensor that is a number": (header(lambda h: h.update(extra=3)), FORM),
    "an extra tensor": (tensor("extra"), TENSORS),
    "no steps": (record(lambda r: r.update(steps=[])), "should have from 2 to 6 steps"),
    "one step": (record(lambda r: r.update(steps=r["steps"][-1:])), "should have from 2 to 6 steps"),
    "steps a number": (record(lambda r: r.update(steps=3)), "should have from 2 to 6 steps"),
    "a step that is a text": (record(lambda r: r["steps"].__setitem__(1, "step")), "has not the right form."),
    "an endless number of steps": (record(lambda r: r.update(steps=r["steps"] * 20)), "should have from 2 to 6 steps"),
    "out of order": (row(1, index=7), "is out of order."),
    "half an index": (row(0, index=1.5), "first step should be from 0 to 5."),
    "negative index": (everywhere(lambda row: row.update(index=row["index"] - 9)), "first step should be from 0 to 5."),
    "an index that is true": (row(0, index=True), "first step should be from 0 to 5."),
    "NaN alpha": (row(1, alpha=float("nan")), LEVEL),
    "infinite sigma": (row(1, sigma=float("inf")), LEVEL),
    "text for sigma": (row(1, sigma="1"), LEVEL),
    "huge integers": (row(1, alpha=10**400), LEVEL),
    "a level of zeros": (row(1, alpha=0, sigma=0), "has alpha 0 and sigma 0, which DPM++ 2M SDE can't have there."),
    "an alpha without end": (row(1, alpha=1e29), "has alpha 1e+29 and sigma"),
    "negative alpha": (record(lambda r: r["steps"][1].update(alpha=-r["steps"][1]["alpha"])), "has alpha -"),
    "a level that rises": (row(1, alpha=0.0, sigma=1.0), "has alpha 0 and sigma 1, which"),
    "negative timestep": (row(1, timestep=-5e29), "has the timestep -5e+29; it must be from 0 to 999, and not rise."),
    "a timestep off the grid": (row(0, timestep=1000), "has the timestep 1000; it must be from 0 to 999"),
    "an integer of 5000 digits": (lambda p: write(p, metadata('{"capsule":' + "9" * 5000 + "}"), b""), FORM),
    "unknown term": (form([1.0, "y"]), LACKS),
    "another coefficient": (form([123, "x0"]), "is not one that a run makes: its terms by x0 don't sum to the next"),
    "a coefficient beyond float32": (form([1e29, "x0"]), "its terms by x0 don't sum to the next latents."),
    "a coefficient that is a text": (form(["1", "x0"]), "has a coefficient that is not a finite number."),
    "a coefficient that is true": (form([True, "x0"]), "has a coefficient that is not a finite number."),
    "a term of three": (form([1.0, "x0", 2]), FORM),
    "too many terms": (form(*[[0.0, "x0"]] * 12), "the limits are 4 and 12."),
    "no forms": (row(0, forms={}), LACKS),
    "an empty form": (row(0, forms={"x0": []}), "or a form of none"),
    "too many forms": (record(lambda r: r["steps"][0]["forms"].update(dict.fromkeys("abcd", r["steps"][0]["forms"]["x0"]))),
                       "the limits are 4 and 12."),
    "a form with a tag for a name": (row(0, forms={"<img src=x>": [[1.0, "x0"]]}), NAMES),
    "a form that JavaScript knows": (row(0, forms={"constructor": [[1.0, "x0"]]}), NAMES),
    "a state that is a field": (record(lambda r: r["steps"][0]["state"].append("eps")), NAMES),
    "terms of the last step": (row(-1, forms={"x0": [[1.0, "x_t"]]}), "has something that no end has."),
    "a state of the last step": (row(-1, state=["d"]), "has something that no end has."),
    "unknown field": (record(lambda r: r["steps"][0]["fields"].append("secret")), LACKS),
    "a field twice": (record(lambda r: r["steps"][0]["fields"].append("x0")), "has not the right form."),
    "fields a text": (row(0, fields="latents"), "has not the right form."),
    "another key in a step": (row(0, note="x"), "has not the right form."),
    "no model_output": (field("model_output"), LACKS),
    "no eps_cond": (field("eps_cond"), LACKS),
    "no z": (field("z"), LACKS),
    "more rows than steps": (asked(steps=1, guidance=1.0), "should have from 2 to 2 steps"),
    "another number of steps": (asked(steps=6, guidance=4.0), "is the end of a run of 6 evaluations"),
    "another guidance": (asked(guidance=1.0), "has not the predictions that guidance 1 makes."),
    "a sampler that draws nothing": (asked(sampler="DPM++ 2M"), "has noise where DPM++ 2M draws none"),
    "a sampler of other levels": (asked(sampler="Euler"), "which Euler can't have there."),
    "fewer values of guidance": (asked(guidance=[1.0]), "guidance has 1 values; this run makes 5"),
    "another size": (asked(width=128), "of the size that its request says."),
    "no size": (asked(width=None), "does not say how large its picture is."),
    "bad request": (asked(steps=10**9), "request can't be used: steps is 1000000000; it must be from 1 to 1000."),
    "a prompt of a megabyte": (asked(prompt="x" * 900_000), "prompt has 900000 characters; the limit is 5000."),
    "a prompt that is a list": (asked(prompt=["cat"]), "prompt is a list"),
    "half a character": (asked(prompt="\ud800"), "prompt has the character U+D800 at place 1"),
    "NaN guidance": (asked(guidance=float("nan")), "guidance is nan"),
    "odd request": (asked(shell="rm"), "has not the fields of this version."),
    "request lacks a field": (record(lambda r: r["request"].pop("eta")), "has not the fields of this version."),
    "no request": (record(lambda r: r.pop("request")), "has not the parts of its format."),
    "another key in the record": (record(lambda r: r.update(note="x")), "record has not the parts of its format."),
    "no capsule": (record(lambda r: r.pop("capsule")), FORM),
    "capsule a list": (record(lambda r: r.update(capsule=[])), FORM),
    "another format": (capsule(format=99), "of another version's format; this one reads formats 1 to 2."),
    "format true": (capsule(format=True), "of another version's format"),
    "no format": (record(lambda r: r["capsule"].pop("format")), FORM),
    "no model": (record(lambda r: r["capsule"].pop("model")), "capsule has not the parts of its format."),
    "another key in the capsule": (capsule(note="x"), "capsule has not the parts of its format."),
    "a model's name of a megabyte": (capsule(model="m" * 900_000), WORDS),
    "a model's name of two lines": (capsule(model="a\nb"), WORDS),
    "half a character in a model's name": (capsule(model="\udc00"), WORDS),
    "versions a list": (capsule(versions=["torch"]), FORM),
    "a thousand versions": (capsule(versions={str(i): "1" for i in range(1000)}), WORDS),
    "no preview": (record(lambda r: r["capsule"].pop("preview")), "capsule has not the parts of its format."),
    "preview of three channels": (capsule(preview={"matrix": [[1, 2, 3]] * 3, "offset": [0, 0, 0]}), "its request says."),
    "preview of no channels": (capsule(preview={"matrix": [[]] * 3, "offset": [0, 0, 0]}), "has not 3 rows of one length"),
    "preview of 65 channels": (capsule(preview={"matrix": [[0] * 65] * 3, "offset": [0, 0, 0]}), "3 rows of one length"),
    "preview of two rows": (capsule(preview={"matrix": [[1, 2, 3, 4]] * 2, "offset": [0, 0, 0]}), "3 rows of one length"),
    "preview NaN": (capsule(preview={"matrix": [[1, 2, 3, 4]] * 3, "offset": [0, 0, float("nan")]}), "not a finite"),
    "latent scale 0": (capsule(latent_scale=0), FORM),
    "latent scale 3": (capsule(latent_scale=3), "width is 64; it must be a multiple of 3."),
    "latent scale a text": (capsule(latent_scale="8"), FORM),
    "another prediction": (capsule(prediction_type="banana"), "prediction_type must be one of epsilon"),
    "a prediction that the config denies": (capsule(prediction_type="sample"), "and its scheduler's too."),
    "no config": (capsule(scheduler_config={}), "and its scheduler's too."),
    "a config of objects": (config(betas={}), "has something that is not a plain value."),
    "NaN in the config": (config(beta_start=float("nan")), "has something that is not a plain value."),
    "a tab in the config": (config(beta_schedule="a\tb"), "has something that is not a plain value."),
    "deep config": (config(betas=json.loads("[" * 400 + "]" * 400)), "has something that is not a plain value."),
    "a grid of nothing": (config(num_train_timesteps=0), "num_train_timesteps must be a whole number"),
}  # fmt: skip

NEW = {
    "a step less": (record(lambda r: [r["steps"].pop(), r["pictures"].pop()]), SIZES),
    "a step after the end": (
        record(lambda r: r["steps"].insert(-1, r["steps"][-2] | {"index": 5}) or r["steps"][-1].update(index=6)),
        "5 evaluations",
    ),
    "missing tensor": (without("z"), TENSORS),
    "missing past": (without("past.model_output"), TENSORS),
    "float16": (entry("x0", dtype="F16"), KIND),
    "latents as bytes": (entry("x0", dtype="U8", shape=[3, 4, 8, 32]), SIZES),
    "dtype a list": (entry("x0", dtype=["F32"]), KIND),
    "another key in an entry": (entry("x0", note=1), KIND),
    "no dtype": (header(lambda h: h["x0"].pop("dtype")), KIND),
    "forged shape": (entry("x0", shape=[3, 4, 8, 9]), GAPS),
    "same size, other shape": (entry("x0", shape=[3, 4, 4, 16]), SIZES),
    "one stack for two": (entry("x0", shape=[1, 12, 8, 8]), SIZES),
    "huge shape": (entry("x0", shape=[3, 4, 10**9, 8]), GAPS),
    "absurd shape": (entry("x0", shape=[1] * 50_000), PLACES),
    "negative shape": (entry("x0", shape=[3, -4, -8, 8]), PLACES),
    "a shape of zero": (entry("x0", shape=[0, 4, 8, 8]), GAPS),
    "a shape of texts": (entry("x0", shape=["3", "4", "8", "8"]), PLACES),
    "no shape": (entry("x0", shape=None), FORM),
    "overlap": (header(lambda h: h["x0"].update(data_offsets=h["z"]["data_offsets"])), GAPS),
    "swapped offsets": (header(lambda h: h["x0"]["data_offsets"].reverse()), GAPS),
    "negative offsets": (entry("x0", data_offsets=[-3072, 0]), PLACES),
    "offsets past the end": (header(lambda h: h["x0"].update(data_offsets=[n + 10**8 for n in range(2)])), GAPS),
    "float offsets": (header(lambda h: h["x0"].update(data_offsets=[float(n) for n in h["x0"]["data_offsets"]])), PLACES),
    "NaN in x0": (number("x0", float("nan")), "'x0' of step 2 has numbers that are not finite"),
    "infinity in eps": (number("eps", float("-inf"), 3 * 256 - 1), "'eps' of step 4 has numbers that are not finite"),
    "infinity in the past": (number("past.latents", float("inf"), 300), "'past.latents' of step 1 has numbers that"),
    "a number without end": (number("past.latents", 3e38), "or beyond 1e+09."),
    "latents of another state": (number("latents", 50.0), "its x0 and eps don't sum to its own latents."),
    "next latents of another step": (number("latents", 50.0, 3 * 256), "its terms by x0 don't sum to the next latents."),
    "a past before the beginning": (record(lambda r: r.update(past=3)), "past must be of 0 to 2 evaluations."),
    "a shorter past": (record(lambda r: r.update(past=1)), SIZES),
    "a past of a text": (record(lambda r: r.update(past="2")), "past must be of 0 to 2 evaluations."),
    "drawn without end": (record(lambda r: r.update(drawn=10**12)), "noises before it must be 0 to 8000."),
    "drawn -1": (record(lambda r: r.update(drawn=-1)), "noises before it must be 0 to 8000."),
    "pictures out of order": (record(lambda r: r["pictures"].reverse()), "of up to 16 of its steps, in order."),
    "pictures of other steps": (record(lambda r: r.update(pictures=[3, 4, 15])), "of its steps, in order."),
    "pictures without end": (record(lambda r: r.update(pictures=[2] * 100_000)), "of up to 16 of its steps"),
    "a picture less": (record(lambda r: r["pictures"].pop()), SIZES),
    "pictures of floats": (header(lambda h: h["pictures"].update(dtype="F32", shape=[3, 3, 32, 32])), SIZES),
    "a picture of one line": (header(lambda h: h["pictures"].update(shape=[3, 3, 1, 4096])), SIZES),
    "pictures of four colours": (header(lambda h: h["pictures"].update(shape=[3, 4, 48, 64])), SIZES),
    "pictures of one axis": (header(lambda h: h["pictures"].update(shape=[3, 3, 4096])), SIZES),
    "pictures of three axes": (header(lambda h: h["pictures"].update(shape=[3, 3, 64, 8, 8])), PLACES),
    "the first format's number": (capsule(format=1), "record has not the parts of its format."),
}  # fmt: skip

OLD = {
    "a step less": (record(lambda r: r["steps"].pop()), TENSORS),
    "missing tensor": (without("0001.z"), TENSORS),
    "float16": (entry("0001.x0", dtype="F16"), KIND),
    "latents as bytes": (entry("0001.x0", dtype="U8", shape=[4, 4, 8, 8]), "must all be float32"),
    "forged shape": (entry("0001.x0", shape=[1, 4, 8, 9]), GAPS),
    "same size, other shape": (entry("0001.x0", shape=[1, 4, 4, 16]), "and of the size that its request says."),
    "NaN": (number("0003.eps", float("nan"), 9), "'eps' of step 3 has numbers that are not finite"),
    "latents of another state": (number("0001.x0", 1e3), "don't sum to"),
    "overlap": (header(lambda h: h["0001.x0"].update(data_offsets=h["0001.z"]["data_offsets"])), GAPS),
    "the second format's number": (capsule(format=2), "record has not the parts of its format."),
}  # fmt: skip

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
