"""The Reverse tab's form: its controls by the names of the endpoint, the notes beside them, and the check of an address."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr

from explorer import limits
from explorer.records import Abilities, Model, Request, RequestError
from explorer.samplers import SAMPLERS
from explorer.tabs.common import prompts

# What the sliders span; the API takes all that explorer.limits allows.
STEPS = (1, 100)
GUIDANCE = (0.0, 15.0)
# Handlers that only write a note: no queue, no place in the API, and of many calls the last counts.
QUICK: dict[str, Any] = {"preprocess": False, "queue": False, "show_progress": "hidden", "api_visibility": "private"}

Controls = dict[str, gr.components.Component]  # by the endpoint's parameters, in their order


def defaults(model: Model) -> Request:
    """Where a model's forms begin, within what the sliders span."""
    can = model.abilities
    prompt = can.examples[0] if can.examples else ""
    steps = min(can.steps, STEPS[1])
    return Request(prompt=prompt, seed=can.seed, sampler=can.sampler, steps=steps, guidance=_scale(can))


def form(model: Model) -> Controls:
    """The controls, the rarer ones under More; built into the open Blocks. What a model has not, is there but not seen."""
    can, begun = model.abilities, defaults(model)
    guided, negated = can.guidance != "none", can.guidance == "cfg"
    row = SAMPLERS[begun.sampler]
    prompt = gr.Textbox(begun.prompt, label="Prompt", lines=1, max_lines=3, visible=can.prompts)
    prompt_note = _note()
    if can.prompts:
        prompts(can.examples, prompt)
    with gr.Row(elem_classes="seed-row"):
        seed = gr.Number(begun.seed, label="Seed", precision=0, minimum=limits.SEED[0], maximum=limits.SEED[1])
        dice = gr.Button("Roll", elem_classes="dice", size="sm", min_width=64)
    steps = gr.Slider(*STEPS, value=begun.steps, step=1, label="Steps")
    guidance = gr.Slider(*GUIDANCE, value=_scale(can), step=0.5, label="Guidance", visible=guided)
    about = _about_guidance if negated else _about_told
    guidance_note = gr.Markdown(about(_scale(can)), elem_classes="note guidance-note", visible=guided)
    sampler = gr.Dropdown(list(SAMPLERS), value=begun.sampler, label="Sampler")
    sampler_note = gr.Markdown(_about_sampler(begun.sampler, begun.steps), elem_classes="note sampler-note")
    with gr.Accordion("More", open=False):
        negative_prompt = gr.Textbox(
            "", label="Negative prompt", info="Guidance moves away from it.", lines=1, visible=negated
        )
        negative_note = _note()
        guidance_rescale = _share("Guidance rescale", 0.0, "Pulls the prediction back to its unguided spread.", negated)
        eta = _share("Eta", 0.0, "DDIM: fresh noise; 1 is DDPM's variance.", takes=row.stochastic == "eta")
        noise_scale = _share("Noise scale", 1.0, "Share of the injected noise that is kept.", takes=row.stochastic != "no")
        spacing = gr.Dropdown(
            [("the model's own", ""), *limits.SPACINGS], value="", label="Spacing", info="Which timesteps are visited.",
            interactive=row.spacing,
        )  # fmt: skip
        karras = gr.Checkbox(False, label="Karras sigmas", info="More of the steps at low noise.", interactive=row.karras)
        with gr.Row():  # with a value: an empty number becomes 0 when it is mounted
            width, height = (
                gr.Number(size, label=label, precision=0, min_width=80)
                for size, label in zip(model.default_size, ("Width", "Height"), strict=True)
            )

    tokens = _tokens(model)

    def about_prompt(text: Any) -> str:
        return _about_prompt(model, tokens, text) or (
            "Empty: the run is unconditional, unless there is a negative prompt." if text == "" else ""
        )

    def about_negative(text: Any) -> str:
        return _about_prompt(model, tokens, text)

    last: dict[str, Any] = {**QUICK, "trigger_mode": "always_last"}
    dice.click(fn=None, js="() => Math.floor(Math.random() * 100000)", outputs=seed)
    prompt.change(about_prompt, prompt, prompt_note, **last)
    negative_prompt.change(about_negative, negative_prompt, negative_note, **last)
    guidance.change(about, guidance, guidance_note, **last)
    gr.on([sampler.change, steps.change], _about_sampler, [sampler, steps], sampler_note, **last)
    sampler.change(_applicable, sampler, [eta, noise_scale, spacing, karras], **QUICK)
    return {
        "prompt": prompt, "seed": seed, "steps": steps, "guidance": guidance, "sampler": sampler,
        "negative_prompt": negative_prompt, "guidance_rescale": guidance_rescale, "eta": eta, "noise_scale": noise_scale,
        "spacing": spacing, "karras": karras, "width": width, "height": height,
    }  # fmt: skip


def checked(model: Model, given: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The values of an address that the form can take, and one sentence for each that it can't.

    Each is tried on top of those before it, the sampler first, since what else is possible hangs on it.
    """
    request, notes = defaults(model), []
    values: dict[str, Any] = {}
    order = ("sampler", "steps", "width", "height")
    for name in sorted(given, key=lambda name: (order.index(name) if name in order else len(order), name)):
        value = _read(name, given[name])
        try:
            if name == "steps":
                limits.whole(name, value, STEPS)
            elif name == "guidance":
                limits.number(name, value, GUIDANCE)
            request = limits.check(replace(request, **{name: value}), model)
        except RequestError as error:
            notes.append(str(error))
        else:
            values[name] = "" if name == "spacing" and value is None else getattr(request, name)
    return values, notes


def _read(name: str, text: str) -> Any:
    """A text of an address as the kind of value that the field has; what can't be read so stays a text."""
    if name in ("prompt", "negative_prompt", "sampler"):
        return text
    if name == "spacing":
        return text or None
    if name == "karras":
        return {"true": True, "false": False}.get(text, text)
    return numeral(text)


def numeral(text: str) -> Any:
    """A number, whole where it can be; what is none stays a text, which the limits then name."""
    try:
        value = float(text)
    except ValueError:
        return text
    return int(value) if value.is_integer() else value


def one_of(field: str, text: str, names: Collection[str]) -> str:
    """The text, where it is one of these names; an empty one is not spoken of.

    Raises:
        RequestError: names the field, the text and the names.
    """
    if text not in names:
        raise RequestError(f"{field} is {text[:40]!r}; it must be one of {', '.join(filter(None, names))}.")
    return text


def taken(given: Mapping[str, str], readers: Mapping[str, Callable[[str], Any]]) -> tuple[dict[str, Any], list[str]]:
    """The values of an address that each stand alone: by name what its reader made of it, or the reader's sentence."""
    values: dict[str, Any] = {}
    notes = []
    for name, reader in readers.items():
        if name in given:
            try:
                values[name] = reader(given[name])
            except RequestError as error:
                notes.append(str(error))
    return values, notes


def cut_note(model: Model, box: Any) -> gr.HTML:
    """A line below another prompt's box, with the words of it that the model will not read."""
    note, tokens = _note(), _tokens(model)

    def about(text: Any) -> str:
        return _about_prompt(model, tokens, text)

    box.change(about, box, note, trigger_mode="always_last", **QUICK)
    return note


def _note() -> gr.HTML:
    """A line that is there only when it says something."""
    return gr.HTML("", elem_classes="note cut-note", apply_default_css=False, padding=False)


def _scale(can: Abilities) -> float:
    """Of guidance, where the form begins."""
    return min(max(can.scale, GUIDANCE[0]), GUIDANCE[1])


def _tokens(model: Model) -> int:
    """How many a prompt may have; 0 for a model that takes none."""
    return model.parts()[0].gives[0] if model.abilities.prompts else 0


def _share(label: str, value: float, info: str, visible: bool = True, takes: bool = True) -> gr.Slider:
    return gr.Slider(*limits.UNIT, value=value, step=0.05, label=label, info=info, visible=visible, interactive=takes)


def _about_prompt(model: Model, tokens: int, prompt: Any) -> str:
    """The words that the model will not read, or why it can't take the prompt."""
    try:
        unread = model.unread(limits.text("prompt", prompt))
    except RequestError as error:
        return escape(str(error))
    return f"Not read (the model takes {tokens} tokens): <q>{escape(unread)}</q>" if unread.strip() else ""


def _about_guidance(guidance: Any) -> str:
    """What the guidance scale does at this value."""
    if guidance == 1:
        return "At exactly 1 there is one conditional call per evaluation; the negative prompt and rescale are ignored."
    if guidance == 0:
        return "0 ignores the prompt: only the unconditional prediction is used."
    return "Two predictions per evaluation, with and without the prompt: their difference is multiplied by this."


def _about_told(guidance: Any) -> str:
    """The same for a model that is told the scale."""
    return "The model has learned what this scale makes of a prompt, and is told it: one prediction per evaluation."


def _about_sampler(sampler: Any, steps: Any) -> str:
    """The row's own words, and what a run costs."""
    row = SAMPLERS.get(sampler) if isinstance(sampler, str) else None
    if row is None or not isinstance(steps, int | float) or not STEPS[0] <= steps <= limits.STEPS[1]:
        return ""
    evaluations = row.evaluations(int(steps))
    cost = f"{int(steps)} step{'s' * (steps != 1)}: {evaluations} evaluation{'s' * (evaluations != 1)}."
    return " ".join(filter(None, (row.summary, row.limits, cost)))


def _applicable(sampler: Any) -> list[Any]:
    """Eta, noise scale, spacing and Karras sigmas, switched off and put back where the sampler has none."""
    row = SAMPLERS.get(sampler) if isinstance(sampler, str) else None
    if row is None:
        return [gr.skip()] * 4
    rests = ((row.stochastic == "eta", 0.0), (row.stochastic != "no", 1.0), (row.spacing, ""), (row.karras, False))
    return [gr.update(interactive=True) if takes else gr.update(interactive=False, value=rest) for takes, rest in rests]
