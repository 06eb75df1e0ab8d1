"""A latent as a file, .safetensors or .npy, told by its content.

Nothing in a file is believed before it is checked: its length, then its header (bounded before it is parsed), then whether
the tensor has the wanted shape, a known dtype and as many bytes as that takes, and only then its numbers. Nothing is ever
unpickled or evaluated: the bytes of an .npy are read as numbers, and an array of objects is refused by its dtype.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from explorer import limits
from explorer.edits import FAR
from explorer.records import RequestError

Shape = tuple[int, int, int]  # C, h, w
NAME = "latents"  # of the tensor
MAX_HEADER = 2**16  # bytes
MAX_PARTS = 1000  # lists and objects in a header; each tensor has three
MAX_FILE = 2**26  # bytes
MAX_SIDE = 2**31  # of a tensor's shape, and of its place in the file
MAX_DIMS = 8
MAGIC = b"\x93NUMPY"
SAFETENSORS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
SIZES = {"F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
         "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}  # fmt: skip
NPY = ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8")
ITEM = re.compile(  # of the dictionary that an .npy's header is; each ends in a comma or with the header
    r"""\s*(?P<q>['"])(?P<key>descr|fortran_order|shape)(?P=q)\s*:\s*"""
    r"""(?:(?P<r>['"])(?P<descr>[^'"]{1,20})(?P=r)|(?P<fortran_order>True|False)"""
    r"""|\((?P<shape>(?:\d{1,19} ?, ?){0,8}(?:\d{1,19} ?)?)\))\s*(?:,|\Z)\s*"""
)


def to_safetensors(latents: Tensor, facts: Mapping[str, str]) -> bytes:
    """One tensor "latents", (C, h, w), float32.

    Args:
        facts: plain texts for the file's metadata, such as the model's name.

    Raises:
        RequestError: with its facts the header would be longer than `read` allows.
    """
    if len(json.dumps(dict(facts), ensure_ascii=False).encode()) > MAX_HEADER - 2**10:
        raise RequestError(f"The latent's facts are too long for a header of {MAX_HEADER} bytes; leave some out.")
    return save({NAME: latents.detach().to("cpu", torch.float32).contiguous()}, dict(facts))


def to_npy(latents: Tensor) -> bytes:
    """(C, h, w) float32, little-endian, C order."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(latents.detach().to("cpu", torch.float32).numpy(), "<f4"), allow_pickle=False)
    return file.getvalue()


def read(data: bytes, shape: Shape) -> Tensor:
    """The latents of a file, (C, h, w), float32; it may hold them as (1, C, h, w), and in any of four kinds of float.

    Args:
        data: the file; .safetensors with one tensor, or with one named "latents" among others; or .npy.
        shape: what the model needs.

    Raises:
        RequestError: one sentence.
    """
    if not 10 <= len(data) <= MAX_FILE:
        raise RequestError(f"The file has {len(data)} bytes; a latent's file has from 10 to {MAX_FILE}.")
    if data.startswith(b"PK\x03\x04"):
        raise RequestError("The file is a zip archive, such as .npz or .pt; give a .safetensors or an .npy.")
    latents = (_npy if data.startswith(MAGIC) else _safetensors)(data, shape).reshape(shape)
    if not torch.isfinite(latents).all():
        raise RequestError("The file's latents have values that are not finite; all must be.")
    most = float(latents.abs().max())
    if most > FAR:
        raise RequestError(f"The file's latents have values up to {most:.3g}; the limit is ±{FAR:g}.")
    return latents.float()


def _safetensors(data: bytes, shape: Shape) -> Tensor:
    length = int.from_bytes(data[:8], "little")
    if data[8:9] != b"{" or length > len(data) - 8:
        raise RequestError("The file is neither a .safetensors nor an .npy, or it is cut short.")
    if length > MAX_HEADER:
        raise RequestError(f"The file's header has {length} bytes; the limit is {MAX_HEADER}.")
    tensors, size = _entries(data[8 : 8 + length]), len(data) - 8 - length
    end = 0
    for entry in sorted(tensors.values(), key=lambda entry: entry["data_offsets"]):
        nbytes = math.prod(entry["shape"]) * SIZES[entry["dtype"]]
        if entry["data_offsets"] != [end, end + nbytes]:
            raise RequestError("The file's tensors leave gaps, overlap, or are not as long as their shapes say.")
        end += nbytes
    if end != size:
        raise RequestError(f"The file should hold {end} bytes of numbers; it holds {size}.")
    name = NAME if NAME in tensors else next(iter(tensors), "")
    if len(tensors) != 1 and name != NAME:
        raise RequestError(f"The file has {len(tensors)} tensors and none is named {NAME!r}; give a file with one.")
    entry = tensors[name]
    if entry["dtype"] not in SAFETENSORS:
        raise RequestError(f"The file's latents are {entry['dtype']}; they must be {', '.join(SAFETENSORS)}.")
    _check_shape(entry["shape"], shape)
    begin, end = entry["data_offsets"]
    numbers = bytearray(data[8 + length + begin : 8 + length + end])  # torch wants memory that may be written to
    return torch.frombuffer(numbers, dtype=SAFETENSORS[entry["dtype"]])


def _entries(header: bytes) -> dict[str, dict[str, Any]]:
    """The tensors that a header of safetensors speaks of, each with a dtype, a shape and a place."""
    try:
        if header.count(b"[") + header.count(b"{") > MAX_PARTS:
            raise RequestError(f"The file's header has more than {MAX_PARTS} parts; give a file with one tensor.")
        entries = json.loads(header.decode(), object_pairs_hook=_once, parse_constant=_never)
        facts = entries.pop("__metadata__", {})
        if not all(isinstance(fact, str) for fact in facts.values()):
            raise ValueError
        for entry in entries.values():
            numbers = [*entry["shape"], *entry["data_offsets"]]
            if set(entry) != {"dtype", "shape", "data_offsets"} or len(entry["data_offsets"]) != 2:
                raise ValueError
            if len(numbers) > MAX_DIMS or any(type(n) is not int or not 0 <= n <= MAX_SIDE for n in numbers):
                raise RequestError("The file's tensors have shapes or places that can't be.")
            if entry["dtype"] not in SIZES:
                raise RequestError(f"The file has a tensor of the unknown dtype {limits.show(entry['dtype'])}.")
    except RequestError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RequestError("The file's header is not that of a .safetensors: it has not the right form.") from None
    return entries


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise RequestError("The file's header says something twice.")
    return made


def _never(constant: str) -> Any:
    raise ValueError(constant)


def _npy(data: bytes, shape: Shape) -> Tensor:
    version, wide = tuple(data[6:8]), data[6] > 1
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise RequestError(f"The file is an .npy of version {version[0]}.{version[1]}; 1.0, 2.0 and 3.0 can be read.")
    begin = 12 if wide else 10
    length = int.from_bytes(data[8:begin], "little")
    if length > MAX_HEADER:
        raise RequestError(f"The file's header has {length} bytes; the limit is {MAX_HEADER}.")
    if begin + length > len(data):
        raise RequestError("The file is cut short: its header goes on beyond its end.")
    descr, fortran, sides = _description(data[begin : begin + length])
    if descr not in NPY:
        raise RequestError(f"The file's numbers are of dtype {descr!r}; float16, float32 or float64 is needed.")
    _check_shape(sides, shape)
    needed, size = math.prod(sides) * int(descr[2]), len(data) - begin - length
    if needed != size:
        raise RequestError(f"The file should hold {needed} bytes of numbers; it holds {size}.")
    array = np.frombuffer(data, descr, offset=begin + length).reshape(sides, order="F" if fortran else "C")
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))


def _description(header: bytes) -> tuple[str, bool, list[int]]:
    """dtype, order and shape of an .npy, by a pattern: nothing is evaluated."""
    text = header.decode("latin-1").strip()
    found: dict[str, str | None] = {}  # None where the value is of another key's kind
    place, end = 1, len(text) - 1
    while text[:1] == "{" and text[-1:] == "}" and place < end and (item := ITEM.match(text, place, end)):
        if item["key"] in found:
            raise RequestError("The file's header says something twice.")
        found[item["key"]], place = item[item["key"]], item.end()
    descr, order, sides = (found.get(key) for key in ("descr", "fortran_order", "shape"))
    if place != end or descr is None or order is None or sides is None:
        raise RequestError("The file's header is not that of an .npy of plain numbers: it has not the right form.")
    return descr, order == "True", [int(side) for side in sides.replace(",", " ").split()]


def _check_shape(found: list[int], shape: Shape) -> None:
    if found not in ([*shape], [1, *shape]):
        said = " × ".join(str(side) if side < 10**9 else "…" for side in found[:MAX_DIMS]) or "none"
        raise RequestError(f"The file's latents have the shape {said}; it must be {' × '.join(map(str, shape))}.")
