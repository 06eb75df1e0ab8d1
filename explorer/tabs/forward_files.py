"""The dissolve as files: a contact sheet and a GIF of the picture that is on the Forward tab's stage."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.forward import Noising
from explorer.records import Model, RequestError
from explorer.sheets import COLUMNS, gif, sheet
from explorer.tabs.common import slug, told
from explorer.tabs.forward_runs import GONE, Runs

DEFAULT = 11  # columns: at T = 10 every state, x_0 to x_10
FILE = "forward-file"


def build(model: Model, runs: Runs, stage: gr.HTML, shown: str) -> None:
    """The buttons that save.

    Args:
        model: whose preview colours the latents, and whose decoder makes pictures of them.
        runs: the pictures that are kept.
        stage: the stage, as an input that is replaced in the browser.
        shown: JavaScript for the id of the run on the stage.
    """
    with gr.Row(elem_classes="files forward-files"):
        columns = gr.Number(DEFAULT, label="Columns", precision=0, minimum=COLUMNS[0], maximum=COLUMNS[1], min_width=96)
        decoded = gr.Checkbox(
            True,
            label="decoded too",
            container=False,
            min_width=96,
            elem_id="forward-decoded",
            visible=model.abilities.latent,
        )
        as_sheet = gr.Button("Save contact sheet", size="sm", min_width=72, elem_id="forward-sheet")
        as_gif = gr.Button("Save GIF", size="sm", min_width=72, elem_id="forward-gif")
        link = gr.DownloadButton("", visible="hidden", elem_id=FILE)

    @told
    def save_sheet(run: Any, count: Any, with_decoded: Any) -> Iterator[str]:
        state = kept(runs, run)
        with place(state, "png") as path:
            path.write_bytes(sheet(state, model.preview, count, model.decode if with_decoded is True else None))
            yield str(path)

    @told
    def save_gif(run: Any) -> Iterator[str]:
        state = kept(runs, run)
        with place(state, "gif") as path:
            path.write_bytes(gif(state, model.preview))
            yield str(path)

    saving: dict[str, Any] = {
        "preprocess": False, "show_progress": "hidden", "api_visibility": "private", "concurrency_id": "forward",
    }  # fmt: skip
    for button, handler, more in ((as_sheet, save_sheet, [columns, decoded]), (as_gif, save_gif, [])):
        js = f"(stage, ...more) => [{shown}, ...more]" if more else f"() => {shown}"
        saved = button.click(handler, [stage, *more], link, js=js, **saving)
        saved.success(fn=None, js=f"() => document.querySelector('#{FILE}').click()")


def kept(runs: Runs, run: Any) -> Noising:
    """The picture of a run.

    Raises:
        RequestError: it is gone, or never was.
    """
    if (state := runs.get(run)) is None:
        raise RequestError(GONE)
    return state


@contextmanager
def place(state: Noising, ending: str) -> Iterator[Path]:
    """Where to write a file, named after what it shows; Gradio copies it into its cache before the place is gone again."""
    name = slug(state.source.name)[:40]
    made = f"{state.schedule.name} T {state.schedule.steps}".replace("'", "").replace(" ", "-")
    with tempfile.TemporaryDirectory(prefix="diffuscope-") as folder:
        yield Path(folder) / f"diffuscope-forward-{name or 'picture'}-{made}.{ending}"
