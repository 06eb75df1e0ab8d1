"""Seeds x scales: the grid against single runs, its curve against closed forms, and its bounds."""

import pytest
import torch
from tiny import as_model, lcm_parts

from explorer import Request, denoise_batch, run
from explorer.diversity import curve, grid, measured
from explorer.limits import WORK
from explorer.records import RequestError

REQUEST = Request(prompt="red cat", negative_prompt="blue", steps=3, guidance_rescale=0.2, guidance=9.0)
SEEDS, SCALES = (3, 8, 5), (1.0, 4.0)


def off(a, b):
    return float((a - b).abs().max()) / max(1.0, float(b.abs().max()))


def test_every_cell_is_its_single_run(tiny_model):
    rows = list(grid(tiny_model, REQUEST, SEEDS, SCALES))
    assert [(row.row, row.seed, row.unconditional.index) for row in rows] == [
        (turn, seed, index) for turn, seed in enumerate(SEEDS) for index in range(4)
    ]
    for last in rows[3::4]:
        for scale, step in zip(SCALES, last.steps, strict=True):
            alone = run(tiny_model, Request(**vars(REQUEST) | {"seed": last.seed, "guidance": scale}))
            assert off(step.latents, alone.latents) <= 1e-3
        free = run(tiny_model, Request(steps=3, seed=last.seed, guidance=1.0))  # of the empty prompt
        assert off(last.unconditional.latents, free.latents) <= 1e-3


def test_a_seeds_runs_share_their_first_evaluation(counted):
    list(grid(counted, Request(prompt="cat", steps=2), (1, 2), (2.0, 4.0, 8.0)))
    assert counted.rows == [2, 8, 2, 8]  # three pairs and that of guidance 0
    counted.rows.clear()
    list(grid(counted, Request(prompt="cat", steps=2), (1,), (0.0, 2.0)))
    assert counted.rows == [2, 4]  # guidance 0 is asked for anyway


def test_the_curve():
    def flat(value):
        return torch.full((1, 4, 2, 2), float(value))

    points = curve((0.0, 7.0), [[flat(0), flat(3)], [flat(2), flat(4)]], [flat(0), flat(2)])
    assert [point.scale for point in points] == [0.0, 7.0]
    assert [point.spread for point in points] == pytest.approx([2, 1])
    assert [point.distance for point in points] == pytest.approx([0, 2.5])
    assert [point.size for point in points] == pytest.approx([1, 3.5])
    [alone] = curve((1.0,), [[flat(5)]], [flat(1)])
    assert (alone.spread, alone.distance, alone.size) == (0, 4, 5)


def test_measured_reads_the_whole_grid(tiny_model):
    request = Request(prompt="red cat", steps=3)
    zero, one, nine = measured(grid(tiny_model, request, (1, 2), (0.0, 1.0, 9.0)), (0.0, 1.0, 9.0))
    assert zero.distance == 0  # guidance 0 is the unconditional run
    assert 0 < one.distance < nine.distance
    ends = [run(tiny_model, Request(prompt="red cat", steps=3, seed=s, guidance=9.0)).latents for s in (1, 2)]
    assert nine.spread == pytest.approx(float((ends[0] - ends[1]).square().mean().sqrt()), rel=1e-3)


def test_rows_run_where_they_are_told_and_stop_when_closed(tiny_model):
    asked, closed = [], []

    def elsewhere(model, requests):
        asked.append([(request.seed, request.guidance, request.prompt) for request in requests])
        try:
            yield from denoise_batch(model, requests)
        finally:
            closed.append(True)

    stream = grid(tiny_model, Request(prompt="cat", steps=2), (1, 2), (4.0,), elsewhere)
    assert asked == []
    next(stream)
    stream.close()
    assert asked == [[(1, 4.0, "cat"), (1, 0.0, "cat")]]
    assert closed == [True]


@pytest.mark.parametrize(
    ("request_", "seeds", "scales", "sentence"),
    [
        ({}, (), (1.0,), "seeds has 0 values; it takes 1 to 12."),
        ({}, range(13), (1.0,), "seeds has 13 values; it takes 1 to 12."),
        ({}, "12", (1.0,), "seeds is a str; a list of 1 to 12 seeds is needed."),
        ({}, (1, 2, 1), (1.0,), "seeds[2] is 1 again; each seed counts once."),
        ({}, (1, 2.5), (1.0,), "seeds[1] is 2.5; a whole number from 0 to 4294967295 is needed."),
        ({}, (-1,), (1.0,), "seeds[0] is -1; it must be from 0 to 4294967295."),
        ({}, (1,), (1.0, 40.0), "scales[1] is 40.0; it must be from -5 to 30."),
        ({"eta": 2.0}, (1,), (1.0,), "eta is 2.0; it must be from 0 to 1."),
        (
            {"steps": 150}, range(12), (1.0,) * 12,
            f"steps x width x height x batch is 150 x 64 x 64 x 156 = 95846400; the limit is {WORK}.",
        ),
    ],
)  # fmt: skip
def test_refusals(tiny_model, request_, seeds, scales, sentence):
    with pytest.raises(RequestError) as refusal:
        grid(tiny_model, Request(**request_), seeds, scales)
    assert str(refusal.value) == sentence


def test_a_model_that_is_told_the_scale_has_no_such_grid():
    with pytest.raises(RequestError, match=r"^The model 'tiny' makes no unconditional prediction, "):
        grid(as_model(lcm_parts()), Request(prompt="cat", steps=2), (1,), (2.0,))
