"""The /forward endpoint, as a program sees it: a picture in a file, one record, one sentence for what is wrong."""

from __future__ import annotations

import base64
import json
import logging
import re
import struct
import zlib

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from serving import serve

import app
from explorer.noising import SCHEDULES, alphas_cumprod
from explorer.tabs.picture_field import EXAMPLES

PARAMETERS = ["picture", "example", "schedule", "steps", "seed", "rescaled", "drawn", "second", "prompt", "run"]


@pytest.fixture(scope="module")
def client(tiny_model):
    with serve(app.create_app(tiny_model)) as url:
        yield Client(url, download_files=False, analytics_enabled=False, verbose=False)


def ask(client, **values) -> dict:
    return client.predict(api_name="/forward", **values)


@pytest.fixture(scope="module")
def chart(tmp_path_factory):
    """Coloured noise, 300 x 200."""
    path = tmp_path_factory.mktemp("pictures") / "my <b>chart.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)).save(path)
    return path


def test_parameters_are_named_and_described(client):
    endpoint = client.view_api(return_format="dict", print_info=False)["named_endpoints"]["/forward"]
    assert [p["parameter_name"] for p in endpoint["parameters"]] == PARAMETERS
    assert all(p["parameter_has_default"] for p in endpoint["parameters"])
    assert endpoint["parameters"][0]["python_type"]["type"] == "filepath"
    assert "one record" in endpoint["description"]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples(client, example):
    record = ask(client, example=example)
    assert (record["kind"], record["name"], record["seed"]) == ("picture", EXAMPLES[example], 7)
    assert record["pixels"]["shape"] in ([3, 128, 128], [3, 512, 512])  # pictures above the model's size stay so
    assert record["latents"]["shape"] == [4, 8, 8]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules(client, schedule):
    record = ask(client, schedule=schedule, steps=25, second="cosine")["schedule"]
    np.testing.assert_allclose(record["alphas_cumprod"], alphas_cumprod(schedule, 25))
    assert record["second"]["name"] == "cosine"
    wrong = ask(client, schedule=schedule, steps=25, rescaled=False)["schedule"]
    np.testing.assert_allclose(wrong["alphas_cumprod"], alphas_cumprod(schedule, 25, rescaled=False))


def test_a_file(client, chart):
    record = ask(client, picture=handle_file(chart), seed=3)
    assert record["pixels"]["shape"] == [3, 200, 200]
    assert record["notes"] == ["cropped from 300×200 to 200×200", "reduced to 64×64 for the latents"]
    x0 = np.frombuffer(base64.b64decode(record["pixels"]["x0"]), np.uint8).reshape(3, 200, 200)
    assert (x0 == np.asarray(Image.open(chart))[:, 50:250].transpose(2, 0, 1)).all()
    assert record["name"].endswith(".png")


def test_with_a_run_only_the_schedule_is_sent(client, chart):
    first = ask(client, picture=handle_file(chart))
    again = ask(client, example="", run=first["run"], schedule="cosine", steps=100)
    assert (again["kind"], again["run"], again["schedule"]["name"]) == ("schedule", first["run"], "cosine")
    assert "pixels" not in again
    assert ask(client, example="", run=first["run"], schedule="cosine", steps=100) == again
    assert ask(client, example="", run=first["run"], schedule="cosine", steps=100, prompt="x")["prompt"] == "x"
    other = ask(client, example="", run=first["run"], seed=8)  # other noise, the same picture
    assert other["kind"] == "picture"
    assert other["pixels"]["x0"] == first["pixels"]["x0"]
    assert other["pixels"]["eps"] != first["pixels"]["eps"]
    assert ask(client, example="cat", run=first["run"])["kind"] == "picture"


def test_the_seed_is_the_noise(client):
    one, two, three = (ask(client, seed=seed) for seed in (5, 5, 6))
    assert one["run"] != two["run"]
    for row in ("pixels", "latents"):
        assert one[row] == two[row]
        assert one[row]["x0"] == three[row]["x0"]
        assert one[row]["eps"] != three[row]["eps"]


def png_header(width: int, height: int, data: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", data) + chunk(b"IEND", b""))  # fmt: skip


BAD_FILES = {
    "zero bytes": (b"", "has no bytes"),
    "text": (b"hello " * 99, "not a picture"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "an EPS drawing"),
    "12000 x 12000": (png_header(12_000, 12_000, zlib.compress(bytes(10**6))), "12000 pixels wide"),
    "cut short": (png_header(64, 64, zlib.compress(bytes(99))), "broken or cut short"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_picture_is_told_in_one_sentence(client, tmp_path, name, caplog):
    data, message = BAD_FILES[name]
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    with pytest.raises(AppError) as error:
        ask(client, picture=handle_file(path))
    assert message in str(error.value)
    assert_one_sentence(str(error.value))
    assert "Traceback" not in caplog.text


BAD = {
    "picture is a number": {"picture": 7},
    "picture is text": {"picture": "/etc/hostname"},
    "picture is a list": {"picture": [1]},
    "picture is true": {"picture": True},
    "picture is nothing known": {"picture": {"a": 1}},
    "picture was never uploaded": {"picture": {"path": "/etc/hostname"}},
    "picture is a folder": {"picture": {"path": "/tmp/gradio"}},
    "picture has a NUL": {"picture": {"path": "a\0b"}},
    "picture is a number in a file": {"picture": {"path": 7}},
    "example is unknown": {"example": "<b>none</b>"},
    "example is a path": {"example": "../cat"},
    "example is an object": {"example": {"a": 1}},
    "no picture at all": {"example": ""},
    "run is unknown": {"example": "", "run": "nobody's"},
    "run is an object": {"example": "", "run": {"a": 1}},
    "schedule is unknown": {"schedule": "squared"},
    "schedule is a list": {"schedule": ["linear"]},
    "T is too small": {"steps": 9},
    "T is a fraction": {"steps": 20.5},
    "T is text": {"steps": "many"},
    "seed is missing": {"seed": None},
    "seed is negative": {"seed": -1},
    "seed is a list": {"seed": [7]},
    "rescaled is text": {"rescaled": "yes"},
    "drawn is no schedule": {"schedule": "drawn by hand", "drawn": "up and down"},
    "drawn is an object": {"schedule": "drawn by hand", "drawn": {"kind": "beta"}},
    "second is unknown": {"second": "third"},
    "prompt is endless": {"prompt": "a " * 50_000},
    "prompt is a number": {"prompt": 7},
}


@pytest.mark.parametrize("values", BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_told_in_one_sentence(client, values, caplog, capfd):
    with pytest.raises(AppError) as error:
        ask(client, **values)
    assert_one_sentence(str(error.value))
    assert "Traceback" not in caplog.text + "".join(capfd.readouterr())
    assert ask(client, steps=10)["kind"] == "picture"  # and the server goes on


def test_a_path_that_was_never_uploaded_is_not_read(client):
    """With the mark of a file Gradio itself refuses it, before any handler."""
    secret = {"path": app.__file__, "meta": {"_type": "gradio.FileData"}}
    with httpx.Client(base_url=client.src, timeout=30, trust_env=False) as http:
        body = {"data": [secret, "house", "linear", 50, 7, True, "", "", "", ""]}
        event = http.post("gradio_api/call/forward", json=body)
        answer = http.get(f"gradio_api/call/forward/{event.json()['event_id']}").text
    assert "event: error" in answer
    assert "app.py" not in answer


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
@pytest.mark.parametrize("name", ["steps", "seed"])
def test_numbers_that_json_does_not_know_are_refused_too(client, name, value, caplog):
    given = {"picture": "null", "example": '"house"', "schedule": '"linear"', "steps": "50", "seed": "7",
             "rescaled": "true", "drawn": '""', "second": '""', "prompt": '""', "run": '""'} | {name: value}  # fmt: skip
    body = f'{{"data": [{", ".join(given[key] for key in PARAMETERS)}]}}'
    with httpx.Client(base_url=client.src, timeout=30, trust_env=False) as http:
        event = http.post("gradio_api/call/forward", content=body, headers={"content-type": "application/json"})
        answer = http.get(f"gradio_api/call/forward/{event.json()['event_id']}").text
    assert "event: error" in answer
    message = json.loads(re.search(r"data: (.+)", answer).group(1))
    assert_one_sentence(message["error"] if isinstance(message, dict) else message)
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


def assert_one_sentence(message: str) -> None:
    assert re.search(r"\w.*\.$", message), message
    assert "\n" not in message
    assert len(message) < 300
    assert not re.search(r"Traceback|Error:|/\w+/\w+|\.py", message), message
