"""A picture on its way into noise: what the browser gets is enough to draw every state, and it is what theory says."""

from __future__ import annotations

import base64
import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import as_model, tiny_parts

from explorer import Request, noising, run
from explorer.forward import Noising, picture_record, schedule_record, signed, source, walk, walked
from explorer.forward_schedule import DRAWN, KNOTS, NAMES, OWN, knots, schedule
from explorer.intake import Brought, bring
from explorer.records import RequestError


def a_file(width: int, height: int) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def floats(text: str, shape: list[int], kind: str = "<f2") -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), kind).astype(np.float32)).reshape(shape)


@pytest.fixture(scope="module")
def picture(tiny_model):
    return source("noise", bring(a_file(96, 80), tiny_model.default_size, 512), tiny_model)


def a_state(picture, model, name="linear", steps=50, **more) -> Noising:
    return Noising(picture, 7, schedule(name, steps, True, KNOTS, model), **more)


def test_a_larger_picture_stays_large_in_the_pixel_row(tiny_model):
    made = source("x", bring(a_file(300, 200), tiny_model.default_size, 512), tiny_model)
    assert made.pixels.shape == (3, 200, 200)
    assert made.small.shape == (3, 64, 64)
    assert made.latents.shape == (4, 8, 8)
    assert made.notes == ("cropped from 300×200 to 200×200", "reduced to 64×64 for the latents")


def test_a_huge_or_a_small_picture_is_fitted(tiny_model):
    huge = source("x", bring(a_file(1400, 1000), tiny_model.default_size, 512), tiny_model)
    assert huge.pixels.shape == (3, 512, 512)
    assert "reduced to 512×512" in huge.notes
    small = source("x", bring(a_file(20, 30), tiny_model.default_size, 512), tiny_model)
    assert small.pixels.shape == small.small.shape == (3, 64, 64)
    assert torch.equal(small.pixels, small.small)


def test_a_larger_model_has_a_smaller_pixel_row(tiny_model):
    class Large:
        default_size = (768, 1024)

        @staticmethod
        def encode(pixels):
            return tiny_model.encode(pixels[..., :64, :64])

    made = source("x", Brought(torch.rand(1, 3, 1024, 768), (), (768, 1024)), Large())
    assert made.small.shape == (3, 1024, 768)
    assert made.pixels.shape == (3, 512, 384)
    assert made.notes == ("reduced to 384×512 for the pixel row",)


def test_the_record_is_enough_to_draw_every_state(picture, tiny_model):
    state = a_state(picture, tiny_model)
    record = json.loads(json.dumps(picture_record("r", state, tiny_model.preview)))
    assert (record["kind"], record["run"], record["seed"], record["name"]) == ("picture", "r", 7, "noise")
    bars = record["schedule"]["alphas_cumprod"]
    pixels, latents = record["pixels"], record["latents"]
    x0 = floats(pixels["x0"], pixels["shape"], "u1") / 127.5 - 1
    eps = floats(pixels["eps"], pixels["shape"])
    assert eps.std() == pytest.approx(1, abs=0.02)
    for t in (1, 17, 50):
        a, s = math.sqrt(bars[t - 1]), math.sqrt(1 - bars[t - 1])
        torch.testing.assert_close(a * x0 + s * eps, state.pixels(t), rtol=0, atol=3e-3)
        latent = [floats(latents[key], latents["shape"]) for key in ("x0", "eps")]
        torch.testing.assert_close(a * latent[0] + s * latent[1], state.latents(t), rtol=0, atol=5e-3)
    assert torch.equal(state.pixels(0), signed(picture.pixels))
    assert pixels["mean"] == pytest.approx(x0.mean().item(), abs=1e-6)
    assert latents["var"] == pytest.approx(picture.latents.var(correction=0).item(), abs=1e-6)
    assert np.shape(latents["preview"]["matrix"]) == (3, 4)


def test_the_latents_noise_is_the_one_that_a_run_begins_with(picture, tiny_model):
    begun = run(tiny_model, Request(seed=7, steps=1, sampler="DDIM")).steps[0].latents[0]
    torch.testing.assert_close(a_state(picture, tiny_model).latent_noise(), begun)


def test_a_schedule_record_has_both_schedules_and_no_picture(picture, tiny_model):
    second = schedule("cosine", 20, True, KNOTS, tiny_model)
    record = schedule_record("r", a_state(picture, tiny_model, "scaled linear", second=second))
    assert set(record) == {"kind", "run", "schedule", "prompt"}
    made = record["schedule"]
    assert made["name"] == "scaled linear"
    assert made["steps"] == len(made["alphas_cumprod"]) == len(made["timesteps"]) == 50
    assert made["timesteps"][-1] == 999
    variance = signed(picture.pixels).var(correction=0).item()
    assert made["terminal"]["db"] == pytest.approx(-23.3 + 10 * math.log10(variance), abs=0.1)
    mean = signed(picture.pixels).mean().item()
    assert made["terminal"]["rest"] == pytest.approx(math.sqrt(made["alphas_cumprod"][-1]) * mean)
    assert (made["second"]["name"], made["second"]["terminal"]) == ("cosine", None)
    assert "second" not in made["second"]
    assert len(json.dumps(record)) < 10_000


def test_a_flat_picture_has_no_variance_at_all(tiny_model):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (77, 77, 77)).save(buffer, "PNG")
    flat = source("grey", bring(buffer.getvalue(), tiny_model.default_size, 512), tiny_model)
    record = picture_record("r", a_state(flat, tiny_model), tiny_model.preview)
    assert record["pixels"]["var"] == 0
    assert record["pixels"]["mean"] == pytest.approx(77 / 127.5 - 1)
    assert record["schedule"]["terminal"]["db"] is None
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [10, 333, 1000])
def test_every_named_schedule_only_adds_noise(name, steps, tiny_model):
    made = schedule(name, steps, True, KNOTS, tiny_model)
    assert made.steps == steps == len(made.timesteps)
    assert (np.diff(made.values) < 0).all()
    assert list(made.timesteps) == sorted(set(made.timesteps))
    assert made.alpha_bar(0) == 1
    assert made.alpha_bar(steps) == made.values[-1]
    assert made.formula
    assert made.source


def test_the_models_own_schedule_is_its_schedulers(tiny_model):
    made = schedule(OWN, 1000, True, "", tiny_model)
    np.testing.assert_allclose(made.values, noising.alphas_cumprod("scaled linear", 1000), rtol=1e-4)
    assert made.formula == "scaled linear betas from 0.00085 to 0.012"


def test_a_model_with_a_shorter_grid_has_fewer_steps():
    short = as_model(tiny_parts(num_train_timesteps=100))
    made = schedule(OWN, 1000, True, "", short)
    assert (made.steps, made.timesteps[-1]) == (100, 99)


def test_unscaled_betas_keep_their_places(tiny_model):
    made = schedule("linear", 10, False, "", tiny_model)
    assert made.timesteps == tuple(range(10))
    assert not made.rescaled
    assert made.values[-1] > 0.9


@pytest.mark.parametrize(
    ("name", "drawn", "rescaled"), [(OWN, "", False), (DRAWN, "beta 0:1e-4 1:0.02", False), (DRAWN, KNOTS, True)]
)
def test_rescaling_off_is_done_where_there_are_betas_to_spread(name, drawn, rescaled, tiny_model):
    on, off = (schedule(name, 10, wanted, drawn, tiny_model) for wanted in (True, False))
    assert off.rescaled is rescaled  # and the page says so
    assert (off.values[-1] > 0.8) is not rescaled
    assert on.values[-1] < 0.01
    assert (off.timesteps == on.timesteps) is rescaled


def test_knots_are_read():
    assert knots("log-SNR 0:40 0.5:-.5 1:-4e1") == ("log-SNR", [(0, 40), (0.5, -0.5), (1, -40)])
    assert knots("  beta   0:1E-4\n1:0.02 ") == ("beta", [(0, 1e-4), (1, 0.02)])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("log-SNR 0:40 half:0 1:-40", "drawn has the knot 'half:0'; a knot is place:value"),
        ("log-SNR 0:nan 1:-40", "the knot '0:nan'"),
        ("log-SNR 0:40:3 1:0", "the knot '0:40:3'"),
        ("log-SNR", "0 knots; it takes 2 to 12"),
        ("", "kind of the drawn schedule is ''"),
        ("gamma 0:1 1:0", "'gamma'; it must be 'beta' or 'log-SNR'"),
        ("log-SNR 0:1e999 1:0", "Knot 1 has a log-SNR of inf"),
        ("log-SNR 1:0 0:0", "must rise from 0 to 1"),
        ("beta " + "0:0.1 " * 800, "800 knots"),
        (7, "drawn is"),
        (None, "drawn is"),
        ({"kind": "beta"}, "drawn is"),
    ],
)
def test_bad_knots_are_one_sentence(line, message, tiny_model):
    with pytest.raises(RequestError) as caught:
        schedule(DRAWN, 50, True, line, tiny_model)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("linnear", 50, True), "schedule is 'linnear'; it must be one of linear, scaled linear"),
        ((["linear"], 50, True), "schedule is"),
        ((None, 50, True), "schedule is 'None'"),
        (("linear", 9, True), "T is 9; it must be from 10 to 1000."),
        (("linear", 50.5, True), "T is 50.5; a whole number"),
        (("linear", "50", True), "T is '50'"),
        (("linear", 50, "yes"), "rescaled is 'yes'; it must be true or false."),
        (("linear", 50, 1), "rescaled is '1'"),
    ],
)
def test_a_bad_schedule_is_one_sentence(values, message, tiny_model):
    with pytest.raises(RequestError) as caught:
        schedule(*values, KNOTS, tiny_model)
    assert message in str(caught.value)


@pytest.mark.parametrize("t", [1, 20, 50])
def test_a_walked_state_is_chain_and_jump_and_agrees_with_theory(picture, tiny_model, t):
    state, x0 = a_state(picture, tiny_model), walked(picture)
    reached = next(one for one in noising.chain(x0, state.schedule.values, state.seed) if one.t == t)
    answer = json.loads(json.dumps(walk(state, t, x0, reached)))
    assert answer["difference"] < 1e-5
    chain, jump, z, eps = (floats(answer[key], answer["shape"]) for key in ("x_chain", "x_jump", "z", "eps"))
    torch.testing.assert_close(chain, jump, rtol=0, atol=5e-3)
    bar, n = answer["alpha_bar"], x0.numel()
    assert bar == state.schedule.values[t - 1]
    torch.testing.assert_close(math.sqrt(bar) * x0 + math.sqrt(1 - bar) * eps, jump, rtol=0, atol=5e-3)
    assert z.std() == pytest.approx(1, abs=0.05)
    assert answer["beta"] == pytest.approx(noising.betas(state.schedule.values)[t - 1])
    theory = answer["theory"]
    assert theory["var"] == pytest.approx(bar * x0.var(correction=0).item() + 1 - bar)
    assert abs(answer["mean"] - theory["mean"]) < 5 * math.sqrt((1 - bar) / n)
    assert answer["var"] == pytest.approx(theory["var"], rel=0.06)


def test_the_walk_begins_at_the_picture(picture, tiny_model):
    answer = walk(a_state(picture, tiny_model), 0, walked(picture), None)
    assert (answer["alpha_bar"], answer["beta"], answer["difference"]) == (1, 0, 0)
    assert answer["mean"] == pytest.approx(answer["theory"]["mean"])
    assert answer["var"] == pytest.approx(answer["theory"]["var"])


def test_a_large_picture_is_walked_at_256(tiny_model):
    class Large:
        small = torch.zeros(3, 512, 384, dtype=torch.uint8)

    assert walked(Large()).shape == (3, 256, 192)
