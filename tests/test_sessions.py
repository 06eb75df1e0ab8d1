"""The store of recent runs: least recently used goes first, bounds hold, sessions don't see each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch

from explorer.engine import run
from explorer.records import Request, Step, Term, Trajectory
from explorer.sessions import Sessions, held, nbytes

SIZE = 1024  # bytes of one trajectory below


def trajectory() -> Trajectory:
    step = Step(index=0, timestep=0.0, alpha=1.0, sigma=0.0, latents=torch.zeros(1, 4, 8, 8))
    return Trajectory(request=Request(), steps=(step,), capsule={})


def test_a_run_comes_back_to_its_own_session_only():
    sessions, kept = Sessions(), trajectory()
    assert sessions.put("ann", "1", kept)
    assert sessions.get("ann", "1") is kept
    assert sessions.get("bob", "1") is None
    assert sessions.get("ann", "2") is None


def test_the_least_recently_used_run_of_the_session_goes_first():
    sessions = Sessions(session_bytes=2 * SIZE)
    sessions.put("bob", "0", trajectory())
    sessions.put("ann", "1", trajectory())
    sessions.put("ann", "2", trajectory())
    sessions.get("ann", "1")
    sessions.put("ann", "3", trajectory())
    assert [sessions.get("ann", run) is not None for run in "123"] == [True, False, True]
    assert sessions.get("bob", "0") is not None


def test_the_runs_of_a_session_are_in_the_order_in_which_they_were_made():
    sessions, runs = Sessions(session_bytes=2 * SIZE, total_bytes=3 * SIZE), [trajectory() for _ in range(3)]
    assert sessions.runs("ann") == []
    sessions.put("ann", "1", runs[0])
    sessions.put("ann", "2", runs[1])
    sessions.get("ann", "1")  # whichever was looked at since
    assert sessions.runs("ann") == [("1", runs[0]), ("2", runs[1])]
    assert sessions.runs("bob") == []
    sessions.put("ann", "1", runs[2])  # the same id again
    assert sessions.runs("ann") == [("2", runs[1]), ("1", runs[2])]
    for name in "bcd":  # others push all of hers out
        sessions.put(name, "1", trajectory())
    assert sessions.runs("ann") == sessions.runs("") == []
    sessions.drop("d")
    assert sessions.runs("d") == []


def test_all_sessions_together_are_bounded():
    sessions = Sessions(session_bytes=2 * SIZE, total_bytes=3 * SIZE)
    for name in "abcd":
        sessions.put(name, "1", trajectory())
    assert [sessions.get(name, "1") is not None for name in "abcd"] == [False, True, True, True]


def test_what_is_too_large_is_not_kept_and_pushes_nothing_out():
    sessions = Sessions(session_bytes=SIZE)
    sessions.put("ann", "1", trajectory())
    step = Step(index=0, timestep=0.0, alpha=1.0, sigma=0.0, latents=torch.zeros(1, 4, 16, 16))
    assert not sessions.put("ann", "2", Trajectory(request=Request(), steps=(step,), capsule={}))
    assert not sessions.holds(step, 1)
    assert sessions.get("ann", "1") is not None
    assert not sessions.put("ann", "1", Trajectory(request=Request(), steps=(step,), capsule={}))
    assert sessions.runs("ann") == []


def test_a_session_that_ends_is_forgotten():
    sessions = Sessions()
    sessions.put("ann", "1", trajectory())
    sessions.drop("ann")
    sessions.drop("nobody")
    assert sessions.get("ann", "1") is None


def test_a_tensor_that_is_prediction_and_term_counts_once():
    x0 = torch.zeros(1, 4, 8, 8)
    step = Step(
        index=0,
        timestep=0.0,
        alpha=1.0,
        sigma=0.0,
        latents=torch.zeros(1, 4, 8, 8),
        x0=x0,
        forms={"x0": (Term(1.0, "x0", x0),)},
    )
    assert nbytes([step]) == 2 * SIZE


def test_a_branchs_past_and_pictures_count(tiny_model):
    request = Request(steps=4, sampler="UniPC")  # which remembers its past
    origin = run(tiny_model, request)
    branch = replace(run(tiny_model, request, (origin, 3)), pictures={4: torch.zeros(3, 64, 64, dtype=torch.uint8)})
    assert held(branch) == nbytes(branch.steps) + 3 * 2 * SIZE + 3 * 64 * 64
    assert not Sessions(session_bytes=held(branch) - 1).put("ann", "1", branch)
    assert Sessions(session_bytes=held(branch)).put("ann", "1", branch)


def test_many_threads_keep_the_bound():
    sessions = Sessions(session_bytes=4 * SIZE, total_bytes=8 * SIZE)
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda i: (sessions.put(f"s{i % 5}", str(i), trajectory()), sessions.get(f"s{i % 3}", str(i - 1))),
                range(500),
            )
        )
    assert sum(sessions.get(f"s{s}", str(i)) is not None for s in range(5) for i in range(500)) <= 8


def test_a_run_is_found_by_its_id_alone():
    sessions, kept = Sessions(session_bytes=2 * SIZE), trajectory()
    sessions.put("ann", "1", kept)
    assert sessions.find("1") is kept
    assert sessions.find("2") is None
    sessions.put("ann", "2", trajectory())
    sessions.find("1")  # used: 2 goes first
    sessions.put("ann", "3", trajectory())
    assert [sessions.find(run) is not None for run in "123"] == [True, False, True]


def test_requests_outlive_their_runs_but_not_their_session(monkeypatch):
    monkeypatch.setattr("explorer.sessions.REQUESTS", 3)
    sessions = Sessions()
    for i in range(4):
        sessions.note("ann" if i else "bob", str(i), Request(seed=i))
    assert [sessions.request(str(i)) for i in range(4)] == [None, *(Request(seed=i) for i in range(1, 4))]
    sessions.note("bob", "9", Request(seed=9))
    sessions.drop("ann")
    assert [sessions.request(run) for run in "1239"] == [None, None, None, Request(seed=9)]


def test_a_run_that_ends_after_its_page_was_closed_is_not_kept(tiny_model):
    sessions, trajectory = Sessions(), run(tiny_model, Request(steps=1))
    sessions.drop("gone")
    sessions.note("gone", "a", trajectory.request)
    assert not sessions.put("gone", "a", trajectory)
    assert sessions.find("a") is None
    assert sessions.request("a") is None
