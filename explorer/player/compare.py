"""Several runs side by side under one timeline: a gr.HTML that takes one small record per evaluation (see tabs.lanes).

The lanes, curves, equations and sentences are the record's; this component lines them up, keeps them and scrubs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.player import signal

HERE = Path(__file__).parent
SCRIPTS = ("colour.js", "large.js", "words.js", "lanes.js", "compare.js", "keeplanes.js")
CSS = HERE / "compare.css"  # given to launch()


def compare(
    elem_id: str,
    name: str,
    empty: Sequence[dict[str, Any]],
    hint: str,
    curves: Sequence[dict[str, Any]] = (),
    forms: bool = False,
    scripts: Sequence[str] = SCRIPTS,
    **props: Any,
) -> gr.HTML:
    """A comparison, not yet run.

    Args:
        elem_id: the id on the page.
        name: what it is called for a screen reader.
        empty: the lanes whose places are kept before the first run, each {"label": …, "show": [plane, …]}.
        hint: what the first run will show, in one sentence.
        curves: the numbers that are drawn over the run, each {"label": …, "colour": a quantity's}.
        forms: whether its records have equations, for which a place is kept.
        scripts: its files; what comes after SCRIPTS shares their scope.
        props: what such files read of `props`.
    """
    return gr.HTML(
        None,
        elem_id=elem_id,
        html_template=(HERE / "compare.html").read_text("utf-8"),
        js_on_load="\n".join((HERE / name).read_text("utf-8") for name in scripts),
        apply_default_css=False,
        padding=False,
        name=name,
        empty=list(empty),
        hint=hint,
        curves=list(curves),
        forms=forms,
        **props,
    )


def tell(elem_id: str, name: str) -> str:
    """The `js` of a listener that tells a comparison "run", "cancel" or "end", in the browser, before any request."""
    return signal(elem_id, name, "compare")
