"""Runs share a model and nothing else: interleaved, abandoned or disturbed, each is what it is alone."""

import gc
import threading

import pytest
import torch

from explorer import Request, denoise, run
from explorer.samplers import SAMPLERS


@pytest.mark.parametrize("name", SAMPLERS)
def test_two_interleaved_runs(tiny_model, name):
    requests = [Request(prompt=p, seed=s, steps=5, sampler=name) for p, s in (("cat", 1), ("red star", 2))]
    alone = [run(tiny_model, request).latents for request in requests]
    pair = list(zip(*(denoise(tiny_model, request) for request in requests), strict=True))
    assert all(torch.equal(step.latents, latents) for step, latents in zip(pair[-1], alone, strict=True))


def test_runs_in_threads(tiny_model):
    requests = [Request(prompt="cat", seed=seed, steps=6, sampler="UniPC") for seed in range(4)]
    alone = [run(tiny_model, request).latents for request in requests]
    results: dict[int, torch.Tensor] = {}
    threads = [
        threading.Thread(target=lambda i=i, r=r: results.update({i: run(tiny_model, r).latents}))
        for i, r in enumerate(requests)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(results[i], latents) for i, latents in enumerate(alone))


def test_an_early_close_leaves_nothing(tiny_model):
    request = Request(prompt="cat", steps=8, sampler="DPM++ 2M SDE")
    whole = run(tiny_model, request).latents
    modules = [*tiny_model.unet.modules(), *tiny_model.text_encoder.modules(), *tiny_model.vae.modules()]
    before = [(len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for m in modules]
    random, grad, inference = torch.get_rng_state(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    for count in (0, 1, 3):
        steps = denoise(tiny_model, request)
        for _ in range(count):
            next(steps)
            assert torch.is_inference_mode_enabled() is False  # not across a yield
        steps.close()
        del steps
    gc.collect()
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for m in modules] == before
    assert torch.equal(torch.get_rng_state(), random)
    assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == (grad, inference)
    assert not tiny_model._lock.locked()
    assert torch.equal(run(tiny_model, request).latents, whole)


def test_a_consumer_cannot_disturb_the_sampling(tiny_model):
    for name in SAMPLERS:
        request = Request(prompt="cat", steps=5, sampler=name)
        whole = run(tiny_model, request).latents
        for step in denoise(tiny_model, request):
            last = step.latents.clone()
            for field in ("latents", "model_output", "eps", "x0", "z", "eps_cond", "eps_uncond"):
                if getattr(step, field) is not None:
                    getattr(step, field).fill_(1e6)
            for term in step.terms:
                term.tensor.fill_(1e6)
        assert torch.equal(last, whole), name


def test_steps_are_plain_cpu_tensors(tiny_model):
    step = next(denoise(tiny_model, Request(prompt="cat", steps=2)))
    assert step.latents.dtype == torch.float32
    assert step.latents.device.type == "cpu"
    assert not step.latents.is_inference()


def test_nothing_is_computed_before_the_first_step(counted):
    steps = denoise(counted, Request(steps=3))
    assert counted.rows == []
    next(steps)
    assert counted.rows == [2]  # and no more than one evaluation for it


def test_prompts_are_cached_and_bounded(tiny_model, monkeypatch):
    calls = []
    original = type(tiny_model.text_encoder).forward
    monkeypatch.setattr(
        type(tiny_model.text_encoder), "forward", lambda self, *a, **k: calls.append(1) or original(self, *a, **k)
    )
    tiny_model.forget_prompts()
    first = tiny_model.encode_prompt("cat")
    assert tiny_model.encode_prompt("cat") is first
    assert len(calls) == 1
    for i in range(200):
        tiny_model.encode_prompt(f"cat {i}")
    assert len(tiny_model._prompts) == 64
    assert tiny_model.encode_prompt("cat") is not first
