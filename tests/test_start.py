"""Runs that begin elsewhere than in noise: a picture's latents, or a Step of an earlier run."""

import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from references import SCHEDULERS
from tiny import as_model, tiny_parts, tiny_pipeline

from explorer import Request, denoise, run
from explorer.diffusion import log_snr, to_vp
from explorer.records import RequestError
from explorer.samplers import SAMPLERS
from explorer.schedule import schedule

SHAPE = (1, 4, 8, 8)


def noise(seed):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


# Not PNDM: begun after evaluation 0, diffusers' repeated evaluation falls on the wrong timestep; ours moves along.
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "PNDM"])
def test_a_picture_equals_the_image_to_image_pipeline(name):
    parts = tiny_parts()
    scheduler, settings = SCHEDULERS[name]
    own = {**parts, "scheduler": scheduler.from_config(parts["scheduler"].config, **settings)}
    pipeline = StableDiffusionImg2ImgPipeline(
        **own, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        "cat", image=noise(1), strength=0.5, num_inference_steps=8, guidance_scale=3.0, eta=0.0,
        generator=torch.Generator().manual_seed(4), output_type="latent",
    ).images  # fmt: skip
    request = Request(prompt="cat", steps=8, guidance=3.0, sampler=name, seed=4)
    k = 8 if name == "Heun" else 4  # of evaluations
    trajectory = run(as_model(parts), request, (noise(1), noise(4), k))  # the picture's noise is the seed's first draw
    assert torch.equal(trajectory.latents, theirs)
    assert [step.index for step in trajectory.steps] == list(range(k, SAMPLERS[name].evaluations(8) + 1))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_start_at_evaluation_0_from_noise_is_the_plain_run(tiny_model, name):
    request = Request(prompt="cat", steps=4, sampler=name, seed=4)
    whole = run(tiny_model, request)
    first = whole.steps[0]
    begun = run(tiny_model, request, (first.latents * 0, first.latents / first.sigma, 0))
    assert torch.allclose(begun.steps[0].latents, first.latents, atol=1e-4)
    assert [step.z is None for step in begun.steps] == [step.z is None for step in whole.steps]
    assert all(torch.equal(a.z, b.z) for a, b in zip(begun.steps, whole.steps, strict=True) if a.z is not None)


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
    request = Request(prompt="cat", steps=6, sampler="PNDM", guidance=(9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 1.0))
    steps = run(tiny_model, request, (noise(1), noise(2), 3)).steps
    assert [step.eps_uncond is None for step in steps[:-1]] == [True, False, False, False, True]  # values go with timesteps
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
    nearest = min(abs(log_snr(here.alpha, here.sigma) - log_snr(*level)) for level in levels(tail.request, tiny_model))
    assert abs(log_snr(here.alpha, here.sigma) - log_snr(there.alpha, there.sigma)) == pytest.approx(nearest, abs=1e-4)


def levels(request, model):
    plan = schedule(request, model.scheduler_config)
    return plan.levels[:-1]


def test_settings_that_mean_the_same_are_the_same_grid(tiny_model):
    whole = run(tiny_model, Request(prompt="cat", steps=6, sampler="DPM++ 2M SDE", spacing="linspace", karras=False))
    tail = run(tiny_model, Request(prompt="cat", steps=6, sampler="DPM++ 2M SDE", spacing="linspace"), (whole, 3))
    assert torch.equal(tail.latents, whole.latents)


def test_a_tail_of_a_tail_begins_at_its_step(tiny_model):
    request = Request(prompt="cat", steps=6, sampler="DDIM")
    whole = run(tiny_model, request)
    tail = run(tiny_model, request, (run(tiny_model, request, (whole, 2)), 4))
    assert [step.index for step in tail.steps] == [4, 5, 6]
    assert torch.equal(tail.latents, whole.latents)  # DDIM has no memory


def test_fresh_noise_does_not_depend_on_where_it_begins(tiny_model):
    whole = run(tiny_model, Request(prompt="cat", steps=6, sampler="DDPM", seed=1))
    fork = run(tiny_model, Request(prompt="cat", steps=6, sampler="DDPM", seed=2), (whole, 3))
    other = run(tiny_model, Request(prompt="cat", steps=6, sampler="DDPM", seed=2))
    assert torch.equal(fork.steps[0].z, other.steps[0].z)  # the seed's second draw: its first is a run's first state
    assert not torch.equal(fork.steps[0].z, other.steps[0].latents)


def test_another_models_outputs_are_not_replayed(tiny_model):
    request = Request(prompt="cat", steps=6, sampler="DPM++ 2M")
    foreign = run(as_model(tiny_parts("v_prediction")), request)
    tail = run(tiny_model, request, (foreign, 3))
    assert torch.allclose(tail.steps[0].latents, foreign.steps[3].latents, atol=1e-5)
    assert "x0_1" not in {term.name for term in tail.steps[0].terms}  # no memory of another network's x0


@pytest.mark.parametrize("name", ["PNDM", "UniPC", "Heun"])
def test_writing_on_the_origin_does_not_disturb_the_tail(tiny_model, name):
    request = Request(prompt="cat", steps=6, sampler=name)
    whole = run(tiny_model, request)
    final = whole.latents.clone()
    tail = denoise(tiny_model, request, (whole, 3))
    for step in whole.steps[:-1]:
        step.latents.fill_(1e6)
        step.model_output.fill_(1e6)
    *_, last = tail
    assert torch.equal(last.latents, final)


def test_refusals(tiny_model):
    whole = run(tiny_model, Request(steps=3))
    bad = noise(0)
    bad[0, 0, 0, 0] = float("nan")
    for start, sentence in (
        ((noise(0), noise(1), 20), "start k is 20; it must be from 0 to 19."),
        ((noise(0)[:, :3], noise(1), 2), "start latents has shape (1, 3, 8, 8); shape (1, 4, 8, 8) is needed."),
        ((noise(0), bad, 2), "start noise has values that are not finite"),
        ((noise(0).to_sparse(), noise(1), 2), "start latents is a tensor of float32 of layout sparse_coo on cpu; a dense"),
        ((noise(0), noise(1).to("meta"), 2), "start noise is a tensor of float32 of layout strided on meta; a dense"),
        ((noise(0), noise(1).to(torch.complex64), 2), "start noise is a tensor of complex64"),
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


@pytest.mark.parametrize("variance", ["learned", "learned_range"])
def test_a_config_that_wants_a_predicted_variance(variance):
    model = as_model(tiny_parts())
    model.scheduler_config = {**model.scheduler_config, "variance_type": variance}
    for name in ("DDPM", "DPM++ 2M"):
        with pytest.raises(RequestError) as refusal:
            denoise(model, Request(sampler=name))
        assert f"the model's variance_type is '{variance}', and this project takes no predicted variance." in str(
            refusal.value
        )
    assert len(run(model, Request(sampler="DDIM", steps=2)).steps) == 3
