"""The Guidance tab's parts in the browser: the grid of a sweep with its microscope, the editor of w(t), presets of scales.

The grid is a comparison with a lane for each scale. Its records have the numbers of every cell and only x0 as a plane;
the microscope's planes of the chosen cell are asked for when they are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.player import compare

HERE = Path(__file__).parent
SCRIPTS = (*compare.SCRIPTS, "guidance_microscope.js", "guidance.js", "guidance_formed.js")
CSS = HERE / "guidance.css"  # given to launch()
NAME = "A sweep of guidance scales"
HINT = "Press Run: every cell begins in one noise, and only the scale w differs. Choose a cell to look into it."

Asked = Callable[[Any], Mapping[str, Any]]


def grid(
    elem_id: str, *, planes: Asked, empty: Sequence[Mapping[str, Any]], curves: Sequence[Mapping[str, Any]],
    send: Mapping[str, str],
    predicts: str, takes: Mapping[str, Sequence[str]],
) -> gr.HTML:  # fmt: skip
    """The stage, not yet run.

    Args:
        elem_id: its id in the page.
        planes: [run, cell, i, reach] → {"steps": {i: {plane: base64}}} or {"error": sentence}; it may be called by anybody
            with anything.
        empty: the cells whose places are kept before the first run, each {"label", "detail", "w"}.
        curves: what is drawn along the run for the chosen cell, each {"label", "colour", "fact"}.
        send: by the title of a tab, the elem_id of the button that sends the chosen cell there.
        predicts: the model's prediction type: a rescaled prediction's formula is that of the model's own output.
        takes: by the name of w(t), the controls that only some shapes take; the others don't change what is run.
    """

    def planes_(wanted: Any = None) -> dict[str, Any]:
        return dict(planes(wanted))

    planes_.__name__ = "planes"
    return compare.compare(
        elem_id,
        NAME,
        [{"show": ["x0"], **cell} for cell in empty],
        HINT,
        [{**curve, "value": None} for curve in curves],
        scripts=SCRIPTS,
        server_functions=[planes_],
        microscope=(HERE / "guidance_microscope.html").read_text("utf-8"),
        send=dict(send),
        predicts=predicts,
        takes={name: list(used) for name, used in takes.items()},
    )


def drawer(elem_id: str, value: Sequence[Sequence[float]]) -> gr.HTML:
    """The editor of a w(t) drawn by hand; fires "input". Its value is {"knots": [[place, share], …]}, both 0 … 1."""
    return gr.HTML(
        {"knots": [list(knot) for knot in value]},
        elem_id=elem_id,
        html_template=(HERE / "guidance_drawer.html").read_text("utf-8"),
        js_on_load=(HERE / "guidance_drawer.js").read_text("utf-8"),
        apply_default_css=False,
        padding=False,
    )


def send(stage: str) -> str:
    """The `js` of a listener that is given the id of a kept run: opens it on the tab that was pressed on the stage."""
    source = (HERE / "guidance_send.js").read_text("utf-8")
    body = "\n".join(line for line in source.splitlines() if not line.startswith("//"))
    return f"(run) => ({body})(run, document.querySelector('#{stage} .compare').dataset.target)"


def presets(rows: Mapping[str, str], target: gr.Textbox) -> gr.HTML:
    """Names to click: each fills `target` with its text, in the browser alone."""
    buttons = "".join(
        f'<button type="button" data-text="{escape(text)}" title="{escape(text)}">{escape(name)}</button>'
        for name, text in rows.items()
    )
    component = gr.HTML(
        html_template=f'<div class="prompts presets" role="group" aria-label="Scales to try">{buttons}</div>',
        js_on_load=(HERE / "guidance_presets.js").read_text("utf-8"),
        apply_default_css=False,
        padding=False,
    )
    component.click(fn=None, js="(text) => text", inputs=component, outputs=target)
    return component
