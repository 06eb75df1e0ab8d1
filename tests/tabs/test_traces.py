"""The recorded run in assets/: small, the form's own defaults, and what the embedded model really does."""

from __future__ import annotations

import base64
import io
import json

import torch
from PIL import Image

from explorer import Request, limits, run, trace
from explorer.player import HERE as PLAYER
from explorer.tabs import traces
from explorer.tabs.form import DEFAULTS


def test_the_recorded_run_is_small_and_is_the_forms_defaults(embedded_model):
    assert traces.RECORDED.stat().st_size < 600_000
    assert trace.load(traces.RECORDED).request == limits.check(DEFAULTS, embedded_model)
    picture = Image.open(traces.RECORDED.with_suffix(".png"))
    assert Request(**json.loads(picture.text["diffuscope"])) == limits.check(DEFAULTS, embedded_model)


def test_the_recorded_run_is_what_the_embedded_model_does(embedded_model):
    made, kept = run(embedded_model, DEFAULTS), trace.load(traces.RECORDED)
    assert len(made.steps) == len(kept.steps)
    for mine, theirs in zip(made.steps, kept.steps, strict=True):
        torch.testing.assert_close(mine.latents, theirs.latents, rtol=0, atol=1e-3)


def test_a_trace_is_played_with_the_preview_that_it_brings():
    kept = trace.load(traces.RECORDED)
    records = list(traces._records(kept, "x", "data:,"))
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
        assert path.name == "diffuscope-cat-with-tears-of-joy-on-black-seed-3.png"
    assert not path.parent.exists()
