"""The Guidance tab's form: one prompt, one seed, several scales, and w(t); and how it reads an address."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import gradio as gr

from explorer import dial, limits
from explorer.dial import DIALS, INTERVAL, NOISE
from explorer.player import guidance as player
from explorer.records import Model, Request, RequestError
from explorer.samplers import SAMPLERS
from explorer.schedule import schedule
from explorer.sweep import check_scales
from explorer.tabs.common import prompts
from explorer.tabs.form import QUICK, cut_note, defaults, numeral, one_of

SCALES = "0, 1, 3, 5, 8, 12"
PRESETS: Mapping[str, str] = {
    "around the default": "2, 3, 4, 5, 6, 8",
    "away from the prompt": "-5, -3, -1, 0, 1, 4",
    "too far": "4, 8, 12, 16, 22, 30",
}
LENGTH = 200  # characters of the scales
STEPS = (1, 100)  # what the slider spans; the API takes all that explorer.limits allows
EVALUATIONS = 12
DIAL = "constant"
# Which settings each shape of w(t) takes, by their names in the form.
TAKES = {name: tuple("drawn" if one == "knots" else one for one in row.takes) for name, row in DIALS.items()}
DRAWN = "0:0 0.25:1 0.75:1 1:0"  # place:share
# The knots as text follow the editor, and the editor the text.
TO_TEXT = "(drawn) => drawn.knots.map((knot) => knot.join(':')).join(' ')"
TO_DRAWING = """(text, drawn) => {
  const number = (part) => (part ? Number(part) : NaN);
  const knots = text.replaceAll(',', ' ').trim().split(/\\s+/).map((word) => word.split(':').map(number));
  const inside = (knot) => knot.length === 2 && knot.every((value) => value >= 0 && value <= 1);
  const rising = (knot, i) => i === 0 ? knot[0] === 0 : knot[0] > knots[i - 1][0];
  const whole = knots.length > 1 && knots.length <= 12 && knots.at(-1)[0] === 1;
  const fine = whole && knots.every(inside) && knots.every(rising), next = { knots };
  return fine && JSON.stringify(next) !== JSON.stringify(drawn) ? next : drawn;
}"""

Guidance = float | tuple[float, ...]
Controls = dict[str, gr.components.Component]  # by the endpoint's parameters, in their order


def form(model: Model) -> Controls:
    """The controls, the rarer ones under More; built into the open Blocks."""
    begun = defaults(model)
    prompt = gr.Textbox(begun.prompt, label="Prompt", lines=1, max_lines=3)
    cut_note(model, prompt)
    prompts(model.abilities.examples, prompt, 2)
    with gr.Row(elem_classes="seed-row"):
        seed = gr.Number(begun.seed, label="Seed", precision=0, minimum=limits.SEED[0], maximum=limits.SEED[1])
        dice = gr.Button("Roll", elem_classes="dice", size="sm", min_width=64)
    steps = gr.Slider(*STEPS, value=min(EVALUATIONS, begun.steps), step=1, label="Steps")
    scales = gr.Textbox(SCALES, label="Guidance scales w", info="1 to 12 numbers from -5 to 30.", lines=1, max_lines=2)
    player.presets(PRESETS, scales)
    shape = gr.Dropdown(list(DIALS), value=DIAL, label="w(t), the scale along the run", elem_id="guidance-dial")
    about = gr.HTML(_about(DIAL), elem_classes="note dial-note", apply_default_css=False, padding=False)
    with gr.Row(elem_classes="dial-is dial-interval"):
        low, high = (
            gr.Number(value, label=f"{name} σ/α", minimum=NOISE[0], maximum=NOISE[1], step=0.1, min_width=80)
            for name, value in zip(("From", "To"), INTERVAL, strict=True)
        )
    with gr.Column(elem_classes="dial-is dial-ramp"):
        rest = gr.Number(1, label="w at the low end", minimum=limits.GUIDANCE[0], maximum=limits.GUIDANCE[1], step=0.5)
    with gr.Column(elem_classes="dial-is dial-drawn"):
        drawer = player.drawer("guidance-drawer", knots(DRAWN))
        drawn = gr.Textbox(DRAWN, label="Its knots as text", info="place:share, from 0:… to 1:…", lines=1, max_lines=3)
    with gr.Accordion("More", open=False):
        sampler = gr.Dropdown(list(SAMPLERS), value=begun.sampler, label="Sampler")
        negative_prompt = gr.Textbox(
            "", label="Negative prompt", info="Takes the empty prompt's place: guidance moves away from it.", lines=1
        )
        cut_note(model, negative_prompt)
        rescale = gr.Slider(
            *limits.UNIT, value=0.0, step=0.05, label="Guidance rescale",
            info="Pulls the prediction back to its unguided spread.",
        )  # fmt: skip

    dice.click(fn=None, js="() => Math.floor(Math.random() * 100000)", outputs=seed)
    shape.change(_about, shape, about, trigger_mode="always_last", **QUICK)
    drawer.input(fn=None, js=TO_TEXT, inputs=drawer, outputs=drawn)
    drawn.change(fn=None, js=TO_DRAWING, inputs=[drawn, drawer], outputs=drawer)
    return {
        "prompt": prompt, "seed": seed, "steps": steps, "scales": scales, "dial": shape, "low": low, "high": high,
        "rest": rest, "drawn": drawn, "sampler": sampler, "negative_prompt": negative_prompt, "guidance_rescale": rescale,
    }  # fmt: skip


def parse(text: Any) -> list[float]:
    """1 … 12 scales from their text, such as "0, 1, 7.5"; a list of numbers is taken too.

    Raises:
        RequestError: names the scale that is wrong.
    """
    if isinstance(text, list | tuple):
        return check_scales(text)
    if not isinstance(text, str) or len(text) > LENGTH:
        raise RequestError(f"scales must be a text of at most {LENGTH} characters, such as {SCALES}.")
    values = []
    for i, word in enumerate(text.replace("−", "-").replace(",", " ").replace(";", " ").split(), 1):
        value = numeral(word)
        if isinstance(value, str):
            raise RequestError(f"Scale {i} is {word[:40]!r}; a number from -5 to 30 is needed, such as in {SCALES}.")
        values.append(limits.number(f"Scale {i}", value, limits.GUIDANCE))
    return check_scales(values)


def knots(text: Any) -> tuple[tuple[float, float], ...]:
    """The knots of a drawn w(t): places and shares, both 0 … 1; a share of 0 is w = 1, a share of 1 the cell's own scale.

    Raises:
        RequestError: names the knot that is wrong.
    """
    return dial.parse(text, field="drawn", called="share", within=limits.UNIT, example=DRAWN)


def shaped(
    model: Model, request: Request, name: Any, low: Any, high: Any, rest: Any, drawn: Any
) -> Callable[[float], Guidance] | None:
    """From a scale to its w(t) for this request, checked; None where it is constant.

    A drawn one is 1 + share · (w − 1), so that one drawing serves every scale.
    """
    if not isinstance(name, str) or name not in DIALS:
        raise RequestError(f"dial is {str(name)[:40]!r}; it must be one of {', '.join(DIALS)}.")
    if name == DIAL:
        return None
    plan = schedule(request, model.scheduler_config)
    if name == "drawn":
        knots(drawn)
        shares = dial.values(name, 1.0, plan, knots=drawn)
        return lambda scale: tuple(scale if share == 1 else 1 + share * (scale - 1) for share in shares)
    dial.values(name, 1.0, plan, low=low, high=high, rest=rest)  # what is wrong is told before anything runs
    return lambda scale: dial.values(name, scale, plan, low=low, high=high, rest=rest)


def _about(name: Any) -> str:
    """What a shape of w(t) does, its formula and where it is from; the style shows the settings of the shape named here."""
    row = DIALS.get(name) if isinstance(name, str) else None
    if row is None:
        return ""
    said = f"{row.formula}. {row.summary} {row.source}"
    if row.name == "drawn":
        said = "w(t) = 1 + share · (w − 1): at share 1 the cell's own w, at share 0 w = 1, the prompt without extra pull."
    return f'<p data-dial="{row.name.split()[0]}">{escape(said)}</p>'


def _fine(text: str, check: Callable[[str], Any]) -> str:
    """A text that stays one, when it passes its check."""
    check(text)
    return text


READERS: Mapping[str, Callable[[str], Any]] = {
    "prompt": lambda text: limits.text("prompt", text),
    "seed": lambda text: limits.whole("seed", numeral(text), limits.SEED),
    "steps": lambda text: limits.whole("steps", numeral(text), STEPS),
    "scales": lambda text: _fine(text, parse),
    "dial": lambda text: one_of("dial", text, DIALS),
    "low": lambda text: limits.number("low", numeral(text), NOISE),
    "high": lambda text: limits.number("high", numeral(text), NOISE),
    "rest": lambda text: limits.number("rest", numeral(text), limits.GUIDANCE),
    "drawn": lambda text: _fine(text, knots),
    "sampler": lambda text: one_of("sampler", text, SAMPLERS),
    "negative_prompt": lambda text: limits.text("negative_prompt", text),
    "guidance_rescale": lambda text: limits.number("guidance_rescale", numeral(text), limits.UNIT),
}
