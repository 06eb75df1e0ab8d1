"""The player: a gr.HTML that takes one record per step (see `explorer.frames`) and shows, plays and scrubs the run.

A function rather than a subclass of gr.HTML: Gradio writes a .pyi file beside every module that subclasses a component.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).parent
SCRIPTS = (
    "colour.js", "panes.js", "large.js", "words.js", "insight.js", "curves.js", "rest.js", "player.js", "input.js",
    "keep.js",
)  # fmt: skip
CSS = HERE / "player.css"  # given to launch(): as a css_template it would be parsed again at every frame
PANES = ("x_t", "eps", "x0", "update", "picture")  # rows of the table in panes.js


def inert(text: str) -> str:
    """A text as part of an `html_template`, which Gradio reads as Handlebars, then as JavaScript, and then as HTML."""
    return "".join(f"&#{ord(c)};" if c in "&<>\"'`${}\\" else c for c in text)


def player(
    elem_id: str,
    panes: Sequence[str] = PANES,
    decode: Callable[[Any, Any], dict[str, str]] | None = None,
    fill: Callable[[Any, Any], dict[str, list[Any]]] | None = None,
    pixels: bool = False,
    single: bool = False,
) -> gr.HTML:
    """A player, empty. Its value is a record; history is kept in the browser.

    Args:
        elem_id: its id in the page.
        panes: what it shows, by name, in this order; "picture" is the large one.
        decode: (run, index) → {"picture": data URI} or {"error": sentence}, called when a person rests on a step. It may
            be called by anybody with anything.
        fill: (run, indices) → {"records": those of the run that have others}, called where records were lost on the way;
            likewise.
        pixels: whether what will be shown are pixels rather than latents; each record says it for itself.
        single: whether the model predicts once per evaluation, so that its runs have no difference that the prompt makes.
    """
    if unknown := set(panes) - set(PANES):
        raise ValueError(f"no such pane: {', '.join(sorted(unknown))}")

    def decode_step(wanted: Any) -> dict[str, str]:
        run, index = wanted if isinstance(wanted, list) and len(wanted) == 2 else (None, None)
        return decode(run, index) if decode else {}

    def missing_steps(wanted: Any) -> dict[str, list[Any]]:
        run, there = wanted if isinstance(wanted, list) and len(wanted) == 2 else (None, None)
        return fill(run, there) if fill else {"records": []}

    return gr.HTML(
        None,
        elem_id=elem_id,
        html_template=(HERE / "player.html").read_text("utf-8"),
        js_on_load="\n".join((HERE / name).read_text("utf-8") for name in SCRIPTS),
        apply_default_css=False,
        padding=False,
        server_functions=[f for f, given in ((decode_step, decode), (missing_steps, fill)) if given] or None,
        panes=list(panes),
        decodes=decode is not None,
        fills=fill is not None,
        pixels=pixels,
        single=single,
    )


def signal(elem_id: str, name: str, part: str = "player") -> str:
    """The `js` of a listener that tells a player "run", "cancel" or "end", in the browser, before any request.

    Args:
        elem_id: of the component.
        name: of the event.
        part: the class of the element in it that listens.
    """
    return f"() => {{ document.querySelector('#{elem_id} .{part}').dispatchEvent(new CustomEvent('{name}')); }}"


def formed(elem_id: str, name: str, part: str, controls: Sequence[str]) -> str:
    """The `js` of a listener that is given the form's values: tells the part "formed" (changed) or "asked" (to run)."""
    values = f"Object.fromEntries({json.dumps(list(controls))}.map((name, i) => [name, values[i]]))"
    event = f"new CustomEvent('{name}', {{ detail: {values} }})"
    return f"(...values) => {{ document.querySelector('#{elem_id} .{part}')?.dispatchEvent({event}); }}"
