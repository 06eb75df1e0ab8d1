"""The tour's data: every stop is whole, and what it runs is what the form, the folds and the engine take."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest

from explorer import Request, limits
from explorer.tabs import TABS, compare, truth
from explorer.tabs.form import defaults
from explorer.tabs.present import VIEW, stops

STOPS = stops()
TITLES = [stop["title"] for stop in STOPS]
KEYS = {"title", "tab", "question", "guesses", "answer", "scene", "reveal"}
OF_REQUEST = {field.name for field in fields(Request)}
WORDS = 60  # of a question or an answer: it is read aloud


@pytest.mark.parametrize("stop", STOPS, ids=TITLES)
def test_a_stop_asks_and_answers(stop):
    assert set(stop) == KEYS
    assert stop["tab"] in [tab.title.lower() for tab in TABS]
    assert stop["question"].endswith("?")
    assert 2 <= len(stop["guesses"]) <= 4
    assert len(set(stop["guesses"])) == len(stop["guesses"])
    assert stop["answer"] in range(len(stop["guesses"]))
    assert stop["reveal"]["text"].endswith(".")
    assert max(len(stop["question"].split()), len(stop["reveal"]["text"].split())) <= WORDS


@pytest.mark.parametrize("stop", STOPS, ids=TITLES)
@pytest.mark.parametrize("name", ["scene", "reveal"])
def test_a_view_has_what_the_page_knows(stop, name):
    view = stop[name]
    assert set(view) <= VIEW - ({"text", "numbers", "skipped"} if name == "scene" else {"cover"})
    assert view["look"]
    assert set(re.findall(r"\{(\w+)\}", view.get("text", ""))) == set(view.get("numbers", {}))


@pytest.mark.parametrize("stop", STOPS, ids=TITLES)
def test_a_skipped_run_is_answered_without_it(stop):
    """Where the text speaks of a run, another one does not: it has no number and no side that isn't on the stage."""
    scene, reveal = stop["scene"], stop["reveal"]
    of_a_run = "settings" in reveal or ("settings" in scene and "show" not in reveal)
    assert ("skipped" in reveal) == of_a_run
    told = reveal.get("skipped", reveal["text"])
    assert told.endswith(".")
    assert len(told.split()) <= WORDS
    assert not re.search(r"[{}]|\b(left|right|this run|[AB] and [AB])\b|\d", told.replace("x0", ""))


@pytest.mark.parametrize("stop", STOPS, ids=TITLES)
@pytest.mark.parametrize("name", ["scene", "reveal"])
def test_what_a_view_runs_passes_the_limits(stop, name, tiny_model):
    settings = stop[name].get("settings", {})
    request = {key: value for key, value in settings.items() if key in OF_REQUEST}
    limits.check(replace(defaults(tiny_model), **request), tiny_model)
    rest = {key: str(value) for key, value in settings.items() if key not in OF_REQUEST}
    for checked in (compare.checked, truth.checked):
        taken, wrong = checked(rest)
        assert wrong == []
        rest = {key: value for key, value in rest.items() if key not in taken}
    assert rest == {}


def test_a_scene_that_is_run_is_the_same_as_the_reveal_sees_it():
    """Where the answer needs no run of its own, the question's run is on the stage."""
    for stop in STOPS:
        if "step" in stop["reveal"] and "settings" not in stop["reveal"]:
            assert "settings" in stop["scene"], stop["title"]


def test_there_are_about_twelve_stops_and_one_is_guidance_12():
    assert 11 <= len(STOPS) <= 15
    assert len(set(TITLES)) == len(STOPS)
    (guidance,) = [stop for stop in STOPS if stop["title"] == "Guidance 12"]
    assert guidance["reveal"]["settings"]["other_guidance"] == 12
    assert "guidance 12" in guidance["question"]


def test_one_stop_is_on_the_forward_tab():
    """Its answer holds for any picture and schedule, so it runs nothing; its question doesn't show the formula."""
    (stop,) = [stop for stop in STOPS if stop["tab"] == "forward"]
    assert "settings" not in stop["scene"] | stop["reveal"]
    assert stop["scene"]["show"] == stop["reveal"]["show"] == [".forward"]
    assert stop["scene"]["cover"] == [".forward .algebra"]
    assert stop["reveal"]["look"] == [".forward .jump-equation"]
    assert stop["guesses"][stop["answer"]] == "No, one jump lands there"
