"""The player's words: every term that a sampler can name is typeset, none falls through to its raw name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from explorer import Request, denoise
from explorer.player import HERE, SCRIPTS
from explorer.samplers import SAMPLERS

NAMES = [re.compile(p) for p in re.findall(r"^  \[/(\^.+?\$)/,", (HERE / "words.js").read_text("utf-8"), re.MULTILINE)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_term_is_typeset(tiny_model, sampler):
    terms = {t.name for s in denoise(tiny_model, Request(sampler=sampler, steps=8)) for f in s.forms.values() for t in f}
    assert terms
    assert [name for name in terms if not any(pattern.match(name) for pattern in NAMES)] == []


def test_the_players_files_are_all_joined():
    assert {path.name for path in Path(HERE).glob("*.js")} == set(SCRIPTS)
