"""The maths against closed forms."""

import math

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from explorer import diffusion as d

LEVELS = [(0.8, 0.6), (1.0, 7.0), (1e-3, math.sqrt(1 - 1e-6))]


def pair(seed=0, shape=(2, 4, 5, 6)):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double).unbind(0)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_conversions_are_inverse(prediction_type, alpha, sigma):
    x0, eps = pair()
    latents = d.add_noise(x0, eps, alpha, sigma)
    output = d.from_x0_eps(x0, eps, alpha, sigma, prediction_type)
    got = d.to_x0_eps(output, latents, alpha, sigma, prediction_type)
    assert torch.allclose(got[0], x0)
    assert torch.allclose(got[1], eps)


def test_v_has_both_at_either_end():
    x0, eps = pair()
    for alpha, sigma in ((0.0, 1.0), (1.0, 0.0)):
        v = d.from_x0_eps(x0, eps, alpha, sigma, "v_prediction")
        got = d.to_x0_eps(v, d.add_noise(x0, eps, alpha, sigma), alpha, sigma, "v_prediction")
        assert torch.equal(got[0], x0)
        assert torch.equal(got[1], eps)


def test_unknown_prediction_type():
    for function in (d.to_x0_eps, d.from_x0_eps):
        with pytest.raises(ValueError, match="unknown prediction type 'flow'"):
            function(*pair(), 0.5, 0.5, "flow")


def test_the_jump_has_the_right_moments():
    x0, eps = torch.full((100_000,), 2.0, dtype=torch.double), pair(1, (100_000,))[0]
    x = d.add_noise(x0, eps, 0.6, 0.8)
    assert float(x.mean()) == pytest.approx(1.2, abs=4 * 0.8 / math.sqrt(100_000))
    assert float(x.var()) == pytest.approx(0.64, rel=0.02)


def test_vp_form_and_log_snr():
    x0, eps = pair()
    ve = d.add_noise(x0, eps, 1.0, 0.75)
    assert torch.allclose(d.to_vp(ve, 1.0, 0.75), d.add_noise(x0, eps, 0.8, 0.6))
    assert d.log_snr(0.8, 0.6) == pytest.approx(d.log_snr(1.0, 0.75)) == pytest.approx(2 * math.log(0.8 / 0.6))
    assert d.log_snr(0.0, 1.0) == -math.inf
    assert d.log_snr(1.0, 0.0) == math.inf


def test_guidance():
    uncond, cond = pair()
    assert torch.equal(d.guide(uncond, cond, 0.0), uncond)
    assert torch.allclose(d.guide(uncond, cond, 1.0), cond)
    assert torch.allclose(d.guide(uncond, cond, 3.0), 3 * cond - 2 * uncond)


def test_rescaling():
    guided, cond = pair()
    assert torch.equal(d.rescale(guided, cond, 0.0), guided)
    full = d.rescale(guided, cond, 1.0)
    assert torch.allclose(full.std(dim=(1, 2, 3)), cond.std(dim=(1, 2, 3)))
    assert torch.equal(d.rescale(guided, cond, 0.7), rescale_noise_cfg(guided, cond, 0.7))


def test_interpolation_ends_are_exact():
    a, b = pair()
    for function in (d.lerp, d.slerp):
        assert torch.equal(function(a, b, 0.0), a)
        assert torch.equal(function(a, b, 1.0), b)


def test_slerp_on_the_unit_circle():
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    for weight in (0.25, 0.5, 0.9):
        angle = weight * math.pi / 2
        assert torch.allclose(d.slerp(a, b, weight), torch.tensor([math.cos(angle), math.sin(angle)]))
    assert torch.allclose(d.slerp(a, 3 * b, 0.5).norm(), torch.tensor(2.0))


def test_slerp_keeps_a_noises_norm_and_lerp_does_not():
    a, b = pair(3, (1, 4, 64, 64))
    size = math.sqrt(a.numel())
    assert float(d.slerp(a, b, 0.5).norm()) == pytest.approx(size, rel=0.02)
    assert float(d.lerp(a, b, 0.5).norm()) == pytest.approx(size * math.sqrt(0.5), rel=0.02)


def test_slerp_of_parallel_and_opposite_vectors():
    a = pair()[0]
    assert torch.allclose(d.slerp(a, 2 * a, 0.5), 1.5 * a)
    assert torch.isfinite(d.slerp(a, -a, 0.3)).all()
