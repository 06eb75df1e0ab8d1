"""The Forward tab's parts in the browser: the stage, the folds below it, and the editor of a schedule drawn by hand.

A picture and its noise arrive once, as one record; every state x_t = sqrt(ᾱ_t) x_0 + sqrt(1 − ᾱ_t) eps is then mixed and
painted in the browser, so scrubbing asks the server for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).parent
SCRIPTS = (
    "colour.js", "words.js", "large.js", "forward_rows.js", "forward_words.js", "forward_histogram.js", "forward.js",
    "forward_input.js",
)  # fmt: skip
FOLDS = ("colour.js", "words.js", "forward_rows.js", "forward_folds.js", "forward_walk.js", "forward_ink.js")
CSS = HERE / "forward.css"  # given to launch()
TOLD = (  # of a model without latents and prompts
    "in latents, the timestep of its own training that had this much noise (or nearest to it), and a prompt if there is "
    "one: never",
    "and the timestep of its own training that had this much noise (or nearest to it): never",
)
CURVES = "forward-curves"  # elem_id of the plot over which the stage lays its cursor
KINDS = ("log-SNR", "beta")
FIRST = {"kind": "log-SNR", "knots": [[0, 40], [0.25, 12], [0.6, -4], [1, -40]]}

Asked = Callable[[Any], Mapping[str, Any]]  # [run, t], or anything else: it may be called by anybody


def forward(elem_id: str, *, look: Asked, stages: Sequence[tuple[float, str]], pixels: bool = False) -> gr.HTML:
    """The stage, empty. Its value is a record of kind "picture" or "schedule".

    Args:
        elem_id: its id in the page.
        look: [run, t] → {"picture": data URI} or {"error": sentence}: the decoding of the latents' state t, asked for when
            a person rests there.
        stages: (SNR in dB above which, name) of how much of a state is noise, from the top down.
        pixels: whether the model works on the pixels themselves, so that there is no row of latents.
    """

    def look_(wanted: Any = None) -> dict[str, Any]:
        return dict(look(wanted))

    look_.__name__ = "look"
    return gr.HTML(
        None,
        elem_id=elem_id,
        html_template=(HERE / "forward.html").read_text("utf-8"),
        js_on_load=_joined(SCRIPTS),
        apply_default_css=False,
        padding=False,
        server_functions=[look_],
        stages=[[floor if math.isfinite(floor) else None, name] for floor, name in stages],
        curves=CURVES,
        pixels=pixels,
    )


def folds(elem_id: str, *, stage: str, sees: Asked, walk: Asked, pixels: bool = False) -> gr.HTML:
    """What explains a state: what the model sees in it, the chain of small steps that leads there, ink in water.

    Args:
        elem_id: its id in the page.
        stage: the elem_id of the `forward()` whose timeline it follows.
        sees: [run, t] → the model's prediction of that state, or {"error": sentence}.
        walk: [run, t] → that state by t small steps and by one jump, or {"error": sentence}.
        pixels: as of `forward`.
    """

    def sees_(wanted: Any = None) -> dict[str, Any]:
        return dict(sees(wanted))

    def walk_(wanted: Any = None) -> dict[str, Any]:
        return dict(walk(wanted))

    sees_.__name__, walk_.__name__ = "sees", "walk"
    template = (HERE / "forward_folds.html").read_text("utf-8")
    return gr.HTML(
        None,
        elem_id=elem_id,
        html_template=template.replace(*TOLD) if pixels else template,
        js_on_load=_joined(FOLDS),
        apply_default_css=False,
        padding=False,
        server_functions=[sees_, walk_],
        stage=stage,
        pixels=pixels,
    )


def drawer(elem_id: str, value: Mapping[str, Any] | None = None) -> gr.HTML:
    """The editor of a schedule drawn by hand; fires "input". Its value is {"kind", "knots"}, as `noising.drawn` has them.

    Args:
        elem_id: its id in the page.
        value: what it starts with; a falling log-SNR by default.
    """
    return gr.HTML(
        dict(value or FIRST),
        elem_id=elem_id,
        html_template=(HERE / "forward_drawer.html").read_text("utf-8"),
        js_on_load=_joined(("forward_drawer.js",)),
        apply_default_css=False,
        padding=False,
        kinds=list(KINDS),
    )


def _joined(names: Sequence[str]) -> str:
    return "\n".join((HERE / name).read_text("utf-8") for name in names)
