"""The form: what an address may set, one sentence for what it may not, and the words that a model will not read."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from explorer.records import Request
from explorer.tabs.form import GUIDANCE, STEPS, _about_prompt, checked, defaults


def test_every_field_of_a_request_can_be_set(tiny_model):
    given = {
        "prompt": "a cat", "seed": "7", "steps": "12", "guidance": "2.5", "sampler": "DPM++ 2M", "negative_prompt": "red",
        "guidance_rescale": "0.5", "eta": "0", "noise_scale": "1", "spacing": "trailing", "karras": "true", "width": "32",
        "height": "64",
    }  # fmt: skip
    values, notes = checked(tiny_model, given)
    assert notes == []
    assert values == {
        "prompt": "a cat", "seed": 7, "steps": 12, "guidance": 2.5, "sampler": "DPM++ 2M", "negative_prompt": "red",
        "guidance_rescale": 0.5, "eta": 0, "noise_scale": 1, "spacing": "trailing", "karras": True, "width": 32,
        "height": 64,
    }  # fmt: skip
    assert set(values) == set(asdict(Request()))


BAD = [
    ({"steps": "many"}, "steps is 'many'; a whole number from 1 to 100 is needed."),
    ({"steps": "500"}, "steps is 500; it must be from 1 to 100."),
    ({"steps": "2.5"}, "steps is 2.5; a whole number from 1 to 100 is needed."),
    ({"seed": ""}, "seed is ''; a whole number from 0 to 4294967295 is needed."),
    ({"seed": "-1"}, "seed is -1; it must be from 0 to 4294967295."),
    ({"guidance": "nan"}, "guidance is nan; it must be from 0 to 15."),
    ({"guidance": "1e999"}, "guidance is inf; it must be from 0 to 15."),
    ({"eta": "0.5", "sampler": "Euler"}, "eta is 0.5, but Euler has none; it must be 0 there."),
    ({"karras": "yes"}, "karras is 'yes'; it must be True or False."),
    ({"width": "65"}, "width is 65; it must be a multiple of 8."),
    ({"spacing": "wide"}, "spacing is 'wide'; it must be one of leading, linspace, trailing."),
]


@pytest.mark.parametrize(("given", "sentence"), BAD)
def test_what_an_address_can_not_set_is_told_and_left_out(tiny_model, given, sentence):
    values, notes = checked(tiny_model, given | {"prompt": "red"})
    assert notes == [sentence]
    assert values["prompt"] == "red"
    assert next(iter(given)) not in values


def test_the_sampler_is_read_before_what_hangs_on_it(tiny_model):
    values, notes = checked(tiny_model, {"noise_scale": "0.5", "karras": "false", "sampler": "DDPM"})
    assert (notes, values["noise_scale"]) == ([], 0.5)


def test_the_defaults_are_within_the_sliders(embedded_model):
    begun = defaults(embedded_model)
    assert STEPS[0] <= begun.steps <= STEPS[1]
    assert GUIDANCE[0] <= begun.guidance <= GUIDANCE[1]


def test_exactly_the_words_that_are_cut_are_shown(tiny_model):
    long = "a " * 12 + "cat <b>on</b> a red house"
    unread = tiny_model.unread(long)
    assert unread.strip()
    assert long.endswith(unread)
    said = _about_prompt(tiny_model, 16, long)
    assert said.startswith("Not read (the model takes 16 tokens): <q>")
    assert "<b>" not in said
    assert _about_prompt(tiny_model, 16, "a cat") == ""
    assert _about_prompt(tiny_model, 16, "a\0b") == "prompt has the character U+0000 at place 2; it must be plain text."


def test_the_folds_say_what_of_an_address_they_cannot_take():
    from explorer.tabs import compare, truth

    values, notes = compare.checked(
        {"change": "seed", "other_steps": "0", "other_guidance": "2.5", "other_sampler": "UniPC"}
    )
    assert values == {"other_guidance": 2.5, "other_sampler": "UniPC"}
    assert notes == [
        "change is 'seed'; it must be one of prompt, sampler, steps, guidance.",
        "other_steps is 0; it must be from 1 to 100.",
    ]
    values, notes = truth.checked({"begin_at": "nan", "picture_prompt": "a cat"})
    assert values == {"picture_prompt": "a cat"}
    assert notes == ["begin_at is nan; it must be from 0 to 0.95."]
