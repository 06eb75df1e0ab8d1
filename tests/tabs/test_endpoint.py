"""The /reverse endpoint, as a program sees it: named parameters, one record a step, one sentence for what is wrong."""

from __future__ import annotations

import json
import logging
import re

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from serving import serve

import app
from explorer import Request, run
from explorer.samplers import SAMPLERS

PARAMETERS = [
    "prompt", "seed", "steps", "guidance", "sampler", "negative_prompt", "guidance_rescale", "eta", "noise_scale",
    "spacing", "karras", "width", "height",
]  # fmt: skip


@pytest.fixture(scope="module")
def client(tiny_model):
    with serve(app.create_app(tiny_model)) as url:
        yield Client(url, download_files=False, analytics_enabled=False, verbose=False)


def records(client, **values) -> list[dict]:
    job = client.submit(api_name="/reverse", **values)
    job.result(timeout=60)
    return job.outputs()


def test_one_record_a_step_and_a_picture_at_the_end(client, tiny_model):
    got = records(client, prompt="pizza", seed=5, steps=6, guidance=3.0)
    assert [r["i"] for r in got] == list(range(7))
    assert {r["run"] for r in got} == {got[0]["run"]}
    assert [r["t"] for r in got] == [
        s.timestep for s in run(tiny_model, Request(prompt="pizza", seed=5, steps=6, guidance=3.0)).steps
    ]
    assert [bool(r.get("picture")) for r in got] == [False] * 6 + [True]
    assert got[-1]["picture"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_timeline_has_its_full_length_from_the_first_record_on(client, sampler):
    got = records(client, prompt="a cat", steps=5, sampler=sampler)
    assert [r["i"] for r in got] == list(range(got[0]["n"]))


def test_parameters_are_named_and_described(client):
    endpoint = client.view_api(return_format="dict")["named_endpoints"]["/reverse"]
    assert [p["parameter_name"] for p in endpoint["parameters"]] == PARAMETERS
    assert all(p["parameter_has_default"] for p in endpoint["parameters"])
    assert "one record per step" in endpoint["description"]


def test_only_the_runs_are_public_endpoints(client):
    public = {"/reverse", "/forward", "/latents", "/guidance", "/walk"}
    public |= {"/fork", "/compare", "/ddpm_lesson", "/predicted_against_true", "/negative_prompt", "/diversity"}
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == public


BAD = {
    "prompt is a number": {"prompt": 7},
    "prompt is an object": {"prompt": {"a": 1}},
    "prompt is endless": {"prompt": "a " * 50_000},
    "prompt has a NUL": {"prompt": "a\0b"},
    "seed is missing": {"seed": None},
    "seed is negative": {"seed": -1},
    "seed is true": {"seed": True},
    "steps is text": {"steps": "many"},
    "steps is a list": {"steps": [20]},
    "steps is zero": {"steps": 0},
    "steps is a fraction": {"steps": 2.5},
    "guidance is nothing": {"guidance": None},
    "guidance is huge": {"guidance": 1e9},
    "sampler is a list": {"sampler": ["DDIM"]},
    "sampler is unknown": {"sampler": "<b>none</b>"},
    "spacing is unknown": {"spacing": "wide"},
    "karras is text": {"karras": "yes"},
    "width is odd": {"width": 65},
    "height is huge": {"height": 10**6},
    "eta where there is none": {"sampler": "Euler", "eta": 0.5},
}


@pytest.mark.parametrize("values", BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_told_in_one_sentence(client, values, caplog, capfd):
    with pytest.raises(AppError) as error:
        client.predict(api_name="/reverse", **values)
    assert_one_sentence(str(error.value))
    assert "Traceback" not in caplog.text + "".join(capfd.readouterr())
    assert len(records(client, steps=1)) == 2  # and the server goes on


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_know_are_refused_too(client, value, caplog):
    names = {"prompt": '"a"', "seed": "1", "steps": "3", "guidance": value, "sampler": '"DDIM"', "negative_prompt": '""',
             "guidance_rescale": "0", "eta": "0", "noise_scale": "1", "spacing": '""', "karras": "false", "width": "null",
             "height": "null"}  # fmt: skip
    body = f'{{"data": [{", ".join(names[name] for name in PARAMETERS)}]}}'
    with httpx.Client(base_url=client.src, timeout=30, trust_env=False) as http:
        headers = {"content-type": "application/json"}
        event = http.post("gradio_api/call/reverse", content=body, headers=headers)
        answer = http.get(f"gradio_api/call/reverse/{event.json()['event_id']}").text
    assert "event: error" in answer
    message = json.loads(re.search(r"data: (.+)", answer).group(1))
    assert_one_sentence(message["error"] if isinstance(message, dict) else message)
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


def assert_one_sentence(message: str) -> None:
    assert re.search(r"\w.*\.$", message), message
    assert "\n" not in message
    assert len(message) < 300
    assert not re.search(r"Traceback|Error:|/\w+/\w+|\.py", message), message
