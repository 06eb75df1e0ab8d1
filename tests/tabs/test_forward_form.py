"""The Forward tab's form: examples that exist, addresses that are checked, files named after what they show."""

from __future__ import annotations

import re

import gradio as gr
import pytest
from PIL import Image

import app
from explorer.forward_schedule import KNOTS, NAMES, schedule
from explorer.noising import SCHEDULES
from explorer.records import RequestError
from explorer.tabs.forward_files import kept, place
from explorer.tabs.forward_form import CSS, READERS, checked, form
from explorer.tabs.forward_runs import Runs
from explorer.tabs.picture_field import EXAMPLES, FOLDER


@pytest.fixture(scope="module")
def controls():
    with gr.Blocks():
        return form()


def test_every_example_is_a_small_picture():
    files = {path.stem for path in FOLDER.glob("*.png")}
    assert files == set(EXAMPLES)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 300_000
    for name in EXAMPLES:
        with Image.open(FOLDER / f"{name}.png") as image:
            assert image.width == image.height <= 512


def test_the_schedules_are_rows_of_one_table(controls):
    assert set(SCHEDULES) < set(NAMES)
    assert [value for _, value in controls.linked["schedule"].choices] == list(NAMES)
    assert [value for _, value in controls.linked["second"].choices] == ["", *NAMES]


def test_an_address_can_hold_every_control(controls):
    assert list(READERS) == list(controls.linked)
    given = {"example": "night", "schedule": "drawn by hand", "steps": "25", "seed": "4294967295", "rescaled": "false",
             "drawn": "beta 0:1e-4 1:0.02", "second": "the model's own", "prompt": "a <b> & c"}  # fmt: skip
    values, notes = checked(given)
    assert notes == []
    assert values == given | {"steps": 25, "seed": 2**32 - 1, "rescaled": False}


def test_the_defaults_pass_the_check(controls, tiny_model):
    given = {name: str(control.value).lower() if name == "rescaled" else str(control.value)
             for name, control in controls.linked.items()}  # fmt: skip
    values, notes = checked(given)
    assert notes == []
    assert values == {name: control.value for name, control in controls.linked.items()}
    assert schedule("drawn by hand", 1000, True, KNOTS, tiny_model).steps == 1000


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("example", "", "An address can't hold a picture of one's own."),
        ("example", "../../secret", "example is '../../secret'; it must be one of house"),
        ("schedule", "", "schedule is ''"),
        ("steps", "9", "steps is 9; it must be from 10 to 1000."),
        ("steps", "ten", "steps is 'ten'"),
        ("steps", "nan", "steps is nan"),
        ("seed", "-1", "seed is -1"),
        ("rescaled", "maybe", "rescaled is 'maybe'; it must be one of true, false."),
        ("drawn", "beta 0:2 1:0.1", "Knot 1 has a beta of 2"),
        ("drawn", "log-SNR 0:0 1:10", "Knot 2 doesn't lie below"),
        ("second", "x" * 100, "second is 'xxx"),
        ("prompt", "x" * 5001, "prompt"),
    ],
)
def test_what_an_address_has_wrong_is_one_sentence(name, text, message):
    values, (note,) = checked({name: text})
    assert values == {}
    assert message in note
    assert "\n" not in note
    assert len(note) < 300


def test_the_look_is_launched_with_the_page():
    assert CSS in app.launch_options()["css_paths"]


def test_a_picture_that_is_gone_is_told():
    for run in (None, "", "nobody's", ["r"]):
        with pytest.raises(RequestError, match="not kept here"):
            kept(Runs(), run)


def test_files_are_named_after_what_they_show(tiny_model):
    class State:
        class source:
            name = "../été/my picture.PNG"

        schedule = schedule("the model's own", 50, True, KNOTS, tiny_model)

    with place(State(), "png") as path:
        assert path.name == "diffuscope-forward-t-my-picture-PNG-the-models-own-T-50.png"
        assert re.fullmatch(r"[\w.-]+", path.name)
