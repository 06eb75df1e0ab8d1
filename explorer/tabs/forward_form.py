"""The Forward tab's form: a picture, the schedule and what goes with it, and the check of an address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from explorer import limits, noising
from explorer.forward_schedule import DRAWN, KNOTS, NAMES, knots
from explorer.noising import T_RANGE
from explorer.player import forward as player
from explorer.tabs import picture_field
from explorer.tabs.form import numeral, one_of, taken

HERE = Path(__file__).parent
CSS = HERE / "forward.css"  # given to launch()
SEED = 7
STEPS = 1000
SCHEDULE = "linear"
# The knots as text follow the editor, and the editor the text.
TO_TEXT = "(drawn) => [drawn.kind, ...drawn.knots.map((knot) => knot.join(':'))].join(' ')"
TO_DRAWING = """(text, drawn) => {
  const [kind, ...words] = text.trim().split(/\\s+/), knots = words.map((word) => word.split(':').map(Number));
  const whole = (knot) => knot.length === 2 && knot.every(Number.isFinite);
  const fine = ['log-SNR', 'beta'].includes(kind) && knots.length > 1 && knots.every(whole), next = { kind, knots };
  return fine && JSON.stringify(next) !== JSON.stringify(drawn) ? next : drawn;
}"""
SHOW_DRAWER = f"""(...names) => {{
  document.querySelector('.forward-tab').toggleAttribute('data-drawn', names.includes({DRAWN!r}));
}}"""


@dataclass(frozen=True)
class Form:
    """The controls: those of which an address can hold the value, by the endpoint's parameters in their order."""

    picture: gr.Image
    linked: Mapping[str, gr.components.Component]
    run: gr.Textbox  # hidden: its place is taken by the run on the stage
    again: gr.Number  # hidden: changes where the controls are to be asked for once more


def form(prompts: bool = True) -> Form:
    """The controls, the rarer ones under More; built into the open Blocks."""
    example = picture_field.examples("Pictures to noise", "forward-examples")
    picture = picture_field.own("forward-picture")
    schedule = gr.Dropdown(list(NAMES), value=SCHEDULE, label="Schedule", elem_id="forward-schedule")
    with gr.Column(elem_classes="drawn-schedule"):
        drawer = player.drawer("forward-drawer", _drawing(KNOTS))
        drawn = gr.Textbox(
            KNOTS, label="Its knots as text", lines=1, max_lines=3,
            info="place:value, from 0:… to 1:…; log-SNR is that of the schedule alone, ᾱ / (1 − ᾱ).",
        )  # fmt: skip
    steps = gr.Slider(*T_RANGE, value=STEPS, step=1, label="T, the number of steps", elem_id="forward-steps")
    with gr.Row(elem_classes="seed-row"):
        seed = gr.Number(SEED, label="Seed of the noise", precision=0, minimum=limits.SEED[0], maximum=limits.SEED[1])
        dice = gr.Button("Roll", elem_classes="dice", size="sm", min_width=64, elem_id="forward-roll")
    with gr.Accordion("More", open=False):
        second = gr.Dropdown(
            [("none", ""), *NAMES], value="", label="A second schedule", info="A third row, noised by it.",
            elem_id="forward-second",
        )  # fmt: skip
        rescaled = gr.Checkbox(
            True, label="Rescale for a smaller T", elem_id="forward-rescaled",
            info="Off: the same betas in fewer steps. What goes wrong: it never becomes noise. Cosine and a drawn log-SNR "
            "say ᾱ itself, so they end in noise either way.",
        )  # fmt: skip
        prompt = gr.Textbox(
            "", label="Prompt for “What the model sees”", info="Empty: it is asked without one.", lines=1,
            visible=prompts,
        )  # fmt: skip
    run, again = gr.Textbox("", visible="hidden"), gr.Number(0, visible="hidden")

    dice.click(fn=None, js="() => Math.floor(Math.random() * 100000)", outputs=seed)
    drawer.input(fn=None, js=TO_TEXT, inputs=drawer, outputs=drawn)
    drawn.change(fn=None, js=TO_DRAWING, inputs=[drawn, drawer], outputs=drawer)
    gr.on([schedule.change, second.change], fn=None, js=SHOW_DRAWER, inputs=[schedule, second])
    linked = {
        "example": example, "schedule": schedule, "steps": steps, "seed": seed, "rescaled": rescaled, "drawn": drawn,
        "second": second, "prompt": prompt,
    }  # fmt: skip
    return Form(picture, linked, run, again)


def checked(given: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The values of an address that the form can take, and one sentence for each that it can't."""
    return taken(given, READERS)


def _drawn(text: str) -> str:
    noising.drawn(*knots(text), T_RANGE[1])
    return text


READERS: Mapping[str, Any] = {
    "example": picture_field.example,
    "schedule": lambda text: one_of("schedule", text, NAMES),
    "steps": lambda text: limits.whole("steps", numeral(text), T_RANGE),
    "seed": lambda text: limits.whole("seed", numeral(text), limits.SEED),
    "rescaled": lambda text: one_of("rescaled", text, ("true", "false")) == "true",
    "drawn": _drawn,
    "second": lambda text: one_of("second", text, ("", *NAMES)),
    "prompt": lambda text: limits.text("prompt", text),
}


def _drawing(line: str) -> dict[str, Any]:
    kind, points = knots(line)
    return {"kind": kind, "knots": [list(point) for point in points]}
