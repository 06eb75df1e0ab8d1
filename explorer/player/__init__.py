"""The player: a gr.HTML that takes one record per step (see `explorer.frames`) and shows, plays and scrubs the run.

A function rather than a subclass of gr.HTML: Gradio writes a .pyi file beside every module that subclasses a component.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent
SCRIPTS = ("colour.js", "panes.js", "words.js", "curves.js", "player.js", "input.js")
CSS = HERE / "player.css"  # given to launch(): as a css_template it would be parsed again at every frame


def player(elem_id: str) -> gr.HTML:
    """A player, empty. Its value is a record; history is kept in the browser."""
    return gr.HTML(
        None,
        elem_id=elem_id,
        html_template=(HERE / "player.html").read_text("utf-8"),
        js_on_load="\n".join((HERE / name).read_text("utf-8") for name in SCRIPTS),
        apply_default_css=False,
        padding=False,
    )


def signal(elem_id: str, name: str) -> str:
    """The `js` of a listener that tells a player "run", "cancel" or "end", in the browser, before any request."""
    return f"() => {{ document.querySelector('#{elem_id} .player').dispatchEvent(new CustomEvent('{name}')); }}"
