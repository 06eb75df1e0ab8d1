"""look, sees and walk hold for anything that anybody sends; what is kept is bounded and forgotten with its session."""

from __future__ import annotations

import json
import threading

import gradio as gr
import numpy as np
import pytest
import torch
from tiny import Calls

from explorer import noising
from explorer.forward import Noising, Source, walk, walked
from explorer.forward_schedule import KNOTS, schedule
from explorer.frames import data_uri
from explorer.sessions import Sessions
from explorer.tabs import forward, forward_runs
from explorer.tabs.forward import runner
from explorer.tabs.forward_runs import BUSY, FAILED, GONE, NOWHERE, Runs, answers, nbytes, walker


def a_state(model, seed=7, steps=30, **more) -> Noising:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (3, 64, 64), generator=generator, dtype=torch.uint8)
    latents = torch.randn(4, 8, 8, generator=generator)
    made = schedule("linear", steps, True, KNOTS, model)
    return Noising(Source("x", (), pixels, pixels, latents), seed, made, **more)


@pytest.fixture
def asked(counted):
    runs = Runs()
    runs.keep("ann", "r", a_state(counted))
    return runs, counted, dict(zip(("look", "sees", "walk"), answers(counted, runs), strict=True))


STRANGE = [None, 7, "r", [], ["r"], ["r", 1, 2], {"run": "r"}, {"0": "r", "1": 1}, True, [["r"], 1], [None, 1],
           ["nobody's", 1], ["r" * 10**6, 1], [{}, 1]]  # fmt: skip
PLACES = [-1, 31, 10**30, 1.5, "1", None, True, [1], {"t": 1}, float("nan"), float("inf")]


@pytest.mark.parametrize("name", ["look", "sees", "walk"])
def test_what_is_asked_wrongly_gets_one_sentence(asked, name, caplog):
    _, model, functions = asked
    for wanted in STRANGE:
        assert functions[name](wanted) == {"error": GONE}
    assert functions[name]() == {"error": GONE}
    for place in PLACES:
        assert functions[name](["r", place]) == {"error": NOWHERE.format(30)}
    assert model.rows == []
    assert caplog.text == ""


def test_look_decodes_the_latents_state(asked):
    runs, model, functions = asked
    for t in (0, 12, 30):
        answer = functions["look"](["r", t])
        assert answer["picture"] == data_uri(model.decode(runs.get("r").latents(t)[None]))
        assert answer["ms"] >= 0
    assert functions["look"](["r", 12]) is functions["look"](["r", 12])


def test_sees_answers_once_a_state_and_the_curve_once_a_schedule(asked):
    runs, model, functions = asked
    first, again, other = (functions["sees"](["r", t]) for t in (9, 9, 10))
    assert first is again
    assert model.rows == [1, 10, 1]
    assert len(first["curve"]) == 10
    assert first["curve"] is other["curve"]
    assert json.loads(json.dumps(first)) == first
    runs.keep("ann", "r", a_state(model, steps=20))
    assert functions["sees"](["r", 9])["mse"] != first["mse"]
    assert model.rows == [1, 10, 1, 1, 10]
    assert "nothing to predict" in functions["sees"](["r", 0])["error"]


def test_walk_is_the_chain_whichever_way_it_is_walked(asked):
    runs, model, functions = asked
    state = runs.get("r")
    x0 = walked(state.source)
    chain = {one.t: one for one in noising.chain(x0, state.schedule.values, state.seed)}
    for t in (1, 2, 3, 30, 29, 0, 5):
        assert functions["walk"](["r", t]) == walk(state, t, x0, chain.get(t))
    assert model.rows == []


def test_a_walk_goes_on_where_it_was(tiny_model, monkeypatch):
    begun = []
    chain = noising.chain
    monkeypatch.setattr(noising, "chain", lambda *values: begun.append(1) or chain(*values))
    work, one, two = walker(), a_state(tiny_model), a_state(tiny_model, seed=8)
    for state, t in ((one, 3), (one, 4), (one, 9), (one, 9), (two, 9), (one, 9), (one, 2)):
        work(state, t)
    assert len(begun) == 3  # one, two, and one again from its start


def test_two_people_walk_without_starting_over_and_the_longest_unwalked_goes(tiny_model, monkeypatch):
    begun = []
    chain = noising.chain
    monkeypatch.setattr(noising, "chain", lambda *values: begun.append(1) or chain(*values))
    work, states = walker(most=2), [a_state(tiny_model, seed=seed) for seed in (1, 2, 3)]
    for t in range(1, 6):
        work(states[0], t)
        work(states[1], t)
    assert len(begun) == 2
    work(states[2], 5)
    work(states[1], 6)
    assert len(begun) == 3
    answer = work(states[0], 6)  # gone, and walked anew to the same place
    assert len(begun) == 4
    *_, reached = chain(walked(states[0].source), states[0].schedule.values[:6], states[0].seed)
    assert answer == walk(states[0], 6, walked(states[0].source), reached)


def test_the_oldest_of_a_session_go_first(tiny_model):
    size = nbytes(a_state(tiny_model))
    runs = Runs(session_bytes=2 * size, total_bytes=5 * size)
    for run in "abc":
        runs.keep("ann", run, a_state(tiny_model))
    assert [runs.get(run) is None for run in "abc"] == [True, False, False]
    runs.get("b")
    runs.keep("ann", "d", a_state(tiny_model))
    assert [runs.get(run) is None for run in "bcd"] == [False, True, False]
    for number in range(10):
        runs.keep(f"other {number}", str(number), a_state(tiny_model))
    assert sum(runs.get(str(number)) is not None for number in range(10)) == 5
    assert runs.get("d") is None


def test_the_newest_stays_however_large_it_is(tiny_model):
    runs = Runs(session_bytes=1, total_bytes=1)
    runs.keep("ann", "a", a_state(tiny_model))
    assert runs.get("a") is not None
    runs.keep("ann", "b", a_state(tiny_model))
    assert runs.get("a") is None
    assert runs.get("b") is not None


def test_a_closed_page_is_forgotten(tiny_model):
    sessions, runs = Sessions(), Runs()
    sessions.on_drop(runs.drop)
    runs.keep("ann", "a", a_state(tiny_model))
    runs.keep("bob", "b", a_state(tiny_model))
    sessions.drop("ann")
    assert runs.get("a") is None
    assert runs.get("b") is not None
    runs.keep("ann", "late", a_state(tiny_model))  # ready after its page was closed
    assert runs.get("late") is None
    runs.open("ann")  # the connection was only broken
    runs.keep("ann", "again", a_state(tiny_model))
    assert runs.get("again") is not None


def test_a_picture_that_is_ready_after_its_page_was_closed_is_not_kept(tiny_model):
    """By the way that a page asks: the endpoint's handler, with the session closed while the picture is encoded."""
    runs = Runs()

    class Page:
        session_hash = "ann"

    class Closing:
        def __getattr__(self, name):
            return getattr(tiny_model, name)

        def encode(self, pixels):
            runs.drop("ann")
            return tiny_model.encode(pixels)

    late, again = (runner(Closing(), runs)(example="cat", request=Page()), runner(tiny_model, runs)(request=Page()))
    assert runs.get(late["run"]) is None
    assert runs.get(again["run"]) is not None


def test_the_curves_are_those_of_the_run_and_its_picture(tiny_model):
    runs, state = Runs(), a_state(tiny_model)
    runs.keep("ann", "r", state)
    for stacked in (False, True):
        figure = forward._plotted(runs, "r", stacked)
        variance = (state.source.pixels.double() / 127.5 - 1).var(correction=0).item()
        wanted = noising.snr_db(state.schedule.values, variance)
        np.testing.assert_allclose(figure.data[2].y, wanted, rtol=1e-3)
    assert forward._plotted(runs, "nobody's", False) == forward._plotted(runs, ["r"], None) == gr.skip()


def test_a_crowd_is_sent_away(asked, monkeypatch):
    runs, model, _ = asked
    gate = threading.Event()

    class Slow:
        def __getattr__(self, name):
            return getattr(model, name)

        def decode(self, latents):
            gate.wait(20)
            return model.decode(latents)

    look, *_ = answers(Slow(), runs)
    found = []
    threads = [threading.Thread(target=lambda t=t: found.append(look(["r", t]))) for t in range(forward_runs.WAITING)]
    for thread in threads:
        thread.start()
    for _ in range(500):
        if (refused := look(["r", 29])) == {"error": BUSY}:
            break
        threading.Event().wait(0.01)
    gate.set()
    for thread in threads:
        thread.join(20)
    assert refused == {"error": BUSY}
    assert all("picture" in one for one in found)


def test_a_failure_inside_is_one_sentence(tiny_model, caplog):
    runs = Runs()
    runs.keep("ann", "r", a_state(tiny_model))
    model = Calls(tiny_model)
    model.decode = None
    look, *_ = answers(model, runs)
    assert look(["r", 1]) == {"error": FAILED}
    assert "Traceback" in caplog.text
