"""A negative prompt's two directions, fidelity against diversity: their numbers are those of single runs."""

from __future__ import annotations

import base64
import inspect
import re
from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
import torch
from gradio_client import Client
from serving import Counting, serve

from explorer import Request, run
from explorer.diversity import Point
from explorer.lessons import spread
from explorer.microscope import negatives, rms
from explorer.sessions import Sessions
from explorer.tabs import guidance_diversity, guidance_negative
from explorer.tabs.guidance_folds import build
from explorer.tabs.guidance_form import form

RUN = {"prompt": "pizza", "seed": 5, "steps": 5, "sampler": "DDIM"}


def halves(text: str, shape) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32)).reshape(1, *shape)


def sentenced(message: str) -> None:
    assert re.fullmatch(r"\w[^\n]*\.", message), message
    assert "log says why" not in message
    assert not re.search(r"Traceback|Error:|/\w+/\w+|\.py", message), message


# --- a negative prompt ---


def test_at_first_the_second_run_moves_away_from_a_word_of_the_first_prompt(tiny_model):
    prompt = tiny_model.abilities.examples[0]
    assert prompt.endswith(f" {guidance_negative.first(tiny_model)}")
    away = inspect.signature(guidance_negative.runner(tiny_model)).parameters["away_from"]
    assert away.default == guidance_negative.first(tiny_model)


@pytest.mark.parametrize(("sampler", "w"), [("DDIM", 4.0), ("Euler", -2.0)])
def test_the_two_directions_add_up_to_the_guided_noise(tiny_model, sampler, w):
    got = list(guidance_negative.runner(tiny_model)(**RUN | {"sampler": sampler}, away_from="red house", guidance=w))
    wanted = Request(prompt="pizza", seed=5, steps=5, sampler=sampler, guidance=w)
    without = run(tiny_model, wanted).steps
    within = run(tiny_model, replace(wanted, negative_prompt="red house")).steps
    assert [record["i"] for record in got] == list(range(6))
    for record, a, b in zip(got[:-1], without, within, strict=False):
        for lane, step in zip(record["lanes"], (a, b), strict=False):
            assert torch.allclose(halves(lane["planes"]["x0"], record["shape"]), step.x0, rtol=3e-3, atol=3e-3)
        found = negatives(tiny_model, b, "pizza", "red house")
        toward = halves(record["lanes"][2]["planes"]["toward"], record["shape"])
        away = halves(record["lanes"][3]["planes"]["away"], record["shape"])
        assert torch.allclose(toward, found.toward, rtol=2e-3, atol=1e-3)
        assert torch.allclose(away, -found.negative, rtol=2e-3, atol=1e-3)
        assert torch.allclose(found.eps_uncond + w * toward + (w - 1) * away, b.eps, atol=0.01)
        said = record["directions"]
        assert (said["toward"], said["away"]) == pytest.approx((rms(found.toward), rms(found.negative)), rel=1e-3)
        cosine = float((toward * away).sum() / toward.norm() / away.norm())
        assert np.cos(np.radians(said["degrees"])) == pytest.approx(cosine, abs=2e-3)
        assert f"{said['degrees']:.0f}° lie between" in record["note"]
        assert [one["value"] for one in record["series"]] == [said["toward"], said["away"], said["degrees"]]
    assert [bool(lane.get("picture")) for lane in got[-1]["lanes"]] == [True, True, False, False]
    assert f"{got[-1]['apart']:.3f} from those without it" in got[-1]["note"]
    assert got[-1]["apart"] == pytest.approx(rms(within[-1].latents - without[-1].latents), abs=1e-3)


def test_at_exactly_one_the_negative_prompt_is_not_asked(tiny_model):
    got = list(guidance_negative.runner(tiny_model)(**RUN, away_from="red", guidance=1))
    assert got[-1]["apart"] == 0
    assert "is not asked" in got[-1]["note"]
    assert got[0]["lanes"][3]["detail"] == "counts 0 times"


def test_a_prompt_that_is_empty_has_no_direction(tiny_model):
    got = list(guidance_negative.runner(tiny_model)(**RUN | {"prompt": ""}, away_from="red"))
    assert got[2]["directions"]["toward"] == 0
    assert got[2]["directions"]["degrees"] is None
    assert "No prompt here" in got[2]["note"]


@pytest.mark.parametrize(
    ("angle", "said"),
    [(150, "mostly agree"), (90, "nearly independent"), (20, "mostly oppose")],  # to the negative itself
)
def test_the_sentence_follows_the_angle(tiny_model, angle, said):
    step = run(tiny_model, Request(prompt="pizza", steps=2)).steps[0]
    found = replace(negatives(tiny_model, step, "pizza", "red"), angle=float(angle))
    assert said in guidance_negative.sentence(4.0, found, "step 0 of 2")
    assert f"{180 - angle}°" in guidance_negative.sentence(4.0, found, "step 0 of 2")


@pytest.mark.parametrize(
    ("w", "said"),
    [(1.0, "At w = 1 only the first one counts."), (0.5, "At w = 0.5 the second one counts backward: the step goes toward"),
     (-2.0, "At w = −2 both count backward: the step goes away from the prompt and toward the negative one.")],
)  # fmt: skip
def test_the_sentence_follows_the_sign(tiny_model, w, said):
    step = run(tiny_model, Request(prompt="pizza", steps=2)).steps[0]
    found = negatives(tiny_model, step, "pizza", "red")
    assert said in guidance_negative.sentence(w, found, "step 0 of 2")
    assert "backward" not in guidance_negative.sentence(4.0, found, "step 0 of 2")


# --- fidelity against diversity ---


def test_the_curve_is_that_of_single_runs(tiny_model):
    got = list(guidance_diversity.runner(tiny_model)(**RUN, seeds=3, scales="0, 2 8"))
    frames, last = got[:-1], got[-1]
    assert [(f["row"], f["i"]) for f in frames] == [(row, i) for row in range(3) for i in range(6)]
    ends = {
        (seed, w): run(tiny_model, Request(prompt="pizza", seed=seed, steps=5, guidance=w)).latents
        for seed in (5, 6, 7)
        for w in (0.0, 2.0, 8.0)
    }
    for point in last["points"]:
        w = point["scale"]
        assert point["spread"] == pytest.approx(spread([ends[seed, w] for seed in (5, 6, 7)]), rel=2e-3)
        assert point["size"] == pytest.approx(sum(rms(ends[seed, w]) for seed in (5, 6, 7)) / 3, rel=2e-3)
        alone = [rms(ends[seed, w] - ends[seed, 0.0]) for seed in (5, 6, 7)]  # at 0 the prompt plays no part
        assert point["distance"] == pytest.approx(sum(alone) / 3, abs=2e-3)
        assert f"{point['spread']:.2f}" in last["summary"] or w == 2
    for frame in frames:
        assert (frame["seeds"], frame["scales"]) == ([5, 6, 7], [0, 2, 8])
        assert all(("picture" if frame["i"] == 5 else "x0") in cell for cell in frame["cells"])
        assert len(frame["cells"]) == 4
    step = run(tiny_model, Request(prompt="pizza", seed=6, steps=5, guidance=8.0)).steps[3]
    cell = frames[6 + 3]["cells"][2]["x0"]
    assert torch.allclose(halves(cell, frames[0]["shape"]), step.x0, rtol=3e-3, atol=3e-3)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (((1.2, 0.0), (0.4, 2.0)), "leaves the seed less to decide"),
        (((0.4, 0.5), (0.9, 2.0)), "diversity did not fall"),
        (((0.8, 0.5), (0.8, 2.0)), "about as different as they were"),
        (((0.8, 2.0), (0.6, 1.0)), "does not lead further"),
    ],
)
def test_the_sentence_reads_the_curve(ends, said):
    (low, near), (high, far) = ends
    points = [Point(-1.0, low, near, 1.0), Point(1.0, 0.5, 1.0, 1.0), Point(10.0, high, far, 1.6)]
    assert said in guidance_diversity.sentence(points)
    assert "w = −1 to w = 10 the spread between seeds" in guidance_diversity.sentence(points)
    assert "themselves grow from 1.00 to 1.60" in guidance_diversity.sentence(points)
    again = "Seeds differ least at w = 1 (0.50), and more again past it."
    assert (again in guidance_diversity.sentence(points)) == (low == high == 0.8)
    assert "differ most at w = 1 (3.00)" in guidance_diversity.sentence([points[0], Point(1.0, 3.0, 1.0, 1.0), points[2]])


def test_a_fall_that_ends_at_the_prompt_is_not_called_the_pulls():
    points = [Point(0.0, 1.2, 0.0, 1.0), Point(1.0, 0.5, 1.0, 1.0), Point(4.0, 0.5, 1.2, 1.0), Point(10.0, 0.505, 1.4, 1.0)]
    said = guidance_diversity.sentence(points)
    assert "it is the prompt itself that leaves the seed less to decide, and not the pull past it" in said
    assert "All of the fall lies between w = 0 and w = 1; past that the spread hardly changes." in said
    assert "At w = 0 the prompt plays no part: that column is the run without a prompt" in said
    again = guidance_diversity.sentence([*points[:3], Point(10.0, 0.7, 1.4, 1.0)])
    assert "between w = 0 and w = 1; past that the spread grows again." in again
    later = guidance_diversity.sentence([*points[:2], Point(4.0, 0.4, 1.2, 1.0), Point(10.0, 0.3, 1.4, 1.0)])
    assert "All of the fall" not in later
    assert "a higher scale follows the prompt further" in later
    assert "that column" not in guidance_diversity.sentence([Point(0.0, 1.2, 0.2, 1.0), *points[1:]])  # a negative prompt's


@pytest.mark.parametrize(
    ("fold", "values"),
    [
        (guidance_negative, {"away_from": ""}), (guidance_negative, {"away_from": 7}),
        (guidance_negative, {"away_from": "a\0"}),
        (guidance_negative, {"guidance": float("nan")}), (guidance_negative, {"guidance": [4]}),
        (guidance_negative, {"steps": 0}), (guidance_negative, {"seed": ""}), (guidance_negative, {"sampler": ["DDIM"]}),
        (guidance_diversity, {"seeds": 1}), (guidance_diversity, {"seeds": 5}), (guidance_diversity, {"seeds": "3"}),
        (guidance_diversity, {"seeds": 2.5}), (guidance_diversity, {"seed": 2**32 - 2}),
        (guidance_diversity, {"seed": None}),
        (guidance_diversity, {"scales": "1 2"}), (guidance_diversity, {"scales": "1 1 1"}),
        (guidance_diversity, {"scales": "0 1 2 3 4 5"}), (guidance_diversity, {"scales": "a b c"}),
        (guidance_diversity, {"scales": "0 1 31"}), (guidance_diversity, {"scales": None}),
        (guidance_diversity, {"steps": 1001}), (guidance_diversity, {"steps": float("inf")}),
    ],
)  # fmt: skip
def test_bad_values_are_told_before_anything_runs(tiny_model, fold, values):
    model = Counting(tiny_model)
    with pytest.raises(gr.Error) as error:
        list(fold.runner(model)(**RUN | values))
    sentenced(error.value.message)
    assert model.predictions == 0


def test_seeds_times_scales_times_steps_is_bounded(tiny_model):
    values = RUN | {"steps": 1000, "seeds": 4, "scales": "0 1 2 3 4"}
    with pytest.raises(gr.Error, match="the limit is"):
        next(guidance_diversity.runner(tiny_model)(**values))


def test_both_endpoints_stream_and_are_described(tiny_model):
    with gr.Blocks() as page:
        build(tiny_model, Sessions(), form(tiny_model), "no-stage")
    with serve(page.queue()) as url:
        client = Client(url, download_files=False, analytics_enabled=False, verbose=False)
        for name, values, records in (("/negative_prompt", {}, 4), ("/diversity", {"seeds": 2, "scales": "0 1 4"}, 9)):
            job = client.submit(api_name=name, steps=3, **values)
            job.result(timeout=60)
            assert len(job.outputs()) == records
            endpoint = client.view_api(return_format="dict")["named_endpoints"][name]
            assert "one record per" in endpoint["description"]
        assert set(client.view_api(return_format="dict")["named_endpoints"]) == {"/negative_prompt", "/diversity"}
