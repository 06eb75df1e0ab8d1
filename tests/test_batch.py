"""denoise_batch: what may be mixed, what is shared, and that every row is its single run."""

import pytest
import torch

from explorer import Request, denoise_batch, run
from explorer.records import RequestError
from explorer.samplers import SAMPLERS


def finals(model, requests):
    *_, last = denoise_batch(model, requests)
    return [step.latents for step in last]


def close(a, b):
    return float((a - b).abs().max()) <= 1e-3 * max(1.0, float(b.abs().max()))


def test_rows_equal_their_single_runs(embedded_model):
    requests = [
        Request(prompt="pizza", seed=1, steps=4),
        Request(prompt="cat", seed=2, steps=4, guidance=1.0),
        Request(prompt="star", negative_prompt="red", seed=3, steps=4, guidance=7.0, sampler="DDPM"),
        Request(prompt="house", seed=4, steps=4, sampler="Euler", spacing="linspace"),
        Request(prompt="cat", seed=5, steps=4, sampler="UniPC", guidance=(1.0, 2.0, 3.0, 1.0)),
        Request(prompt="cat", seed=6, steps=3, sampler="PNDM"),
    ]
    for request, final in zip(requests, finals(embedded_model, requests), strict=True):
        assert float((final - run(embedded_model, request).latents).abs().max()) <= 1e-3


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_in_company(tiny_model, name):
    requests = [Request(prompt="cat", seed=seed, steps=4, sampler=name, guidance=g) for seed, g in ((1, 3.0), (2, 1.0))]
    for request, final in zip(requests, finals(tiny_model, requests), strict=True):
        assert close(final, run(tiny_model, request).latents)


def test_yields_one_list_per_evaluation(tiny_model):
    lists = list(denoise_batch(tiny_model, [Request(prompt=p, steps=3) for p in ("a", "cat", "red")]))
    assert [len(steps) for steps in lists] == [3] * 4
    assert [[step.index for step in steps] for steps in lists] == [[i] * 3 for i in range(4)]


def test_equal_inputs_share_a_row(counted):
    sweep = [Request(prompt="cat", steps=3, guidance=g) for g in (1.0, 2.0, 4.0, 8.0)]
    list(denoise_batch(counted, sweep))
    assert counted.rows == [2, 7, 7]  # the first evaluation is one pair for all; guidance 1 makes one row only
    counted.rows.clear()
    list(denoise_batch(counted, [Request(prompt="cat", steps=2, guidance=3.0)] * 4))
    assert counted.rows == [2, 2]
    counted.rows.clear()
    list(denoise_batch(counted, [Request(prompt=p, seed=1, steps=2, guidance=3.0) for p in ("cat", "red")]))
    assert counted.rows == [3, 4]  # one unconditional row for both, until they part
    counted.rows.clear()
    names = ("DDPM", "DDIM", "DPM++ 2M", "Euler")
    list(denoise_batch(counted, [Request(prompt="cat", sampler=n, spacing="trailing", steps=2) for n in names]))
    assert counted.rows == [4, 8]  # three VP rows begin in one state; Euler's noise is scaled by its sigma


def test_shared_rows_give_the_same_latents(tiny_model):
    a, b = finals(tiny_model, [Request(prompt="cat", steps=4, seed=8)] * 2)
    assert torch.equal(a, b)


def test_an_empty_prompt_is_two_rows_like_in_diffusers(counted):
    list(denoise_batch(counted, [Request(prompt="", steps=1, guidance=3.0)]))
    assert counted.rows == [2]


@pytest.mark.parametrize(
    ("requests", "sentence"),
    [
        ([], "requests is a list; a list of at least one Request is needed."),
        (Request(), "requests is a Request; a list of at least one Request is needed."),
        ([Request(steps=3), Request(steps=4)], "Request 1 makes 4 evaluations, but the first makes 3"),
        ([Request(steps=3), Request(steps=3, sampler="PNDM")], "Request 1 makes 4 evaluations"),
        ([Request(), Request(width=96)], "Request 1 is 96x64, but the first is 64x64"),
        ([Request(), Request(eta=7)], "eta is 7; it must be from 0 to 1."),
        ([Request(steps=1000)] * 17, "the limit is 67108864"),
    ],
)
def test_refusals(tiny_model, requests, sentence):
    with pytest.raises(RequestError) as refusal:
        denoise_batch(tiny_model, requests)
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)
