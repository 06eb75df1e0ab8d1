"""Fidelity against diversity: the same scales for several seeds, how far the seeds' results spread, and how far they went
from what the model draws without a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from secrets import token_hex
from typing import Any

import gradio as gr

from explorer import frames, limits
from explorer.diversity import Point, Row, curve, grid
from explorer.player import guidance_live as player
from explorer.records import Model, RequestError
from explorer.samplers import SAMPLERS
from explorer.tabs.common import RUNS, paced, told
from explorer.tabs.form import numeral
from explorer.tabs.gpu import denoise_batch
from explorer.tabs.guidance_form import Controls, parse
from explorer.tabs.lanes import Record, asked, buttons

TITLE = "Fidelity against diversity: seeds and scales"
LEAD = (
    "Press the button: each seed runs at each scale, and once without a prompt. The curve then shows what a higher w "
    "costs: how far the seeds' results stay apart, and how far they went from what the model draws unasked."
)
STAGE = "diversity-grid"
SEEDS = (2, 4)  # the form's seed and those after it
SCALES = (3, 5)  # how many
FIRST = "0, 1, 4, 10"
HINT = (
    "Down a column only the noise differs; along a row only the scale. The last column runs without a prompt: from it "
    "distances are measured."
)
TAKES = ("prompt", "seed", "steps", "sampler", "negative_prompt", "guidance_rescale")
LITTLE = 0.03  # a change of less than this share is called none
SAME = 0.005  # a distance below this is written as 0.00
READERS: Mapping[str, Callable[[str], Any]] = {  # of an address
    "diversity_seeds": lambda text: limits.whole("diversity_seeds", numeral(text), SEEDS),
    "diversity_scales": lambda text: ", ".join(f"{w:g}" for w in chosen(text, "diversity_scales")),
}


def build(model: Model, controls: Mapping[str, gr.components.Component]) -> Controls:
    """Builds the fold; returns its own controls.

    Args:
        model: what predicts.
        controls: the form's, by name.
    """
    with gr.Accordion(TITLE, open=False, elem_classes="fold"), gr.Row(elem_classes="trial guidance-trial"):
        with gr.Column():
            gr.Markdown(LEAD, elem_classes="note")
            seeds = gr.Slider(*SEEDS, value=3, step=1, label="Seeds", info="The form's, and those after it.")
            scales = gr.Textbox(FIRST, label="At the scales w", info="3 to 5 numbers from -5 to 30.", lines=1)
            start, cancel = buttons("Run seeds and scales", "diversity")
        with gr.Column():
            stage = player.grid(STAGE, TITLE, HINT, seed=getattr(controls["seed"], "value", 0), seeds=3, scales=FIRST)
    shape = [controls["seed"], seeds, scales]  # until a run is there, the places follow the form
    gr.on([one.change for one in shape], fn=None, js="(...values) => ({ form: values })", inputs=shape, outputs=stage)  # type: ignore[attr-defined]
    start.click(fn=None, js=player.tell(STAGE, "run"))
    inputs = [*(controls[name] for name in TAKES), seeds, scales]
    running = start.click(runner(model), inputs, stage, api_name="diversity", **RUNS)
    for over in (running.then, running.failure):  # gradio's then() is silent after an error
        over(fn=None, js=player.tell(STAGE, "end"))
    cancel.click(fn=None, js=player.tell(STAGE, "cancel"), cancels=running)
    return {"diversity_seeds": seeds, "diversity_scales": scales}


def runner(model: Model) -> Callable[..., Iterator[Record]]:
    """The endpoint."""

    @told
    def diversity(
        prompt: str,
        seed: int,
        steps: int,
        sampler: str,
        negative_prompt: str = "",
        guidance_rescale: float = 0.0,
        seeds: int = 3,
        scales: str = FIRST,
    ) -> Iterator[Record]:
        """Denoises several seeds at several guidance scales and without a prompt; then measures the spread of each scale.

        Yields one record per seed and evaluation, whose `cells` have x0 (base64 of float16), at a seed's end pictures: one
        a scale and, last, without a prompt. The last one has `points`: per scale the distance between seeds, that from no
        prompt, and the size (rms of latents). It is bounded.

        Parameters:
            prompt: what the pictures should show
            seed: the first of the seeds, 0 to 2**32 - 1 less those after it
            steps: number of sampling steps, 1 to 1000
            sampler: a name of explorer.samplers.SAMPLERS
            negative_prompt: takes the place of the empty prompt in the unconditional call
            guidance_rescale: phi of arXiv:2305.08891, 0 to 1
            seeds: how many seeds, 2 to 4
            scales: 3 to 5 guidance scales from -5 to 30, with commas between them
        """
        wanted = asked(
            model, prompt=prompt, seed=seed, steps=steps, sampler=sampler, negative_prompt=negative_prompt,
            guidance_rescale=guidance_rescale, guidance=1.0, spacing="", width=None, height=None,
        )  # fmt: skip
        count = limits.whole("seeds", seeds, SEEDS)
        values = chosen(scales)
        first = limits.whole("seed", wanted.seed, (limits.SEED[0], limits.SEED[1] - count + 1))
        run, n = token_hex(6), SAMPLERS[wanted.sampler].evaluations(wanted.steps) + 1
        rows = grid(model, wanted, range(first, first + count), values, denoise_batch)
        last: dict[int, Row] = {}
        frame: Record = {"run": run, "n": n, "seeds": list(range(first, first + count)), "scales": values}
        with closing(paced(rows)) as stream:
            for row in stream:
                last[row.row] = row
                yield frame | _record(model, row, n)
        ends = [[step.latents for step in row.steps] for row in last.values()]
        points = curve(values, ends, [row.unconditional.latents for row in last.values()])
        yield {"run": run, "points": [vars(point) for point in points], "summary": sentence(points)}

    return diversity


def chosen(scales: Any, field: str = "scales") -> list[float]:
    """3 to 5 different scales from their text, rising; `field` is what a refusal calls them.

    Raises:
        RequestError: says which one is wrong, or how many there are.
    """
    values = sorted(set(parse(scales)))
    if not SCALES[0] <= len(values) <= SCALES[1]:
        count = f"{len(values)} different value{'s' * (len(values) != 1)}"
        raise RequestError(f"{field} has {count}; {SCALES[0]} to {SCALES[1]} are needed here.")
    return values


def sentence(points: Sequence[Point]) -> str:
    """What the curve says, from its lowest scale to its highest."""
    low, high, floor = points[0], points[-1], _floor(points)
    spread, far = _change(low.spread, high.spread), _change(low.distance, high.distance)
    numbers = (
        f"From w = {_scale(low)} to w = {_scale(high)} the spread between seeds {_went(spread)} from {low.spread:.2f} to "
        f"{high.spread:.2f}, and the distance from the runs without a prompt {_went(far)} from {low.distance:.2f} to "
        f"{high.distance:.2f}"
    )
    if far > 0 > spread and floor.scale <= 1:
        meaning = "it is the prompt itself that leaves the seed less to decide, and not the pull past it"
    elif far > 0 > spread:
        meaning = "a higher scale follows the prompt further and leaves the seed less to decide"
    elif far > 0 and spread > 0:
        meaning = "a higher scale pushes every seed further, and here not toward one place, so diversity did not fall"
    elif far > 0:
        meaning = "a higher scale pushes every seed further, and their results stay about as different as they were"
    else:
        meaning = "here a higher scale does not lead further from what the model draws unasked"
    widest, narrowest = (find(points, key=lambda point: point.spread) for find in (max, min))
    peak = "" if widest in (low, high) else f" Seeds differ most at w = {_scale(widest)} ({widest.spread:.2f})."
    if spread < 0 and floor is not high:
        later = max(point.spread for point in points if point.scale > floor.scale)
        after = "grows again" if _change(floor.spread, later) > 0 else "hardly changes"
        peak += f" All of the fall lies between w = {_scale(low)} and w = {_scale(floor)}; past that the spread {after}."
    elif narrowest not in (low, high) and _change(narrowest.spread, high.spread) > 0:
        peak += f" Seeds differ least at w = {_scale(narrowest)} ({narrowest.spread:.2f}), and more again past it."
    grown = ""
    if _change(low.size, high.size) > 0:
        grown = f" The latents themselves grow from {low.size:.2f} to {high.size:.2f}, and distances with them."
    return f"{numbers}: {meaning}.{peak}{grown}{_unasked(points)}"


def _floor(points: Sequence[Point]) -> Point:
    """The first from which the spread does not fall any more, to its end."""
    lowest = min(point.spread for point in points)
    return next(point for point in points if _change(lowest, point.spread) == 0)


def _unasked(points: Sequence[Point]) -> str:
    """Why two columns show the same, where they do."""
    if not any(point.scale == 0 and point.distance < SAME for point in points):
        return ""
    return " At w = 0 the prompt plays no part: that column is the run without a prompt, and its distance is 0."


def _scale(point: Point) -> str:
    return f"{point.scale:g}".replace("-", "−")


def _change(before: float, after: float) -> int:
    """-1, 0 or 1: less, about the same, more."""
    if abs(after - before) <= LITTLE * max(before, after):
        return 0
    return 1 if after > before else -1


def _went(change: int) -> str:
    return ("falls", "hardly changes,", "grows")[change + 1]


def _record(model: Model, row: Row, n: int) -> Record:
    steps = [*row.steps, row.unconditional]
    first = frames.encode(steps[0], run="", n=n, model_preview=model.preview)
    cells: list[Record]
    if steps[0].index == n - 1:
        cells = [{"picture": frames.data_uri(model.decode(step.latents))} for step in steps]  # large ones one by one
    else:
        planes = [frames.encode(step, run="", n=n, model_preview=model.preview)["planes"] for step in steps]
        cells = [{"x0": one["x0"]} for one in planes if "x0" in one]
    return {"row": row.row, "i": steps[0].index, "shape": first["shape"], "preview": first["preview"], "cells": cells}
