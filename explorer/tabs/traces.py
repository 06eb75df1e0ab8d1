"""Runs as files: the recorded run that the stage shows at first, a trace to open, a trace and a picture to take along.

The recorded run is the form's defaults with the embedded model. It is made again by

    F=assets/traces/reverse
    python -m explorer "cat with tears of joy on black" --seed 3 --out $F.png --trace $F.safetensors
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from html import escape
from pathlib import Path
from secrets import token_hex
from typing import Any

import gradio as gr

from explorer import frames, trace
from explorer.pictures import to_png
from explorer.records import Model, Preview, RequestError, Trajectory
from explorer.sessions import Sessions
from explorer.tabs.common import HERE, session, told

RECORDED = Path(__file__).parents[2] / "assets" / "traces" / "reverse.safetensors"
# The ids of runs that were not made here begin with this; the player and the style know them by it.
PREFIX = "recorded"
FIRST = f"{PREFIX}-first"
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
        if request.query_params.get("run") == "1":  # the address asks for a run of its own, at once
            yield gr.skip()
            return
        if _own(model, run):
            sessions.put(session(request), FIRST, run)
        yield from _records(run, FIRST, picture)

    said.click(play, None, stage, show_progress="hidden", api_visibility="private", concurrency_limit=None)


def files(model: Model, sessions: Sessions, stage: gr.HTML, said: gr.HTML, player: str) -> None:
    """The buttons that save the last run, as a picture or as a trace, and open a trace."""
    with gr.Row(elem_classes="files"):
        picture = gr.Button("Save picture", size="sm", min_width=96)
        whole = gr.Button("Save trace", size="sm", min_width=96)
        upload = gr.UploadButton("Open trace", size="sm", min_width=96, file_types=[".safetensors"])
        link = gr.DownloadButton("", visible="hidden", elem_id=f"{player}-file")

    def kept(run: Any, request: gr.Request) -> Trajectory:
        trajectory = sessions.get(session(request), run) if isinstance(run, str) else None
        if trajectory is None and run == FIRST:
            return trace.load(RECORDED)
        if trajectory is None:
            raise RequestError("This run is not kept here; press Run for one of your own.")
        if trajectory.steps[-1].x0 is not None:  # the last Step of a whole run predicts nothing
            raise RequestError("This run was stopped before its end; press Run for a whole one.")
        return trajectory

    @told
    def save_picture(run: Any, request: gr.Request) -> Iterator[str]:
        trajectory = kept(run, request)
        if _own(model, trajectory):
            settings = {"diffuscope": json.dumps(asdict(trajectory.request))}
            content = to_png(model.decode(trajectory.latents), settings)
        else:  # only the recorded run is kept without its model
            content = RECORDED.with_suffix(".png").read_bytes()
        with _place(trajectory, "png") as path:
            path.write_bytes(content)
            yield str(path)

    @told
    def save_trace(run: Any, request: gr.Request) -> Iterator[str]:
        trajectory = kept(run, request)
        with _place(trajectory, "safetensors") as path:
            trace.save(trajectory, path)
            size = path.stat().st_size / 2**20
            if size > LARGEST:
                raise RequestError(
                    f"The trace is {size:.0f} MB, more than the {LARGEST} that can be opened again; take fewer steps."
                )
            yield str(path)

    @told
    def play(path: str, request: gr.Request) -> Iterator[tuple[dict[str, Any], Any]]:
        trajectory, run = trace.load(path), f"{PREFIX}-{token_hex(6)}"
        picture = None
        if _own(model, trajectory):
            picture = frames.data_uri(model.decode(trajectory.latents))
            sessions.put(session(request), run, trajectory)
        line = _line("Opened trace", trajectory, model)
        for record in _records(trajectory, run, picture):
            yield record, line

    shown = f"() => document.querySelector('#{player} .player').dataset.run ?? ''"
    for button, handler in ((picture, save_picture), (whole, save_trace)):
        saved = button.click(
            handler, stage, link, js=shown, preprocess=False, show_progress="hidden", api_visibility="private",
            concurrency_id="model",
        )  # fmt: skip
        saved.success(fn=None, js=f"() => document.querySelector('#{player}-file').click()")
    upload.upload(play, upload, [stage, said], show_progress="hidden", api_visibility="private", concurrency_id="model")


def _own(model: Model, trajectory: Trajectory) -> bool:
    """Whether a run is one of this model, so that its VAE can decode it."""
    return trajectory.capsule["model"] == model.name and trajectory.latents.shape[1] == model.latent_channels


def _records(trajectory: Trajectory, run: str, picture: str | None) -> Iterator[dict[str, Any]]:
    """A whole run as the records that a live one sends, coloured by the preview that it brought along."""
    matrix, offset = (trajectory.capsule["preview"][key] for key in ("matrix", "offset"))
    preview = Preview(matrix=tuple(map(tuple, matrix)), offset=tuple(offset))
    n = trajectory.steps[-1].index + 1
    for step in trajectory.steps:
        last = picture if step.index == n - 1 else None
        yield frames.encode(step, run=run, n=n, model_preview=preview, picture=last, steps=trajectory.request.steps)


def _line(kind: str, trajectory: Trajectory, model: Model) -> str:
    request = trajectory.request
    prompt = f"prompt “{request.prompt[:60]}”" if request.prompt else "no prompt"
    source = "" if _own(model, trajectory) else f", of the model {str(trajectory.capsule['model'])[:40]}"
    return f"<p><b>{kind}:</b> {escape(f'{prompt}, seed {request.seed}{source}')}; press Run for your own.</p>"


@contextmanager
def _place(trajectory: Trajectory, ending: str) -> Iterator[Path]:
    """Where to write a file, named after the run; Gradio copies it into its cache before the place is gone again."""
    words = "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in trajectory.request.prompt).split())[:40]
    with tempfile.TemporaryDirectory(prefix="diffuscope-") as folder:
        yield Path(folder) / f"diffuscope-{words or 'no-prompt'}-seed-{trajectory.request.seed}.{ending}"
