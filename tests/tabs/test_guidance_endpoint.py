"""The Guidance endpoint: every cell is the engine's own run, its numbers are the microscope's, and what leaves is whole."""

from __future__ import annotations

import base64
import io
import json
import re
import threading

import gradio as gr
import numpy as np
import pytest
import torch
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image
from serving import serve

import app
from explorer import Request, microscope, run
from explorer.guidance_sheet import Cell, caption, sheet
from explorer.records import RequestError
from explorer.sessions import MIB, nbytes
from explorer.tabs import guidance_runs
from explorer.tabs.guidance import LARGE, runner
from explorer.tabs.guidance_out import STOPPED, contact_sheet, stations
from explorer.tabs.guidance_runs import BUSY, FAILED, GONE, NOWHERE, Sweep, Sweeps, planes
from explorer.tabs.walk_form import parse
from explorer.walk import Station

FORM = {"prompt": "pizza", "seed": 5, "steps": 4, "scales": "0, 1, 3.5, -2"}
SCALES = [0.0, 1.0, 3.5, -2.0]
ANN = gr.Request(session_hash="ann")


def unpacked(text: str, shape) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32)).reshape(1, *shape)


@pytest.fixture(scope="module")
def swept(tiny_model):
    """A whole sweep: its records, and where it is kept."""
    sweeps = Sweeps()
    return list(runner(tiny_model, sweeps)(**FORM, request=ANN)), sweeps


def test_each_cell_is_its_own_run(swept, tiny_model):
    got, sweeps = swept
    records = [one for one in got if "lanes" in one]
    assert [one["i"] for one in records] == list(range(5))
    assert [one["doing"] for one in got if "doing" in one] == [f"Decoding picture {k} of 4" for k in (1, 2, 3, 4)]
    assert {one["n"] for one in records} == {5}
    for k, scale in enumerate(SCALES):
        steps = run(tiny_model, Request(prompt="pizza", seed=5, steps=4, guidance=scale)).steps
        for one, step, row in zip(
            [one for one in got if "lanes" in one], steps, sweeps.get(got[0]["run"]).rows, strict=True
        ):
            lane = one["lanes"][k]
            assert torch.allclose(row[k].latents, step.latents, atol=1e-3)
            assert lane["label"] == f"w = {scale:g}".replace("-", "−")
            assert ("x0" in lane["planes"]) == (step.x0 is not None)
            assert lane["facts"]["clipped"] == pytest.approx(_clipped(tiny_model, step), abs=0.02)
    assert [lane["detail"] for lane in got[0]["lanes"]] == [
        "unconditional", "conditional only", "past the prompt", "away from the prompt",
    ]  # fmt: skip
    assert all(lane["picture"].startswith("data:image/png;base64,") for lane in got[-1]["lanes"])
    assert json.loads(json.dumps(got)) == got


def _clipped(model, step) -> float:
    if step.x0 is None:
        return microscope.clipped(model.decode(step.latents))
    return microscope.clipped(microscope.seen(model.preview, step.x0))


def test_the_numbers_and_the_planes_satisfy_the_formula(swept, tiny_model):
    got, sweeps = swept
    name, shape = got[0]["run"], got[0]["shape"]
    for k, scale in enumerate(SCALES):
        made = planes(tiny_model, sweeps)([name, k, 2, 9])["steps"]
        assert set(made) == {"0", "1", "2", "3", "4"}
        assert made["4"] == {}  # the end predicts nothing
        for i in range(4):
            facts = next(one for one in got if one.get("i") == i)["lanes"][k]["facts"]
            assert facts["guidance"] == scale
            here = {key: unpacked(text, shape) for key, text in made[str(i)].items()}
            if scale == 1:
                assert set(here) == {"eps_cond", "x0_cond", "x0"}
                assert facts["norm_difference"] is None
                assert "exactly 1" in facts["note"]
                continue
            assert facts["norm_difference"] == pytest.approx(microscope.rms(here["difference"]), rel=2e-3)
            assert torch.allclose(here["difference"], here["eps_cond"] - here["eps_uncond"], atol=5e-3)
            guided = here["x0_uncond"] + scale * (here["x0_cond"] - here["x0_uncond"])  # x0 is linear in eps
            assert torch.allclose(here["x0"], guided, rtol=2e-3, atol=2e-2)
            assert facts["norm_guided"] == pytest.approx(microscope.rms(sweeps.get(name).rows[i][k].eps), rel=1e-4)


def test_an_interval_guides_only_inside_it(tiny_model):
    got = list(runner(tiny_model, Sweeps())(**FORM | {"steps": 8}, dial="interval", low=0.5, high=3.0, request=ANN))
    weights, levels = got[0]["lanes"][2]["weights"], [(one["lanes"][2]["alpha"], one["lanes"][2]["sigma"]) for one in got
                                                      if "lanes" in one]  # fmt: skip
    assert set(weights) == {1.0, 3.5}
    assert weights == [3.5 if 0.5 < sigma / alpha <= 3.0 else 1.0 for alpha, sigma in levels[:-1]]


STRANGE = [None, 7, "r", [], ["r"], ["r", 0, 0], {"run": "r"}, [None, 0, 0, 0], [["r"], 0, 0, 0], ["r" * 10**6, 0, 0, 0]]
NUMBERS = [-1, 99, 10**30, 1.5, "1", None, True, [1], float("nan")]


def test_what_is_asked_wrongly_gets_one_sentence(swept, tiny_model, caplog):
    got, sweeps = swept
    ask, name = planes(tiny_model, sweeps), got[0]["run"]
    assert [ask(wanted) for wanted in STRANGE] == [{"error": GONE}] * len(STRANGE)
    assert ask() == {"error": GONE}
    for number in NUMBERS:
        for wanted in ([name, number, 0, 0], [name, 0, number, 0]):
            assert ask(wanted) == {"error": NOWHERE}
    assert ask([name, 0, 0, 10**30]) == ask([name, 0, 0, 4])
    assert caplog.text == ""


def test_an_answer_is_bounded_and_has_at_least_what_was_asked_for(swept, tiny_model, monkeypatch):
    got, sweeps = swept
    one = planes(tiny_model, sweeps)([got[0]["run"], 2, 1, 0])["steps"]
    assert set(one) == {"1"}
    size = sum(map(len, one["1"].values()))
    for limit, steps in ((1, {"1"}), (2 * size, {"1", "2"}), (3 * size, {"0", "1", "2"})):
        monkeypatch.setattr(guidance_runs, "ANSWER", limit)
        assert set(planes(tiny_model, sweeps)([got[0]["run"], 2, 1, 9])["steps"]) == steps


def test_a_crowd_is_sent_away_and_a_failure_is_told(swept, tiny_model, monkeypatch, caplog):
    got, sweeps = swept
    wanted, inside, go = [got[0]["run"], 0, 0, 0], threading.Semaphore(0), threading.Event()

    def slow(*_):
        inside.release()
        go.wait(10)
        raise ZeroDivisionError

    monkeypatch.setattr(guidance_runs, "_around", slow)
    ask, answers = planes(tiny_model, sweeps), []
    crowd = [threading.Thread(target=lambda: answers.append(ask(wanted))) for _ in range(guidance_runs.WAITING)]
    for one in crowd:
        one.start()
    for _ in crowd:
        assert inside.acquire(timeout=10)
    assert ask(wanted) == {"error": BUSY}
    go.set()
    for one in crowd:
        one.join()
    assert answers == [{"error": FAILED}] * len(crowd)
    assert "ZeroDivisionError" in caplog.text


def test_what_is_kept_is_bounded_and_forgotten_with_its_session(swept):
    got, kept = swept
    sweep = kept.get(got[0]["run"])
    size = sweep.nbytes()
    sweeps = Sweeps(session_bytes=2 * size, total_bytes=3 * size)
    for session, run_ in (("ann", "a"), ("ann", "b"), ("ann", "c"), ("bob", "d"), ("bob", "e")):
        assert sweeps.put(session, run_, sweep)
    assert [sweeps.get(run_) is None for run_ in "abcde"] == [True, True, False, False, False]
    sweeps.drop("bob")
    assert [sweeps.get(run_) is None for run_ in "cde"] == [False, True, True]
    assert not Sweeps(session_bytes=size - 1).put("ann", "f", sweep)
    assert size < MIB


@pytest.mark.parametrize(("sampler", "dial"), [("DDIM", "linear rising"), ("Heun", "constant"), ("PNDM", "interval")])
def test_what_a_sweep_holds_is_within_what_is_counted(tiny_model, sampler, dial):
    """Its first state may have less than later ones: no unconditional prediction, no past of a multistep sampler."""
    sweeps = Sweeps()
    got = list(runner(tiny_model, sweeps)(**FORM | {"steps": 6}, sampler=sampler, dial=dial, request=ANN))
    sweep = sweeps.get(got[0]["run"])
    held = sum(nbytes([step]) for row in sweep.rows for step in row) + sum(one.pixels.nbytes for one in sweep.pictures)
    assert held <= sweep.nbytes() <= 1.4 * held
    small = Sweeps(session_bytes=sweep.nbytes() - 1)  # fits at first, and not to its end
    got = list(runner(tiny_model, small)(**FORM | {"steps": 6}, sampler=sampler, dial=dial, request=ANN))
    assert got[-1]["summary"] == LARGE
    assert small.get(got[0]["run"]) is None


def test_a_sweep_that_grows_makes_room_and_leaves_a_closed_page_closed(swept):
    got, kept = swept
    sweep = kept.get(got[0]["run"])
    sweeps = Sweeps(session_bytes=5 * sweep.nbytes() // 2)
    larger = Sweep(sweep.requests, sweep.scales, "constant", sweep.evaluations, widest=sweep.widest)
    assert sweeps.put("ann", "a", sweep)
    assert sweeps.put("ann", "b", larger)
    larger.widest *= 2
    assert sweeps.grown("b")
    assert [sweeps.get(run_) is None for run_ in "ab"] == [True, False]
    larger.widest *= 4
    assert not sweeps.grown("b")
    assert sweeps.get("b") is None
    sweeps.drop("ann")
    assert sweeps.grown("b")  # nothing to make room for
    assert sweeps.get("b") is None
    assert sweeps.put("ann", "c", sweep)  # small enough, and too late
    assert sweeps.get("c") is None
    sweeps.open("ann")  # the page goes on under its name
    assert sweeps.put("ann", "c", sweep)
    assert sweeps.get("c") is sweep


def test_a_page_that_came_back_has_its_sweep_kept(tiny_model):
    sweeps = Sweeps()
    sweeps.drop("ann")
    got = list(runner(tiny_model, sweeps)(**FORM, request=ANN))
    assert sweeps.get(got[0]["run"]) is not None


def test_a_sweep_that_is_too_large_still_runs_and_says_so(tiny_model):
    sweeps = Sweeps(session_bytes=1)
    got = list(runner(tiny_model, sweeps)(**FORM, request=ANN))
    assert got[-1] == {"run": got[0]["run"], "summary": LARGE}
    assert len([one for one in got if "lanes" in one]) == 5
    assert sweeps.get(got[0]["run"]) is None


def test_the_contact_sheet_has_every_cell(swept):
    got, sweeps = swept
    sweep = sweeps.get(got[0]["run"])
    with Image.open(io.BytesIO(contact_sheet(sweep))) as image:
        assert json.loads(image.text["diffuscope"])["scales"] == SCALES
        assert json.loads(image.text["diffuscope"])["prompt"] == "pizza"
        pixels = np.asarray(image.convert("RGB"))
    wanted = [Image.fromarray(one.pixels.permute(1, 2, 0).numpy()) for one in sweep.pictures]
    for k, picture in enumerate(wanted):  # three beside each other
        left, up = 12 + k % 3 * 204, 48 + k // 3 * 258
        large = np.asarray(picture.resize((192, 192), Image.Resampling.LANCZOS))
        np.testing.assert_array_equal(pixels[up : up + 192, left : left + 192], large)
    cells = [Cell(wanted[0], w, f"w = {w}", "x" * 20, 1.0, 0.5) for w in range(12)]
    with Image.open(io.BytesIO(sheet(sweep.requests[0], cells, "constant"))) as image:
        assert image.width == 12 + 4 * 204


def test_a_sheet_says_how_w_changed(tiny_model):
    sweeps = Sweeps()
    got = list(runner(tiny_model, sweeps)(**FORM, dial="linear falling", rest=2.0, request=ANN))
    with Image.open(io.BytesIO(contact_sheet(sweeps.get(got[0]["run"])))) as image:
        assert json.loads(image.text["diffuscope"])["weights"] == [lane["weights"] for lane in got[0]["lanes"]]
    names = [(lane["label"], lane["detail"]) for lane in got[0]["lanes"]]  # from each scale down or up to 2
    assert names == [
        ("w(t), peak 2", "for w = 0: 0 to 2"), ("w(t), peak 2", "for w = 1: 1 to 2"),
        ("w(t), peak 3.5", "for w = 3.5: 2 to 3.5"), ("w(t), low −2", "for w = −2: −2 to 2"),
    ]  # fmt: skip
    assert caption(Cell(Image.new("RGB", (1, 1)), -2, *names[3], 0.25, 0.5))[:2] == ("w(t), low -2", "for w = -2: -2 to 2")


def test_a_shape_that_never_leaves_a_value_is_called_by_it(tiny_model):
    got = next(runner(tiny_model, Sweeps())(**FORM, dial="interval", low=900, high=1000, request=ANN))
    assert {(lane["label"], lane["detail"]) for lane in got["lanes"]} == {("w = 1", "conditional only")}


def test_a_stopped_sweep_has_no_sheet(tiny_model):
    sweeps = Sweeps()
    stream = runner(tiny_model, sweeps)(**FORM, request=ANN)
    name = next(stream)["run"]
    stream.close()
    with pytest.raises(RequestError, match=re.escape(STOPPED)):
        contact_sheet(sweeps.get(name))


@pytest.fixture(scope="module")
def client(tiny_model):
    with serve(app.create_app(tiny_model)) as url:
        yield Client(url, download_files=False, analytics_enabled=False, verbose=False)


def test_the_endpoint_streams_named_and_described(client):
    job = client.submit(**FORM, api_name="/guidance")
    job.result(timeout=60)
    assert [one["i"] for one in job.outputs() if "lanes" in one] == list(range(5))
    endpoint = client.view_api(return_format="dict")["named_endpoints"]["/guidance"]
    names = [p["parameter_name"] for p in endpoint["parameters"]]
    assert names == [*FORM, "dial", "low", "high", "rest", "drawn", "sampler", "negative_prompt", "guidance_rescale"]
    assert "one record per evaluation" in endpoint["description"]


@pytest.mark.parametrize(
    "values",
    [
        {"scales": "1, x"}, {"scales": None}, {"scales": 4}, {"scales": ""}, {"seed": "many"}, {"seed": None}, {"steps": 0},
        {"steps": 1001}, {"prompt": "a\0b"}, {"prompt": 7}, {"dial": ["linear"]},
        {"dial": "interval", "low": 9}, {"dial": "drawn", "drawn": "0:1"}, {"sampler": None}, {"guidance_rescale": 2},
    ],
    ids=str,
)  # fmt: skip
def test_bad_values_are_told_in_one_sentence(client, values, caplog):
    with pytest.raises(AppError) as error:
        client.predict(**FORM | values, api_name="/guidance")
    message = str(error.value)
    assert re.search(r"\w.*\.$", message), message
    assert "\n" not in message
    assert "log says why" not in message
    assert not re.search(r"Traceback|Error:|/\w+/\w+|\.py", message), message
    assert not [r for r in caplog.records if r.exc_info]


def test_a_walk_begins_in_a_cells_noise_with_its_scale():
    asked = [
        Request(prompt="a @ red\n cat", seed=2**32 - 1, steps=7, guidance=w, negative_prompt="blue") for w in (1.0, -2.5)
    ]
    text, kind, moves, *rest = stations(Sweep(asked, [1.0, -2.5], "constant", 7), 1)
    assert parse(text) == (Station("a @ red cat", 2**32 - 1), Station("a @ red cat", 0))
    assert (kind, moves, rest) == ("stations", "noise", [7, -2.5, "DDIM", "blue"])
    with pytest.raises(RequestError, match="sampler is 'DDPM', which injects noise; the Walk tab takes one that doesn't"):
        stations(Sweep([Request(sampler="DDPM")], [4.0], "constant", 20), 0)
