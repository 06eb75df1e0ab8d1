"""Runs that begin elsewhere than in noise: a picture's latents, or a Step of an earlier run."""

import pytest
import torch
from conftest import as_model, tiny_parts, tiny_pipeline
from diffusers import StableDiffusionImg2ImgPipeline
from references import SCHEDULERS

from explorer import Request, denoise, run
from explorer.diffusion import log_snr, to_vp
from explorer.records import RequestError
from explorer.samplers import SAMPLERS

SHAPE = (1, 4, 8, 8)


def noise(seed):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in ("PNDM", "Heun", "LCM")])
def test_a_picture_equals_the_image_to_image_pipeline(name, monkeypatch):
    parts = tiny_parts()
    scheduler, settings = SCHEDULERS[name]
    own = {**parts, "scheduler": scheduler.from_config(parts["scheduler"].config, **settings)}
    pipeline = StableDiffusionImg2ImgPipeline(
        **own, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    latents, generator = noise(1), torch.Generator().manual_seed(4)
    added = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
    theirs = pipeline(
        "cat", image=latents, strength=0.5, num_inference_steps=8, guidance_scale=3.0, generator=generator, eta=0.0,
        output_type="latent",
    ).images  # fmt: skip
    request = Request(prompt="cat", steps=8, guidance=3.0, sampler=name, seed=4)
    if SAMPLERS[name].stochastic == "always":  # there the picture's noise and the sampler's come from one generator
        monkeypatch.setattr("explorer.engine.torch.Generator", lambda *device: _Advanced(SHAPE))
    trajectory = run(as_model(parts), request, (latents, added, 4))
    assert torch.equal(trajectory.latents, theirs)
    assert [step.index for step in trajectory.steps] == [4, 5, 6, 7, 8]


class _Advanced(torch.Generator):
    """A generator from which one latent's worth of noise has been drawn after seeding."""

    def __new__(cls, shape):
        self = super().__new__(cls, device="cpu")
        self.shape = shape
        return self

    def __init__(self, shape):
        pass

    def manual_seed(self, seed):
        super().manual_seed(seed)
        torch.randn(self.shape, generator=self)
        return self


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_true_noise_leads_back_to_the_picture(name, monkeypatch):
    """A perfect network, which knows the noise, brings every deterministic row back to the latents it began with."""
    model = as_model(tiny_parts())
    latents, eps = noise(1), noise(2)
    monkeypatch.setattr(type(model), "predict", lambda self, x, t, c: eps.expand(len(x), -1, -1, -1).clone())
    stochastic = SAMPLERS[name].stochastic == "always"
    request = Request(prompt="cat", steps=6, sampler=name, guidance=1.0)
    first, *_, last = denoise(model, request, (latents, eps, 2))
    assert first.index == 2
    assert torch.allclose(first.latents, first.alpha * latents + first.sigma * eps, atol=1e-5)
    assert torch.allclose(first.x0, latents, atol=1e-4)
    if not stochastic:
        assert torch.allclose(last.latents, last.alpha * latents + last.sigma * eps, atol=2e-3)


def test_pndm_warms_up_where_it_begins(tiny_model):
    steps = run(tiny_model, Request(prompt="cat", steps=6, sampler="PNDM"), (noise(1), noise(2), 3)).steps
    times = [step.timestep for step in steps]
    assert times[1] == times[2]  # the second timestep twice
    assert len(set(times)) == len(times) - 1


def test_heun_cannot_begin_at_a_second_look(tiny_model):
    with pytest.raises(RequestError, match=r"take 2 or 4"):
        denoise(tiny_model, Request(sampler="Heun", steps=6), (noise(1), noise(2), 3))


@pytest.mark.parametrize("k", [0, 1, 4, 6])
@pytest.mark.parametrize("name", SAMPLERS)
def test_going_on_unchanged_is_bit_identical(tiny_model, name, k):
    request = Request(prompt="cat", steps=7, sampler=name, seed=3, eta=0.7 if name == "DDIM" else 0.0)
    whole = run(tiny_model, request)
    tail = run(tiny_model, request, (whole, k))
    assert [step.index for step in tail.steps] == [step.index for step in whole.steps[k:]]
    for ours, theirs in zip(tail.steps, whole.steps[k:], strict=True):
        assert torch.equal(ours.latents, theirs.latents)
        assert [(t.name, t.coefficient) for t in ours.terms] == [(t.name, t.coefficient) for t in theirs.terms]
        assert ours.z is theirs.z is None or torch.equal(ours.z, theirs.z)


def test_going_on_with_noise_scale_is_bit_identical(tiny_model):
    request = Request(prompt="cat", steps=7, sampler="DDPM", noise_scale=0.4)
    whole = run(tiny_model, request)
    assert torch.equal(run(tiny_model, request, (whole, 3)).latents, whole.latents)


def test_going_on_with_a_change(tiny_model):
    whole = run(tiny_model, Request(prompt="cat", steps=6, sampler="DDPM"))
    for change in ({"prompt": "red star"}, {"guidance": 9.0}, {"seed": 1}, {"noise_scale": 0.0}):
        request = Request(**{"prompt": "cat", "steps": 6, "sampler": "DDPM"} | change)
        tail = run(tiny_model, request, (whole, 3))
        assert torch.equal(tail.steps[0].latents, whole.steps[3].latents)
        assert not torch.equal(tail.latents, whole.latents)


@pytest.mark.parametrize("to", SAMPLERS)
@pytest.mark.parametrize("origin", ["DDIM", "Euler"])
def test_going_on_with_another_sampler(tiny_model, origin, to):
    to_steps = 9 if origin == to else 6  # another grid counts as another sampler
    whole = run(tiny_model, Request(prompt="cat", steps=6, sampler=origin, spacing="trailing"))
    spacing = "trailing" if SAMPLERS[to].spacing else None
    tail = run(tiny_model, Request(prompt="cat", steps=to_steps, sampler=to, spacing=spacing), (whole, 3))
    here, there = whole.steps[3], tail.steps[0]
    assert torch.allclose(
        to_vp(here.latents, here.alpha, here.sigma), to_vp(there.latents, there.alpha, there.sigma), atol=1e-5
    )
    assert abs(log_snr(here.alpha, here.sigma) - log_snr(there.alpha, there.sigma)) < 1.5


def test_refusals(tiny_model):
    whole = run(tiny_model, Request(steps=3))
    bad = noise(0)
    bad[0, 0, 0, 0] = float("nan")
    for start, sentence in (
        ((noise(0), noise(1), 20), "start k is 20; it must be from 0 to 19."),
        ((noise(0)[:, :3], noise(1), 2), "start latents has shape (1, 3, 8, 8); shape (1, 4, 8, 8) is needed."),
        ((noise(0), bad, 2), "start noise has values that are not finite"),
        (("x", noise(1), 2), "start latents is 'x'; a tensor of shape (1, 4, 8, 8) is needed."),
        ((whole, 3), "start k is 3; it must be from 0 to 2."),
        ((whole, True), "start k is True"),
        ((whole,), "start must be (latents, noise, k) or (Trajectory, k)."),
        (3, "start must be (latents, noise, k) or (Trajectory, k)."),
    ):
        with pytest.raises(RequestError) as refusal:
            denoise(tiny_model, Request(), start)
        assert sentence in str(refusal.value)


def test_the_pipeline_of_the_reference_is_the_tiny_one():
    assert tiny_pipeline(tiny_parts()).vae_scale_factor == 8
