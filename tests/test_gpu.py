"""CUDA: the same pictures up to rounding, streamed one step late, and stopped at once."""

import itertools

import pytest
import torch

from explorer import Request, denoise, load_model, run
from explorer.samplers import SAMPLERS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.fixture(scope="module")
def cuda():
    return load_model(device="cuda")


@pytest.mark.parametrize("name", SAMPLERS)
def test_float16_is_close_to_float32(cuda, embedded_model, name):
    """A seed is the same picture on every device: mean difference below 2% of the latents' own spread."""
    assert cuda.dtype == torch.float16
    request = Request(prompt="pizza", steps=10, sampler=name, seed=7)
    exact, half = run(embedded_model, request), run(cuda, request)
    assert torch.equal(half.steps[0].latents, exact.steps[0].latents)
    difference = (half.latents - exact.latents).abs().mean()
    assert float(difference) < 0.02 * float(exact.latents.std())


def test_float32_on_cuda_is_closer(embedded_model):
    model, request = load_model(device="cuda", dtype="float32"), Request(prompt="pizza", steps=10)
    difference = (run(model, request).latents - run(embedded_model, request).latents).abs().max()
    assert float(difference) < 0.05


def test_every_step_arrives_in_order_on_the_cpu(cuda):
    steps = list(denoise(cuda, Request(prompt="cat", steps=12, sampler="DPM++ 2M SDE")))
    assert [step.index for step in steps] == list(range(13))
    for step, following in itertools.pairwise(steps):
        assert step.latents.device.type == "cpu"
        assert not step.latents.is_pinned()
        total = sum(term.coefficient * term.tensor for term in step.terms)
        assert torch.allclose(total, following.latents, atol=1e-3)


def test_a_cancelled_run_leaves_the_device_as_it_was(cuda):
    request = Request(prompt="cat", steps=20)
    whole = run(cuda, request).latents
    assert cuda.kernels.wait(60)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(20):
        steps = denoise(cuda, request)
        next(steps)
        steps.close()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() - before < 2**20
    assert torch.equal(run(cuda, request).latents, whole)


def test_no_host_sync_per_step(cuda):
    """DDIM's loop runs under torch's sync debug mode, which raises at every synchronising call of its own."""
    list(denoise(cuda, Request(prompt="cat", steps=6)))
    assert cuda.kernels.wait(60)  # its thread synchronises, and the mode is the process's
    steps = denoise(cuda, Request(prompt="cat", steps=6))
    next(steps)
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert len(list(steps)) == 6
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", SAMPLERS)
def test_going_on_unchanged_is_bit_identical(cuda, name):
    request = Request(prompt="cat", steps=6, sampler=name, eta=0.5 if name == "DDIM" else 0.0)
    whole = run(cuda, request)
    assert torch.equal(run(cuda, request, (whole, 4)).latents, whole.latents)
