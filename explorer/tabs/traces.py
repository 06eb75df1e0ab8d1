"""Runs as files: the recorded run that the stage shows at first, a trace to open, a trace and a picture to take along.

The recorded run is the form's defaults with the embedded model; benchmarks/remake.py makes it again.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from pathlib import Path
from secrets import token_hex
from typing import Any

import gradio as gr
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from explorer import frames, limits, trace
from explorer.collecting import pictured
from explorer.forks import Forks, counted
from explorer.pictures import to_image, to_png
from explorer.player import signal
from explorer.records import Model, Preview, RequestError, Trajectory
from explorer.sessions import Sessions
from explorer.snippet import snippet
from explorer.tabs.common import HERE, REPLAYED, paced, session, slug, told
from explorer.tabs.descent import descent, settings
from explorer.tabs.export import export, webp

RECORDED = Path(__file__).parents[2] / "assets" / "traces" / "reverse.safetensors"
# The ids of runs that were not made here begin with this; the player and the style know them by it.
PREFIX = "recorded"
FIRST = f"{PREFIX}-first"
PAGE = "page"  # the run of an exported page, which has no other
LARGEST = 64  # MB that a trace may have, here and at the upload


def line(model: Model) -> gr.HTML:
    """The line that says which recorded run is on the stage; it is seen only while one is."""
    return gr.HTML(
        _line("Recorded run", trace.load(RECORDED), model),
        elem_classes="recorded-line",
        js_on_load=(HERE / "recorded.js").read_text("utf-8"),
        apply_default_css=False,
        padding=False,
    )


def recorded(model: Model, sessions: Sessions, stage: gr.HTML, said: gr.HTML) -> None:
    """Plays the recorded run to a page whose line is first on the screen.

    Not at the page's load event: a player in a tab that was never opened would get the last frame only.
    """
    run = trace.load(RECORDED)
    picture = "data:image/png;base64," + base64.b64encode(RECORDED.with_suffix(".png").read_bytes()).decode()

    @told
    def play(request: gr.Request) -> Iterator[Any]:
        if not limits.foreign(run, model):
            sessions.put(session(request), FIRST, run)
        yield from paced(records(run, FIRST, picture), REPLAYED)

    said.click(play, None, stage, show_progress="hidden", api_visibility="private", concurrency_limit=None)


def files(model: Model, sessions: Sessions, family: Forks, stage: gr.HTML, said: gr.HTML, player: str) -> None:
    """The buttons that save the last run, as a picture, a trace or a page, copy it as a script, and open a trace."""
    with gr.Row(elem_classes="files"):
        picture = gr.Button("Save picture", size="sm", min_width=72)
        whole = gr.Button("Save trace", size="sm", min_width=72)
        page = gr.Button("Save page", size="sm", min_width=72)
        copy = gr.Button("Copy script", size="sm", min_width=72, elem_id=f"{player}-script")
        upload = gr.UploadButton("Open trace", size="sm", min_width=72, file_types=[".safetensors"])
        link = gr.DownloadButton("", visible="hidden", elem_id=f"{player}-file")
        script = gr.Textbox("", label="Script", visible="hidden")

    def kept(run: Any, request: gr.Request) -> Trajectory:
        trajectory = sessions.get(session(request), run) if isinstance(run, str) else None
        if trajectory is None and run == FIRST:
            return _first()
        if trajectory is None:
            raise RequestError("This run is not kept here; press Run for one of your own.")
        if trajectory.steps[-1].x0 is not None:  # the last Step of a whole run predicts nothing
            raise RequestError("This run was stopped before its end; press Run for a whole one.")
        return trajectory

    @told
    def save_picture(run: Any, request: gr.Request) -> Iterator[str]:
        trajectory = kept(run, request)
        if (picture := _picture(model, trajectory)) is None:
            raise RequestError("This trace has no picture of its end, and only the model that made it can decode it.")
        made = settings(trajectory, descent(sessions, family, session(request), run))
        with _place(trajectory, "png") as path:
            path.write_bytes(to_png(picture, {"diffuscope": json.dumps(made)}))
            yield str(path)

    @told
    def save_trace(run: Any, request: gr.Request) -> Iterator[str]:
        trajectory = kept(run, request)
        if not limits.foreign(trajectory, model):
            trajectory = pictured(model, trajectory)
        with _place(trajectory, "safetensors") as path:
            trace.save(trajectory, path)
            size = path.stat().st_size / 2**20
            if size > LARGEST:
                raise RequestError(
                    f"The trace is {size:.0f} MB, more than the {LARGEST} that can be opened again; take fewer steps."
                )
            yield str(path)

    @told
    def save_page(run: Any, request: gr.Request) -> Iterator[str]:
        trajectory = kept(run, request)
        picture = _picture(model, trajectory)
        uri = None if picture is None else webp(to_image(picture))
        with _place(trajectory, "html") as path:
            origins = descent(sessions, family, session(request), run)
            path.write_text(export(trajectory, records(trajectory, PAGE, uri), origins), "utf-8")
            yield str(path)

    @told
    def copy_script(run: Any, request: gr.Request) -> Iterator[str]:
        yield snippet(kept(run, request), model)

    @told
    def play(path: str, request: gr.Request) -> Iterator[tuple[dict[str, Any], Any]]:
        trajectory, run = trace.load(path), f"{PREFIX}-{token_hex(6)}"
        picture = _picture(model, trajectory)
        sessions.open(session(request))
        sessions.put(session(request), run, trajectory)
        line = _line("Opened trace", trajectory, model)
        uri = None if picture is None else frames.data_uri(picture)
        for record in paced(records(trajectory, run, uri), REPLAYED):
            yield record, line

    # The run on the stage, or the branch that has the player's place there.
    said_of = f"document.querySelector('#{player} .player').dataset"
    shown = f"() => {said_of}.branch ?? {said_of}.run ?? ''"
    for begun in (picture.click, whole.click, page.click, copy.click, upload.upload):
        begun(fn=None, js=signal(player, "wait"))  # first: a listener waits for the one before it
    saves = []
    for button, handler in ((picture, save_picture), (whole, save_trace), (page, save_page)):
        saved = button.click(
            handler, stage, link, js=shown, preprocess=False, show_progress="hidden", api_visibility="private",
            concurrency_id="model",
        )  # fmt: skip
        saves.append(saved)
        saved.success(fn=None, js=f"() => document.querySelector('#{player}-file').click()")
    copied = copy.click(
        copy_script, stage, script, js=shown, preprocess=False, show_progress="hidden", api_visibility="private",
        concurrency_id="model",
    )  # fmt: skip
    source = (HERE / "copied.js").read_text("utf-8").split("\n", 1)[1].strip()  # without its comment
    copied.success(fn=None, inputs=script, js=f"(text) => ({source})(text, {json.dumps(copy.elem_id)})")
    played = upload.upload(
        play, upload, [stage, said], show_progress="hidden", api_visibility="private", concurrency_id="model"
    )
    overs = [over for one in (*saves, copied, played) for over in (one.then, one.failure)]
    for over in overs:
        over(fn=None, js=signal(player, "ready"))


def _first() -> Trajectory:
    """The recorded run and its picture."""
    run, picture = trace.load(RECORDED), Image.open(RECORDED.with_suffix(".png")).convert("RGB")
    return replace(run, pictures={run.steps[-1].index: torch.from_numpy(np.array(picture)).movedim(-1, 0)})


def _picture(model: Model, trajectory: Trajectory) -> Tensor | None:
    """What a run ended in, (1, 3, H, W) in 0 … 1: decoded here if it is this model's, else as its trace brought it."""
    if not limits.foreign(trajectory, model):
        return model.decode(trajectory.latents)
    stored = trajectory.pictures.get(trajectory.steps[-1].index)
    return None if stored is None else stored[None] / 255


def records(trajectory: Trajectory, run: str, picture: str | None) -> Iterator[dict[str, Any]]:
    """A whole run as the records that a live one sends, coloured by the preview that it brought along."""
    matrix, offset = (trajectory.capsule["preview"][key] for key in ("matrix", "offset"))
    preview = Preview(matrix=tuple(map(tuple, matrix)), offset=tuple(offset))
    n = trajectory.steps[-1].index + 1
    first, wanted = trajectory.steps[0].index, trajectory.request
    for step in trajectory.steps:
        last = picture if step.index == n - 1 else None
        yield frames.encode(step, run=run, n=n, model_preview=preview, picture=last, steps=wanted.steps, first=first)


def _line(kind: str, trajectory: Trajectory, model: Model) -> str:
    request = trajectory.request
    prompt = f"prompt “{request.prompt[:60]}”" if request.prompt else "no prompt"
    first = trajectory.steps[0].index
    prompt = f"a branch from {counted(request)} {first} on, {prompt}" if first else prompt
    if limits.foreign(trajectory, model):  # first of all, since the end is cut where there is no room
        kind += f" of the model {str(trajectory.capsule['model'])[:40]}"
    return f"<p><b>{escape(kind)}:</b> {escape(f'{prompt}, seed {request.seed}')}; press Run for your own.</p>"


@contextmanager
def _place(trajectory: Trajectory, ending: str) -> Iterator[Path]:
    """Where to write a file, named after the run; Gradio copies it into its cache before the place is gone again."""
    words = slug(trajectory.request.prompt)[:40]
    first = trajectory.steps[0].index
    own = f"seed-{trajectory.request.seed}" + (f"-branch-from-{first}" if first else "")
    with tempfile.TemporaryDirectory(prefix="diffuscope-") as folder:
        yield Path(folder) / f"diffuscope-{words or 'no-prompt'}-{own}.{ending}"
