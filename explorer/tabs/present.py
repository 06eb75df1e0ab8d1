"""Presenter mode: the stage alone, in large type, and a guided tour that asks first and then runs the answer live.

The tour is told in tour.json, a list of stops. Each has a `title`, the `tab` it is on, a `question`, two to four
`guesses`, the index of the right one as `answer`, and two views: the `scene` at which it is asked and the `reveal` with its
`text`. A view may have

    settings   what to run, by the names of the tab's controls, the others at their defaults; runs if it is not on the stage
    press      the button that runs it; else the tab's Run
    timeline   the player on which it runs; else the tab's
    step       the step to go to; from the end where negative
    open       the beginning of the title of the fold to open
    expand     a <details> to open
    show       what stays on the stage, else the player; all other things are hidden
    cover      what would give the answer away
    look       what to point at
    numbers    {name: where on the page it is read}, for each {name} in the text
    skipped    the text where the run was skipped: only what is true of any run, without numbers
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.records import Model
from explorer.tabs.url import Linked

HERE = Path(__file__).parent
WRITTEN_FOR = "emoji-ldm"  # the tour's answers were checked with this model; its numbers are those of the run, with any
SCRIPTS = ("present.js", "tour.js", "tourcard.js")
VIEW = {"settings", "press", "timeline", "step", "open", "expand", "show", "cover", "look", "numbers", "text", "skipped"}
# For the header; what they do is found by their data-present.
BUTTONS = (
    '<div class="present-buttons" role="group" aria-label="Present">'
    '<button type="button" data-present="tour" title="A guided tour of the page (T)">Tour</button>'
    '<button type="button" data-present="stage" title="The stage alone, in large type (P)">Present</button></div>'
)


def stops() -> list[dict[str, Any]]:
    """The stops of the tour, in their order."""
    return json.loads((HERE / "tour.json").read_text("utf-8"))


def fitting(model: Model, tabs: Collection[str]) -> list[dict[str, Any]]:
    """The stops that a model's page can show: all speak of prompts, and some are about guidance in two calls.

    Args:
        model: what predicts.
        tabs: those that its page has.
    """
    if not model.abilities.prompts:
        return []

    def fits(stop: dict[str, Any]) -> bool:
        touched = {name for view in ("scene", "reveal") for name in stop[view].get("settings", {})}
        guided = touched & {"guidance", "other_guidance"}
        return stop["tab"] in tabs and (not guided or model.abilities.guidance == "cfg")

    return [stop for stop in stops() if fits(stop)]


def build(model: Model, linked: Mapping[str, Linked]) -> gr.HTML:
    """Builds presenter mode, hidden until it is entered, into the open Blocks.

    Args:
        model: what predicts.
        linked: by tab, the controls that the tour sets and the button that runs.
    """
    places = [(tab, name) for tab, one in linked.items() for name in one.controls]
    controls = [linked[tab].controls[name] for tab, name in places]
    defaults: dict[str, dict[str, Any]] = {tab: {} for tab in linked}
    for (tab, name), control in zip(places, controls, strict=True):
        defaults[tab][name] = getattr(control, "value", None)
    shown = fitting(model, [*linked])
    component = gr.HTML(
        None,
        elem_classes="present",
        html_template=(HERE / "present.html").read_text("utf-8"),
        js_on_load="\n".join((HERE / name).read_text("utf-8") for name in SCRIPTS),
        apply_default_css=False,
        padding=False,
        stops=shown,
        store="diffuscope-tour" + (f"-{len(shown)}" if len(shown) < len(stops()) else ""),
        guided=model.abilities.guidance != "none",
        note="" if model.name == WRITTEN_FOR else f"Written for {WRITTEN_FOR}; with {model.name} an answer may differ.",
        places=places,
        defaults=defaults,
        runs={tab: one.run for tab, one in linked.items()},
        css=(HERE / "present.css").read_text("utf-8"),
    )
    # Through Gradio, in the browser alone: what the controls say is read, and written before the tour presses a button.
    component.asked(fn=None, js="(...now) => { document.querySelector('.tour').read(...now); }", inputs=controls)
    wrote = component.wanted(
        fn=None,
        js="(...values) => document.querySelector('.tour').write(...values)",
        inputs=[component, *controls],
        outputs=controls,
    )
    wrote.then(fn=None, js="() => { document.querySelector('.tour').dispatchEvent(new CustomEvent('written')); }")
    return component
