"""The wire: what the browser decodes is what the engine computed, and no record grows."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from explorer import Request, run
from explorer.frames import HALF_MAX, data_uri, encode
from explorer.records import Preview, Step

PREVIEW = Preview(matrix=((0.1, 0.2, 0.3, 0.4),) * 3, offset=(0.5, 0.5, 0.5))


def decode(plane: str, shape: list[int]) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(plane), dtype="<f2").reshape(shape).astype(np.float32))


def test_planes_are_the_latents_in_half_precision(tiny_model):
    trajectory = run(tiny_model, Request(steps=3))
    for step in trajectory.steps:
        record = encode(step, run="a", n=4, model_preview=tiny_model.preview)
        assert record["shape"] == [4, 8, 8]
        tensors = {
            "x_t": step.latents,
            "eps": step.eps,
            "x0": step.x0,
            "eps_uncond": step.eps_uncond,
            "eps_cond": step.eps_cond,
        }
        assert set(record["planes"]) == {name for name, tensor in tensors.items() if tensor is not None}
        for name, plane in record["planes"].items():
            torch.testing.assert_close(decode(plane, record["shape"]), tensors[name][0].half().float(), rtol=0, atol=0)


def test_a_record_is_small_plain_json_and_holds_one_step(tiny_model):
    trajectory = run(tiny_model, Request(steps=12))
    records = [encode(s, run="a", n=13, model_preview=tiny_model.preview) for s in trajectory.steps]
    sizes = [len(json.dumps(record, allow_nan=False)) for record in records]
    planes = 5 * 4 * 8 * 8 * 2 * 4 / 3
    assert max(sizes) < planes + 2500
    assert [r["i"] for r in records] == list(range(13))
    assert {r["n"] for r in records} == {13}


def test_forms_are_the_steps_terms(tiny_model):
    step = run(tiny_model, Request(steps=3, sampler="DDPM")).steps[0]
    record = encode(step, run="a", n=4, model_preview=tiny_model.preview)
    assert list(record["forms"]) == list(step.forms)
    for name, terms in record["forms"].items():
        assert terms == [[t.coefficient, t.name] for t in step.forms[name]]


def test_the_last_step_has_no_predictions_and_may_have_a_picture(tiny_model):
    last = run(tiny_model, Request(steps=2)).steps[-1]
    picture = tiny_model.decode(last.latents)
    record = encode(last, run="a", n=3, model_preview=tiny_model.preview, picture=data_uri(picture))
    assert set(record["planes"]) == {"x_t"}
    assert record["forms"] == {}
    assert record["norms"]["eps"] is None
    assert record["norms"]["cfg"] is None
    image = Image.open(io.BytesIO(base64.b64decode(record["picture"].split(",")[1])))
    assert image.format == "PNG"
    assert image.size == (64, 64)


def test_norms_are_root_mean_squares():
    ones = torch.ones(1, 4, 2, 2)
    step = Step(
        index=0,
        timestep=5.0,
        alpha=0.6,
        sigma=0.8,
        latents=3 * ones,
        eps=2 * ones,
        x0=ones,
        eps_cond=ones,
        eps_uncond=0 * ones,
    )
    norms = encode(step, run="a", n=1, model_preview=PREVIEW)["norms"]
    assert norms == {"x_t": 3.0, "eps": 2.0, "x0": 1.0, "cfg": 1.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e9])
def test_what_json_or_half_precision_cannot_hold_still_travels(value):
    step = Step(index=0, timestep=5.0, alpha=value, sigma=1.0, latents=torch.full((1, 4, 2, 2), value))
    record = json.loads(json.dumps(encode(step, run="a", n=1, model_preview=PREVIEW), allow_nan=False))
    decoded = decode(record["planes"]["x_t"], record["shape"])
    assert not torch.isinf(decoded).any()
    assert torch.nan_to_num(decoded).abs().max() <= HALF_MAX


def test_the_steps_of_a_run_travel_where_they_are_told():
    step = Step(index=0, timestep=5.0, alpha=1.0, sigma=0.0, latents=torch.zeros(1, 4, 2, 2))
    assert encode(step, run="a", n=40, model_preview=PREVIEW, steps=20)["steps"] == 20
    assert "steps" not in encode(step, run="a", n=40, model_preview=PREVIEW)
