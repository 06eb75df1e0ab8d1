"""Latents' files that are broken, by name: their bytes, and how the sentence that refuses them begins.

Each is sound but for one thing, so that no other guard can be what refuses it.
"""

from __future__ import annotations

import io
import json
import pickle
import struct

import numpy as np
import torch
from safetensors.torch import save

from explorer.latent_files import MAX_FILE, MAX_HEADER, to_npy, to_safetensors

SHAPE = (4, 8, 6)
SIZE = 4 * 8 * 6
NUMBERS = bytes(4 * SIZE)
FORM = "The file's header is not that of a .safetensors: it has not the right form."
FORM_NPY = "The file's header is not that of an .npy of plain numbers: it has not the right form."
NEITHER = "The file is neither a .safetensors nor an .npy, or it is cut short."
GAPS = "The file's tensors leave gaps, overlap, or are not as long as their shapes say."
PLACES = "The file's tensors have shapes or places that can't be."
TWICE = "The file's header says something twice."
WANTED = "it must be 4 × 8 × 6."


def packed(header, numbers=NUMBERS):
    """A .safetensors by hand: header as text, bytes or an object."""
    text = (
        header if isinstance(header, bytes) else header.encode() if isinstance(header, str) else json.dumps(header).encode()
    )
    return struct.pack("<Q", len(text)) + text + numbers


def entry(dtype="F32", shape=SHAPE, begin=0, end=4 * SIZE):
    return {"dtype": dtype, "shape": [*shape], "data_offsets": [begin, end]}


def one(**changed):
    return packed({"latents": entry() | changed})


def numpy_file(array, **more):
    file = io.BytesIO()
    np.save(file, array, **more)
    return file.getvalue()


def npy(header, numbers=NUMBERS, version=(1, 0)):
    """An .npy by hand, its header as text."""
    text = header.encode("latin-1")
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + numbers


def described(descr="'<f4'", order="False", shape="(4, 8, 6)"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def spoilt(value, kind):
    """A sound file but for one number."""
    x = torch.zeros(SHAPE)
    x[3, 7, 5] = value
    return to_npy(x) if kind == "npy" else to_safetensors(x, {})


class Trap:
    """Unpickled, it would leave a mark."""

    def __reduce__(self):
        return exec, ("import explorer.latent_files as f; f.MARK = 1",)


SOUND, SOUND_NPY = to_safetensors(torch.zeros(SHAPE), {"a": "b"}), to_npy(torch.zeros(SHAPE))
BEGIN = 8 + int.from_bytes(SOUND[:8], "little")
BROKEN = {
    "nothing": (b"", "The file has 0 bytes; a latent's file has from 10 to 67108864."),
    "nine bytes": (SOUND[:9], "The file has 9 bytes;"),
    "ten bytes": (SOUND[:10], NEITHER),
    "too long": (SOUND + bytes(MAX_FILE), f"The file has {MAX_FILE + len(SOUND)} bytes;"),
    "NUL only": (bytes(5000), NEITHER),
    "a text": (b"These are not latents at all.", NEITHER),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), NEITHER),
    "a pickle": (pickle.dumps(Trap()), NEITHER),
    "an npz": (
        b"PK\x03\x04" + bytes(100),
        "The file is a zip archive, such as .npz or .pt; give a .safetensors or an .npy.",
    ),
    "cut in the header": (SOUND[: BEGIN - 5], NEITHER),
    "cut in the numbers": (SOUND[:-1], "The file should hold 768 bytes of numbers; it holds 767."),
    "longer than it says": (SOUND + b"\0", "The file should hold 768 bytes of numbers; it holds 769."),
    "header claims 2 GB": (struct.pack("<Q", 2**31) + SOUND[8:], NEITHER),
    "header claims all there is": (b"\xff" * 8 + SOUND[8:], NEITHER),
    "header too long": (
        packed(b'{"latents":' + b" " * MAX_HEADER + b"{}}"),
        "The file's header has 65550 bytes; the limit",
    ),
    "header of NUL": (packed(b"{" + bytes(100)), FORM),
    "header not JSON": (packed("{latents: 1}"), FORM),
    "header not UTF-8": (packed(b'{"\xff\xfe": 1}'), FORM),
    "header with more after it": (packed(json.dumps({"latents": entry()}) + " {}"), FORM),
    "lists in lists": (packed('{"a":' * 3 + "[" * 900), FORM),
    "a bomb of lists": (
        packed('{"a":' + "[" * 60000),
        "The file's header has more than 1000 parts; give a file with one tensor.",
    ),
    "a bomb of tensors": (packed({f"{i}": entry() for i in range(400)}), "The file's header has more than 1000 parts;"),
    "a number of 5000 digits": (packed('{"latents": ' + "9" * 5000 + "}"), FORM),
    "NaN as a place": (packed('{"latents": {"dtype": "F32", "shape": [4, 8, 6], "data_offsets": [0, NaN]}}'), FORM),
    "a tensor twice": (packed(f'{{"latents": {json.dumps(entry())}, "latents": {json.dumps(entry())}}}'), TWICE),
    "a key of a tensor twice": (packed('{"latents": {"dtype": "F32", "dtype": "F32"}}'), TWICE),
    "no tensor": (packed({}, b""), "The file has 0 tensors and none is named 'latents'; give a file with one."),
    "facts only": (packed({"__metadata__": {"a": "b"}}, b""), "The file has 0 tensors"),
    "two tensors, no latents": (
        save({"a": torch.zeros(2), "b": torch.zeros(2)}),
        "The file has 2 tensors and none is named",
    ),
    "facts not a text": (packed({"__metadata__": {"a": 1}, "latents": entry()}), FORM),
    "facts not an object": (packed({"__metadata__": [], "latents": entry()}), FORM),
    "tensor not an object": (packed({"latents": None}), FORM),
    "tensor a list": (packed({"latents": [1, 2]}), FORM),
    "no dtype": (packed({"latents": {"shape": [1], "data_offsets": [0, 4]}}), FORM),
    "one part too many": (one(name="x"), FORM),
    "dtype a list": (one(dtype=["F32"]), FORM),
    "dtype unknown": (one(dtype="F128"), "The file has a tensor of the unknown dtype 'F128'."),
    "whole numbers": (
        save({"latents": torch.zeros(SHAPE, dtype=torch.int32)}),
        "The file's latents are I32; they must be F16, BF16, F32, F64.",
    ),
    "shape with a truth": (one(shape=[4, 8, 6, True]), PLACES),
    "shape with a fraction": (one(shape=[4.0, 8, 6]), PLACES),
    "shape below 0": (one(shape=[-4, -8, 6]), PLACES),
    "shape beyond all": (one(shape=[2**60, 2**60, 6]), PLACES),
    "shape of many sides": (one(shape=[1] * 300 + [4, 8, 6]), PLACES),
    "shape a text": (one(shape="486"), PLACES),
    "shape claims 2 GB": (
        one(shape=[4, 2**14, 2**13], data_offsets=[0, 2**31]),
        "The file should hold 2147483648 bytes of numbers; it holds 768.",
    ),
    "shape of another model": (
        packed({"latents": entry(shape=(4, 6, 8))}),
        f"The file's latents have the shape 4 × 6 × 8; {WANTED}",
    ),
    "shape flat": (packed({"latents": entry(shape=(SIZE,))}), f"The file's latents have the shape 192; {WANTED}"),
    "a batch of two": (
        save({"latents": torch.zeros(2, *SHAPE)}),
        f"The file's latents have the shape 2 × 4 × 8 × 6; {WANTED}",
    ),
    "one place": (one(data_offsets=[0]), FORM),
    "places swapped": (one(data_offsets=[768, 0]), GAPS),
    "places beyond the end": (one(data_offsets=[768, 1536]), GAPS),
    "shorter than its shape": (packed({"latents": entry(end=700)}, bytes(700)), GAPS),
    "overlap": (packed({"latents": entry(), "b": entry("U8", (4,), 400, 404)}), GAPS),
    "a gap": (packed({"latents": entry(begin=8, end=776)}, bytes(776)), GAPS),
    "NaN": (spoilt(torch.nan, "safetensors"), "The file's latents have values that are not finite; all must be."),
    "infinity": (spoilt(-torch.inf, "safetensors"), "The file's latents have values that are not finite; all must be."),
    "huge": (spoilt(1e30, "safetensors"), "The file's latents have values up to 1e+30; the limit is ±1000."),
    "huge in float64": (
        save({"a": torch.full(SHAPE, 1e300, dtype=torch.float64)}),
        "The file's latents have values up to 1e+300; the limit",
    ),
    "npy: NaN": (spoilt(torch.nan, "npy"), "The file's latents have values that are not finite; all must be."),
    "npy: huge": (spoilt(-1001, "npy"), "The file's latents have values up to 1e+03; the limit is ±1000."),
    "npy: cut at its magic": (SOUND_NPY[:8] + bytes(3), FORM_NPY),
    "npy: cut in the header": (SOUND_NPY[:60], "The file is cut short: its header goes on beyond its end."),
    "npy: cut in the numbers": (SOUND_NPY[:-4], "The file should hold 768 bytes of numbers; it holds 764."),
    "npy: longer than it says": (SOUND_NPY + b"\0", "The file should hold 768 bytes of numbers; it holds 769."),
    "npy: version 9": (
        npy(described(), version=(9, 0)),
        "The file is an .npy of version 9.0; 1.0, 2.0 and 3.0 can be read.",
    ),
    "npy: header claims 2 GB": (
        npy(described(), version=(2, 0))[:8] + struct.pack("<I", 2**31) + NUMBERS,
        "The file's header has 2147483648 bytes; the limit is 65536.",
    ),
    "npy: objects": (
        numpy_file(np.array([Trap()] * 3), allow_pickle=True),
        "The file's numbers are of dtype '|O'; float16, float32 or float64 is needed.",
    ),
    "npy: whole numbers": (
        numpy_file(np.zeros(SHAPE, "<i8")),
        "The file's numbers are of dtype '<i8'; float16, float32 or float64",
    ),
    "npy: complex": (numpy_file(np.zeros(SHAPE, "<c8")), "The file's numbers are of dtype '<c8';"),
    "npy: a record": (numpy_file(np.zeros(SHAPE, [("a", "<f4")])), FORM_NPY),
    "npy: claims 2 GB": (
        npy(described(shape="(4, 16384, 8192)")),
        f"The file's latents have the shape 4 × 16384 × 8192; {WANTED}",
    ),
    "npy: beyond all": (
        npy(described(shape="(4, 999999999999999999, 6)")),
        f"The file's latents have the shape 4 × … × 6; {WANTED}",
    ),
    "npy: no side": (npy(described(shape="()")), f"The file's latents have the shape none; {WANTED}"),
    "npy: below 0": (npy(described(shape="(-4, -8, 6)")), FORM_NPY),
    "npy: another shape": (npy(described(shape="(8, 4, 6)")), f"The file's latents have the shape 8 × 4 × 6; {WANTED}"),
    "npy: order a text": (npy(described(order="'False'")), FORM_NPY),
    "npy: order a sum": (npy(described(order="1 == 1")), FORM_NPY),
    "npy: a call": (npy(described(descr="__import__('os').getcwd()")), FORM_NPY),
    "npy: a key twice": (npy(described()[:-2] + "'shape': (4, 8, 6)}"), TWICE),
    "npy: a key missing": (npy("{'descr': '<f4', 'shape': (4, 8, 6)}"), FORM_NPY),
    "npy: another key": (npy(described()[:-2] + "'x': True}"), FORM_NPY),
    "npy: header of NUL": (npy("\0" * 118), FORM_NPY),
    "npy: header empty": (npy(""), FORM_NPY),
    "npy: header of signs": (npy("{" + "-" * 60000 + "1}"), FORM_NPY),
    "npy: header of brackets": (npy("(" * 60000), FORM_NPY),
    "npy: header of spaces": (npy("{" + " " * 60000 + "'descr'" + " " * 5000 + "}"), FORM_NPY),
    "npy: header of sides": (npy(described(shape="(" + "1, " * 15000 + ")")), FORM_NPY),
}
