"""The recorded run in assets/: small, the form's own defaults, and what the embedded model really does."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace

import gradio as gr
import pytest
import torch
from PIL import Image

from explorer import Request, limits, run, trace
from explorer.forks import Forks
from explorer.player import HERE as PLAYER
from explorer.sessions import Sessions
from explorer.snippet import snippet
from explorer.tabs import traces
from explorer.tabs.common import slug
from explorer.tabs.form import defaults


def test_the_recorded_run_is_small_and_is_the_forms_defaults(embedded_model):
    assert traces.RECORDED.stat().st_size < 600_000
    assert trace.load(traces.RECORDED).request == limits.check(defaults(embedded_model), embedded_model)
    picture = Image.open(traces.RECORDED.with_suffix(".png"))
    assert Request(**json.loads(picture.text["diffuscope"])) == limits.check(defaults(embedded_model), embedded_model)


def test_the_recorded_run_is_what_the_embedded_model_does(embedded_model):
    made, kept = run(embedded_model, defaults(embedded_model)), trace.load(traces.RECORDED)
    assert len(made.steps) == len(kept.steps)
    for mine, theirs in zip(made.steps, kept.steps, strict=True):
        torch.testing.assert_close(mine.latents, theirs.latents, rtol=0, atol=1e-3)


def test_a_trace_is_played_with_the_preview_that_it_brings():
    kept = trace.load(traces.RECORDED)
    records = list(traces.records(kept, "x", "data:,"))
    assert [r["i"] for r in records] == list(range(kept.request.steps + 1))
    assert [bool(r.get("picture")) for r in records] == [False] * kept.request.steps + [True]
    assert records[0]["preview"]["matrix"][0][0] == round(kept.capsule["preview"]["matrix"][0][0], 6)
    assert len(base64.b64decode(records[0]["planes"]["x_t"])) == 2 * kept.latents.numel()


def test_the_player_knows_the_recorded_runs_by_their_names():
    script = (PLAYER / "player.js").read_text("utf-8")
    assert f'startsWith("{traces.PREFIX}")' in script
    assert f'"{traces.FIRST}"' in script


def test_a_file_to_save_is_named_after_its_run_and_leaves_nothing_behind():
    kept = trace.load(traces.RECORDED)
    with traces._place(kept, "png") as path:
        path.write_bytes(io.BytesIO(b"x").read())
        assert path.name == f"diffuscope-{slug(kept.request.prompt)}-seed-3.png"
    assert not path.parent.exists()


def copied(model, sessions, run_id):
    """What the handler of "Copy script" gives to the page of ann."""
    with gr.Blocks() as page:
        traces.files(model, sessions, Forks(sessions), gr.HTML(), gr.HTML(), "player")
    handler = next(one.fn for one in page.fns.values() if getattr(one.fn, "__name__", "") == "copy_script")
    (text,) = handler(run_id, gr.Request(session_hash="ann"))
    return text


def test_the_script_of_the_run_on_the_stage(embedded_model, tiny_model):
    sessions, whole = Sessions(), run(tiny_model, Request(prompt="cat", steps=3, seed=5))
    sessions.put("ann", "mine", whole)
    assert copied(tiny_model, sessions, "mine") == snippet(whole, tiny_model)
    assert copied(embedded_model, sessions, traces.FIRST) == snippet(trace.load(traces.RECORDED), embedded_model)


def test_a_run_that_is_no_script_is_told_in_one_sentence(tiny_model):
    sessions, whole = Sessions(), run(tiny_model, Request(prompt="cat", steps=3, seed=5))
    sessions.put("ann", "stopped", replace(whole, steps=whole.steps[:2]))
    sessions.put("ann", "branch", run(tiny_model, whole.request, (whole, 1)))
    sessions.put("ann", "below", run(tiny_model, Request(steps=2, guidance=0.5)))
    for name, sentence in (
        ("stopped", "This run was stopped before its end; press Run for a whole one."),
        ("branch", "start is step 1, not in the noise of seed 5; diffusers alone begins in that."),
        ("below", "guidance is 0.5; below 1 diffusers alone leaves the unconditional prediction out."),
        (traces.FIRST, "can be played but not copied as a script."),
        ("none", "This run is not kept here; press Run for one of your own."),
        (3, "This run is not kept here; press Run for one of your own."),
    ):
        with pytest.raises(gr.Error) as refusal:
            copied(tiny_model, sessions, name)
        assert sentence in refusal.value.message
