"""Plain values, checked: whole numbers, numbers, texts and lists, each refused in one sentence with field, value, limit.

What the fields and their limits are, `explorer.limits` knows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from explorer.records import RequestError

PROMPT = 5000  # characters


def whole(field: str, value: Any, limits: tuple[int, int]) -> int:
    """A whole number within limits, both included; 20.0 counts, "20" and True do not."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise RequestError(f"{field} is {show(value)}; a whole number from {limits[0]} to {limits[1]} is needed.")
    exact = isinstance(value, Integral)
    if not exact and not (math.isfinite(value) and float(value).is_integer()):
        raise RequestError(f"{field} is {value}; a whole number from {limits[0]} to {limits[1]} is needed.")
    result = int(value)  # type: ignore[call-overload]
    if not limits[0] <= result <= limits[1]:
        raise RequestError(f"{field} is {show(result)}; it must be from {limits[0]} to {limits[1]}.")
    return result


def number(field: str, value: Any, limits: tuple[float, float]) -> float:
    """A finite number within limits, both included."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise RequestError(f"{field} is {show(value)}; a number from {limits[0]:g} to {limits[1]:g} is needed.")
    result = _float(value)
    if not limits[0] <= result <= limits[1]:  # NaN too
        raise RequestError(f"{field} is {show(value)}; it must be from {limits[0]:g} to {limits[1]:g}.")
    return result


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an int of 400 digits
        return math.inf if value > 0 else -math.inf


def several(field: str, value: Any, counts: tuple[int, int], of: str) -> Sequence[Any]:
    """A list of so many values, both limits included; what they are is checked by whoever knows."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise RequestError(f"{field} is a {type(value).__name__}; a list of {counts[0]} to {counts[1]} {of} is needed.")
    if not counts[0] <= len(value) <= counts[1]:
        raise RequestError(f"{field} has {len(value)} values; it takes {counts[0]} to {counts[1]}.")
    return value


def text(field: str, value: Any) -> str:
    """A text that a tokenizer can take: no NUL, no half of a surrogate pair, not endless."""
    if not isinstance(value, str):
        raise RequestError(f"{field} is {show(value)}; a text of at most {PROMPT} characters is needed.")
    if len(value) > PROMPT:
        raise RequestError(f"{field} has {len(value)} characters; the limit is {PROMPT}.")
    for i, character in enumerate(value):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise RequestError(f"{field} has the character U+{ord(character):04X} at place {i + 1}; it must be plain text.")
    return value


def show(value: Any) -> str:
    """A value as a person can read it, however long or odd."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int) and abs(value) >= 10**36:
        return "a number of more than 36 digits"
    if isinstance(value, str | Real) or value is None:
        shown = repr(value)
        return shown if len(shown) <= 40 else shown[:36] + " …'"
    return f"a {type(value).__name__}"
