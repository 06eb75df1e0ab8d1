"""Records that a page lost on the way are sent again, and only those, whatever is asked."""

from __future__ import annotations

import pytest

from explorer import Request, run, trace
from explorer.sessions import Sessions
from explorer.tabs import traces
from explorer.tabs.filling import filler


@pytest.fixture(scope="module")
def fill(tiny_model):
    sessions = Sessions()
    sessions.put("ann", "mine", run(tiny_model, Request(prompt="pizza", steps=4)))
    return filler(sessions)


def test_exactly_what_is_missing_is_sent(fill):
    records = fill("mine", [1, 3, 4])["records"]
    assert [record["i"] for record in records] == [0, 2]
    assert all(record["run"] == "mine" and record["n"] == 5 and "from" not in record for record in records)
    assert fill("mine", [0, 1, 2, 3, 4]) == {"records": []}
    steps = trace.load(traces.RECORDED).request.steps
    assert len(fill(traces.FIRST, [steps])["records"]) == steps


@pytest.mark.parametrize("asked", [(None, []), ("his", []), ("mine", None), ("mine", "all"), (["mine"], []), (3, [0])])
def test_what_is_not_kept_or_makes_no_sense_brings_nothing(fill, asked):
    assert fill(*asked) == {"records": []}
    assert fill("mine", [0] * 10**5) == {"records": []}
