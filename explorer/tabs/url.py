"""The address holds the state of the page: ?tab=reverse&prompt=…&seed=…, and &run=1 to run at once.

Opening an address costs one request, which checks it; changing a control writes it in the browser alone (url.js).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from explorer.limits import PROMPT

HERE = Path(__file__).parent


class Runs(NamedTuple):
    """A tab's own form and player, for what another tab starts there."""

    form: Mapping[str, gr.components.Component]  # by the endpoint's parameters, in their order
    player: gr.HTML
    cancel: gr.Button


class Linked(NamedTuple):
    """What a tab gives so that an address can hold it, and so that tabs can work together."""

    controls: Mapping[str, gr.components.Component]  # by the parameters' names
    check: Callable[[Mapping[str, str]], tuple[dict[str, Any], list[str]]]  # values to set, a sentence for each other one
    run: str  # elem_id of the button that &run=1 presses
    runs: Runs | None = None
    meet: Callable[[Mapping[str, Linked]], None] | None = None  # called with all tabs when all are built


def seen(controls: Mapping[str, gr.components.Component]) -> dict[str, gr.components.Component]:
    """Those that a person can set: an address holds no others, so that it may be opened with another model too."""
    return {name: one for name, one in controls.items() if getattr(one, "visible", True) is not False}


def notes() -> gr.HTML:
    """The line that says what of the address could not be used; empty, and not there, as long as all could."""
    return gr.HTML("", elem_classes="link-notes", apply_default_css=False, padding=False)


def link(page: gr.Blocks, said: gr.HTML, tabs: gr.Tabs, items: Mapping[str, gr.Tab], linked: Mapping[str, Linked]) -> None:
    """Lets the address restore the tabs, and follow them; called when all of them are built."""
    known = list(items)
    places = [(key, name) for key, one in linked.items() for name in one.controls]

    def restore(request: gr.Request) -> list[Any]:
        given = {name: str(value)[: PROMPT + 1] for name, value in dict(request.query_params).items()}
        key, wrong = given.get("tab", known[0]), []
        values: dict[str, Any] = {}
        if key not in items:
            wrong.append(f"tab is {key[:40]!r}; it must be one of {', '.join(known)}.")
            key = known[0]
        if key in linked:
            values, refused = linked[key].check({name: given[name] for name in linked[key].controls if name in given})
            wrong += refused
        if given.get("run", "1") not in ("0", "1"):
            wrong.append(f"run is {given['run'][:40]!r}; it must be 0 or 1.")
        line = f"Not used from the address: {' '.join(wrong)} The default stands." if wrong else ""
        updates = [gr.update(value=values[name]) if at == key and name in values else gr.skip() for at, name in places]
        return [gr.update(selected=key) if key != known[0] else gr.skip(), escape(line, quote=False), *updates]

    script = (HERE / "url.js").read_text("utf-8").rstrip()

    def js(name: str, *arguments: Any) -> str:
        return f"({script}).{name}({', '.join(map(json.dumps, arguments))})"

    outputs = [tabs, said, *(linked[key].controls[name] for key, name in places)]
    opened = page.load(restore, None, outputs, queue=False, show_progress="hidden", api_visibility="private")
    opened.then(fn=None, js=js("open", known, {key: one.run for key, one in linked.items()}))
    for key, item in items.items():
        controls = linked[key].controls if key in linked else {}
        inputs, defaults = list(controls.values()), [getattr(control, "value", None) for control in controls.values()]
        for listeners, selected in (([control.change for control in inputs], False), ([item.select], True)):  # type: ignore[attr-defined]
            if listeners:
                gr.on(listeners, fn=None, js=js("write", key, known, list(controls), defaults, selected), inputs=inputs)
