"""The Walk tab's form: the kind of walk, its stations, what moves and how; and the check of an address."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import gradio as gr

from explorer import limits, walk
from explorer.player import walk as player
from explorer.records import Model, Request, RequestError
from explorer.samplers import SAMPLERS
from explorer.tabs import picture_field
from explorer.tabs.form import numeral, one_of, taken
from explorer.tabs.picture_field import EXAMPLES
from explorer.tabs.walk_sources import LABELS
from explorer.walk import Station, Walk
from explorer.walk_film import BATCH

KINDS = {
    "stations": "from station to station", "circle": "a circle through two noises", "pictures": "between two pictures",
    "sphere": "a small circle: what is near",
}  # fmt: skip
MOVES = {"both": "both", "prompt": "the prompt", "noise": "the noise"}
PATHS = {"slerp": "slerp", "lerp": "lerp"}
SEEDS = (3, 5, 7, 11)  # of the stations that the form proposes
LENGTH = limits.PROMPT  # characters of all stations together, as an address may have them
FRAMES = 24
STEPS = (1, 50)  # what the slider spans; the API takes all that explorer.limits allows
EVALUATIONS = 10
STRENGTH = 0.3  # from 0.4 on the prompt is all that is left of the examples
SECOND = "star"  # the picture at the other end
# The stations as text follow the editor, and the editor the text; a line is "prompt @ seed".
TO_TEXT = "(drawn) => drawn.text"
TO_EDITOR = "(text, kind, moves) => ({ text, kind, moves })"
OWN = "(picture, name) => picture ? '' : name || {0!r}"
EXAMPLE = "(name, picture) => name ? null : picture"

Controls = dict[str, gr.components.Component]  # by the endpoint's parameters, in their order


def form(model: Model) -> Controls:
    """The controls, the rarer ones under More; built into the open Blocks. What a model has not, is there but not seen."""
    can = model.abilities
    presets = proposed(can.examples)
    begun = next(iter(presets.values()))
    kind = gr.Dropdown(_choices(KINDS), value="stations", label="Walk")
    editor = player.stations("walk-stations", begun, presets, can.examples if can.prompts else None)
    with gr.Column(elem_classes="stations-text"):
        info = "One a line: prompt @ seed." if can.prompts else "One a line: @ seed."
        stations = gr.Textbox(begun, label="Stations as text", info=info, lines=3, max_lines=8)
    with gr.Column(elem_classes="for-sphere"):
        angle = gr.Slider(
            *walk.ANGLE, value=20, step=1, label="Angle", info="Degrees from the noise in the middle: how near is near."
        )
    with gr.Column(elem_classes="for-pictures"):
        with gr.Row(elem_classes="from-to"):
            gr.HTML('<p class="note">From</p>', apply_default_css=False, padding=False)
            first = picture_field.examples(LABELS["first"], "walk-first")
        with gr.Row(elem_classes="from-to"):
            gr.HTML('<p class="note">To</p>', apply_default_css=False, padding=False)
            second = picture_field.examples(LABELS["second"], "walk-second")
        second.value = SECOND
        with gr.Accordion("Pictures of your own", open=False):
            picture, second_picture = picture_field.own("walk-picture"), picture_field.own("walk-second-picture")
            picture.label, second_picture.label = LABELS["first"], LABELS["second"]
        strength = gr.Slider(
            *walk.STRENGTH,
            value=STRENGTH,
            step=0.05,
            label="Strength",
            info="Share denoised anew; little keeps the pictures.",
        )
    with gr.Row(elem_classes="walk-paths"):
        moves = gr.Dropdown(
            _choices(MOVES),
            value="both",
            label="What moves",
            min_width=80,
            elem_classes="for-stations",
            visible=can.prompts,
        )
        noise_path = gr.Dropdown(_choices(PATHS), value="slerp", label="Noise path", min_width=80, elem_classes="for-paths")
    frames = gr.Slider(*walk.FRAMES, value=FRAMES, step=1, label="Frames")
    steps = gr.Slider(*STEPS, value=min(EVALUATIONS, can.steps), step=1, label="Steps")
    guidance = gr.Slider(*limits.GUIDANCE, value=can.scale, step=0.5, label="Guidance", visible=can.guidance != "none")
    with gr.Accordion("More", open=False):
        prompt_path = gr.Dropdown(
            _choices(PATHS),
            value="slerp",
            label="Prompt path",
            info="Between the whole conditionings of two prompts.",
            visible=can.prompts,
        )
        fitting = [name for name, row in SAMPLERS.items() if row.stochastic != "always"]
        begin = can.sampler if can.sampler in fitting else "DDIM"
        sampler = gr.Dropdown(fitting, value=begin, label="Sampler", info="Only those that inject no noise.")
        negative_prompt = gr.Textbox(
            "", label="Negative prompt", info="Guidance moves away from it.", lines=1, visible=can.guidance == "cfg"
        )
        batch = gr.Slider(
            *BATCH, value=4, step=1, label="Frames at once", info="1: a station's frame is its plain run exactly."
        )

    told = [stations, kind, moves]
    gr.on([stations.change, kind.change, moves.change], fn=None, js=TO_EDITOR, inputs=told, outputs=editor)
    editor.input(fn=None, js=TO_TEXT, inputs=editor, outputs=stations)
    for own, example, name in ((picture, first, next(iter(EXAMPLES))), (second_picture, second, SECOND)):
        own.change(fn=None, js=OWN.format(name), inputs=[own, example], outputs=example)
        example.change(fn=None, js=EXAMPLE, inputs=[example, own], outputs=own)  # type: ignore[attr-defined]
    return {
        "stations": stations, "kind": kind, "moves": moves, "noise_path": noise_path, "frames": frames, "steps": steps,
        "guidance": guidance, "prompt_path": prompt_path, "sampler": sampler, "negative_prompt": negative_prompt,
        "angle": angle, "strength": strength, "first": first, "second": second, "batch": batch, "picture": picture,
        "second_picture": second_picture,
    }  # fmt: skip


def proposed(examples: Sequence[str]) -> dict[str, str]:
    """Stations to click, by their names; the form begins with the first. Without prompts they are noises alone."""

    def lines(prompts: Sequence[str]) -> str:
        return "\n".join(f"{prompt} @ {seed}" for prompt, seed in zip(prompts, SEEDS, strict=False))

    if not examples:
        return {"two noises": lines(["", ""]), "four in a row": lines([""] * 4)}
    found = {"two prompts": lines(examples[:2])} if len(examples) > 1 else {}
    if len(examples) > 3:
        found |= {"two others": lines(examples[2:4]), "four in a row": lines(examples[:4])}
    return found | {"one prompt, three noises": lines([examples[0]] * 3)}


def asked(model: Model, **values: Any) -> Walk:
    """The checked walk of a form's values.

    Raises:
        RequestError: names the value that is wrong, and its limit.
    """
    request = Request(**{name: values.pop(name) for name in ("steps", "guidance", "sampler", "negative_prompt")})
    stations = parse(values.pop("stations"))
    return walk.check(Walk(stations=stations, request=request, **values), model)


def parse(text: Any) -> tuple[Station, ...]:
    """Stations from their text, one a line: a prompt, an @ and a seed.

    Raises:
        RequestError: names the line that is wrong.
    """
    if not isinstance(text, str) or len(text) > LENGTH:
        raise RequestError(f"stations must be a text of at most {LENGTH} characters, one station a line: prompt @ seed.")
    found = []
    for i, line in enumerate(filter(str.strip, text.splitlines()), 1):
        prompt, mark, seed = line.rpartition("@")
        if not mark:
            raise RequestError(f"Station {i} is {limits.show(line)}; write a prompt, an @ and a seed, such as star @ 3.")
        value = numeral(seed.strip())
        if isinstance(value, str):
            raise RequestError(
                f"The seed of station {i} is {limits.show(value)}; a whole number from 0 to {limits.SEED[1]} is needed."
            )
        limits.text(f"The prompt of station {i}", prompt.strip())
        found.append(Station(prompt.strip(), limits.whole(f"The seed of station {i}", value, limits.SEED)))
    return tuple(found)


def checked(given: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The values of an address that the form can take, and one sentence for each that it can't."""
    return taken(given, READERS)


def _choices(rows: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(label, value) for value, label in rows.items()]


def _one_of(field: str, names: Collection[str]) -> Callable[[str], str]:
    return lambda text: one_of(field, text, names)


def _stations(text: str) -> str:
    parse(text)
    return text


def _whole(field: str, within: tuple[int, int]) -> Callable[[str], int]:
    return lambda text: limits.whole(field, numeral(text), within)


def _number(field: str, within: tuple[float, float]) -> Callable[[str], float]:
    return lambda text: limits.number(field, numeral(text), within)


READERS: Mapping[str, Callable[[str], Any]] = {
    "stations": _stations,
    "kind": _one_of("kind", walk.KINDS),
    "moves": _one_of("moves", walk.MOVES),
    "noise_path": _one_of("noise_path", walk.PATHS),
    "frames": _whole("frames", walk.FRAMES),
    "steps": _whole("steps", STEPS),
    "guidance": _number("guidance", limits.GUIDANCE),
    "prompt_path": _one_of("prompt_path", walk.PATHS),
    "sampler": _one_of("sampler", [name for name, row in SAMPLERS.items() if row.stochastic != "always"]),
    "negative_prompt": lambda text: limits.text("negative_prompt", text),
    "angle": _number("angle", walk.ANGLE),
    "strength": _number("strength", walk.STRENGTH),
    "first": picture_field.example,
    "second": picture_field.example,
    "batch": _whole("batch", BATCH),
}
