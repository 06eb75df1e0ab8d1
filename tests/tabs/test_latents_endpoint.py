"""The /latents endpoint, as a program sees it, and the run that begins at edited latents."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from serving import serve

import app
from explorer import Request, edits, engine, run
from explorer.forward import noise
from explorer.latents import from_latents, from_run
from explorer.records import RequestError
from explorer.sessions import Sessions
from explorer.tabs.latents import _run, denoiser, first_evaluation
from explorer.tabs.latents_form import checked
from explorer.tabs.latents_store import Shelf
from explorer.tabs.picture_field import EXAMPLES

PARAMETERS = ["picture", "example", "run", "edits", "key"]


@pytest.fixture(scope="module")
def client(tiny_model):
    with serve(app.create_app(tiny_model)) as url:
        yield Client(url, download_files=False, analytics_enabled=False, verbose=False)


def ask(client, **values) -> dict:
    return client.predict(api_name="/latents", **values)


def planes(record: dict, name="planes") -> np.ndarray:
    return np.frombuffer(base64.b64decode(record[name]), "<f2").astype(np.float32).reshape(record["shape"])


@pytest.fixture(scope="module")
def chart(tmp_path_factory):
    """Coloured noise, 300 x 200."""
    path = tmp_path_factory.mktemp("pictures") / "my <b>chart.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)).save(path)
    return path


def test_parameters_are_named_and_described(client):
    endpoint = client.view_api(return_format="dict", print_info=False)["named_endpoints"]["/latents"]
    assert [p["parameter_name"] for p in endpoint["parameters"]] == PARAMETERS
    assert all(p["parameter_has_default"] for p in endpoint["parameters"])
    assert "one record" in endpoint["description"]


def test_an_example_and_a_file(client, chart, tiny_model):
    first, mine = ask(client, example="cat"), ask(client, picture=handle_file(chart))
    assert (first["kind"], first["name"], first["shape"]) == ("latents", EXAMPLES["cat"], [4, 8, 8])
    assert (first["compression"]["picture_numbers"], first["compression"]["latents_numbers"]) == (12288, 256)
    assert mine["name"].endswith(".png")
    assert mine["notes"] == ["cropped from 300×200 to 200×200", "reduced to 64×64"]
    assert mine["picture"].startswith("data:image/png;base64,")
    assert planes(mine, "spread").min() > 0
    assert first["key"] != mine["key"]


def test_edits_are_made_and_a_key_takes_others(client):
    muted = ask(client, edits='[{"op": "mute", "channel": 2}]')
    assert (planes(muted)[2] == 0).all()
    assert (planes(muted, "base")[2] != 0).any()
    other = ask(client, example="", key=muted["key"], edits='[{"op": "shift", "channel": 0, "amount": 1}]')
    assert other["key"] == muted["key"]
    np.testing.assert_allclose(planes(other)[0], planes(muted, "base")[0] + 1, atol=0.01)
    assert other["words"] != muted["words"]


def test_a_run_of_another_model_is_refused_in_one_sentence(client):
    with pytest.raises(AppError, match="was made by the model"):  # before any run there is the recorded one
        ask(client, run="last")


BAD = {
    "picture is a number": {"picture": 7},
    "picture was never uploaded": {"picture": {"path": "/etc/hostname"}},
    "example is unknown": {"example": "<b>none</b>"},
    "example is an object": {"example": {"a": 1}},
    "nothing at all": {"example": ""},
    "key is unknown": {"example": "", "key": "nobody's"},
    "key is an object": {"example": "", "key": {"a": 1}},
    "run is unknown": {"run": "nobody's"},
    "run is an object": {"run": {"a": 1}},
    "edits is no JSON": {"edits": "mute channel 1"},
    "edits is no list": {"edits": '{"op": "mute", "channel": 1}'},
    "edits is unknown": {"edits": '[{"op": "explode"}]'},
    "edits has no such channel": {"edits": '[{"op": "mute", "channel": 9}]'},
    "edits has NaN": {"edits": '[{"op": "shift", "channel": 0, "amount": NaN}]'},
    "edits goes too deep": {"edits": "[" * 100_000},
    "edits go too far": {"edits": json.dumps([{"op": "scale", "channel": None, "factor": 4}] * 20)},
}


@pytest.mark.parametrize("values", BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_told_in_one_sentence(client, values, caplog, capfd):
    with pytest.raises(AppError) as error:
        ask(client, **values)
    message = str(error.value)
    assert re.search(r"\w.*\.$", message), message
    assert "\n" not in message
    assert len(message) < 300
    assert not re.search(r"Traceback|Error:|/\w+/\w+|\.py", message)
    assert "Traceback" not in caplog.text + "".join(capfd.readouterr())


def test_a_file_that_is_no_picture(client, tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"hello " * 99)
    with pytest.raises(AppError, match=r"not a picture; give PNG"):
        ask(client, picture=handle_file(path))


def test_the_last_run_is_the_newest_whole_one_of_the_session(tiny_model):
    sessions = Sessions()
    assert _run(sessions, "ann", "last").request.seed == 3  # the recorded one
    for seed in (1, 2, 4):
        made = run(tiny_model, Request(steps=2, seed=seed))
        sessions.put("ann", f"r{seed}", replace(made, steps=made.steps[:2]) if seed == 4 else made)
    sessions.get("ann", "r1")
    assert _run(sessions, "ann", "last").request.seed == 2
    assert _run(sessions, "ann", "r1").request.seed == 1
    with pytest.raises(RequestError, match="stopped before its end"):
        _run(sessions, "ann", "r4")
    with pytest.raises(RequestError, match="not kept here"):
        _run(sessions, "bob", "r1")


# --- denoise from here ---

MUTED = '[{"op":"mute","channel":1}]'


@pytest.mark.parametrize(("sampler", "k"), [("DDIM", 3), ("PNDM", 3), ("Heun", 3), ("DDPM", 0)])
def test_a_run_begins_at_the_edited_latents(tiny_model, sampler, k):
    sessions, shelf = Sessions(), Shelf()
    source = run(tiny_model, Request(prompt="cat", seed=4, steps=3))
    held = from_run(source, tiny_model)
    key = shelf.put("ann", held)
    settings = ("pizza", 5, 6, 3.0, sampler, "", 0.0, 0.0, 1.0, "", False, 512, 512)  # the size is the latents' own
    here = SimpleNamespace(session_hash="ann")
    records = list(denoiser(tiny_model, sessions, shelf)(*settings, key, MUTED, k, request=here))
    edited = edits.apply(held.mean, json.loads(MUTED))
    start = edited[None], noise((4, 8, 8), 5)[None], first_evaluation(sampler, 6, k)
    wanted = engine.run(tiny_model, Request(prompt="pizza", seed=5, steps=6, guidance=3.0, sampler=sampler), start)
    assert [record["i"] for record in records] == [step.index for step in wanted.steps]
    assert records[-1]["i"] == records[0]["n"] - 1
    assert "picture" in records[-1]
    ((_, kept),) = sessions.runs("ann")
    assert torch.equal(kept.latents, wanted.latents)
    assert kept.steps[0].index == first_evaluation(sampler, 6, k)


def test_a_run_that_can_not_begin_is_told_in_one_sentence(tiny_model):
    shelf = Shelf()
    settings = ("pizza", 5, 6, 3.0, "DDIM", "", 0.0, 0.0, 1.0, "", False, None, None)
    go, here = denoiser(tiny_model, Sessions(), shelf), SimpleNamespace(session_hash="ann")
    with pytest.raises(gr.Error, match="not kept here any more"):
        next(go(*settings, "nobody's", "", 3, request=here))
    key = shelf.put("ann", from_latents("x", torch.zeros(4, 8, 8), tiny_model))
    for noised in (6, -1, 2.5, "2", None, float("nan")):
        with pytest.raises(gr.Error, match="noised is"):
            next(go(*settings, key, "", noised, request=here))


def test_steps_and_their_first_evaluations():
    assert [first_evaluation("DDIM", 20, k) for k in (0, 7, 19)] == [0, 7, 19]
    assert [first_evaluation("Heun", 20, k) for k in (0, 7, 19)] == [0, 14, 38]  # never a second look
    assert first_evaluation("DDIM", 1, 0) == first_evaluation("Heun", 1, 0) == 0


def test_an_address_brings_the_example_and_the_edits(tiny_model):
    values, notes = checked(tiny_model, {"example": "cat", "edits": ' [{"channel": 1, "op": "mute"}]'})
    assert (values, notes) == ({"example": "cat", "edits": '[{"op":"mute","channel":1}]'}, [])
    assert checked(tiny_model, {"edits": ""}) == ({"edits": ""}, [])
    for wrong in ({"example": "dog"}, {"example": ""}, {"edits": "mute"}, {"edits": '[{"op": "mute", "channel": 4}]'}):
        values, notes = checked(tiny_model, wrong)
        assert values == {}
        assert len(notes) == 1
