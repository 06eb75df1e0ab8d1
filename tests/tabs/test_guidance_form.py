"""The Guidance tab's form: scales and w(t) as text, addresses that are checked, one drawing for every scale."""

from __future__ import annotations

import gradio as gr
import pytest

from explorer import Request, dial, limits
from explorer.dial import DIALS
from explorer.records import RequestError
from explorer.schedule import schedule
from explorer.sessions import Sessions
from explorer.sweep import check_scales
from explorer.tabs import guidance_folds
from explorer.tabs.guidance import checked
from explorer.tabs.guidance_form import DRAWN, PRESETS, READERS, SCALES, TAKES, form, knots, parse, shaped

REST = {"low": 0.28, "high": 5.42, "rest": 1.0, "drawn": DRAWN}


@pytest.fixture(scope="module")
def controls(tiny_model):
    """Those of the form, and those of the folds."""
    with gr.Blocks():
        own = form(tiny_model)
        return own | guidance_folds.build(tiny_model, Sessions(), own, "no-stage")


@pytest.fixture
def request_(tiny_model):
    return limits.check(Request(prompt="a cat", steps=9, sampler="Euler"), tiny_model)


def test_an_address_can_hold_every_control_and_the_defaults_pass(controls):
    assert [*READERS, *guidance_folds.READERS] == list(controls)
    assert not set(READERS) & set(guidance_folds.READERS)
    assert {name for taken in TAKES.values() for name in taken} < set(READERS)
    values, notes = checked({name: str(control.value) for name, control in controls.items()})
    assert notes == []
    assert values == {name: control.value for name, control in controls.items()}


@pytest.mark.parametrize("text", [SCALES, *PRESETS.values()])
def test_the_scales_offered_can_be_run(text):
    assert len(check_scales(parse(text))) == 6


def test_scales_are_read_as_people_write_them():
    assert parse("0,1 ; 7.5  −2") == [0, 1, 7.5, -2]
    assert parse([1, 2.5]) == [1, 2.5]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("scales", "", "scales has 0 values; it takes 1 to 12."),
        ("scales", "1 " * 13, "scales has 13 values; it takes 1 to 12."),
        ("scales", "1, two", "Scale 2 is 'two'; a number from -5 to 30 is needed"),
        ("scales", "1, 2, 31", "Scale 3 is 31; it must be from -5 to 30."),
        ("scales", "nan", "Scale 1 is nan; it must be from -5 to 30."),
        ("scales", "1" * 201, "scales must be a text of at most 200 characters"),
        ("dial", "linear", "dial is 'linear'; it must be one of constant"),
        ("low", "-1", "low is -1; it must be from 0 to 1000."),
        ("rest", "31", "rest is 31; it must be from -5 to 30."),
        ("drawn", "0:0", "drawn has 1 knots; it takes 2 to 12, such as 0:0 0.25:1 0.75:1 1:0."),
        ("drawn", "0:0 1:1e9", "The share of knot 2 is 1000000000.0; it must be from 0 to 1."),
        ("drawn", "0:0 1", "Knot 2 is '1'; place:share is needed, such as in 0:0 0.25:1 0.75:1 1:0."),
        ("drawn", "0:0 1:1.5", "The share of knot 2 is 1.5; it must be from 0 to 1."),
        ("drawn", "0:0 0.9:1", "places must rise from 0 to 1"),
        ("steps", "0", "steps is 0; it must be from 1 to 100."),
        ("seed", "x", "seed is 'x'"),
        ("sampler", "", "sampler is ''; it must be one of DDPM"),
        ("guidance_rescale", "2", "guidance_rescale is 2; it must be from 0 to 1."),
        ("negative_prompt", "a" * 5001, "negative_prompt has 5001 characters"),
        ("away_from", "a" * 5001, "away_from has 5001 characters"),
        ("away_scale", "31", "away_scale is 31; it must be from -5 to 30."),
        ("diversity_seeds", "5", "diversity_seeds is 5; it must be from 2 to 4."),
        ("diversity_scales", "1, 2", "diversity_scales has 2 different values; 3 to 5 are needed here."),
        ("diversity_scales", "1 1", "diversity_scales has 1 different value; 3 to 5 are needed here."),
    ],
)
def test_what_an_address_has_wrong_is_one_sentence(name, text, message):
    values, (note,) = checked({name: text})
    assert values == {}
    assert message in note
    assert "\n" not in note
    assert len(note) < 300


def test_the_fold_moves_away_from_the_form_s_negative_prompt_unless_an_address_says_otherwise():
    assert checked({"negative_prompt": "red"})[0] == {"negative_prompt": "red", "away_from": "red"}
    assert checked({"negative_prompt": "red", "away_from": "hat"})[0] == {"negative_prompt": "red", "away_from": "hat"}
    assert checked({"negative_prompt": "red", "away_from": ""})[0] == {"negative_prompt": "red", "away_from": ""}
    assert checked({"negative_prompt": ""})[0] == {"negative_prompt": ""}


@pytest.mark.parametrize("name", [name for name in DIALS if name not in ("constant", "drawn")])
def test_a_dial_shapes_every_scale(tiny_model, request_, name):
    shape, plan = shaped(tiny_model, request_, name, **REST), schedule(request_, tiny_model.scheduler_config)
    for scale in (-3.0, 1.0, 8.0):
        assert shape(scale) == dial.values(name, scale, plan)


def test_one_drawing_serves_every_scale(tiny_model, request_):
    shape = shaped(tiny_model, request_, "drawn", **REST | {"drawn": "0:0 0.5:1 1:0.25"})
    for scale in (-5.0, 0.0, 1.0, 30.0):
        made = shape(scale)
        assert len(made) == 9
        assert (made[0], made[4]) == (1, scale)
        assert made[-1] == pytest.approx(1 + 0.25 * (scale - 1))
    assert shaped(tiny_model, request_, "constant", **REST) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "spiral"}, "dial is 'spiral'"),
        ({"name": None}, "dial is 'None'"),
        ({"name": "interval", "low": 6.0}, "low must be below high"),
        ({"name": "linear rising", "rest": None}, "rest is None"),
        ({"name": "drawn", "drawn": None}, "drawn must be a text"),
        ({"name": "drawn", "drawn": "0:1 1:x"}, "Knot 2 is '1:x'"),
    ],
)
def test_a_dial_that_cannot_be_is_told_at_once(tiny_model, request_, values, message):
    with pytest.raises(RequestError, match=message):
        shaped(tiny_model, request_, **REST | values)


def test_the_drawing_that_is_there_at_first_can_be_run():
    assert knots(DRAWN)[0] == (0, 0)
    with pytest.raises(RequestError, match="share of knot 1"):
        knots("0:-1 1:1")
