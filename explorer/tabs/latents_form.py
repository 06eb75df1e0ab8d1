"""The Latents tab's form: where the latents come from, how far they are noised, and the check of an address."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from explorer import edits, noising
from explorer.records import Model
from explorer.tabs import picture_field
from explorer.tabs.form import defaults, taken
from explorer.tabs.latents_store import listed
from explorer.tabs.url import Runs

HERE = Path(__file__).parent

GO = "latents-go"
NOISED = 0.75  # of the steps: half noise or less, and the picture survives
# The stage may say more than an address can hold; then the address holds none of it.
LONGEST = 4000  # characters


@dataclass(frozen=True)
class Form:
    """The controls: those of which an address can hold the value, and the rest of the endpoint's parameters."""

    picture: gr.Image
    linked: Mapping[str, gr.components.Component]  # example, edits
    last: gr.Button
    noised: gr.Slider
    note: gr.HTML
    run: gr.Textbox  # hidden: their places are taken by what the stage says
    key: gr.Textbox

    def inputs(self) -> list[gr.components.Component]:
        """The endpoint's parameters in their order."""
        return [self.picture, self.linked["example"], self.run, self.linked["edits"], self.key]


def form(model: Model) -> Form:
    """The controls, built into the open Blocks."""
    steps = defaults(model).steps
    example = picture_field.examples("Pictures to encode", "latents-examples")
    picture = picture_field.own("latents-picture")
    last = gr.Button("The end of the last run", size="sm", elem_id="latents-last")
    noised = gr.Slider(
        0, max(steps - 1, 1), value=min(round(NOISED * steps), steps - 1), step=1, label=f"Noised to step k of {steps}",
        info="At 0 hardly anything but noise, at the last step hardly any.", elem_id="latents-noised",
    )  # fmt: skip
    note = gr.HTML("", elem_classes="note", apply_default_css=False, padding=False)
    made = gr.Textbox("", label="Edits", visible="hidden", elem_id="latents-edits")
    run, key = (gr.Textbox("", label=label, visible="hidden") for label in ("Run", "Key"))
    return Form(picture, {"example": example, "edits": made}, last, noised, note, run, key)


def follow(mine: Form, first: gr.HTML, runs: Runs, model: Model) -> None:
    """Lets the slider and its note follow the settings of the Reverse tab, of which a run from here takes all.

    In the browser alone: to change a setting there asks the server for nothing.
    """
    watched = [runs.form[name] for name in ("prompt", "seed", "steps", "sampler", "spacing")]
    changes = [first.click, *(one.change for one in watched)]  # type: ignore[attr-defined]
    script = (HERE / "latents_follow.js").read_text("utf-8").split("\n", 1)[1].strip()  # without its comment
    known = {
        "alphas": [round(float(alpha), 4) for alpha in noising.own(model.scheduler_config)],
        "own": model.scheduler_config.get("timestep_spacing", "leading"),
        "offset": model.scheduler_config.get("steps_offset", 0),
    }
    script = script.replace("MODEL = {}", f"MODEL = {json.dumps(known, separators=(',', ':'))}")
    gr.on(changes, fn=None, js=script, inputs=[*watched, mine.noised], outputs=[mine.noised, mine.note])
    mine.noised.change(
        fn=None, js=f"(...values) => ({script})(...values)[1]", inputs=[*watched, mine.noised], outputs=mine.note
    )


def checked(model: Model, given: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The values of an address that the form can take, and one sentence for each that it can't."""
    width, height = (side // model.latent_scale for side in model.default_size)

    def made(text: str) -> str:
        wishes = edits.checked(listed(text), (model.latent_channels, height, width))
        return json.dumps([dict(one) for one in wishes], separators=(",", ":")) if wishes else ""

    return taken(given, {"example": picture_field.example, "edits": made})
