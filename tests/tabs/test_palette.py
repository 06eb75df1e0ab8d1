"""The palette: readable on both themes' grounds, and told apart with red-green blindness."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

CSS = (Path(__file__).parents[2] / "assets" / "theme.css").read_text(encoding="utf-8")
QUANTITIES = ("x_t", "eps", "x0", "update", "cond", "uncond", "z")
SIGHT = {  # linear RGB as it is seen; Machado et al. 2009, severity 1
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
LAB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) / [[0.9505], [1], [1.089]]


def palette(theme: str) -> dict[str, str]:
    blocks = {"light": r":root \{(.*?)\n\}", "dark": r"\n\.dark \{(.*?)\n\}"}
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", re.search(blocks[theme], CSS, re.DOTALL).group(1)))


def linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    bright, dark = sorted((linear(c) @ [0.2126, 0.7152, 0.0722] for c in (a, b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    f = np.cbrt(LAB @ np.clip(rgb, 0, 1))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "surface"])
def test_every_colour_of_text_has_contrast(theme, ground):
    colours = palette(theme)
    for name in (*(f"q-{q}" for q in QUANTITIES), "ink", "ink-soft", "focus"):
        assert contrast(colours[name], colours[ground]) >= 4.5, name


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_quantities_are_told_apart(theme, sight):
    colours = palette(theme)
    seen = {q: lab(SIGHT[sight] @ linear(colours[f"q-{q}"])) for q in QUANTITIES}
    for a, b in itertools.combinations(QUANTITIES, 2):
        assert np.linalg.norm(seen[a] - seen[b]) > 14, f"{a} and {b}"


def test_the_diverging_map_has_its_zero_in_the_pages_tone():
    for theme in ("light", "dark"):
        assert palette(theme)["map-zero"] == palette(theme)["page"]
