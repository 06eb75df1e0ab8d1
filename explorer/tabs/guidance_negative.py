"""What a negative prompt does: the same noise with and without it, and at each step the two directions that guidance adds.

With a negative prompt the guided noise is eps_uncond + w (eps_cond - eps_uncond) + (w - 1) (eps_uncond - eps_negative):
toward the prompt and away from the negative prompt, both seen from the empty prompt (`microscope.Negatives`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from secrets import token_hex
from typing import Any

import gradio as gr

from explorer import frames, limits
from explorer.lessons import distance
from explorer.microscope import Negatives, negatives
from explorer.player.compare import compare as comparison
from explorer.player.guidance_live import DIRECTIONS
from explorer.records import Model, RequestError, Step
from explorer.samplers import SAMPLERS
from explorer.tabs.common import paced, told
from explorer.tabs.form import cut_note, numeral
from explorer.tabs.gpu import Remote, denoise_batch
from explorer.tabs.guidance_form import Controls
from explorer.tabs.lanes import Lane, Record, asked, buttons, curve, place, record, wire

TITLE = "Negative prompt: two directions"
LEAD = (
    "Press the button: the form's seed and prompt run twice, without and with a negative prompt. Two maps then show "
    "what guidance adds at each step: w times the way toward the prompt, and w − 1 times the way from the negative one."
)
STAGE = "negative-player"
SCALE = 4.0
TAKES = ("prompt", "seed", "steps", "sampler", "guidance_rescale")
LANES = (("Without it", "x0"), ("With it", "x0"), ("Toward the prompt", "toward"), ("Away from it", "away"))
CURVES = (("toward the prompt", "cond"), ("away from the negative", "z"), ("angle between them", "uncond"))
READERS: Mapping[str, Callable[[str], Any]] = {  # of an address
    "away_from": lambda text: limits.text("away_from", text),
    "away_scale": lambda text: limits.number("away_scale", numeral(text), limits.GUIDANCE),
}
ALIKE = 60.0  # degrees: below, two directions mostly agree
AGAINST = 120.0  # above, they mostly oppose each other


def build(model: Model, controls: Mapping[str, gr.components.Component]) -> Controls:
    """Builds the fold; returns its own controls.

    Args:
        model: what predicts.
        controls: the form's, by name.
    """
    with gr.Accordion(TITLE, open=False, elem_classes="fold"), gr.Row(elem_classes="trial guidance-trial"):
        with gr.Column():
            gr.Markdown(LEAD, elem_classes="note")
            negative = gr.Textbox(first(model), label="Away from", info="The negative prompt of the second run.", lines=1)
            cut_note(model, negative)
            scale = gr.Slider(*limits.GUIDANCE, value=SCALE, step=0.5, label="At the scale w")
            start, cancel = buttons("Run without and with", "negative")
        with gr.Column():
            empty = [{"label": label, "show": [plane]} for label, plane in LANES]
            hint = "Two runs from one noise, and the two directions in which guidance pushes the second one."
            stage = comparison(STAGE, TITLE, empty, hint, _curves((None, None, None)), scripts=DIRECTIONS)
    if "negative_prompt" in controls:  # what is typed in the form is what a person wants to see here
        own = controls["negative_prompt"]  # only what is typed: an address that has both names both
        own.input(fn=None, js="(text, mine) => text || mine", inputs=[own, negative], outputs=negative)  # type: ignore[attr-defined]
    inputs = [*(controls[name] for name in TAKES), negative, scale]
    wire(runner(model), start, cancel, inputs, stage, "negative_prompt")
    return {"away_from": negative, "away_scale": scale}


def first(model: Model) -> str:
    """What the second run moves away from at first: the last word of the first prompt, which its picture may show."""
    return model.abilities.examples[0].split()[-1]


def runner(model: Model) -> Callable[..., Iterator[Record]]:
    """The endpoint."""
    proposed = first(model)

    @told
    def negative_prompt(
        prompt: str,
        seed: int,
        steps: int,
        sampler: str,
        guidance_rescale: float = 0.0,
        away_from: str = proposed,
        guidance: float = SCALE,
    ) -> Iterator[Record]:
        """Denoises one seed without and with a negative prompt; yields one record per step with both directions as maps.

        The lanes toward and away have eps_cond - eps_uncond and eps_uncond - eps_negative at the second run's state, and
        `directions` has their root mean squares and the degrees between them; `apart` is how far the two states are.

        Parameters:
            prompt: what both pictures should show
            seed: which noise both start from, 0 to 2**32 - 1
            steps: number of sampling steps, 1 to 1000
            sampler: a name of explorer.samplers.SAMPLERS
            guidance_rescale: phi of arXiv:2305.08891, 0 to 1, in both
            away_from: the negative prompt of the second run
            guidance: classifier-free guidance scale of both, -5 to 30
        """
        if limits.text("away_from", away_from) == "":
            raise RequestError("The negative prompt is empty; type what the second run should move away from.")
        wanted = asked(
            model, prompt=prompt, seed=seed, steps=steps, sampler=sampler, guidance_rescale=guidance_rescale,
            guidance=guidance, spacing="", width=None, height=None,
        )  # fmt: skip
        w = limits.number("guidance", guidance, limits.GUIDANCE)
        pair = limits.check_batch([wanted, replace(wanted, negative_prompt=away_from)], model)
        run, n = token_hex(6), SAMPLERS[wanted.sampler].evaluations(wanted.steps) + 1
        with closing(paced(denoise_batch(model, pair))) as stream:
            for i, (without, within) in enumerate(stream):
                found = None if i == n - 1 else directions(model, within, wanted.prompt, away_from)
                yield _record(model, run, i, n, w, (without, within), found)

    return negative_prompt


def directions(model: Model, step: Step, prompt: str, negative: str) -> Negatives:
    """`microscope.negatives`, wherever the model computes."""
    if not isinstance(model, Remote):
        return negatives(model, step, prompt, negative)
    (found,) = model.remote("negatives", step, prompt, negative)
    return found


def between(found: Negatives) -> float | None:
    """Degrees between toward the prompt and away from the negative one, 0 … 180; None where one is zero."""
    return None if found.angle is None else 180.0 - found.angle  # `angle` is that to the negative, not away from it


def sentence(guidance: float, found: Negatives, where: str) -> str:
    """What the two maps show at one step."""
    angle = between(found)
    numbers = (
        f"At {where} the way toward the prompt has size {found.norm_toward:.3f}, the way away from the negative one "
        f"{found.norm_negative:.3f} (root mean square)"
    )
    if angle is None:
        return f"{numbers}: {found.note or 'one of the two is nothing here.'}"
    if angle < ALIKE:
        said = "they mostly agree, so moving away from the negative prompt also helps the prompt"
    elif angle > AGAINST:
        said = "they mostly oppose each other, so the negative prompt takes back part of what the prompt asks"
    else:
        said = "they are nearly independent, so the negative prompt changes what the prompt leaves open"
    return f"{numbers}, and {angle:.0f}° lie between them: {said}.{_turned(guidance)}"


def _turned(guidance: float) -> str:
    """What is different where the maps don't both count forward."""
    if guidance > 1:
        return ""
    if guidance == 1:
        return " At w = 1 only the first one counts."
    w = f"{guidance:g}".replace("-", "−")
    if guidance < 0:
        return f" At w = {w} both count backward: the step goes away from the prompt and toward the negative one."
    return f" At w = {w} the second one counts backward: the step goes toward the negative prompt, not away from it."


def ending(apart: float, guidance: float) -> str:
    """What the two ends show."""
    if apart == 0:
        why = ": at w = 1 the negative prompt is not asked" if guidance == 1 else ""
        return f"The two runs ended in the same latents{why}."
    return f"The end: with the negative prompt the latents ended {apart:.3f} from those without it (root mean square)."


def _record(
    model: Model, run: str, i: int, n: int, guidance: float, pair: Sequence[Step], found: Negatives | None
) -> Record:
    pictures = [frames.data_uri(model.decode(step.latents)) if found is None else None for step in pair]
    at = place(pair[0], n - 1)
    lanes = [
        Lane(label, step, (plane,), at, picture=picture)
        for (label, plane), step, picture in zip(LANES, pair, pictures, strict=False)
    ]
    maps = ({}, {}) if found is None else ({"toward": found.toward}, {"away": -found.negative})
    for (label, plane), planes, factor in zip(LANES[2:], maps, (guidance, guidance - 1), strict=True):
        lanes.append(Lane(label, pair[1], (plane,), f"counts {factor:g} times".replace("-", "−"), planes=planes))
    degrees = None if found is None else between(found)
    sizes = (None, None) if found is None else (found.norm_toward, found.norm_negative)
    apart = distance(*pair)
    said = ending(apart, guidance) if found is None else sentence(guidance, found, f"step {i} of {n - 1}")
    made = record(model, run, i, n, lanes, series=_curves((*sizes, degrees)), note=said)
    return made | {"directions": {"toward": sizes[0], "away": sizes[1], "degrees": degrees}, "apart": apart}


def _curves(values: Sequence[float | None]) -> list[Record]:
    """The two sizes on one scale, and the angle on its own."""
    toward, away, degrees = (curve(*one, value) for one, value in zip(CURVES, values, strict=True))
    return [toward, away, degrees | {"own": True}]
