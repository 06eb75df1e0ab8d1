"""The Walk tab's parts in the browser: the film player with its second axis, and the editor of stations.

A film's frames come one by one, in any order, and stay in the browser; the denoising run of one frame is asked for when a
person rests on it. Pictures are drawn on canvases, so that nothing flashes while a film plays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.player import inert, signal

HERE = Path(__file__).parent
SCRIPTS = (
    "colour.js", "large.js", "words.js", "walk.js", "walk_show.js", "walk_axis.js", "walk_curves.js", "walk_compass.js",
    "walk_words.js", "walk_formed.js", "walk_input.js",
)  # fmt: skip
CSS = HERE / "walk.css"  # given to launch()
HINT = "Press Run: a film between your stations appears here, frame by frame, its ends first."
ABOUT = (
    "Every frame is a whole run of the model from its own point of the path. Along a straight line between two noises the "
    "norm dips; along the sphere it stays. Between prompts pictures mix, or jump."
)
NOISES = (
    "Every frame is a whole run of the model from its own point of the path. Along a straight line between two noises the "
    "norm dips; along the sphere it stays."
)

Asked = Callable[[Any], Mapping[str, Any]]


def film(
    elem_id: str, *, steps: Asked, frames: int, stations: Sequence[str], even: str, beside: str, prompts: bool = True,
    pixels: bool = False,
) -> gr.HTML:  # fmt: skip
    """The stage, before the first film. Its value is a record (see walk.js).

    Args:
        elem_id: its id in the page.
        steps: [run, frame] → {"planes": [base64, …]} or {"error": sentence}; it may be called by anybody with anything.
        frames: how many marks the timeline has before the first film.
        stations: what is written below them.
        even: elem_id of the button that has the frames placed anew.
        beside: elem_id of the one that has a second film made.
        prompts: whether the model takes any.
        pixels: whether it works on pixels rather than latents.
    """

    def steps_(wanted: Any = None) -> dict[str, Any]:
        return dict(steps(wanted))

    steps_.__name__ = "steps"
    last = max(1, len(stations) - 1)
    return gr.HTML(
        None,
        elem_id=elem_id,
        html_template=(HERE / "walk.html").read_text("utf-8"),
        js_on_load="\n".join((HERE / name).read_text("utf-8") for name in SCRIPTS),
        apply_default_css=False,
        padding=False,
        server_functions=[steps_],
        frames=frames,
        stations=[{"place": i / last, "label": label} for i, label in enumerate(stations)],
        again={"even": even, "other": beside},
        hint=HINT,
        about=ABOUT if prompts else NOISES,
        prompts=prompts,
        pixels=pixels,
    )


def stations(elem_id: str, text: str, presets: Mapping[str, str], prompts: Sequence[str] | None) -> gr.HTML:
    """The editor of stations; fires "input". Its value is {"text": a station a line, "kind", "moves"}.

    Args:
        elem_id: its id in the page.
        text: the stations, each "prompt @ seed".
        presets: stations to click, by their names.
        prompts: what is proposed where a prompt is typed; None for a model that takes none.
    """
    buttons = "".join(
        f'<button type="button" data-text="{inert(lines)}">{inert(name)}</button>' for name, lines in presets.items()
    )
    options = "".join(f"<option>{inert(prompt)}</option>" for prompt in prompts or ())
    template = (HERE / "stations.html").read_text("utf-8")
    return gr.HTML(
        {"text": text, "kind": "stations", "moves": "both"},
        elem_id=elem_id,
        html_template=template.replace("<!--presets-->", buttons).replace("<!--prompts-->", options),
        js_on_load=(HERE / "stations.js").read_text("utf-8"),
        bare=prompts is None,
        apply_default_css=False,
        padding=False,
    )


def tell(elem_id: str, name: str) -> str:
    """The `js` of a listener that tells the stage "run", "cancel" or "end", in the browser, before any request."""
    return signal(elem_id, name, "walk")
