"""The microscope: readings against the engine's numbers, measures against closed forms, and the negative prompt."""

import math
from dataclasses import replace

import pytest
import torch
from tiny import as_model, tiny_parts

from explorer import Request, run
from explorer.diffusion import from_x0_eps, guide
from explorer.lessons import mse
from explorer.microscope import clipped, cosine_of, degrees, negatives, readings, rms, saturation, seen
from explorer.records import Preview, RequestError
from explorer.sweep import sweep


@pytest.fixture(scope="module", params=["epsilon", "v_prediction", "sample"])
def model(request):
    return as_model(tiny_parts(request.param))


@pytest.mark.parametrize("sampler", ["DDIM", "Euler"])
def test_readings_are_the_runs_own_numbers(model, sampler):
    weights = (3.0, -2.0, 0.0, 7.5)
    request = Request(prompt="red cat", steps=4, guidance=weights, sampler=sampler)
    for step, w in zip(run(model, request).steps, weights, strict=False):
        seen = readings(step, request, model.prediction_type)
        size = max(1.0, float(step.eps.abs().max()))
        assert (seen.guidance, seen.factor, seen.note) == (w, 1.0, "")
        assert torch.allclose(guide(step.eps_uncond, step.eps_cond, w), step.eps, atol=1e-4 * size)
        assert torch.equal(seen.difference, step.eps_cond - step.eps_uncond)
        assert seen.norm_cond == pytest.approx(math.sqrt(mse(step.eps_cond, torch.zeros(1))))
        assert seen.norm_guided == pytest.approx(math.sqrt(mse(step.eps, torch.zeros(1))))
        law = seen.norm_cond**2 + seen.norm_uncond**2 - 2 * seen.norm_cond * seen.norm_uncond * seen.cosine
        assert seen.norm_difference**2 == pytest.approx(law, abs=1e-5 * size**2)
        for eps, x0 in ((step.eps_uncond, seen.x0_uncond), (step.eps_cond, seen.x0_cond), (step.eps, seen.x0)):
            assert torch.allclose(step.alpha * x0 + step.sigma * eps, step.latents, atol=1e-4 * size)
        mixed = seen.x0_uncond + w * (seen.x0_cond - seen.x0_uncond)
        assert torch.allclose(mixed, seen.x0, atol=1e-3 * max(1.0, float(seen.x0.abs().max())))
        assert seen.formula == f"eps = eps_uncond + {w:g} · (eps_cond − eps_uncond)"


def test_the_rescaling_factor_is_the_engines(model):
    request = Request(prompt="red cat", steps=3, guidance=6.0, guidance_rescale=0.7)
    for step in run(model, request).steps[:-1]:
        seen = readings(step, request, model.prediction_type)
        outputs = [
            from_x0_eps(x0, eps, step.alpha, step.sigma, model.prediction_type)
            for x0, eps in ((seen.x0_uncond, step.eps_uncond), (seen.x0_cond, step.eps_cond))
        ]
        size = max(1.0, float(step.model_output.abs().max()))
        assert torch.allclose(seen.factor * guide(*outputs, 6.0), step.model_output, atol=1e-3 * size)
        assert seen.factor != 1
        assert seen.formula.endswith(f"; rescaled with phi = 0.7: output × {seen.factor:.4g}")


def test_guidance_1_says_what_is_not_there(tiny_model):
    request = Request(prompt="cat", steps=2, guidance=1.0, guidance_rescale=0.5)
    step = run(tiny_model, request).steps[0]
    seen = readings(step, request, "epsilon")
    assert "asked once" in seen.note
    assert seen.formula == "eps = eps_cond"
    gone = (seen.norm_uncond, seen.norm_difference, seen.cosine, seen.angle, seen.difference, seen.x0_uncond)
    assert gone == (None,) * 6
    assert (seen.norm_cond, seen.factor, seen.rescale) == (seen.norm_guided, 1.0, 0.0)
    assert torch.equal(seen.x0_cond, seen.x0)


def test_the_last_state_has_nothing(tiny_model):
    request = Request(prompt="cat", steps=2)
    seen = readings(run(tiny_model, request).steps[-1], request, "epsilon")
    assert seen.note.startswith("The last state")
    assert seen.formula == ""
    assert {key for key, value in seen.numbers().items() if value is not None} == {
        "index", "timestep", "alpha", "sigma", "rescale",
    }  # fmt: skip


def test_a_state_without_signal(tiny_model):
    model = as_model(tiny_parts("v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"))
    request = Request(prompt="cat", steps=2, guidance_rescale=0.5)
    first, second, _ = run(model, request).steps
    assert first.alpha == 0
    seen = readings(first, request, "v_prediction")
    assert "no signal" in seen.note
    assert (seen.x0_uncond, seen.x0_cond, seen.factor) == (None, None, None)
    assert torch.isfinite(seen.x0).all()
    assert readings(second, request, "v_prediction").note == ""


def test_numbers_are_plain(tiny_model):
    request = Request(prompt="cat", steps=2)
    numbers = readings(run(tiny_model, request).steps[0], request, "epsilon").numbers()
    assert all(isinstance(value, float | int) for value in numbers.values())
    assert {"norm_uncond", "norm_cond", "norm_difference", "norm_guided", "cosine", "angle", "factor"} <= set(numbers)


def test_angles():
    a = torch.tensor([1.0, 0.0])
    for degree in (0, 30, 90, 180):
        b = 3 * torch.tensor([math.cos(math.radians(degree)), math.sin(math.radians(degree))])
        assert degrees(cosine_of(a, b)) == pytest.approx(degree, abs=1e-2)
    assert cosine_of(a, torch.zeros(2)) is None
    assert degrees(None) is None


def test_clipped_counts_both_ends():
    picture = torch.full((3, 2, 2), 0.5)
    assert clipped(picture) == 0
    picture[0, 0, 0], picture[1, 0, 0], picture[2, 1, 1] = 0.0, 1.0, 1e-6
    assert clipped(picture) == pytest.approx(2 / 12)
    assert clipped(torch.tensor([-0.5, 0.5, 1.5, 0.2])) == 0.5


def test_saturation_is_hsvs():
    def of(*rgb):
        return saturation(torch.tensor(rgb)[:, None, None].expand(3, 2, 2))

    assert of(1.0, 0.0, 0.0) == of(0.2, 0.2, 0.0) == 1
    assert of(0.5, 0.5, 0.5) == of(0.0, 0.0, 0.0) == of(1.0, 1.0, 1.0) == 0
    assert of(0.8, 0.6, 0.4) == pytest.approx(0.5)
    assert of(1.5, 0.5, 0.5) == pytest.approx(0.5)  # clamped first
    red, grey = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.5, 0.5, 0.5])
    assert saturation(torch.stack([red, grey], 1)[None, :, None]) == 0.5


def test_a_preview_is_linear_and_unclamped():
    preview = Preview(((1.0, 0.0), (0.0, 2.0), (0.0, 0.0)), (0.0, 0.5, 0.25))
    rgb = seen(preview, torch.tensor([1.0, 2.0])[None, :, None, None].expand(1, 2, 3, 4))
    assert rgb.shape == (3, 3, 4)
    assert rgb[:, 0, 0].tolist() == [1.0, 4.5, 0.25]
    assert clipped(rgb) == pytest.approx(2 / 3)


def test_extreme_guidance_overshoots(embedded_model):
    """What `sweep.FAR` says is so for the model that it comes with, and the microscope shows it."""
    *_, (mild, far), _ = sweep(embedded_model, Request(prompt="pizza", seed=1, steps=4), (2.0, 30.0))
    sizes, shares, colours = zip(
        *((rms(s.x0), clipped(seen(embedded_model.preview, s.x0)), saturation(seen(embedded_model.preview, s.x0)))
          for s in (mild, far)), strict=True,
    )  # fmt: skip
    assert sizes[0] < 1.5 < sizes[1]
    assert shares[0] < shares[1]
    assert colours[0] < colours[1]


@pytest.mark.parametrize("sampler", ["DDIM", "Euler", "DPM++ 2M"])
def test_the_two_vectors_make_the_guided_eps(model, sampler):
    request = Request(prompt="red cat", negative_prompt="blue house", steps=3, guidance=5.0, sampler=sampler)
    for step in run(model, request).steps[:-1]:
        two = negatives(model, step, request.prompt, request.negative_prompt)
        size = max(1.0, float(step.eps.abs().max()))
        assert torch.allclose(two.guided(5.0), step.eps, atol=1e-3 * size)
        assert torch.allclose(two.toward, step.eps_cond - two.eps_uncond, atol=1e-3 * size)
        assert torch.allclose(two.negative, step.eps_uncond - two.eps_uncond, atol=1e-3 * size)
        apart = mse(two.toward, two.negative)
        law = two.norm_toward**2 + two.norm_negative**2 - 2 * two.norm_toward * two.norm_negative * two.cosine
        assert apart == pytest.approx(law, rel=1e-3, abs=1e-6)
        assert two.note == ""


def test_negatives_are_one_call_of_three_rows(counted):
    step = run(counted, Request(prompt="cat", steps=2)).steps[0]
    counted.rows.clear()
    two = negatives(counted, step, "cat", "cat")
    assert counted.rows == [3]
    assert two.cosine == pytest.approx(1, abs=1e-5)
    assert two.angle < 1


def test_an_empty_negative_prompt_takes_nothing_away(tiny_model):
    step = run(tiny_model, Request(prompt="cat", steps=2)).steps[0]
    two = negatives(tiny_model, step, "cat", "")
    assert (two.norm_negative, two.cosine, two.angle) == (0.0, None, None)
    assert two.note == "No negative prompt here: nothing to tell from the empty prompt."
    assert torch.allclose(two.guided(4.0), step.eps, atol=1e-3)
    assert negatives(tiny_model, step, "", "cat").note.startswith("No prompt here")


def test_refusals(tiny_model):
    first, *_, last = run(tiny_model, Request(prompt="cat", steps=2)).steps
    for step, prompts, sentence in (
        (last, ("cat", "red"), "The last state has no noise left to predict; choose an earlier step."),
        (first, ("cat", "\0"), "negative_prompt has the character U+0000 at place 1; it must be plain text."),
        (first, (None, ""), "prompt is None; a text of at most 5000 characters is needed."),
        (
            replace(first, latents=torch.zeros(1, 3, 8, 8)),
            ("cat", ""),
            "latents has shape (1, 3, 8, 8); shape (1, 4, 8, 8)",
        ),
    ):
        with pytest.raises(RequestError) as refusal:
            negatives(tiny_model, step, *prompts)
        assert str(refusal.value).startswith(sentence)
