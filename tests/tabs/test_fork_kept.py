"""What is kept of forks, and for how long: a dropped connection, runs that were pushed out, clients without a session."""

from __future__ import annotations

from dataclasses import replace
from secrets import token_hex

import gradio as gr
import pytest
from test_fork import ANN, FORM, ORIGIN, Page, sentence

from explorer import Request, run, trace
from explorer.collecting import collect
from explorer.sessions import Sessions, held, nbytes
from explorer.tabs import traces
from explorer.tabs.reverse import _runner

RECORDED = {name: getattr(trace.load(traces.RECORDED).request, name) for name in ("prompt", "seed", "steps")}


def test_a_page_whose_connection_broke_goes_on(tiny_model):
    page = Page(tiny_model)
    page.store.drop("ann")  # what Gradio's unload does, also where a laptop only slept
    reverse = _runner(tiny_model, page.store)
    name = [record["run"] for record in reverse(**FORM, request=ANN)][-1]
    assert len(page.store.get("ann", name).steps) == 8
    page.store.drop("ann")
    page.keep(ORIGIN)
    assert page.store.get("ann", "root") is None
    page.store.open("ann")
    page.keep(ORIGIN)
    page.forks.drop("ann")
    assert len(page.fork(3, guidance=9.0)) == 8


def test_a_run_that_outlives_its_page_is_not_kept(tiny_model):
    page = Page(tiny_model)
    page.keep(ORIGIN)
    stream = page._fork(**FORM | {"guidance": 9.0}, run="root", at=2, request=ANN)
    name = next(stream)["branch"]["run"]
    page.store.drop("ann")
    stream.close()
    assert [page.store.get("ann", name), page.forks.get("ann", name)] == [None, None]


def test_a_session_that_ends_takes_its_forks_along(tiny_model):
    page = Page(tiny_model)
    page.keep(ORIGIN)
    name = page.fork(3)[0]["branch"]["run"]
    assert page.forks.get("ann", name).at == 3
    page.store.drop("ann")
    assert page.forks.get("ann", name) is None


@pytest.mark.parametrize("one", ["limb", "twig"])
def test_branches_of_the_recorded_run_are_shown_after_it_was_pushed_out(embedded_model, one):
    page = Page(embedded_model, Sessions(session_bytes=int(1.8 * held(trace.load(traces.RECORDED)))))
    limb = page.fork(17, traces.FIRST, **RECORDED, guidance=9.0)[0]["branch"]["run"]
    twig = page.fork(18, limb, **RECORDED, guidance=2.0)[0]["branch"]["run"]
    while ("ann", traces.FIRST) in page.store._kept:  # to look it up would make it the one that was used last
        assert None not in (page.store.get("ann", limb), page.store.get("ann", twig))
        page.keep(Request(steps=3), token_hex(4))
    assert [record["i"] for record in page.show(limb if one == "limb" else twig)] == list(range(21))
    assert page.store.get("ann", traces.FIRST) is not None


def test_a_client_without_a_session_forks_the_recorded_run_and_keeps_nothing(embedded_model):
    page = Page(embedded_model)
    got = list(page._fork(**FORM | RECORDED | {"guidance": 9.0}, run=traces.FIRST, at=18, request=None))
    name = got[0]["branch"]["run"]
    assert [page.store.find(traces.FIRST), page.store.find(name), page.forks.get("", name)] == [None, None, None]


def test_a_trace_of_this_model_can_be_forked_and_one_of_another_not(tiny_model):
    page = Page(tiny_model)
    page.keep(ORIGIN, f"{traces.PREFIX}-own")
    own = page.store.get("ann", f"{traces.PREFIX}-own")
    page.store.put("ann", "foreign", replace(own, capsule={**own.capsule, "model": "other"}))
    assert len(page.fork(3, f"{traces.PREFIX}-own")) == 8
    for handler, wish in ((lambda: page.fork(3, "foreign"), "forked"), (lambda: page.bring("foreign"), "decoded")):
        with pytest.raises(gr.Error) as error:
            handler()
        assert f"made by the model 'other', and here is 'tiny': it can be played but not {wish}." in sentence(error)


def test_a_branch_that_was_pushed_out_is_told_in_one_sentence(tiny_model):
    size = nbytes(run(tiny_model, ORIGIN).steps)
    page = Page(tiny_model, Sessions(session_bytes=2 * size))
    page.keep(ORIGIN)
    limb = page.fork(3, guidance=9.0)[0]["branch"]["run"]
    assert len(page.show(limb)) == 8
    page.keep(replace(ORIGIN, seed=9), "newer")  # pushes the root out, of which the branch was shown last
    page.keep(replace(ORIGIN, seed=10), "newest")
    for gone in (lambda: page.show(limb), lambda: page.fork(4, limb), lambda: page.fork(3), lambda: page.bring("root")):
        with pytest.raises(gr.Error) as error:
            gone()
        assert "kept here" in sentence(error)
    for unknown in ("never", None, ["x"], 7):
        with pytest.raises(gr.Error):
            page.show(unknown)


def test_a_late_branch_is_kept_by_its_own_length(tiny_model):
    whole = run(tiny_model, ORIGIN)
    page = Page(tiny_model, Sessions(session_bytes=held(whole)))
    page.store.put("ann", "root", collect(tiny_model, ORIGIN, whole.steps[:6]))
    long = page.fork(5, steps=60)[0]["branch"]["run"]
    assert page.store.get("ann", long) is None  # another grid: its tail is longer than may be kept
    page.store.put("ann", "root", collect(tiny_model, ORIGIN, whole.steps[:6]))
    short = page.fork(5)[0]["branch"]["run"]
    assert [step.index for step in page.store.get("ann", short).steps] == [5, 6, 7]


def test_a_branch_that_is_too_large_to_be_kept_says_so(tiny_model):
    page = Page(tiny_model, Sessions(session_bytes=held(run(tiny_model, ORIGIN))))
    page.keep(ORIGIN)
    records = list(page._fork(**FORM | {"steps": 60}, run="root", at=1, request=ANN))
    assert "too large to be kept here" in records[-1]["summary"]
    with pytest.raises(gr.Error, match="no longer kept here"):
        page.show(records[0]["branch"]["run"])


class Leaky(Sessions):
    """Whose runs are pushed out by somebody else as soon as they were looked at."""

    def get(self, session, run):
        kept = super().get(session, run)
        with self._lock:
            self._kept.clear()
        return kept


def test_an_origin_that_is_pushed_out_meanwhile_is_still_beside_its_branch(tiny_model):
    page = Page(tiny_model, Leaky())
    page.store.put("ann", "root", run(tiny_model, ORIGIN))
    assert [record["i"] for record in page.fork(3, guidance=9.0)] == list(range(8))
