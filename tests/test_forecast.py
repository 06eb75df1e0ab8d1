"""What a branch is said to do is what it does."""

from dataclasses import replace

import pytest
import torch
from tiny import as_model, tiny_parts

from explorer import Request, run
from explorer.forecast import forecast
from explorer.records import RequestError
from explorer.samplers import SAMPLERS


@pytest.fixture(scope="module")
def whole(tiny_model):
    return run(tiny_model, Request(prompt="cat", steps=8, sampler="DDPM", seed=3))


@pytest.mark.parametrize("to", SAMPLERS)
@pytest.mark.parametrize("name", ["DDPM", "PNDM", "Heun"])
def test_it_says_where_a_branch_begins_and_ends(counted, tiny_model, name, to):
    origin = run(tiny_model, Request(prompt="cat", steps=6, sampler=name))
    request = Request(prompt="cat", steps=6, sampler=to)
    told = forecast(counted, request, (origin, 3))
    assert counted.rows == []  # nothing was run
    branch = run(tiny_model, request, (origin, 3))
    assert (told.first, told.last) == (branch.steps[0].index, branch.steps[-1].index)
    assert told.exact == (name == to)
    if told.exact:
        assert torch.equal(branch.latents, origin.latents)
        assert told.sentence.startswith("Steps 0 to 2 are replayed exactly, and nothing is changed that matters: the rest")
    else:
        assert told.sentence.startswith(f"From {name} to {to}: the state of step 3 (t = ")
        assert f"goes on at step {told.first} of {told.last}" in told.sentence
        crossing = SAMPLERS[name].space != SAMPLERS[to].space
        assert (f"from {SAMPLERS[name].space} to {SAMPLERS[to].space}" in told.sentence) == crossing
        assert ("without memory" in told.sentence) == SAMPLERS[to].multistep
    assert told.sentence.endswith(".")
    assert len(told.sentence) < 250


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": "star"}, "from step 4 on only what you changed can make a difference: prompt."),
        ({"seed": 5}, "can make a difference: the noise of seed 5."),
        ({"guidance": 7.0, "noise_scale": 0.5, "prompt": "x"}, "can make a difference: prompt, guidance and noise scale."),
        ({"negative_prompt": "red"}, "can make a difference: negative prompt."),
        ({"spacing": "leading"}, "nothing is changed that matters"),  # the model's own
        ({"steps": 9}, "From 8 steps to 9: the state of step 4 (t = 376, log-SNR −0.15) goes on at step 5 of 9"),
        ({"spacing": "trailing"}, "On another spacing of the steps: "),
    ],
)
def test_what_is_changed_is_named(tiny_model, whole, change, words):
    request = replace(whole.request, **change)
    told = forecast(tiny_model, request, (whole, 4))
    assert words in told.sentence
    same = torch.equal(run(tiny_model, request, (whole, 4)).latents, whole.latents)
    assert same == ("nothing is changed" in told.sentence)


def test_what_makes_no_difference_is_not_named(tiny_model):
    request = Request(prompt="cat", steps=6, seed=3, guidance=(4.0, 4.0, 4.0, 1.0, 1.0, 1.0))
    whole = run(tiny_model, request)
    change = {"seed": 9, "negative_prompt": "x", "guidance_rescale": 0.5, "noise_scale": 0.5, "guidance": 1.0}
    other = replace(request, **change)  # eta is 0, and from 3 on guidance was 1 already
    assert "nothing is changed that matters" in forecast(tiny_model, other, (whole, 3)).sentence
    assert torch.equal(run(tiny_model, other, (whole, 3)).latents, whole.latents)
    told = forecast(tiny_model, replace(other, eta=0.5), (whole, 3))
    assert told.sentence.endswith("can make a difference: eta, the noise of seed 9 and noise scale.")


@pytest.mark.parametrize("name", [name for name, row in SAMPLERS.items() if row.stochastic == "always"])
def test_in_the_last_evaluation_noise_is_named_only_where_it_is_drawn(tiny_model, name):
    request = Request(prompt="cat", steps=6, sampler=name, spacing="leading" if SAMPLERS[name].spacing else None)
    whole = run(tiny_model, request)
    told = forecast(tiny_model, replace(request, seed=5, noise_scale=0.5), (whole, 5))
    drawn = whole.steps[5].z is not None
    assert ("can make a difference: the noise of seed 5 and noise scale." in told.sentence) == drawn
    assert ("nothing is changed that matters: the rest will be the same, bit for bit." in told.sentence) == (not drawn)


@pytest.mark.parametrize(
    "made", [{"device": "cuda"}, {"dtype": "float16"}, {"versions": {"torch": "1.0", "diffusers": "9"}}]
)
def test_a_run_from_elsewhere_is_repeated_up_to_rounding(tiny_model, whole, made):
    theirs = replace(whole, capsule={**whole.capsule, **made})
    told = forecast(tiny_model, whole.request, (theirs, 4))
    assert told.exact
    assert "the rest will be the same, up to rounding, since it was made in " in told.sentence
    changed = forecast(tiny_model, replace(whole.request, prompt="star"), (theirs, 4))
    assert "can make a difference: prompt, beside rounding, since the run was made in float" in changed.sentence


def test_the_reason_goes_by_what_the_settings_come_to():
    """Karras sigmas by the model's own config; a spacing by name or by default."""
    model = as_model(tiny_parts())
    model.scheduler_config = {**model.scheduler_config, "use_karras_sigmas": True}
    request = Request(prompt="cat", steps=6, sampler="Euler")
    whole = run(model, request)
    assert "On another spacing of the steps: " in forecast(model, replace(request, karras=False), (whole, 3)).sentence
    assert forecast(model, replace(request, karras=True), (whole, 3)).exact
    foreign = run(
        as_model(tiny_parts(beta_end=0.02)), replace(request, spacing="linspace")
    )  # the default of Euler's scheduler
    told = forecast(as_model(tiny_parts()), request, (foreign, 3))
    assert told.sentence.startswith("Not replayed, since the run's grid is not this model's: ")


def test_the_beginning_and_one_step(tiny_model, whole):
    told = forecast(tiny_model, whole.request, (whole, 0))
    assert told.sentence.startswith("The branch begins in the very state of step 0, and nothing")
    assert forecast(tiny_model, whole.request, (whole, 1)).sentence.startswith("Step 0 is replayed exactly, and")


def test_a_branch_of_a_branch(tiny_model):
    request = Request(prompt="cat", steps=8, sampler="PNDM")
    picture = torch.zeros(1, 4, 8, 8)
    begun = run(tiny_model, request, (picture, torch.ones(1, 4, 8, 8), 3))
    branch = run(tiny_model, request, (begun, 5))
    told = forecast(tiny_model, request, (branch, 6))
    again = run(tiny_model, request, (branch, 6))
    assert told.exact
    assert (told.first, told.last) == (6, again.steps[-1].index) == (6, 10)  # it warms up where it began
    assert told.sentence.startswith("Steps 3 to 5 are replayed exactly")


def test_another_grid_of_the_same_settings(tiny_model, whole):
    foreign = run(as_model(tiny_parts(beta_end=0.02)), whole.request)
    sentence = forecast(tiny_model, whole.request, (foreign, 3)).sentence
    assert sentence.startswith("Not replayed, since the run's grid is not this model's: the state of step 3")


def test_refusals_are_those_of_the_run(tiny_model, whole):
    with pytest.raises(RequestError, match=r"start k is 8; it must be from 0 to 7."):
        forecast(tiny_model, whole.request, (whole, 8))
    with pytest.raises(RequestError, match=r"steps is 0"):
        forecast(tiny_model, Request(steps=0), (whole, 3))
    with pytest.raises(RequestError, match=r"start must be"):
        forecast(tiny_model, whole.request, (3, whole))
