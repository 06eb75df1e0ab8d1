"""Forks: a branch is the engine's own beside its origin, with nothing changed the same run; refusals are one sentence."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
import torch
from gradio_client import Client
from gradio_client.exceptions import AppError
from serving import serve

import app
from explorer import Request, run, trace
from explorer.collecting import collect
from explorer.forks import Forks
from explorer.lessons import distance
from explorer.samplers import SAMPLERS
from explorer.sessions import Sessions
from explorer.tabs import traces
from explorer.tabs.fork import bringer, runner, shower

ORIGIN = Request(prompt="pizza", seed=5, steps=7, guidance=3.0)
FORM = {"prompt": "pizza", "seed": 5, "steps": 7, "guidance": 3.0, "sampler": "DDIM", "negative_prompt": "",
        "guidance_rescale": 0.0, "eta": 0.0, "noise_scale": 1.0, "spacing": "", "karras": False, "width": None,
        "height": None}  # fmt: skip
ANN = gr.Request(session_hash="ann")


class Page:
    """A session of one person: its store, its forks, and the three handlers."""

    def __init__(self, model, store: Sessions | None = None) -> None:
        self.model, self.store = model, store or Sessions()
        self.forks = Forks(self.store)
        self._fork, self._show = runner(model, self.store, self.forks), shower(model, self.store, self.forks)
        self._bring = bringer(model, self.store, self.forks)

    def keep(self, request: Request, name: str = "root", steps: int | None = None):
        """A run of this session, or the beginning of one."""
        trajectory = run(self.model, request)
        if steps is not None:
            trajectory = collect(self.model, request, trajectory.steps[:steps])
        self.store.put("ann", name, trajectory)
        return self.store.get("ann", name)

    def fork(self, at: int, run: str = "root", **changes) -> list[dict]:
        return [r for r in self._fork(**FORM | changes, run=run, at=at, request=ANN) if "lanes" in r]

    def show(self, run: str) -> list[dict]:
        return [r for r in self._show(run, request=ANN) if "lanes" in r]

    def bring(self, run: str) -> list[dict]:
        return list(self._bring(run, request=ANN))


@pytest.fixture
def page(tiny_model):
    return Page(tiny_model)


def plane(record: dict, lane: int, name: str) -> torch.Tensor:
    halves = np.frombuffer(base64.b64decode(record["lanes"][lane]["planes"][name]), "<f2")
    return torch.from_numpy(halves.astype(np.float32)).reshape(1, *record["shape"])


def apart(records: list[dict]) -> list[float]:
    return [record["series"][0]["value"] for record in records]


@pytest.mark.parametrize("name", SAMPLERS)
def test_with_nothing_changed_a_branch_and_its_branch_are_the_same_run(page, name):
    page.keep(replace(ORIGIN, sampler=name, eta=0.6 if name == "DDIM" else 0.0))
    settings = {"sampler": name, "eta": 0.6 if name == "DDIM" else 0.0}
    first = page.fork(3, **settings)
    second = page.fork(5, run=first[-1]["branch"]["run"], **settings)
    assert second[-1]["branch"]["line"][1][1].startswith("unchanged at ")
    for records in (first, second):
        assert [r["i"] for r in records] == list(range(SAMPLERS[name].evaluations(7) + 1))
        assert apart(records) == [0] * len(records)
        for record in records:  # what the page gets, byte for byte
            origin, branch, _ = record["lanes"]
            assert origin["planes"] == branch["planes"]
        assert "made no difference" in records[-1]["note"]


def test_a_change_begins_at_the_step_under_the_cursor(page, tiny_model):
    origin = page.keep(ORIGIN)
    got = page.fork(3, guidance=9.0)
    tail = run(tiny_model, replace(ORIGIN, guidance=9.0), (origin, 3)).steps
    assert [r["i"] for r in got] == list(range(8))
    assert {r["n"] for r in got} == {8}
    assert len({r["run"] for r in got}) == 1
    assert apart(got)[:4] == [0] * 4
    assert got[3]["series"][1]["value"] > 0  # the predictions differ at once, the states from the next one on
    for record, theirs, ours in zip(got[3:], origin.steps[3:], tail, strict=True):
        assert torch.allclose(plane(record, 0, "x_t"), theirs.latents, rtol=2e-3, atol=2e-3)
        assert torch.allclose(plane(record, 1, "x_t"), ours.latents, rtol=2e-3, atol=2e-3)
        assert torch.allclose(plane(record, 2, "dx_t"), ours.latents - theirs.latents, rtol=2e-3, atol=2e-3)
        assert record["series"][0]["value"] == pytest.approx(distance(theirs, ours), abs=1e-5)
    assert [bool(lane.get("picture")) for lane in got[-1]["lanes"]] == [True, True, False]
    branch = got[0]["branch"]
    assert branch["begins"] == 3
    assert branch["line"] == [["root", "“pizza” · seed 5"], [branch["run"], "guidance 3 → 9 at step 3"]]
    assert [r["at"] for r in got] == [["root", i] for i in range(3)] + [[branch["run"], i] for i in range(3, 8)]
    assert torch.equal(page.store.get("ann", branch["run"]).latents, tail[-1].latents)


def test_a_branch_of_a_branch_has_the_whole_line_before_it(page):
    page.keep(ORIGIN)
    limb = page.fork(2, guidance=9.0)[0]["branch"]["run"]
    got = page.fork(4, run=limb, prompt="a cat", guidance=9.0)
    twig = got[0]["branch"]["run"]
    assert [r["at"] for r in got] == [["root", 0], ["root", 1], [limb, 2], [limb, 3], *([twig, i] for i in range(4, 8))]
    labels = [label for _, label in got[0]["branch"]["line"]]
    assert labels[1:] == ["guidance 3 → 9 at step 2", "prompt → “a cat” at step 4"]
    assert got[0]["lanes"][0]["label"] == "Origin · guidance 3 → 9"
    assert [apart(page.show(one)) for one in (limb, twig)][1] == apart(got)


@pytest.mark.parametrize("changes", [{"seed": 6}, {"noise_scale": 0.0}, {"seed": 6, "noise_scale": 0.5}], ids=str)
def test_fresh_noise_and_less_of_it(page, changes):
    page.keep(replace(ORIGIN, sampler="DDPM"))
    got = page.fork(3, sampler="DDPM", **changes)
    assert apart(got)[:4] == [0] * 4
    assert apart(got)[4] > 0
    assert got[3]["series"][1]["value"] == 0  # the prediction is the same: only the noise of the step differs


@pytest.mark.parametrize(("sampler", "steps"), [("Euler", 7), ("Heun", 9), ("PNDM", 12), ("DDIM", 14)])
def test_another_grid_is_told_and_lined_up_by_noise(page, sampler, steps):
    origin = page.keep(ORIGIN)
    records = list(page._fork(**FORM | {"sampler": sampler, "steps": steps}, run="root", at=3, request=ANN))
    said = [r["summary"] for r in records if "summary" in r]
    got = [r for r in records if "lanes" in r]
    assert len(said) == 1
    assert re.search(r"From .* log-SNR .* the nearest level", said[0])
    assert ("rescaled" in said[0]) == (SAMPLERS[sampler].space == "VE")
    kept = page.store.get("ann", got[0]["branch"]["run"])
    assert [r["i"] for r in got] == list(range(3 + len(kept.steps))) == list(range(got[0]["n"]))
    unit = "evaluation" if SAMPLERS[sampler].evaluations(steps) != steps else "step"
    assert got[-1]["place"] == f"{unit} {kept.steps[-1].index} of {kept.steps[-1].index}"
    shown = [int(r["lanes"][0]["detail"].split()[1]) for r in got]
    assert shown == sorted(shown)
    assert shown[-1] == origin.steps[-1].index


def test_a_branch_that_was_cancelled_is_kept_as_far_as_it_came(page):
    page.keep(ORIGIN)
    stream = page._fork(**FORM | {"guidance": 9.0}, run="root", at=2, request=ANN)
    got = [next(stream) for _ in range(6)]  # two places before, the first of its own, the summary, two more
    stream.close()
    limb = got[0]["branch"]["run"]
    assert [step.index for step in page.store.get("ann", limb).steps] == [2, 3, 4]
    assert [r["i"] for r in page.show(limb)] == [0, 1, 2, 3, 4]
    assert [r["i"] for r in page.fork(4, run=limb, guidance=9.0)] == list(range(8))


def test_a_run_that_was_stopped_goes_on_from_where_it_stopped(page, tiny_model):
    page.keep(ORIGIN, steps=4)
    got = page.fork(3)
    assert torch.equal(page.store.get("ann", got[0]["branch"]["run"]).latents, run(tiny_model, ORIGIN).latents)
    assert "stopped at step 3 of 7" in got[-1]["note"]
    assert [bool(lane.get("picture")) for lane in got[-1]["lanes"]] == [False, True, False]


def test_a_run_is_brought_back_as_it_was(page, tiny_model):
    page.keep(ORIGIN)
    page.keep(replace(ORIGIN, seed=6), "stopped", steps=3)
    assert [(r["i"], r["n"], bool(r.get("picture"))) for r in page.bring("root")] == [(i, 8, i == 7) for i in range(8)]
    assert [(r["i"], r["n"], bool(r.get("picture"))) for r in page.bring("stopped")] == [(i, 8, False) for i in range(3)]


def sentence(error) -> str:
    message = error.value.message
    assert re.fullmatch(r"[^\n]{20,240}\.", message), message
    return message


def test_what_can_not_be_forked_is_told_in_one_sentence(page):
    page.keep(ORIGIN)
    page.keep(ORIGIN, "stopped", steps=4)
    other = Page(page.model, page.store)
    page.store.put("bob", "his", page.store.get("ann", "root"))
    for run_, at, changes, words in (
        ("root", 7, {}, "Step 7 is the end of the run and leads nowhere; rewind to an earlier step."),
        ("root", 8, {}, "at is 8; it must be from 0 to 7."),
        ("root", -1, {}, "at is -1"),
        ("root", "3", {}, "at is '3'"),
        ("root", True, {}, "at is True"),
        ("root", None, {}, "at is None"),
        ("stopped", 4, {}, "at is 4; it must be from 0 to 3."),
        ("his", 3, {}, "This run is not kept here"),
        ("", 3, {}, "This run is not kept here"),
        (None, 3, {}, "This run is not kept here"),
        (["root"], 3, {}, "This run is not kept here"),
        ("recorded-0123", 3, {}, "This run is not kept here"),
        (traces.FIRST, 3, {}, "made by the model 'emoji-ldm', and here is 'tiny': it can be played but not forked."),
        ("root", 3, {"width": 128, "height": 128}, "The run is 64 x 64, the form 128 x 128"),
        ("root", 3, {"guidance": 1e9}, "guidance is 1000000000.0"),
        ("root", 3, {"sampler": "none"}, "sampler is 'none'"),
        ("root", 3, {"sampler": "Euler", "eta": 0.5}, "Euler has none"),
    ):
        with pytest.raises(gr.Error) as error:
            other.fork(at, run_, **changes)
        assert words in sentence(error)
    assert page.store.get("ann", traces.FIRST) is None  # what is refused is not kept


def test_the_recorded_run_is_always_at_hand(embedded_model):
    page, told = Page(embedded_model), trace.load(traces.RECORDED).request
    got = page.fork(18, traces.FIRST, prompt=told.prompt, seed=told.seed, steps=told.steps, guidance=told.guidance)
    assert got[0]["branch"]["line"][1][1] == "unchanged at step 18"
    assert max(apart(got)) < 1e-3  # it was recorded on another machine
    assert page.store.get("ann", traces.FIRST) is not None


def test_a_name_in_a_label_stays_text(page):
    page.keep(replace(ORIGIN, prompt="<img src=x>"))
    line = page.fork(3, prompt="<b>bold</b>")[0]["branch"]["line"]
    assert [label for _, label in line] == ["“<img src=x>” · seed 5", "prompt → “<b>bold</b>” at step 3"]


def test_the_endpoint_forks_what_it_ran(tiny_model):
    with serve(app.create_app(tiny_model)) as url:
        client = Client(url, download_files=False, analytics_enabled=False, verbose=False)
        origin = client.submit(api_name="/reverse", **FORM)
        origin.result(timeout=60)
        name = origin.outputs()[0]["run"]
        job = client.submit(api_name="/fork", **FORM | {"guidance": 9.0}, run=name, at=3)
        job.result(timeout=60)
        assert [r["i"] for r in job.outputs() if "lanes" in r] == list(range(8))
        with pytest.raises(AppError, match="leads nowhere"):
            client.predict(api_name="/fork", **FORM, run=name, at=7)
        endpoint = client.view_api(return_format="dict")["named_endpoints"]["/fork"]
        assert [p["parameter_name"] for p in endpoint["parameters"]] == [*FORM, "run", "at"]
        assert "one record per step" in endpoint["description"]
