"""What the model sees in a noised picture: four views of one prediction, and the loss, against the formulas."""

from __future__ import annotations

import base64
import json
import math
import re

import numpy as np
import pytest
import torch
from tiny import as_model, tiny_parts

from explorer import noising
from explorer.forward import Noising, Source
from explorer.forward_schedule import KNOTS, schedule
from explorer.records import RequestError
from explorer.seeing import LEVELS, curve, nearest, note, own, sees
from explorer.tabs.gpu import predict

LATENTS = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(5))
NONE = torch.zeros(3, 64, 64, dtype=torch.uint8)
PICTURE = Source("x", (), NONE, NONE, LATENTS)


def a_state(model, name="cosine", steps=40, prompt="") -> Noising:
    return Noising(PICTURE, 3, schedule(name, steps, True, KNOTS, model), prompt=prompt)


def asked(model):
    return lambda latents, t, prompt: predict(model, latents, t, prompt)


def planes(answer) -> dict[str, torch.Tensor]:
    return {
        name: torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32)).reshape(answer["shape"])
        for name, text in answer["planes"].items()
    }


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_eps_x0_v_and_score_are_views_of_one_prediction(kind):
    model = as_model(tiny_parts(kind))
    state = a_state(model)
    answer = sees(state, 20, model, asked(model))
    got, a, s = planes(answer), answer["alpha"], answer["sigma"]
    assert a**2 + s**2 == pytest.approx(1)
    assert a**2 == pytest.approx(state.schedule.values[19])
    near = {"rtol": 5e-3, "atol": 5e-3}
    torch.testing.assert_close(got["x_t"], a * LATENTS + s * state.latent_noise(), **near)
    torch.testing.assert_close(a * got["x0"] + s * got["eps"], got["x_t"], **near)
    torch.testing.assert_close(got["v"], a * got["eps"] - s * got["x0"], **near)
    torch.testing.assert_close(got["score"], -got["eps"] / s, **near)
    torch.testing.assert_close(got["true_eps"], state.latent_noise(), **near)
    torch.testing.assert_close(got["error"], got["eps"] - got["true_eps"], **near)
    assert answer["mse"] == pytest.approx(got["error"].square().mean().item(), rel=1e-2)
    raw = predict(model, state.latents(20)[None], torch.tensor([answer["timestep"]]), "")[0]
    view = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}[kind]
    torch.testing.assert_close(got[view], raw, **near)


def test_the_model_is_asked_at_its_own_nearest_level(tiny_model):
    grid = own(tiny_model)
    levels = noising.alphas_cumprod("cosine", 40)
    for bar, found in zip(levels, nearest(grid, levels), strict=True):
        apart = np.abs(noising.snr_db(grid, 0.3) - noising.snr_db(bar, 0.3))
        assert apart[found] == apart.min()
    assert (nearest(grid, grid) == np.arange(len(grid))).all()
    assert sees(a_state(tiny_model, "scaled linear", 1000), 700, tiny_model, asked(tiny_model))["timestep"] == 699


def test_the_curve_is_the_same_error_at_ten_levels(tiny_model):
    state = a_state(tiny_model)
    points = curve(state, tiny_model, asked(tiny_model))
    assert [point["at"] for point in points] == [4 * i for i in range(1, LEVELS + 1)]
    for point in points[::3]:
        one = sees(state, point["at"], tiny_model, asked(tiny_model))
        assert point["mse"] == pytest.approx(one["mse"], rel=1e-3)
        assert (point["t"], point["db"]) == (one["timestep"], one["db"])


def test_a_prompt_changes_what_is_seen(tiny_model):
    with_, without = (sees(a_state(tiny_model, prompt=p), 20, tiny_model, asked(tiny_model)) for p in ("pizza", ""))
    assert with_["planes"]["eps"] != without["planes"]["eps"]
    assert "with the prompt “pizza”" in with_["note"]
    assert "without a prompt" in without["note"]


def test_where_there_is_no_noise_there_is_nothing_to_predict(tiny_model):
    with pytest.raises(RequestError, match="nothing to predict"):
        sees(a_state(tiny_model), 0, tiny_model, asked(tiny_model))


def test_the_snr_is_that_of_these_latents(tiny_model):
    """ᾱ · Var / (1 − ᾱ), as the rail and the sentence have it for the latents' row."""
    for scale in (1, 3):
        source = Source("x", (), NONE, NONE, scale * LATENTS)
        state = Noising(source, 3, schedule("cosine", 40, True, KNOTS, tiny_model))
        answer, bar = sees(state, 20, tiny_model, asked(tiny_model)), state.schedule.alpha_bar(20)
        measured = 10 * math.log10(bar * (scale * LATENTS).var(correction=0).item() / (1 - bar))
        assert answer["db"] == pytest.approx(measured, abs=1e-3)
        assert f"{measured:.1f} dB" in answer["note"]
        assert curve(state, tiny_model, asked(tiny_model))[4]["db"] == pytest.approx(measured, abs=1e-3)


def test_flat_latents_have_no_snr_and_the_note_says_none(tiny_model):
    source = Source("x", (), NONE, NONE, torch.full((4, 8, 8), 0.5))
    state = Noising(source, 3, schedule("cosine", 40, True, KNOTS, tiny_model))
    answer = json.loads(json.dumps(sees(state, 20, tiny_model, asked(tiny_model)), allow_nan=False))
    assert (answer["db"], answer["model_db"]) == (None, None)
    assert re.search(r"(this level of noise|by SNR: \d\.\d dB away; .*)\.$", answer["note"])
    assert {point["db"] for point in curve(state, tiny_model, asked(tiny_model))} == {None}


def test_the_note_says_how_far_the_models_level_is():
    assert note(499, -10.69, -10.69, 0, "") == (
        "Asked without a prompt at the model's own timestep 499, which has this SNR, -10.7 dB."
    )
    assert "-23.3 dB there, -60.0 dB here" in note(999, -60, -23.3, 36.7, "x" * 200)
    assert len(note(999, -60, -23.3, 36.7, "x" * 5000)) < 300


def test_the_embedded_model_sees_better_than_nothing(embedded_model):
    """Guessing 0 for eps misses by about 1; at middling noise a trained model is far below."""
    latents = embedded_model.encode(torch.zeros(1, 3, 128, 128))[0]
    state = Noising(Source("grey", (), NONE, NONE, latents), 3, schedule("the model's own", 1000, True, "", embedded_model))
    assert math.isfinite(answer := sees(state, 500, embedded_model, asked(embedded_model))["mse"])
    assert answer < 0.2
