"""The readings of a step against the engine's own terms, and the numbers of the lessons against closed forms."""

from itertools import pairwise

import pytest
import torch

from explorer import Request, run
from explorer.lessons import distance, mse, readings, spread, true_eps


@pytest.mark.parametrize("sampler", ["DDPM", "DDIM"])
def test_readings_are_the_engines_terms(tiny_model, sampler):
    steps = run(tiny_model, Request(prompt="cat", steps=8, sampler=sampler)).steps
    for step, following in pairwise(steps):
        by_name = {r.name: r for r in readings(step.alpha, step.sigma, following.alpha, following.sigma)}
        reading, z = by_name[sampler], step.z if step.z is not None else torch.zeros_like(step.eps)
        total = reading.x0 * step.x0 + reading.eps * step.eps + reading.z * z
        assert torch.allclose(total, following.latents, atol=2e-4 * float(step.x0.abs().max()))


def test_readings_share_their_marginal_and_meet_at_the_end():
    for reading in readings(0.6, 0.8, 0.8, 0.6):
        assert reading.x0 == 0.8
        assert reading.eps**2 + reading.z**2 == pytest.approx(0.36)
    assert {(r.x0, r.eps, r.z) for r in readings(0.99, (1 - 0.99**2) ** 0.5, 1.0, 0.0)} == {(1.0, 0.0, 0.0)}
    ddpm, ddim, lcm = readings(0.6, 0.8, 0.8, 0.6)
    assert 0 < ddpm.z < lcm.z
    assert ddim.z == lcm.eps == 0


def test_the_true_noise_of_a_known_picture(tiny_model):
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 1, 4, 8, 8, generator=generator).unbind(0)
    first, second, *_ = run(tiny_model, Request(prompt="cat", steps=6), (x0, noise, 2)).steps
    assert torch.allclose(true_eps(first, x0), noise, atol=1e-5)
    assert not torch.allclose(true_eps(second, x0), noise, atol=1e-2)
    assert mse(first.eps, noise) == pytest.approx(float(((first.eps - noise) ** 2).mean()))


def test_spread_and_distance(tiny_model):
    a = torch.zeros(1, 4, 2, 2)
    assert spread([a]) == 0
    assert spread([a, a + 2]) == 2
    assert spread([a, a + 1, a + 2]) == pytest.approx(4 / 3)
    euler, ddim = (
        run(tiny_model, Request(prompt="cat", steps=4, sampler=s, spacing="trailing")) for s in ("Euler", "DDIM")
    )
    assert distance(euler.steps[0], ddim.steps[0]) < 0.05  # one noise, scaled by sigma or not
    assert distance(euler.steps[0], euler.steps[-1]) > 0.1
