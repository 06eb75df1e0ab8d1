"""The Latents tab's stage in the browser: a picture, its latents as heatmaps, what the decoder makes of them, and tools.

The list of edits lives in the browser, with undo and redo; the server is asked what they make of the latents, one question
at a time, the newest edits winning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).parent
SCRIPTS = (
    "colour.js", "words.js", "large.js", "forward_rows.js", "latents_words.js", "latents_panes.js", "latents.js",
    "latents_edits.js", "latents_tools.js", "latents_brush.js",
)  # fmt: skip
CSS = HERE / "latents.css"  # given to launch()

Asked = Callable[[Any], Mapping[str, Any]]  # [key, edits], or anything else: it may be called by anybody


def latents(elem_id: str, *, touch: Asked) -> gr.HTML:
    """The stage, empty. Its value is a record of kind "latents"; fires "edited" when its edits have changed.

    Args:
        elem_id: its id in the page.
        touch: [key, edits] → what the edits change of the record, or {"error": sentence}.
    """

    def touch_(wanted: Any = None) -> dict[str, Any]:
        return dict(touch(wanted))

    touch_.__name__ = "touch"
    return gr.HTML(
        None,
        elem_id=elem_id,
        html_template=(HERE / "latents.html").read_text("utf-8"),
        js_on_load="\n".join((HERE / name).read_text("utf-8") for name in SCRIPTS),
        apply_default_css=False,
        padding=False,
        server_functions=[touch_],
    )
