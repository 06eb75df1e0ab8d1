"""The DDPM lesson and predicted against true: every number and sentence against the engine's own runs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from explorer import Request, run
from explorer.lessons import mse, readings, spread, true_eps
from explorer.samplers import SAMPLERS
from explorer.tabs import lesson, truth

FORM = {"prompt": "pizza", "seed": 5, "steps": 6, "guidance": 3.0, "negative_prompt": "", "guidance_rescale": 0.0,
        "spacing": "", "width": None, "height": None}  # fmt: skip
FULL = FORM | {"sampler": "DDIM", "eta": 0.0, "noise_scale": 1.0, "karras": False}
DDPM = Request(prompt="pizza", seed=5, steps=6, guidance=3.0, sampler="DDPM")


@pytest.fixture(scope="module")
def records(tiny_model):
    return list(lesson.runner(tiny_model)(**FORM))


def test_three_lanes_then_the_spread_with_what_is_being_done(records):
    steps = [r for r in records if "lanes" in r]
    assert [r["i"] for r in steps] == list(range(7))
    assert [lane["label"] for lane in steps[0]["lanes"]] == ["noise_scale 0", "noise_scale 0.5", "noise_scale 1"]
    assert all(lane["picture"].startswith("data:image/png") for lane in steps[-1]["lanes"])
    doing = [r["doing"] for r in records if "doing" in r]
    assert doing[0] == "Spread (1 of 3): seeds 6 to 8, noise_scale 0: 0 of 6"
    assert doing[-1] == "Spread (3 of 3): seeds 6 to 8, noise_scale 1: 6 of 6"


def test_the_spread_is_that_of_four_seeds(records, tiny_model):
    for scale in lesson.SCALES:
        ends = [run(tiny_model, replace(DDPM, seed=seed, noise_scale=scale)).latents for seed in range(5, 9)]
        assert records[-1]["spread"][str(scale)] == pytest.approx(spread(ends), rel=1e-3)
    assert all(f"{value:.3f}" in records[-1]["summary"] for value in records[-1]["spread"].values())


def test_the_three_readings_are_those_of_each_step(records, tiny_model):
    steps = run(tiny_model, DDPM).steps
    for i, (step, following) in enumerate(pairwise(steps)):
        equations = records[i]["equations"]
        made = readings(step.alpha, step.sigma, following.alpha, following.sigma)
        assert [e["name"] for e in equations] == ["DDPM", "DDIM", "LCM"]
        for equation, reading in zip(equations, made, strict=True):
            assert equation["terms"] == [[reading.x0, "x0"], [reading.eps, "eps"], [reading.z, "z"]]
        s1, s2, s3 = equations[0]["s"]  # arXiv:2006.11239, Algorithm 2, is the engine's own step
        z = torch.zeros_like(step.eps) if step.z is None else step.z
        total = s1 * (step.latents - s2 * step.eps) + s3 * z
        assert torch.allclose(total, following.latents, atol=2e-4 * float(step.x0.abs().max()))
        assert records[i]["note"].startswith("Equal here" if following.sigma == 0 else "Not equal here")
    assert records[5]["note"].startswith("Equal here")
    assert records[6]["equations"] == []


def test_the_conclusion_follows_the_numbers():
    assert "collapse toward one average" in lesson.conclusion([0.002, 0.151, 0.336])
    assert "not in even steps" in lesson.conclusion([0.2, 0.1, 0.3])
    assert "did not add diversity" in lesson.conclusion([0.4, 0.3, 0.2])


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("begin_at", [0, 0.5, 0.95])
def test_the_true_noise_at_the_first_state_is_the_drawn_one(tiny_model, sampler, begin_at):
    got = list(truth.runner(tiny_model)(**FULL | {"sampler": sampler}, begin_at=begin_at, picture_prompt="cat"))
    steps = [r for r in got if "lanes" in r]
    assert [r["i"] for r in steps] == list(range(steps[0]["n"]))
    assert "exactly the drawn noise" in steps[0]["note"]
    assert "The last state" in steps[-1]["note"]
    wanted = Request(prompt="pizza", seed=5, steps=6, guidance=3.0, sampler=sampler)
    x0, noise = run(tiny_model, replace(wanted, prompt="cat", seed=6)).latents, truth.drawn((1, 4, 8, 8), 5)
    k = truth._begin(tiny_model, wanted, begin_at)[0]
    expected = run(tiny_model, wanted, (x0, noise, k)).steps
    assert len(expected) == len(steps)
    assert torch.allclose(true_eps(expected[0], x0), noise, atol=1e-4 * max(1, float(x0.abs().max()) / expected[0].sigma))
    for step, record in zip(expected[:-1], steps, strict=False):
        true = true_eps(step, x0)
        values = [one["value"] for one in record["series"]]
        assert values == pytest.approx([mse(e, true) for e in (step.eps, step.eps_cond, step.eps_uncond)], rel=1e-4)


def test_the_making_of_the_picture_is_told_and_sentences_have_this_steps_numbers(tiny_model):
    got = list(truth.runner(tiny_model)(**FULL))
    assert got[0]["doing"] == "Making the picture: step 0"
    steps = [r for r in got if "lanes" in r]
    for record in steps[:-1]:
        assert f"{record['series'][0]['value']:.3g}" in record["note"]
    assert len({record["note"] for record in steps}) == len(steps)


def test_without_guidance_there_is_no_unconditional_error(tiny_model):
    got = [r for r in truth.runner(tiny_model)(**FULL | {"guidance": 1}) if "lanes" in r]
    assert got[0]["series"][2]["value"] is None
    assert got[0]["series"][0]["value"] == got[0]["series"][1]["value"]


def test_a_first_state_of_pure_noise_has_no_s_form():
    from explorer.tabs.lesson import read

    equations, _ = read([(0.0, 1.0), (0.6, 0.8)], 0)
    assert "s" not in equations[0]
    assert [term[1] for term in equations[0]["terms"]] == ["x0", "eps", "z"]
