"""Prompts to click: how many are seen, and that a folder's texts are only ever texts."""

from __future__ import annotations

import re
from html import unescape

import pytest
from tiny import HOSTILE

from explorer.models.abilities import GENERAL
from explorer.player import inert
from explorer.tabs.common import BUTTON, OTHERS, WIDTH, fitting


def test_a_text_in_a_template_is_the_same_text_and_nothing_else():
    assert unescape(inert(HOSTILE)) == HOSTILE
    assert not re.search(r"""["'`$<>{}\\]|&(?!#\d+;)""", inert(HOSTILE))
    assert inert("a fox, 2 × näh") == "a fox, 2 × näh"


def test_as_many_are_seen_as_fit():
    wide = "w" * 40
    assert fitting([wide] * 6, 4) == 4
    assert fitting([wide] * 4, 4) == 4
    assert fitting([wide] * 2, 4) == 2
    assert fitting([], 4) == 0
    assert fitting(["star"] * 100, 1) == int((WIDTH - OTHERS) / (BUTTON[0] + 4 * BUTTON[1]))
    assert fitting(["star"] * 3, 1) == 3
    assert 6 <= fitting(GENERAL, 4) < len(GENERAL)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_no_row_is_overfull(rows):
    seen = GENERAL[: fitting(GENERAL, rows)]
    assert sum(BUTTON[0] + BUTTON[1] * len(text) for text in seen) <= rows * WIDTH
