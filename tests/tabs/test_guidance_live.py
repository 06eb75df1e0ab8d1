"""The dial turned live: a run is the engine's own, a stale one stops, and whatever is asked is answered in a sentence."""

from __future__ import annotations

import base64
import re
from threading import Event, Thread

import numpy as np
import pytest
import torch
from serving import Counting

from explorer import Request, run
from explorer.sweep import meaning
from explorer.tabs.guidance_live import STEPS, TENTHS, WAITING, Turning, meanings, runner

PAGE = "a-page-of-its-own"
FORM = {"prompt": "pizza", "seed": 5, "sampler": "DDIM", "negative_prompt": "", "guidance_rescale": 0.0}


def asking(turn, w=4.0, page=PAGE, **values) -> dict:
    return FORM | {"page": page, "turn": turn, "guidance": w} | values


def halves(text: str, shape) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32)).reshape(1, *shape)


def sentenced(message: str) -> None:
    assert re.fullmatch(r"\w[^\n]*\.", message), message
    assert "log says why" not in message
    assert not re.search(r"Traceback|Error:|/\w+/\w+|\.py", message), message


@pytest.mark.parametrize(("w", "sampler"), [(4.0, "DDIM"), (1.0, "DDIM"), (-3.0, "Euler"), (7.5, "Heun")])
def test_a_live_run_is_the_engines_own(tiny_model, w, sampler):
    live = runner(Turning(tiny_model))
    steps = run(tiny_model, Request(prompt="pizza", seed=5, steps=STEPS, guidance=w, sampler=sampler)).steps
    for i, step in enumerate(steps):
        got = live(asking(1, w, sampler=sampler))
        assert (got["turn"], got["w"], got["i"], got["n"]) == (1, w, i, len(steps))
        if step.x0 is not None:
            assert torch.allclose(halves(got["planes"]["x0"], got["shape"]), step.x0, rtol=2e-3, atol=2e-3)
    assert got["picture"].startswith("data:image/png")
    assert 0 <= got["clipped"] <= 1
    assert 0 <= got["saturation"] <= 1
    assert live(asking(1, w, sampler=sampler)) == {"turn": 1, "over": True}


def test_a_stale_run_stops_within_the_step_that_it_was_in(tiny_model):
    model = Counting(tiny_model)
    live = runner(Turning(model))
    for turn, steps in ((1, 3), (2, 1), (3, 2)):
        assert [live(asking(turn, float(turn)))["i"] for _ in range(steps)] == list(range(steps))
    assert model.predictions == 3 + 1 + 2
    assert live(asking(1)) == {"turn": 1, "over": True}
    assert live(asking(2)) == {"turn": 2, "over": True}
    assert model.predictions == 6  # asking for an older one computes nothing
    while "picture" not in live(asking(3, 3.0)):
        pass
    assert model.predictions == 3 + 1 + STEPS


def test_a_newer_turn_that_is_refused_leaves_the_older_run(tiny_model):
    live = runner(Turning(tiny_model))
    live(asking(1))
    sentenced(live(asking(2, 31.0))["error"])
    assert live(asking(1))["i"] == 1


@pytest.mark.parametrize(
    "wanted",
    [
        None, [], "live", {}, {"page": 7, "turn": 1}, asking(1, page="short"), asking(1, page="p" * 65),
        asking(True), asking(-1), asking("1"), asking(1.5), asking(None), asking(float("nan")), asking(2**60),
        asking(1, float("nan")), asking(1, 31), asking(1, "4"), asking(1, None), asking(1, [4.0]), asking(1, True),
        asking(1, prompt="a\0b"), asking(1, prompt=7), asking(1, seed=None), asking(1, seed=""), asking(1, seed=-1),
        asking(1, sampler=["DDIM"]), asking(1, sampler="none"), asking(1, negative_prompt=[]),
        asking(1, guidance_rescale=2), asking(1, prompt="x" * 6000),
    ],
)  # fmt: skip
def test_whatever_is_asked_live_is_answered_in_a_sentence(tiny_model, wanted, caplog):
    sentenced(runner(Turning(tiny_model))(wanted)["error"])
    assert not [record for record in caplog.records if record.exc_info]


def test_pages_that_ask_no_more_are_dropped(tiny_model):
    turning = Turning(tiny_model, pages=2, resting=0.0)
    for page in ("first", "second", "third"):
        turning.next(page, 1, asking(1))
    assert len(turning) == 2
    assert turning.next("third", 1, asking(1))["i"] == 1
    assert turning.next("first", 1, asking(1))["i"] == 0  # gone: from the beginning
    turning.drop_idle()
    assert len(turning) == 2


def test_more_pages_than_places_wait_and_all_come_to_their_end(tiny_model):
    """Were a run let go between two of its steps, pages that take turns would begin again and again."""
    turning = Turning(tiny_model, pages=2, resting=60.0)
    first, second = ([turning.next(page, 1, asking(1)) for page in ("first", "second")] for _ in range(2))
    assert [one["i"] for one in (*first, *second)] == [0, 0, 1, 1]
    assert turning.next("third", 1, asking(1)) == {"busy": True}
    assert turning.next("first", 2, asking(2))["i"] == 0  # who has a place may turn on
    assert len(turning) == 2


def test_runs_that_nobody_asks_for_are_dropped(tiny_model):
    turning = Turning(tiny_model, idle=-1.0)  # so that each is late at once
    turning.next("first", 1, asking(1))
    assert len(turning) == 1
    turning.drop_idle()
    assert len(turning) == 0


def test_a_crowd_is_told_to_ask_again(tiny_model):
    at_work, go = Event(), Event()

    class Slow(Counting):
        def predict(self, *given):
            at_work.set()
            go.wait(20)
            return super().predict(*given)

    live = runner(Turning(Slow(tiny_model)))
    answers: list[dict] = []
    ask = lambda k: answers.append(live(asking(1, page=f"page number {k}")))  # noqa: E731
    crowd = [Thread(target=ask, args=(k,)) for k in range(WAITING)]
    crowd[0].start()
    assert at_work.wait(20)
    for one in crowd[1:]:
        one.start()
    while not (answer := live(asking(1))).get("busy"):  # until all of them stand in line
        assert "error" not in answer
    go.set()
    for one in crowd:
        one.join(20)
    assert [answer["i"] for answer in answers] == [0] * WAITING
    assert live(asking(1))["i"] == 0


@pytest.mark.parametrize("negative", ["", "red"])
def test_the_dial_names_every_value_as_the_sweep_does(negative):
    rows = meanings(negative)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    for w in TENTHS:
        found = next(row for row in reversed(rows) if w >= row[0])
        assert found[1:] == (meaning(w, negative).name, meaning(w, negative).sentence)
    assert {0.0, 1.0} <= {row[0] for row in rows}
