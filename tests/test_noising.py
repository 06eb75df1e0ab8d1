"""The forward process against closed forms and diffusers."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from explorer import noising
from explorer.noising import SCHEDULES, alphas_cumprod, betas, chain, drawn, jump, match, of_config, snr_db, stage, terminal
from explorer.records import RequestError

DIFFUSERS = {
    "linear": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "scaled linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "sigmoid": {"beta_schedule": "sigmoid", "beta_start": 1e-4, "beta_end": 0.02},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_rows_are_those_of_diffusers(name):
    theirs = DDPMScheduler(**DIFFUSERS[name]).alphas_cumprod.numpy()
    np.testing.assert_allclose(alphas_cumprod(name, 1000), theirs, rtol=3e-4, atol=1e-8)
    np.testing.assert_allclose(of_config(DIFFUSERS[name], 1000), theirs, rtol=1e-6)


@pytest.mark.parametrize("steps", [10, 11, 37, 999, 1000])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_smaller_t_is_a_subsequence_that_ends_in_the_same_noise(name, steps):
    whole, part = alphas_cumprod(name, 1000), alphas_cumprod(name, steps)
    assert len(part) == steps
    assert set(part) <= set(whole)
    assert part[-1] == whole[-1]
    assert (np.diff(part) < 0).all()
    assert ((betas(part) > 0) & (betas(part) < 1)).all()
    np.testing.assert_allclose(np.cumprod(1 - betas(part)), part, rtol=1e-9)


def test_unscaled_betas_leave_the_picture_in_sight():
    wrong = alphas_cumprod("linear", 10, rescaled=False)
    np.testing.assert_allclose(wrong, np.cumprod(1 - np.linspace(1e-4, 0.02, 10)))
    assert wrong[-1] > 0.9  # ten steps of it hardly noise anything
    assert alphas_cumprod("linear", 10)[-1] < 1e-4


@pytest.mark.parametrize("t", [1, 2, 25, 50])
def test_the_jump_with_the_gathered_noise_is_the_chain(t):
    values = alphas_cumprod("linear", 50)
    x0 = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    state = next(s for s in chain(x0, values, seed=3) if s.t == t)
    torch.testing.assert_close(jump(x0, state.eps, values[t - 1]), state.latents, rtol=0, atol=2e-6)


def test_every_small_step_is_its_formula():
    values = alphas_cumprod("cosine", 20)
    x0 = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    before = x0
    for state, beta in zip(chain(x0, values, seed=5), betas(values), strict=True):
        torch.testing.assert_close(state.latents, math.sqrt(1 - beta) * before + math.sqrt(beta) * state.z)
        before = state.latents


@pytest.mark.parametrize("name", SCHEDULES)
def test_mean_and_variance_are_what_theory_says(name):
    values, value, n = alphas_cumprod(name, 40), 0.7, 200_000
    for state in chain(torch.full((n,), value), values, seed=11):
        alpha_bar = values[state.t - 1]
        spread = math.sqrt((1 - alpha_bar) / n)
        assert abs(state.latents.mean().item() - math.sqrt(alpha_bar) * value) < 5 * spread + 1e-6
        assert state.latents.var().item() == pytest.approx(1 - alpha_bar, rel=5 * math.sqrt(2 / n))
        assert state.eps.var().item() == pytest.approx(1, rel=5 * math.sqrt(2 / n))


def test_the_chain_follows_from_its_seed():
    values = alphas_cumprod("linear", 10)
    a, b, c = ([s.latents for s in chain(torch.zeros(5), values, seed)] for seed in (1, 1, 2))
    assert all(map(torch.equal, a, b))
    assert not torch.equal(a[-1], c[-1])


def test_snr_and_stages():
    assert snr_db(0.5, variance=1) == 0
    assert snr_db(0.5, variance=0.25) == pytest.approx(10 * math.log10(0.25))
    assert snr_db(0.0, variance=1) == -math.inf
    assert snr_db(np.array([1, 0.5]), variance=0).tolist() == [
        math.inf,
        -math.inf,
    ]  # flat: no signal, but no noise at t = 0
    assert [stage(db) for db in (40, 15, 14.9, 0, -0.1, -15, -15.1, -math.inf)] == [
        "none", "none", "little", "little", "moderate", "moderate", "heavy", "heavy",
    ]  # fmt: skip


def test_states_are_matched_by_measured_snr():
    values = alphas_cumprod("linear", 1000)
    found = match(values, 0.25, values, 1.0)
    odds = 0.25 * values / (1 - values)
    wanted = odds / (1 + odds)  # the alpha-bar of the same SNR at variance 1
    inside = (found > 0) & (found < 999)  # the last states are beyond what the other row ends in
    assert (wanted < values[found - 1])[inside].all()
    assert (wanted > values[np.minimum(found + 1, 999)])[inside].all()
    assert 800 < inside.sum() < 1000
    assert (match(values, 1.0, values, 1.0) == np.arange(1000)).all()
    assert (found >= np.arange(1000)).all()  # less signal to begin with: the same SNR is met later in the other


def test_a_flat_row_is_matched_by_its_place():
    long, short = alphas_cumprod("linear", 1000), alphas_cumprod("cosine", 100)
    for variances in ((0, 1), (1, 0), (0, 0)):
        assert (match(long, variances[0], long, variances[1]) == np.arange(1000)).all()
        found = match(long, variances[0], short, variances[1])
        assert (found[0], found[499], found[999]) == (0, 49, 99)


def test_terminal_snr():
    values = alphas_cumprod("scaled linear", 1000)
    db, rest = terminal(values, mean=0.8, variance=1)
    assert db == pytest.approx(-23.3, abs=0.1)  # sqrt(ᾱ_T) = 0.068: arXiv:2305.08891, Table 1
    assert rest == pytest.approx(0.8 * 0.068, abs=1e-3)
    assert terminal(values, mean=0.8, variance=0.25)[0] == pytest.approx(db + 10 * math.log10(0.25))
    assert terminal(values, mean=0.8, variance=0) == (-math.inf, rest)  # a flat picture leaves its mean all the same
    assert terminal(alphas_cumprod("cosine", 1000), mean=0.8, variance=1) is None


def test_a_drawn_log_snr_is_met():
    values = drawn("log-SNR", [(0, 30), (0.5, 0), (1, -40)], 1000)
    assert snr_db(values[499], 1) == pytest.approx(0)
    assert snr_db(values[-1], 1) == pytest.approx(-40)
    assert (np.diff(values) < 0).all()


def test_drawn_betas_are_met():
    np.testing.assert_allclose(betas(drawn("beta", [(0, 0.01), (1, 0.01)], 1000)), 0.01)
    np.testing.assert_allclose(
        drawn("beta", [(0, 1e-4), (1, 0.02)], 1000), alphas_cumprod("linear", 1000), rtol=0.03, atol=1e-4
    )


@pytest.mark.parametrize("name", ["linear", "scaled linear", "sigmoid"])
def test_a_models_own_betas_and_drawn_ones_go_wrong_like_the_named_when_not_rescaled(name):
    own = of_config(DIFFUSERS[name], 20, rescaled=False)
    np.testing.assert_allclose(own, alphas_cumprod(name, 20, rescaled=False), rtol=1e-5)
    assert own[-1] > 0.7 > 0.01 > of_config(DIFFUSERS[name], 20)[-1]
    trained = {"trained_betas": np.linspace(1e-4, 0.02, 1000).tolist()}
    np.testing.assert_allclose(
        of_config(trained, 20, rescaled=False), alphas_cumprod("linear", 20, rescaled=False), rtol=1e-5
    )
    knots = [(0, 1e-4), (1, 0.02)]
    np.testing.assert_allclose(
        betas(drawn("beta", knots, 20, rescaled=False)), np.interp(np.arange(1, 21) / 20, *zip(*knots, strict=True))
    )
    line = [(0, 40), (1, -40)]
    assert (drawn("log-SNR", line, 20, rescaled=False) == drawn("log-SNR", line, 20)).all()  # says ᾱ itself


@pytest.mark.parametrize("knots", [[(0, 0.5), (1, 0.9)], [(0, 0.999), (1, 0.999)], [(0, 1e-6), (0.01, 0.999), (1, 1e-6)]])
def test_large_drawn_betas_leave_numbers(knots):
    values = drawn("beta", knots, 1000)
    assert (np.diff(values) < 0).all()
    assert ((betas(values) > 0) & (betas(values) < 1)).all()
    *_, last = chain(torch.ones(4), values, seed=0)
    assert torch.isfinite(last.latents).all()
    assert torch.isfinite(last.eps).all()
    assert match(values, 1.0, values, 1.0)[-1] == 999


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alphas_cumprod("linnear", 50), "schedule is 'linnear'; it must be one of linear"),
        (lambda: alphas_cumprod("linear", 9), "T is 9; it must be a whole number from 10 to 1000."),
        (lambda: alphas_cumprod("linear", 1001), "T is 1001"),
        (lambda: alphas_cumprod("linear", True), "T is True"),
        (lambda: alphas_cumprod("linear", float("nan")), "T is nan"),
        (lambda: drawn("gamma", [(0, 1), (1, 0)], 50), "'gamma'; it must be 'beta' or 'log-SNR'"),
        (lambda: drawn("beta", [(0, 0.1)], 50), "1 knots; it takes 2 to 12"),
        (lambda: drawn("beta", [(0, 0.1)] * 13, 50), "13 knots"),
        (lambda: drawn("beta", [(0, 0.1), (0.9, 0.1)], 50), "must rise from 0 to 1"),
        (lambda: drawn("beta", [(0, 0.1), (0.5, 0.1), (0.5, 0.2), (1, 0.1)], 50), "must rise from 0 to 1"),
        (lambda: drawn("beta", [(0, 0.1), (1, 1.5)], 50), "Knot 2 has a beta of 1.5; it must be from 1e-06 to 0.999."),
        (lambda: drawn("beta", [(0, float("nan")), (1, 0.5)], 50), "Knot 1 has a beta of nan"),
        (lambda: drawn("log-SNR", [(0, 10), (0.5, 12), (1, -40)], 50), "Knot 2 doesn't lie below"),
        (lambda: drawn("log-SNR", [(0, 90), (1, -40)], 50), "Knot 1 has a log-SNR of 90"),
    ],
)  # fmt: skip
def test_bad_schedules_are_one_sentence(call, message):
    with pytest.raises(RequestError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_range_of_t_is_the_one_that_is_documented():
    assert noising.T_RANGE == (10, 1000)
