"""Pictures in latent space: what is measured of them against closed forms and libraries, and every way to decode them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.metrics
import torch
from tiny import as_model, tiny_parts

from explorer import Request, latents, run
from explorer.intake import Brought, bring
from explorer.records import Preview, RequestError
from training import tiny

EXAMPLES = Path(__file__).parents[1] / "assets" / "examples"


@pytest.fixture(scope="module")
def with_tiny():
    model = as_model(tiny_parts())
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model.tiny_vae = tiny.build().eval()
    return model


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_picture_is_held_with_its_posterior(tiny_model):
    brought = Brought(drawn(1, 3, 64, 64), ("cropped",), (80, 64))
    held = latents.from_picture("mine", brought, tiny_model)
    assert (held.name, held.notes) == ("mine", ("cropped",))
    assert torch.equal(held.picture, brought.picture[0])
    assert torch.equal(held.mean, tiny_model.encode(brought.picture * 2 - 1)[0])
    assert held.std.shape == held.mean.shape == (4, 8, 8)
    assert bool((held.std > 0).all())


def test_a_larger_picture_is_reduced_to_the_models_size(tiny_model):
    held = latents.from_picture("large", Brought(drawn(1, 3, 128, 128), (), (128, 128)), tiny_model)
    assert held.notes == ("reduced to 64×64 for the latents",)
    assert held.picture.shape == (3, 64, 64)
    assert 0 <= float(held.picture.min()) <= float(held.picture.max()) <= 1
    assert torch.equal(held.mean, tiny_model.encode(held.picture[None] * 2 - 1)[0])


def test_the_end_of_a_run(tiny_model):
    trajectory = run(tiny_model, Request(prompt="red cat", seed=7, steps=3))
    held = latents.from_run(trajectory, tiny_model)
    assert torch.equal(held.mean, trajectory.latents[0])
    assert torch.equal(held.picture, tiny_model.decode(trajectory.latents)[0])
    assert held.std is None
    assert held.name == "“red cat”, seed 7"
    long = replace(trajectory, request=replace(trajectory.request, prompt="cat " * 40))
    assert len(latents.from_run(long, tiny_model).name) < 60


def test_the_run_of_another_model_is_refused(tiny_model, embedded_model):
    trajectory = run(tiny_model, Request(steps=2))
    with pytest.raises(RequestError, match=r"^This run was made by the model 'tiny', and here is 'emoji-ldm': .*latent\.$"):
        latents.from_run(trajectory, embedded_model)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (torch.zeros(3, 8, 8), "latents has shape (3, 8, 8); shape (4, 8, 8) is needed."),
        (torch.zeros(4, 8), "latents has shape (4, 8); shape (4, 8, 8) is needed."),
        (torch.zeros(4, 1, 8), "latents has shape (4, 1, 8); shape (4, 8, 8) is needed."),
        (torch.zeros(4, 5000, 8), "latents has shape (4, 5000, 8); shape (4, 8, 8) is needed."),
        (torch.full((4, 8, 8), float("nan")), "latents has values that are not finite; all must be."),
        ("cat", "latents is 'cat'; a tensor of shape (4, 8, 8) is needed."),
    ],
)
def test_latents_that_are_none(tiny_model, given, sentence):
    for ask in (lambda: latents.from_latents("x", given, tiny_model), lambda: latents.decodings(given, tiny_model)):
        with pytest.raises(RequestError) as refusal:
            ask()
        assert str(refusal.value) == sentence


def test_the_compression_is_counted():
    facts = latents.compression((3, 128, 128), (4, 16, 16))
    assert facts["ratio"] == 48.0
    assert (facts["picture_numbers"], facts["picture_bytes"]) == (49152, 49152)
    assert (facts["latents_numbers"], facts["latents_bytes_float32"], facts["latents_bytes_float16"]) == (1024, 4096, 2048)
    assert latents.compression((3, 64, 64), (16, 8, 8))["ratio"] == 12.0


def test_fidelity_is_the_librarys_and_the_closed_form():
    a, b = drawn(3, 40, 48), drawn(3, 40, 48, seed=1)
    got = latents.fidelity(a, b)
    one, other = a.permute(1, 2, 0).double().numpy(), b.permute(1, 2, 0).double().numpy()
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = skimage.metrics.structural_similarity(one, other, channel_axis=-1, data_range=1, **wang)
    assert got["psnr"] == pytest.approx(skimage.metrics.peak_signal_noise_ratio(one, other, data_range=1))
    assert got["psnr"] == pytest.approx(-10 * math.log10(float(((a.double() - b.double()) ** 2).mean())))
    assert got["ssim"] == pytest.approx(ssim)
    shifted = latents.fidelity(torch.full((3, 16, 16), 0.25), torch.full((3, 16, 16), 0.5))
    assert shifted["psnr"] == pytest.approx(20 * math.log10(4))
    c1 = 0.01**2  # of two constant pictures SSIM is its luminance term
    assert shifted["ssim"] == pytest.approx((2 * 0.25 * 0.5 + c1) / (0.25**2 + 0.5**2 + c1))
    assert latents.fidelity(a, a) == {"psnr": None, "ssim": pytest.approx(1.0)}


def test_pictures_that_do_not_fit_together_are_refused():
    with pytest.raises(RequestError, match=r"^The two pictures are 3×16×16 and 3×16×24; "):
        latents.fidelity(torch.zeros(3, 16, 16), torch.zeros(3, 16, 24))
    with pytest.raises(RequestError, match=r"8×8 pixels; SSIM needs 11×11\.$"):
        latents.fidelity(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8))


def blocks(cells: torch.Tensor) -> torch.Tensor:
    """(3, h, w) as a picture of 8 × 8 pixels a cell, with a texture that a cell's mean doesn't see."""
    checks = (torch.arange(8)[:, None] + torch.arange(8)).remainder(2) * 0.1 - 0.05
    return cells.repeat_interleave(8, 1).repeat_interleave(8, 2) + checks.repeat(cells.shape[1], cells.shape[2])


def test_channels_that_carry_luminance_and_colour():
    x = 0.3 + 0.4 * drawn(6, 6)
    # Each picture changes in one of Y, Cb and Cr only: the columns of the inverse of BT.601's matrix.
    pictures = {
        "luminance": torch.stack([x, x, x]),
        "blue_yellow": torch.stack([torch.full_like(x, 0.5), 0.5 - 0.34414 * (x - 0.5), 0.5 + 1.772 * (x - 0.5)]),
        "red_green": torch.stack([0.5 + 1.402 * (x - 0.5), 0.5 - 0.71414 * (x - 0.5), torch.full_like(x, 0.5)]),
    }
    for name, cells in pictures.items():
        given = torch.stack([3 * x - 1, -2 * x, torch.full_like(x, 0.7)])
        up, down, flat = latents.channel_facts(given, blocks(cells))
        assert up[name] == pytest.approx(1, abs=1e-5)
        assert down[name] == pytest.approx(-1, abs=1e-5)
        assert flat[name] is None
    grey = latents.channel_facts(x[None], blocks(pictures["luminance"]))[0]
    assert (grey["blue_yellow"], grey["red_green"]) == (None, None)  # a grey picture has no colour to go along with


def test_a_correlation_between_the_ends():
    a, b = normal(9, 7), normal(9, 7, seed=1)
    expected = np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1]
    assert latents.correlation(a, b) == pytest.approx(float(expected), abs=1e-6)


def test_channel_statistics_and_histograms_over_shared_edges():
    given = torch.cat([normal(3, 8, 8), 5 * normal(1, 8, 8, seed=1)])
    facts = latents.channel_facts(given, drawn(3, 64, 64))
    assert json.loads(json.dumps(facts)) == facts
    for channel, fact in zip(given, facts, strict=True):
        values = channel.numpy()
        assert fact["mean"] == pytest.approx(values.mean(), abs=1e-6)
        assert fact["std"] == pytest.approx(values.std(), rel=1e-5)
        assert (fact["min"], fact["max"]) == (pytest.approx(values.min()), pytest.approx(values.max()))
        assert fact["edges"] == facts[0]["edges"]
        assert sum(fact["counts"]) == 64  # none falls out at the ends
        edges = np.linspace(-np.abs(given.numpy()).max(), np.abs(given.numpy()).max(), len(fact["counts"]) + 1)
        np.testing.assert_allclose(fact["edges"], edges, atol=1e-4)
        assert np.abs(np.histogram(values, edges)[0] - fact["counts"]).sum() <= 2  # float32 rounds at an edge


def test_histograms_over_given_edges_do_not_follow_a_scale():
    given, picture = torch.tensor([-3.0, -1.0, 1.0, 3.0]).reshape(1, 2, 2), drawn(3, 16, 16)
    one, twice = (latents.channel_facts(x, picture, 4.0)[0] for x in (given, 2 * given))
    assert one["edges"] == twice["edges"]
    assert (one["edges"][0], one["edges"][-1]) == (-4, 4)
    assert [i for i, count in enumerate(one["counts"]) if count] == [4, 12, 20, 28]
    assert [i for i, count in enumerate(twice["counts"]) if count] == [0, 8, 24, 31]  # what is beyond is at the ends


def test_every_decoder_against_the_full_one(with_tiny, tiny_model):
    given = normal(4, 8, 12)
    rows = latents.decodings(given, with_tiny)
    assert [row["name"] for row in rows] == ["linear preview", "tiny decoder", "full VAE"]
    full = with_tiny.decode(given[None])[0]
    for row in rows:
        assert row["picture"].shape == (3, 64, 96)
        assert row["ms"] > 0
        assert row["mae"] == pytest.approx(float((row["picture"] - full).abs().mean()))
        assert {key: row[key] for key in ("psnr", "ssim")} == latents.fidelity(row["picture"], full)
    assert torch.equal(rows[1]["picture"], with_tiny.decode_tiny(given[None])[0])
    assert torch.equal(rows[2]["picture"], full)
    assert (rows[2]["psnr"], rows[2]["mae"]) == (None, 0.0)
    assert min(rows[0]["mae"], rows[1]["mae"]) > 0
    assert [row["name"] for row in latents.decodings(given, tiny_model)] == ["linear preview", "full VAE"]


def test_a_slow_decoder_is_called_once(tiny_model, monkeypatch):
    calls = []

    class Slow:
        def __getattr__(self, name):
            return getattr(tiny_model, name)

        def decode(self, given):
            calls.append(given)
            return tiny_model.decode(given)

    latents.decodings(normal(4, 8, 8), Slow())
    assert len(calls) == 4  # one that isn't counted, and three
    calls.clear()
    monkeypatch.setattr(latents, "SLOW", 0.0)
    rows = latents.decodings(normal(4, 8, 8), Slow())
    assert len(calls) == 1
    assert rows[-1]["ms"] > 0


def test_the_linear_preview_is_the_matrix_cell_by_cell():
    preview = Preview(matrix=((0.5, 0.0), (0.0, 0.25), (2.0, 2.0)), offset=(0.5, 0.1, 0.0))
    given = torch.tensor([[[0.2, -0.4]], [[1.0, 0.6]]])  # two channels, 1 × 2 cells
    picture = latents.linear(given, preview, 4)
    assert picture.shape == (3, 4, 8)
    torch.testing.assert_close(picture[:, 0, 0], torch.tensor([0.6, 0.35, 1.0]))  # clamped above
    torch.testing.assert_close(picture[:, 3, 7], torch.tensor([0.3, 0.25, 0.4]))
    assert torch.equal(picture[:, :, :4], picture[:, :1, :1].expand(3, 4, 4))


@pytest.mark.parametrize("name", ["cat", "chart", "tangerine"])
def test_the_embedded_tiny_decoder_is_far_nearer_than_the_preview(embedded_model, name):
    """What the tab claims of it, on pictures that nobody trained on."""
    brought = bring((EXAMPLES / f"{name}.png").read_bytes(), embedded_model.default_size)
    held = latents.from_picture(name, brought, embedded_model)
    rows = {row["name"]: row for row in latents.decodings(held.mean, embedded_model)}
    assert rows["tiny decoder"]["psnr"] > rows["linear preview"]["psnr"] + 6
    assert rows["tiny decoder"]["ssim"] > rows["linear preview"]["ssim"] + 0.2
    assert rows["tiny decoder"]["mae"] < rows["linear preview"]["mae"] / 2
    assert rows["linear preview"]["ms"] < rows["full VAE"]["ms"]


@pytest.mark.parametrize("kind", latents.KINDS)
def test_mixtures_end_exactly_where_they_should(kind):
    a, b = normal(4, 8, 8), 2 * normal(4, 8, 8, seed=1)
    assert torch.equal(latents.mix(a, b, 0, kind), a)
    assert torch.equal(latents.mix(a, b, 1, kind), b)
    assert torch.equal(latents.mix(a, a, 0.4, kind), a)


def test_slerp_keeps_the_norm_that_lerp_loses():
    a, b = normal(4, 16, 16), normal(4, 16, 16, seed=1)
    for share in (0.25, 0.5, 0.9):
        on_circle = latents.mix(a, b, share, "slerp")
        assert float(on_circle.norm()) == pytest.approx((1 - share) * float(a.norm()) + share * float(b.norm()), rel=1e-4)
    assert float(latents.mix(a, b, 0.5, "lerp").norm()) < 0.75 * float(a.norm())
    torch.testing.assert_close(latents.mix(a, b, 0.25, "lerp"), 0.75 * a + 0.25 * b)


def test_the_crossfade_is_of_pixels():
    a, b = drawn(3, 8, 8), drawn(3, 8, 8, seed=1)
    assert torch.equal(latents.crossfade(a, b, 0), a)
    assert torch.equal(latents.crossfade(a, b, 1), b)
    torch.testing.assert_close(latents.crossfade(a, b, 0.25), 0.75 * a + 0.25 * b)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"share": 1.5}, "share is 1.5; it must be from 0 to 1."),
        ({"share": float("nan")}, "share is nan; it must be from 0 to 1."),
        ({"share": "half"}, "share is 'half'; a number from 0 to 1 is needed."),
        ({"kind": "cubic"}, "kind is 'cubic'; it must be lerp or slerp."),
        ({"kind": ["lerp"]}, "kind is \"['lerp']\"; it must be lerp or slerp."),
        (
            {"b": torch.zeros(4, 8, 9)},
            "The two latents are 4×8×8 and 4×8×9; only latents of one shape can be put side by side.",
        ),
    ],
)
def test_mixtures_that_cannot_be(change, sentence):
    given = {"a": torch.zeros(4, 8, 8), "b": torch.ones(4, 8, 8), "share": 0.5, "kind": "lerp"} | change
    with pytest.raises(RequestError) as refusal:
        latents.mix(**given)
    assert str(refusal.value) == sentence
