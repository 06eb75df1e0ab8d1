"""The player's words: every term that a sampler can name is typeset, none falls through to its raw name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from explorer import Request, denoise
from explorer.player import HERE, PANES, SCRIPTS, player
from explorer.samplers import SAMPLERS

NAMES = [re.compile(p) for p in re.findall(r"^  \[/(\^.+?\$)/,", (HERE / "words.js").read_text("utf-8"), re.MULTILINE)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_term_is_typeset(tiny_model, sampler):
    terms = {t.name for s in denoise(tiny_model, Request(sampler=sampler, steps=8)) for f in s.forms.values() for t in f}
    assert terms
    assert [name for name in terms if not any(pattern.match(name) for pattern in NAMES)] == []


def test_the_players_files_are_all_joined():
    joined = "".join(path.read_text("utf-8") for path in Path(HERE).glob("*.py"))
    files = {path.name for path in Path(HERE).glob("*.js")}
    assert set(SCRIPTS) <= files
    assert [name for name in files if f'"{name}"' not in joined] == []


def test_heuns_slopes_are_said_to_be_eps_but_for_rounding():
    words = (HERE / "words.js").read_text("utf-8")
    assert words.count("the slope, (x_t − x0)/σ") == 2
    assert words.count("eps but for rounding") == 2


def test_panes_are_named_alike_in_python_and_in_the_browser():
    assert tuple(re.findall(r'^  \{ name: "(\w+)"', (HERE / "panes.js").read_text("utf-8"), re.MULTILINE)) == PANES
    with pytest.raises(ValueError, match="no such pane: y"):
        player("p", panes=("x0", "y"))
