"""The Guidance tab: one prompt and one seed at up to twelve scales, under one timeline, and a microscope for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from secrets import token_hex
from typing import Any

import gradio as gr
from torch import Tensor

from explorer import frames, microscope
from explorer.forks import counted
from explorer.lessons import spread
from explorer.player import formed
from explorer.player import guidance as player
from explorer.records import Model, Request, Step
from explorer.samplers import SAMPLERS
from explorer.sessions import Sessions
from explorer.sweep import requests
from explorer.tabs import guidance_folds, guidance_out
from explorer.tabs.common import paced, session, told
from explorer.tabs.form import taken
from explorer.tabs.gpu import denoise_batch
from explorer.tabs.guidance_form import READERS, SCALES, TAKES, form, parse, shaped
from explorer.tabs.guidance_runs import Picture, Sweep, Sweeps, planes, reading, titled
from explorer.tabs.lanes import Lane, Record, asked, buttons, curve, record, wire
from explorer.tabs.url import Linked

TITLE = "Guidance"
LEAD = "Press Run: one noise is pulled toward the prompt at several strengths w. Then choose a cell and drag the timeline."
STAGE = "guidance-stage"
NAME = "guidance"  # of the endpoint, and of the buttons' ids
CURVES = (
    ("|cond − uncond|", "cond", "norm_difference"),
    ("angle of the two", "uncond", "angle"),  # their cosine is 1.00 nearly everywhere, and would lie flat
    ("values at 0 or 1", "x0", "clipped"),
)
NARROW = "\u00a0"  # a space at which no line breaks
GROUNDS = "a plain black or white ground counts too"
LARGE = "This sweep is too large to be kept here: the microscope has its numbers but no maps."


def build(model: Model, sessions: Sessions) -> Linked:
    """Builds the tab into the open Blocks."""
    sweeps = Sweeps()
    sessions.on_drop(sweeps.drop)
    with gr.Row(elem_classes="leads"):
        gr.Markdown(LEAD, elem_classes="lead")
    with gr.Row(elem_classes="experiment trial guidance-tab"):
        with gr.Column(elem_classes="controls"):
            controls = form(model)
        with gr.Column(elem_classes="runbar"):
            start, cancel = buttons("Run", NAME)
        with gr.Column(elem_classes="stage-column"):
            empty = [_empty(w) for w in parse(SCALES)]
            curves = [{"label": label, "colour": colour, "fact": fact} for label, colour, fact in CURVES]
            stage = player.grid(
                STAGE, planes=planes(model, sweeps), empty=empty, curves=curves, send=guidance_out.SENDS,
                predicts=model.prediction_type, takes=TAKES,
            )  # fmt: skip
            meet = guidance_out.build(model, sessions, sweeps, stage)
    folded = guidance_folds.build(model, sessions, controls, STAGE)
    values = list(controls.values())
    gr.on([one.change for one in values], fn=None, js=formed(STAGE, "formed", "compare", list(controls)), inputs=values)  # type: ignore[attr-defined]
    start.click(fn=None, js=formed(STAGE, "asked", "compare", list(controls)), inputs=values)
    wire(runner(model, sweeps), start, cancel, values, stage, NAME)
    press = f"document.querySelector('.guidance-tab:not([data-running]) #{start.elem_id}')?.click()"
    controls["prompt"].submit(fn=None, js=f"() => {{ {press}; }}")  # type: ignore[attr-defined]
    return Linked({**controls, **folded}, checked, str(start.elem_id), meet=meet)


def checked(given: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The values of an address that the form and the folds can take, and one sentence for each that they can't."""
    values, notes = taken(given, {**READERS, **guidance_folds.READERS})
    if values.get("negative_prompt") and "away_from" not in given:  # as when it is typed in the form
        values["away_from"] = values["negative_prompt"]
    return values, notes


def runner(model: Model, sweeps: Sweeps) -> Callable[..., Iterator[Record]]:
    """The endpoint: its parameters are those of the API, in the order of the form."""

    @told
    def guidance(
        prompt: str,
        seed: int,
        steps: int,
        scales: str,
        dial: str = "constant",
        low: float = 0.28,
        high: float = 5.42,
        rest: float = 1.0,
        drawn: str = "",
        sampler: str = "DDIM",
        negative_prompt: str = "",
        guidance_rescale: float = 0.0,
        request: gr.Request | None = None,
    ) -> Iterator[Record]:
        """Denoises one seed at several guidance scales together; yields one record per evaluation, with a lane per scale.

        A lane has its x0 (base64 of float16) and, in `facts`, w, the norms of both predictions and of their difference,
        their cosine and angle, the share `clipped` at 0 or 1, and the saturation. The last record has the pictures. Batch
        x steps x size is bounded.

        Parameters:
            prompt: what the picture should show
            seed: which noise all start from, 0 to 2**32 - 1
            steps: number of sampling steps, 1 to 1000
            scales: 1 to 12 guidance scales from -5 to 30, with commas between them
            dial: w along the run: constant, interval, linear or cosine rising or falling, or drawn
            low: noise level sigma / alpha above which interval guides, 0 to 1000
            high: noise level up to which interval guides, 0 to 1000
            rest: w at the low end of a rising or falling dial, -5 to 30
            drawn: knots place:share of a drawn dial, from 0:... to 1:...; w(t) = 1 + share * (w - 1)
            sampler: a name of explorer.samplers.SAMPLERS
            negative_prompt: takes the place of the empty prompt in the unconditional call
            guidance_rescale: phi of arXiv:2305.08891, 0 to 1
        """
        here = session(request)
        sweeps.open(here)
        values = parse(scales)
        common = asked(
            model, prompt=prompt, seed=seed, steps=steps, guidance=1.0, sampler=sampler, negative_prompt=negative_prompt,
            guidance_rescale=guidance_rescale, eta=0.0, noise_scale=1.0, spacing="", karras=False, width=None, height=None,
        )  # fmt: skip
        wanted = requests(model, common, values, shaped(model, common, dial, low, high, rest, drawn))
        evaluations = SAMPLERS[common.sampler].evaluations(common.steps)
        run, sweep = token_hex(6), Sweep(wanted, values, dial, evaluations)
        unit, kept = counted(common), True
        with closing(paced(denoise_batch(model, wanted))) as stream:
            for i, row in enumerate(stream):
                if sweep.add(row) and kept:
                    kept = sweeps.grown(run) if i else sweeps.put(here, run, sweep)
                pictures: list[Tensor] = []
                if i == evaluations:
                    for k, step in enumerate(row, 1):  # one by one: twelve large ones may not fit
                        yield {"run": run, "doing": f"Decoding picture {k} of {len(row)}"}  # and Cancel is heard here
                        pictures.append(model.decode(step.latents))
                    sweep.pictures = [Picture.of(picture) for picture in pictures]
                yield _record(model, run, sweep, i, unit, pictures)
                if not kept:
                    sweep.rows[:] = [[] for _ in sweep.rows]  # nobody looks at them again
        if not kept:
            yield {"run": run, "summary": LARGE}

    return guidance


def _record(model: Model, run: str, sweep: Sweep, i: int, unit: str, pictures: Sequence[Tensor]) -> Record:
    """All cells at one state: what a comparison takes, and the numbers of each cell."""
    row, n = sweep.rows[i], sweep.evaluations + 1
    facts = [_facts(model, sweep, k, i, pictures[k] if pictures else None) for k in range(len(row))]
    lanes = [
        Lane(label, step, ("x0",), detail, picture=frames.data_uri(pictures[k]) if pictures else None)
        for k, ((label, detail), step) in enumerate(zip(sweep.titles(), row, strict=True))
    ]
    where = f"{unit} {i} of {sweep.evaluations}"
    series = [curve(label, colour, facts[0][fact]) for label, colour, fact in CURVES]
    made = record(model, run, i, n, lanes, series=series, note=_note(sweep, i, where, facts))
    for k, lane in enumerate(made["lanes"]):
        lane["facts"] = facts[k]
        if i == 0:
            guidance = sweep.requests[k].guidance
            lane["weights"] = list(guidance) if isinstance(guidance, tuple) else [guidance] * sweep.evaluations
    return made | {"place": where, "negative": bool(sweep.requests[0].negative_prompt)}


def _facts(model: Model, sweep: Sweep, cell: int, i: int, picture: Tensor | None) -> dict[str, Any]:
    """The numbers of one cell at one state, to five digits, and what there is to say of it."""
    read, step = reading(model, sweep, cell, i), sweep.rows[i][cell]
    seen = picture if picture is not None else microscope.seen(model.preview, step.latents if step.x0 is None else step.x0)
    numbers = read.numbers() | {"clipped": microscope.clipped(seen), "saturation": microscope.saturation(seen)}
    return {name: _short(value) for name, value in numbers.items()} | {"note": read.note, "decoded": picture is not None}


def _empty(scale: float) -> dict[str, Any]:
    """A cell whose place is kept before the first run."""
    label, detail = titled(scale, Request(guidance=scale))
    return {"label": label, "detail": detail, "w": scale}


def _short(value: float | int | None) -> float | int | None:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _note(sweep: Sweep, i: int, where: str, facts: Sequence[dict[str, Any]]) -> str:
    """What the grid shows at this state."""
    row: Sequence[Step] = sweep.rows[i]
    said = [
        f"{100 * fact['clipped']:.0f}% at {label.replace(' ', NARROW)}"
        for (label, _), fact in zip(sweep.titles(), facts, strict=True)
    ]
    ends = " and ".join(dict.fromkeys((said[0], said[-1])))
    if i == sweep.evaluations:
        return f"The end: the VAE decoded every cell. Values at 0 or 1, the ends of what can be shown: {ends}; {GROUNDS}."
    x0s = [step.x0 for step in row if step.x0 is not None]
    if len(row) == 1:
        return f"One cell at {where}; more scales stand beside each other."
    apart = f"{spread(x0s):.3f} apart (root mean square, mean over pairs)"
    if i == 0:
        return f"The start: one noise and the same predictions in every cell. Only w differs, and already x0 is {apart}."
    return f"At {where} the cells' x0 are {apart}. Preview values at 0 or 1 or past them: {ends}; {GROUNDS}."
