"""The sweep: every cell is its single run, the shared evaluation is made once, and every refusal is one sentence."""

import math
import runpy
from pathlib import Path

import pytest
import torch

from explorer import Request, run
from explorer.limits import GUIDANCE, WORK
from explorer.records import RequestError
from explorer.samplers import SAMPLERS
from explorer.sweep import EXTREME, check_scales, meaning, named, requests, sweep

MIXED = (-2.0, 0.0, 0.5, 1.0, 4.0)


def finals(model, request, scales, **extra):
    *_, last = sweep(model, request, scales, **extra)
    return [step.latents for step in last]


def off(a, b):
    """Largest difference, in latents of magnitude 1."""
    return float((a - b).abs().max()) / max(1.0, float(b.abs().max()))


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_cell_is_its_single_run(tiny_model, name):
    request = Request(prompt="red cat", negative_prompt="blue", seed=3, steps=4, sampler=name, guidance_rescale=0.3)
    for scale, final in zip(MIXED, finals(tiny_model, request, MIXED), strict=True):
        assert off(final, run(tiny_model, Request(**vars(request) | {"guidance": scale})).latents) <= 1e-3


@pytest.mark.parametrize("name", ["DDIM", "Heun"])
def test_every_cell_of_the_embedded_model(embedded_model, name):
    request, scales = Request(prompt="pizza", seed=1, steps=2, sampler=name), (1.0, 7.5)
    for scale, final in zip(scales, finals(embedded_model, request, scales), strict=True):
        alone = run(embedded_model, Request(**vars(request) | {"guidance": scale})).latents
        assert float((final - alone).abs().max()) <= 1e-3


@pytest.mark.parametrize("scale", [0.0, 1.0, 6.0])
def test_one_scale_is_the_single_run_exactly(tiny_model, scale):
    request = Request(prompt="cat", steps=4, seed=7)
    [final] = finals(tiny_model, request, [scale])
    assert torch.equal(final, run(tiny_model, Request(**vars(request) | {"guidance": scale})).latents)


def test_the_first_evaluation_is_made_once(counted):
    list(sweep(counted, Request(prompt="cat", steps=4), [float(w) for w in range(2, 14)]))
    assert counted.rows == [2, 24, 24, 24]


def test_shaped_cells_part_where_their_shapes_do(counted):
    request = Request(prompt="cat", steps=4)
    list(sweep(counted, request, (2.0, 4.0, 8.0), shaped=lambda w: (1.0, 1.0, w, 1.0)))
    assert counted.rows == [1, 1, 2, 3]
    shaped = requests(counted, request, (2.0, 8.0), shaped=lambda w: (w, 1.0, 1.0, w))
    assert [one.guidance for one in shaped] == [(2.0, 1.0, 1.0, 2.0), (8.0, 1.0, 1.0, 8.0)]


def test_cells_begin_in_one_state_and_come_in_order(tiny_model):
    lists = list(sweep(tiny_model, Request(prompt="cat", steps=3, guidance=9.0), (5.0, 1.0, -3.0)))
    assert [[step.index for step in steps] for steps in lists] == [[i] * 3 for i in range(4)]
    first = lists[0]
    assert all(torch.equal(step.latents, first[0].latents) for step in first)
    assert all(torch.equal(step.eps_cond, first[0].eps_cond) for step in first)
    assert [step.eps_uncond is None for step in first] == [False, True, False]
    assert torch.allclose(first[2].eps, first[2].eps_uncond - 3 * (first[2].eps_cond - first[2].eps_uncond), atol=1e-4)


@pytest.mark.parametrize(
    ("request_", "scales", "sentence"),
    [
        ({}, (), "scales has 0 values; it takes 1 to 12."),
        ({}, [1.0] * 13, "scales has 13 values; it takes 1 to 12."),
        ({}, "123", "scales is a str; a list of 1 to 12 numbers is needed."),
        ({}, 4.0, "scales is a float; a list of 1 to 12 numbers is needed."),
        ({}, {4.0: 1}, "scales is a dict; a list of 1 to 12 numbers is needed."),
        ({}, (1.0, 31.0), "scales[1] is 31.0; it must be from -5 to 30."),
        ({}, (-5.1,), "scales[0] is -5.1; it must be from -5 to 30."),
        ({}, (math.nan,), "scales[0] is nan; it must be from -5 to 30."),
        ({}, (1.0, "4"), "scales[1] is '4'; a number from -5 to 30 is needed."),
        ({}, (True,), "scales[0] is True; a number from -5 to 30 is needed."),
        ({"steps": 0}, (1.0,), "steps is 0; it must be from 1 to 1000."),
        (
            {"steps": 1000, "width": 128, "height": 64},
            (4.0,) * 12,
            f"steps x width x height x batch is 1000 x 128 x 64 x 12 = 98304000; the limit is {WORK}.",
        ),
    ],
)
def test_refusals(tiny_model, request_, scales, sentence):
    with pytest.raises(RequestError) as refusal:
        sweep(tiny_model, Request(**request_), scales)
    assert str(refusal.value) == sentence


def test_a_shape_of_the_wrong_length_is_refused(tiny_model):
    with pytest.raises(RequestError, match="guidance has 2 values; this run makes 4 evaluations"):
        sweep(tiny_model, Request(steps=4), (2.0, 3.0), shaped=lambda w: (w, w))


def test_every_scale_has_a_name():
    marks = (GUIDANCE[0], -0.01, 0, 0.5, 1, 1.01, EXTREME - 0.01, EXTREME, GUIDANCE[1])
    names = [named(mark) for mark in marks]
    assert names == [
        "away from the prompt", "away from the prompt", "unconditional", "part of the way", "conditional only",
        "past the prompt", "past the prompt", "extreme", "extreme",
    ]  # fmt: skip
    assert named(0.0, "blue") == "negative prompt only"
    assert named(1.0, "blue") == "conditional only"
    for mark in marks[:5]:  # the negative prompt stands in the unconditional one's place, and the sentences say so
        assert "unconditional" not in meaning(mark, "blue").sentence
    assert str(check_scales([-0.0])) == "[0.0]"
    assert all(meaning(mark).sentence.endswith(".") for mark in marks)
    with pytest.raises(RequestError, match=r"guidance is 30\.5; it must be from -5 to 30\."):
        named(30.5)


def test_names_are_true_of_the_latents(tiny_model):
    """0 is the run of the empty prompt, or of the negative one; 1 the prompt's own: said by the name, and so it is."""
    request = Request(prompt="red cat", seed=2, steps=3)
    zero, one = finals(tiny_model, request, (0.0, 1.0))
    assert off(zero, run(tiny_model, Request(prompt="", seed=2, steps=3, guidance=1.0)).latents) <= 1e-3
    assert off(one, run(tiny_model, Request(prompt="red cat", seed=2, steps=3, guidance=1.0)).latents) <= 1e-3
    [other] = finals(tiny_model, Request(prompt="red cat", negative_prompt="blue", seed=2, steps=3), (0.0,))
    assert off(other, run(tiny_model, Request(prompt="blue", seed=2, steps=3, guidance=1.0)).latents) <= 1e-3
    assert off(other, zero) > 1e-3


def test_the_benchmark_runs(tiny_model):
    script = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "guidance.py"))
    seconds = script["measure"](tiny_model, steps=2, scales=3, pairs=2, warm=0)
    assert {name: len(values) for name, values in seconds.items()} == {"sweep": 2, "singles": 2}
    assert script["ratio"]({"sweep": [2.0, 1.0, 9.0], "singles": [4.0, 4.0, 9.0]}) == 0.5
    assert "ratio" in script["report"](seconds, tiny_model, steps=2, scales=3)
