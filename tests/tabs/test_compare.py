"""A / B: both runs are the engine's own, lined up by progress, and what is wrong is told in one sentence."""

from __future__ import annotations

import base64
import re

import gradio as gr
import numpy as np
import pytest
import torch
from gradio_client import Client
from gradio_client.exceptions import AppError
from serving import serve

import app
from explorer import Request, run
from explorer.forks import Forks
from explorer.lessons import distance, mse
from explorer.samplers import SAMPLERS
from explorer.sessions import Sessions
from explorer.tabs.compare import CHANGES, changed, runner
from explorer.tabs.fork import runner as forker

FORM = {"prompt": "pizza", "seed": 5, "steps": 6, "guidance": 3.0, "sampler": "DDIM", "negative_prompt": "",
        "guidance_rescale": 0.0, "eta": 0.0, "noise_scale": 1.0, "spacing": "", "karras": False, "width": None,
        "height": None}  # fmt: skip
A = Request(prompt="pizza", seed=5, steps=6, guidance=3.0)
ENDPOINTS = ("/compare", "/ddpm_lesson", "/predicted_against_true")
BAD = {"seed is text": {"seed": "many"}, "steps is zero": {"steps": 0}, "guidance is nothing": {"guidance": None},
       "prompt has a NUL": {"prompt": "a\0b"}, "width is odd": {"width": 65}}  # fmt: skip


def plane(record: dict, lane: int, name: str) -> torch.Tensor:
    halves = np.frombuffer(base64.b64decode(record["lanes"][lane]["planes"][name]), "<f2")
    return torch.from_numpy(halves.astype(np.float32)).reshape(1, *record["shape"])


@pytest.mark.parametrize(
    ("change", "other"),
    [
        ("guidance", {"guidance": 1.0}),
        ("prompt", {"prompt": "a cat"}),
        ("sampler", {"sampler": "Euler"}),
        ("sampler", {"sampler": "Heun"}),
        ("steps", {"steps": 3}),
    ],
    ids=lambda value: value if isinstance(value, str) else str(next(iter(value.values()))),
)
def test_the_lanes_are_the_engines_own_runs(tiny_model, change, other):
    values = {f"other_{name}": value for name, value in other.items()}
    got = list(runner(tiny_model)(**FORM, change=change, **values))
    a, b = run(tiny_model, A).steps, run(tiny_model, changed(A, change, other)).steps
    n = max(len(a), len(b))
    assert [r["i"] for r in got] == list(range(n))
    assert {r["n"] for r in got} == {n}
    for i, record in enumerate(got):
        pair = [steps[round(i * (len(steps) - 1) / (n - 1))] for steps in (a, b)]
        for lane, step in enumerate(pair):
            assert torch.allclose(plane(record, lane, "x_t"), step.latents, rtol=2e-3, atol=2e-3)
        assert record["series"][0]["value"] == pytest.approx(distance(*pair), abs=1e-4)
        if "dx0" in record["lanes"][2]["planes"]:
            assert torch.allclose(plane(record, 2, "dx0"), pair[1].x0 - pair[0].x0, rtol=2e-3, atol=2e-3)
            assert record["series"][1]["value"] == pytest.approx(mse(pair[0].x0, pair[1].x0) ** 0.5, abs=1e-4)
    assert [bool(lane.get("picture")) for lane in got[-1]["lanes"]] == [True, True, False]
    assert f"{distance(a[-1], b[-1]):.3f} apart" in got[-1]["note"]


def test_the_start_is_one_noise_and_no_change_is_no_difference(tiny_model):
    got = list(runner(tiny_model)(**FORM, change="guidance", other_guidance=3.0))
    assert [r["series"][0]["value"] for r in got] == [0] * 7
    assert "made no difference" in got[-1]["note"]


@pytest.mark.parametrize(("sampler", "unit"), [("Euler", "step"), ("Heun", "evaluation")])
def test_beside_a_branch_of_another_grid_every_number_is_of_the_same_place(tiny_model, sampler, unit):
    sessions = Sessions()
    sessions.put("ann", "root", run(tiny_model, A))
    fork = forker(tiny_model, sessions, Forks(sessions))
    values = FORM | {"sampler": sampler, "steps": 9, "run": "root", "at": 2}
    got = [one for one in fork(**values, request=gr.Request(session_hash="ann")) if "lanes" in one]
    begins, last = got[0]["branch"]["begins"], got[-1]["at"][1]
    assert got[begins]["at"][1] != begins  # so that the timeline's own count would be another number
    for record in got[begins + 1 : -1]:
        place = f"{unit} {record['at'][1]} of {last}"
        assert record["place"] == record["lanes"][1]["place"] == place
        assert record["note"].startswith(f"At {place} the states are ")
        theirs, ours, _ = record["lanes"]
        assert theirs["detail"].startswith(f"{theirs['place']} · t = ")
        assert ours["detail"].startswith(f"{place} · t = ")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_another_sampler_keeps_only_what_it_takes(tiny_model, sampler):
    values = FORM | {"sampler": "DDIM", "eta": 0.5, "noise_scale": 0.5, "spacing": "trailing"}
    assert list(runner(tiny_model)(**values, change="sampler", other_sampler=sampler))


@pytest.fixture(scope="module")
def client(tiny_model):
    with serve(app.create_app(tiny_model)) as url:
        yield Client(url, download_files=False, analytics_enabled=False, verbose=False)


def test_the_endpoint_streams_named_and_described(client):
    job = client.submit(api_name="/compare", steps=3, change="steps", other_steps=5)
    job.result(timeout=60)
    assert [r["i"] for r in job.outputs()] == list(range(6))
    endpoint = client.view_api(return_format="dict")["named_endpoints"]["/compare"]
    names = [p["parameter_name"] for p in endpoint["parameters"]]
    assert names == [*FORM, "change", *(f"other_{change}" for change in CHANGES)]
    assert "one record per step" in endpoint["description"]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("values", BAD.values(), ids=BAD.keys())
def test_bad_values_are_told_in_one_sentence(client, endpoint, values, caplog):
    refused(client, endpoint, values, caplog)


@pytest.mark.parametrize(
    ("endpoint", "values"),
    [
        ("/compare", {"change": "seed"}),
        ("/compare", {"change": ["steps"]}),
        ("/compare", {"change": "sampler", "other_sampler": ["DDIM"]}),
        ("/compare", {"change": "steps", "other_steps": 2.5}),
        ("/compare", {"change": "guidance", "other_guidance": None}),
        ("/compare", {"change": "prompt", "other_prompt": 7}),
        ("/ddpm_lesson", {"seed": 2**32 - 3}),
        ("/predicted_against_true", {"begin_at": 1}),
        ("/predicted_against_true", {"begin_at": "late"}),
        ("/predicted_against_true", {"picture_prompt": None}),
    ],
)
def test_what_only_these_take_is_checked_too(client, endpoint, values, caplog):
    refused(client, endpoint, values, caplog)


def refused(client, endpoint, values, caplog) -> None:
    with pytest.raises(AppError) as error:
        client.predict(api_name=endpoint, **values)
    message = str(error.value)
    assert re.search(r"\w.*\.$", message), message
    assert "\n" not in message
    assert "log says why" not in message
    assert not re.search(r"Traceback|Error:|/\w+/\w+|\.py", message), message
    assert not [r for r in caplog.records if r.exc_info]
