"""The radial spectrum against closed forms, and a run's statistics against theory."""

import json
import math

import pytest
import torch

from explorer import run
from explorer.records import Request, RequestError, Step, Trajectory
from explorer.spectrum import counts, frequencies, radial_spectrum, statistics

SIDES = [(1, 1), (1, 8), (2, 64), (3, 5), (8, 8), (16, 16), (15, 16), (33, 20)]


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("h", "w"), SIDES)
def test_white_noise_is_1_in_every_bin(h, w):
    draws = 4000
    mean = radial_spectrum(noise(draws, h, w)).mean(0)
    # a frequency and its mirror have one power, whose variance is at most 2 (where it is its own mirror)
    error = 2 / (draws * counts(h, w)).sqrt()
    assert ((mean - 1).abs() < 4.5 * error).all()


@pytest.mark.parametrize(("h", "w"), SIDES)
def test_every_frequency_is_in_one_bin_and_parseval_holds(h, w):
    x = noise(2, 3, h, w) + 2
    assert int(counts(h, w).sum()) == h * w
    assert int(counts(h, w)[0]) == 1
    assert (counts(h, w) > 0).all()
    sums = (counts(h, w) * radial_spectrum(x)).sum(-1)
    torch.testing.assert_close(sums, x.square().sum((-2, -1)), rtol=1e-4, atol=0)
    assert (frequencies(h, w).diff() > 0).all()
    assert float(frequencies(h, w)[-1]) <= math.sqrt(0.5) + 1e-12


@pytest.mark.parametrize(("ky", "kx"), [(0, 1), (3, 0), (3, 4), (-5, 2), (7, 7), (0, 8), (8, 8)])
def test_a_pure_wave_lands_in_its_bin(ky, kx):
    n, height = 16, 1.5
    i, j = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    wave = height * torch.cos(2 * math.pi * (ky * i + kx * j) / n)
    spectrum = radial_spectrum(wave)
    b = round(math.hypot(ky, kx))
    power = wave.square().sum()
    torch.testing.assert_close(float(spectrum[b] * counts(n, n)[b]), float(power), rtol=1e-9, atol=0)
    spectrum[b] = 0
    assert float(spectrum.max()) < 1e-20 * float(power) + 1e-20


def test_the_mean_is_bin_0_and_stays_out_of_the_others():
    x = noise(4, 16, 16)
    moved = radial_spectrum(x + 3)
    torch.testing.assert_close(moved[:, 1:], radial_spectrum(x)[:, 1:], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(moved[:, 0], 256 * (x.mean((-2, -1)) + 3) ** 2, rtol=1e-5, atol=0)


def test_bins_do_not_care_which_side_is_longer_nor_about_shifts():
    x = noise(16, 24)
    torch.testing.assert_close(radial_spectrum(x), radial_spectrum(x.T), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(radial_spectrum(x), radial_spectrum(x.roll((3, 5), (0, 1))), rtol=1e-4, atol=1e-6)


def test_frequencies_are_the_distances_from_zero():
    assert float(frequencies(16, 16)[1]) == pytest.approx((4 * 1 / 16 + 4 * math.sqrt(2) / 16) / 8)
    assert frequencies(1, 8).tolist() == pytest.approx([0, 1 / 8, 2 / 8, 3 / 8, 4 / 8])


def synthetic(x0, levels, eps):
    """A run whose states are x0 with one and the same noise, and whose end is x0."""
    steps = [
        Step(index=i, timestep=1000 - i, alpha=a, sigma=s, latents=(a * x0 + s * eps)[None])
        for i, (a, s) in enumerate([*levels, (1.0, 0.0)])
    ]
    return Trajectory(request=Request(), steps=tuple(steps), capsule={})


def levels(ve):
    return [(1.0, s) if ve else (1 / math.hypot(1, s), s / math.hypot(1, s)) for s in (14.6, 3.0, 1.0, 0.2)]


def test_ve_and_vp_states_have_the_same_statistics():
    x0, eps = noise(4, 16, 16) * 0.7 + 0.3, noise(4, 16, 16, seed=1)
    ours, theirs = (statistics(synthetic(x0, levels(ve), eps)) for ve in (False, True))
    for a, b in zip(ours["steps"], theirs["steps"], strict=True):
        for key in a:
            assert a[key] == pytest.approx(b[key], rel=1e-4, abs=1e-5), key
        assert a["alpha"] ** 2 + a["sigma"] ** 2 == pytest.approx(1)


def test_theory_is_what_many_noises_give_on_average_and_its_spread_is_theirs():
    x0 = noise(3, 8, 8).cumsum(-1) * torch.tensor([0.1, 0.5, 1.0]).view(3, 1, 1) + torch.tensor([-1.0, 0, 2]).view(3, 1, 1)
    draws = [statistics(synthetic(x0, levels(False), noise(3, 8, 8, seed=seed)))["steps"] for seed in range(400)]
    for i in range(len(draws[0])):
        row = draws[0][i]
        keys = ("mean", "std", "spectrum")
        gathered = {key: torch.tensor([draw[i][key] for draw in draws], dtype=torch.float64) for key in keys}
        error = gathered["mean"].std(0) / 20 + 1e-6
        assert ((gathered["mean"].mean(0) - torch.tensor(row["mean_theory"])).abs() < 4.5 * error).all()
        variance = gathered["std"] ** 2
        error = variance.std(0) / 20 + 1e-5
        assert ((variance.mean(0) - torch.tensor(row["std_theory"]) ** 2).abs() < 4.5 * error).all()
        error = gathered["spectrum"].std(0) / 20 + 1e-4
        assert ((gathered["spectrum"].mean(0) - torch.tensor(row["spectrum_theory"])).abs() < 4.5 * error).all()
        assert gathered["mean"].std(0).tolist() == pytest.approx([row["mean_spread"]] * 3, rel=0.2, abs=1e-6)
        assert gathered["std"].std(0).tolist() == pytest.approx(row["std_spread"], rel=0.25, abs=1e-6)


def test_at_the_end_theory_is_the_end():
    made = statistics(synthetic(noise(4, 16, 16), levels(False), noise(4, 16, 16, seed=1)))
    last = made["steps"][-1]
    for key in ("mean", "std", "spectrum"):
        assert last[key] == pytest.approx(last[f"{key}_theory"], rel=1e-9)
        assert last[key] == pytest.approx(made["x0"][key], rel=1e-9)
    assert (last["alpha"], last["sigma"], last["mean_spread"]) == (1, 0, 0)
    assert last["std_spread"] == [0] * 4


@pytest.mark.parametrize("sampler", ["DDIM", "Euler"])
def test_of_a_real_run(sampler, tiny_model):
    trajectory = run(tiny_model, Request(prompt="red cat", steps=6, sampler=sampler, seed=3))
    made = statistics(trajectory)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert [row["index"] for row in made["steps"]] == list(range(7))
    assert [row["timestep"] for row in made["steps"]] == [float(step.timestep) for step in trajectory.steps]
    first, h, w = made["steps"][0], *trajectory.latents.shape[-2:]
    assert first["sigma"] > 0.98
    assert all(abs(mean) < 4.5 / math.sqrt(h * w) for mean in first["mean"])  # it begins in noise alone
    assert all(abs(std - 1) < 4.5 / math.sqrt(2 * h * w) for std in first["std"])
    last = made["steps"][-1]
    assert last["mean"] == pytest.approx(made["x0"]["mean"], rel=1e-6)
    assert last["std_theory"] == pytest.approx(
        [math.hypot(last["alpha"] * std, last["sigma"]) for std in made["x0"]["std"]]
    )
    shapes = {len(row[key]) for row in made["steps"] for key in ("spectrum", "spectrum_theory")}
    assert shapes == {len(made["frequencies"])} == {len(made["counts"])} == {len(counts(h, w))}
    x = trajectory.steps[2]
    vp = x.latents / math.hypot(x.alpha, x.sigma)
    assert made["steps"][2]["std"] == pytest.approx(vp[0].std((-2, -1)).tolist(), rel=1e-5)
    assert made["steps"][2]["mean"] == pytest.approx(vp[0].mean((-2, -1)).tolist(), rel=1e-4, abs=1e-6)


def test_latents_of_one_cell_have_no_spread():
    made = statistics(synthetic(noise(4, 1, 1), levels(False), noise(4, 1, 1, seed=1)))
    assert made["steps"][0]["std"] == [0] * 4
    json.dumps(made, allow_nan=False)


def test_a_run_without_steps_is_refused():
    with pytest.raises(RequestError, match=r"^run has no steps; at least one is needed\.$"):
        statistics(Trajectory(request=Request(), steps=(), capsule={}))
