"""w(t): closed forms of every row, values that fit a Request, and runs that the dial must not change."""

import math

import pytest
import torch

from explorer import Request, run
from explorer.dial import DIALS, INTERVAL, Place, dialled, parse, places, values, written
from explorer.limits import check
from explorer.records import RequestError
from explorer.samplers import SAMPLERS
from explorer.schedule import schedule


def plan_of(model, steps=5, sampler="DDIM", **extra):
    return schedule(check(Request(steps=steps, sampler=sampler, **extra), model), model.scheduler_config)


@pytest.fixture
def plan(tiny_model):
    """Five evaluations at equal distances, so that their places are 0, 1/4, 1/2, 3/4 and 1."""
    return plan_of(tiny_model)


def test_places_are_the_runs_own(plan):
    assert [place.at for place in places(plan)] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    for place, (alpha, sigma) in zip(places(plan), plan.levels[:-1], strict=True):
        assert place.noise == pytest.approx(sigma / alpha)


CLOSED = {
    "constant": ({}, [8, 8, 8, 8, 8]),
    "linear rising": ({"rest": 2.0}, [2, 3.5, 5, 6.5, 8]),
    "linear falling": ({"rest": 2.0}, [8, 6.5, 5, 3.5, 2]),
    "cosine rising": ({"rest": 2.0}, [2, 2 + 6 * (0.5 - math.sqrt(0.125)), 5, 2 + 6 * (0.5 + math.sqrt(0.125)), 8]),
    "cosine falling": ({"rest": 2.0}, [8, 2 + 6 * (0.5 + math.sqrt(0.125)), 5, 2 + 6 * (0.5 - math.sqrt(0.125)), 2]),
    "drawn": ({"knots": "0:1 0.5:8 1:-5"}, [1, 4.5, 8, 1.5, -5]),
}


def test_every_row_has_a_test():
    assert {*CLOSED, "interval"} == set(DIALS)
    for row in DIALS.values():
        assert set(row.takes) <= {"rest", "low", "high", "knots"}
        assert row.formula
        assert row.summary.endswith(".")


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(plan, name):
    settings, expected = CLOSED[name]
    got = values(name, 8.0, plan, **settings)
    assert got == pytest.approx(expected)
    assert (got[0], got[-1]) == (expected[0], expected[-1])  # both ends exactly


def test_the_interval_is_open_below_and_closed_above(plan):
    noise = [place.noise for place in places(plan)]  # falling
    assert values("interval", 8.0, plan, low=noise[3], high=noise[1]) == (1.0, 8.0, 8.0, 1.0, 1.0)
    assert values("interval", 8.0, plan, low=0.0, high=1000.0) == (8.0,) * 5
    assert values("interval", 8.0, plan, low=900.0, high=1000.0) == (1.0,) * 5
    low, high = INTERVAL
    assert values("interval", 8.0, plan) == tuple(8.0 if low < level <= high else 1.0 for level in noise)


def test_a_state_without_signal_is_the_upper_end():
    class Plan:
        timesteps = (torch.tensor(999), torch.tensor(0))
        levels = ((0.0, 1.0), (0.8, 0.6), (1.0, 0.0))

    assert places(Plan()) == [Place(0.0, 1000.0), Place(1.0, pytest.approx(0.75))]
    assert values("interval", 3.0, Plan(), low=1.0, high=1000.0) == (3.0, 1.0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_values_fit_the_request_of_every_sampler(tiny_model, name):
    request = Request(prompt="cat", steps=4, sampler=name)
    for dial in DIALS:
        made = dialled(tiny_model, request, dial, 6.0, knots="0:6 1:1", low=0.3, high=5.0)
        assert len(made.guidance) == SAMPLERS[name].evaluations(4)
        assert check(made, tiny_model) == made


@pytest.mark.parametrize(("name", "settings"), [("Heun", {}), ("Heun", {"karras": True}), ("PNDM", {})])
def test_looks_at_one_level_get_one_value(tiny_model, name, settings):
    plan = plan_of(tiny_model, 5, name, **settings)
    seen = {}
    for dial in DIALS:
        for t, w in zip(plan.timesteps, values(dial, 7.0, plan, knots="0:-5 1:30"), strict=True):
            assert seen.setdefault((dial, float(t)), w) == w
    assert len(seen) < len(DIALS) * len(plan.timesteps)


@pytest.mark.parametrize("name", ["DDIM", "Heun", "PNDM", "UniPC"])
@pytest.mark.parametrize("guidance", [1.0, 3.5])
def test_constant_is_the_plain_number_bit_for_bit(tiny_model, name, guidance):
    request = Request(prompt="cat", steps=4, sampler=name, guidance_rescale=0.4, guidance=guidance)
    made = dialled(tiny_model, request, "constant", guidance)
    assert torch.equal(run(tiny_model, made).latents, run(tiny_model, request).latents)


def test_an_interval_asks_once_outside(counted):
    plan = plan_of(counted, 5)
    noise = [place.noise for place in places(plan)]
    request = dialled(counted, Request(prompt="cat", steps=5), "interval", 8.0, low=noise[3], high=noise[1])
    run(counted, request)
    assert counted.rows == [1, 2, 2, 1, 1]


def test_one_evaluation(tiny_model):
    plan = plan_of(tiny_model, 1)
    assert values("linear rising", 8.0, plan) == (1.0,)
    assert values("drawn", 8.0, plan, knots="0:3 1:9") == (3.0,)


def test_knots_and_their_text():
    knots = ((0.0, 1.0), (0.5, 8.0), (1.0, -2.5))
    assert parse("0:1 0.5:8 1:-2.5") == parse(" 0:1,0.5:8,\n1:-2.5 ") == knots
    assert written(knots) == "0:1 0.5:8 1:-2.5"
    assert parse(written(((0.0, 1 / 3), (1.0, 30.0)))) == ((0.0, 0.333333), (1.0, 30.0))


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("bump", {}, "dial is 'bump'; it must be one of constant, interval, linear rising"),
        (["constant"], {}, "dial is \"['constant']\"; it must be one of"),
        ("constant", {"guidance": 31}, "guidance is 31; it must be from -5 to 30."),
        ("linear rising", {"rest": math.inf}, "rest is inf; it must be from -5 to 30."),
        ("interval", {"low": -1}, "low is -1; it must be from 0 to 1000."),
        ("interval", {"high": "9"}, "high is '9'; a number from 0 to 1000 is needed."),
        ("interval", {"low": 5, "high": 5}, "low is 5 and high is 5; low must be below high."),
        ("drawn", {}, "knots has 0 knots; it takes 2 to 12, such as 0:1 0.5:8 1:1."),
        ("drawn", {"knots": None}, "knots must be a text of at most 400 characters, such as 0:1 0.5:8 1:1."),
        ("drawn", {"knots": "0:1 " * 101}, "knots must be a text of at most 400 characters, such as 0:1 0.5:8 1:1."),
        ("drawn", {"knots": "0:1 " * 13}, "knots has 13 knots; it takes 2 to 12, such as 0:1 0.5:8 1:1."),
        ("drawn", {"knots": "0:1 half:2 1:1"}, "Knot 2 is 'half:2'; place:value is needed, such as in 0:1 0.5:8 1:1."),
        ("drawn", {"knots": "0:1 1"}, "Knot 2 is '1'; place:value is needed, such as in 0:1 0.5:8 1:1."),
        ("drawn", {"knots": "0:1 1:nan"}, "The value of knot 2 is nan; it must be from -5 to 30."),
        ("drawn", {"knots": "0:1 1:31"}, "The value of knot 2 is 31.0; it must be from -5 to 30."),
        ("drawn", {"knots": "0:1 1.5:3"}, "The place of knot 2 is 1.5; it must be from 0 to 1."),
        ("drawn", {"knots": "0:1 0.5:1"}, "The knots' places must rise from 0 to 1."),
        ("drawn", {"knots": "0:1 0.5:1 0.5:2 1:1"}, "The knots' places must rise from 0 to 1."),
    ],
)
def test_refusals(plan, name, settings, sentence):
    with pytest.raises(RequestError) as refusal:
        values(name, **{"guidance": 4.0, "plan": plan, **settings})
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)
