"""Captions of the sheets that people save, in Pillow's own font."""

from __future__ import annotations

from bisect import bisect
from typing import Any

PLAIN = {"…": "...", "−": "-", "–": "-", "·": ",", "×": "x", "“": '"', "”": '"', "’": "'", "°": " degrees", "\n": " "}


def plain(text: str) -> str:
    """The text in characters that the font has: printable ASCII, "?" for any other."""
    text = "".join(PLAIN.get(letter, letter) for letter in text)
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text)


def short(text: str, width: int, font: Any) -> str:
    """The plain text, cut where its room of so many pixels ends."""
    text = plain(text)
    if len(text) <= width and font.getlength(text) <= width:  # no letter is narrower than a pixel
        return text
    fits = bisect(range(1, width), width, key=lambda count: font.getlength(text[:count] + "..."))
    return text[:fits] + "..."
