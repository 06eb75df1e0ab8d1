"""How branches hang together: their line, their states through all origins, what stands beside what, and the words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from explorer import Request, run
from explorer.forks import KEPT, Fork, Forks, beside, differs, find, place
from explorer.samplers import SAMPLERS
from explorer.sessions import Sessions

REQUEST = Request(prompt="cat", seed=3, steps=6)


def fork(origin: str, at: int) -> Fork:
    return Fork(origin=origin, at=at, first=at, last=6, changed="", label="", said="")


@pytest.fixture
def family(tiny_model):
    """A run, its branch from step 2, and that one's from step 4."""
    sessions = Sessions()
    forks = Forks(sessions)
    root = run(tiny_model, REQUEST)
    limb = run(tiny_model, replace(REQUEST, guidance=9.0), (root, 2))
    twig = run(tiny_model, replace(REQUEST, guidance=1.0), (limb, 4))
    for name, trajectory in (("root", root), ("limb", limb), ("twig", twig)):
        sessions.put("ann", name, trajectory)
    forks.put("ann", "limb", fork("root", 2))
    forks.put("ann", "twig", fork("limb", 4))
    return sessions, forks


def test_the_states_of_a_branch_of_a_branch_are_one_run(family):
    _, forks = family
    states = forks.states("ann", "twig")
    assert forks.line("ann", "twig") == ["root", "limb", "twig"]
    assert [state.step.index for state in states] == list(range(7))
    assert [state.run for state in states] == ["root"] * 2 + ["limb"] * 2 + ["twig"] * 3
    assert [find(states, "limb", 3), find(states, "root", 3)] == [3, 0]
    assert {state.place.split(" of ")[1] for state in states} == {"6"}
    assert forks.line("bob", "twig") == ["twig"]


def test_what_came_before_a_run_that_is_gone_is_not_known(family):
    _, forks = family
    smaller = Sessions()
    orphans = Forks(smaller)
    for name in ("limb", "twig"):
        orphans.put("ann", name, forks.get("ann", name))
        smaller.put("ann", name, family[0].get("ann", name))
    assert [state.run for state in orphans.states("ann", "twig")] == ["limb"] * 2 + ["twig"] * 3
    assert orphans.states("ann", "gone") == []


def test_forks_are_bounded_and_the_oldest_goes_first():
    forks = Forks(Sessions())
    for i in range(KEPT + 1):
        forks.put("ann", str(i), fork("root", 1))
    assert [forks.get("ann", "0"), forks.get("ann", "1")] == [None, fork("root", 1)]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_state_stands_beside_itself(tiny_model, name):
    sessions = Sessions()
    whole = run(tiny_model, replace(REQUEST, sampler=name))
    sessions.put("ann", "root", whole)
    states = Forks(sessions).states("ann", "root")
    assert [beside(state.step, states) for state in states] == states


def test_on_another_grid_the_nearest_noise_level_stands_beside(tiny_model):
    sessions = Sessions()
    whole, other = run(tiny_model, REQUEST), run(tiny_model, replace(REQUEST, sampler="Euler", steps=12))
    sessions.put("ann", "root", whole)
    states = Forks(sessions).states("ann", "root")
    found = [beside(step, states).step for step in other.steps]
    snr = [(step.sigma / step.alpha) ** 2 for step in other.steps]
    assert [step.index for step in found] == sorted(step.index for step in found)
    assert found[-1] is whole.steps[-1]
    for step, level in zip(found[:-1], snr, strict=False):
        ratios = [max(level / (s.sigma / s.alpha) ** 2, (s.sigma / s.alpha) ** 2 / level) for s in whole.steps]
        assert ratios[step.index] == pytest.approx(min(ratios))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "unchanged"),
        ({"guidance": 12.0}, "guidance 4 → 12"),
        ({"guidance": (1.0,) * 6}, "guidance 4 → per evaluation"),
        ({"seed": 7}, "seed 3 → 7"),
        ({"noise_scale": 0.5, "sampler": "DDPM"}, "DDIM → DDPM, noise_scale 1 → 0.5"),
        ({"prompt": "a" * 50}, f"prompt → “{'a' * 30}…”"),
        ({"prompt": ""}, "prompt → none"),
        ({"spacing": "trailing", "karras": True}, "spacing the model’s own → trailing, Karras sigmas on"),
        ({"karras": False}, "unchanged"),
    ],
)
def test_what_is_changed_in_words(change, words):
    assert differs(REQUEST, replace(REQUEST, **change)) == words


def test_a_place_counts_what_the_sampler_counts(tiny_model):
    whole = run(tiny_model, replace(REQUEST, sampler="Heun"))
    assert place(whole, whole.steps[3]) == "evaluation 3 of 11"
