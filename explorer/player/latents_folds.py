"""The folds below the Latents stage in the browser: what each shows is asked for when it is opened or pressed.

The projection is drawn by plotly.js itself rather than by gr.Plot, which keeps the library to itself: a marker that
follows a cursor in 3-D, and a camera that stays while it does, need Plotly.restyle. The library comes once, when that fold
is first used, from plotly.py's own package, so that it is of the version that wrote the figure, and nothing comes from
elsewhere. Measured in headless Chromium: 2 MB gzipped, 0.2 s to arrive and unpack, 6 ms for a marker in 3-D.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).parent
SCRIPTS = (
    "colour.js", "latents_folds.js", "latents_folds_decoders.js", "latents_folds_mix.js", "latents_folds_runs.js",
    "latents_folds_plot.js", "latents_folds_lines.js", "latents_folds_files.js",
)  # fmt: skip
CSS = HERE / "latents_folds.css"  # given to launch()

Asked = Callable[[Any], Mapping[str, Any]]  # anything: it may be called by anybody


def folds(
    elem_id: str, *, stage: str, functions: Mapping[str, Asked], examples: Sequence[tuple[str, str]], largest: int
) -> gr.HTML:
    """The folds, closed. Their value is {"runs": […]}, the list of what can be projected.

    Fires "expand" where that list is wanted, and "upload" with a file read into `.latents-folds`'s `file`.

    Args:
        elem_id: its id in the page.
        stage: the elem_id of the stage whose latent they look at.
        functions: what is asked of the server, by name: decoders, ends, mix, project, measure, plotly, save.
        examples: (file in assets/examples, what it is called) of the pictures to mix with.
        largest: bytes that a latent's file may have.
    """
    return gr.HTML(
        None,
        elem_id=elem_id,
        html_template=(HERE / "latents_folds.html").read_text("utf-8"),
        js_on_load="\n".join((HERE / name).read_text("utf-8") for name in SCRIPTS),
        apply_default_css=False,
        padding=False,
        server_functions=[_named(name, function) for name, function in functions.items()],
        stage=stage,
        examples=[list(one) for one in examples],
        largest=largest,
    )


def _named(name: str, function: Asked) -> Callable[..., dict[str, Any]]:
    def answer(wanted: Any = None) -> dict[str, Any]:
        return dict(function(wanted))

    answer.__name__ = name
    return answer
