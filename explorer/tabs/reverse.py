"""The Reverse tab: a prompt emerges from noise, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from secrets import token_hex
from typing import Any

import gradio as gr
from torch import Tensor

from explorer import frames
from explorer.collecting import collect
from explorer.forks import Forks
from explorer.player import player, signal
from explorer.records import Model, Request, Step
from explorer.schedule import schedule
from explorer.sessions import Sessions
from explorer.tabs import compare, fork, lesson, traces, truth
from explorer.tabs.common import RUNS, session, told
from explorer.tabs.decoding import decoder
from explorer.tabs.diagram import diagram
from explorer.tabs.filling import filler
from explorer.tabs.form import checked, form
from explorer.tabs.gpu import denoise
from explorer.tabs.keeping import keeping
from explorer.tabs.lanes import asked
from explorer.tabs.url import Linked, Runs, seen

TITLE = "Reverse"
LEAD = "Press Run: noise drawn by the seed becomes a picture{}, one step at a time. Then drag the timeline."
PLAYER = "reverse-player"
RUN = "reverse-run"

Start = tuple[Tensor, Tensor, int]
Record = dict[str, Any]


def build(model: Model, sessions: Sessions) -> Linked:
    """Builds the tab into the open Blocks."""
    family, can = Forks(sessions), model.abilities
    with gr.Row(elem_classes="leads"):
        gr.Markdown(LEAD.format(" of the prompt" if can.prompts else ""), elem_classes="lead")
        said = traces.line(model)
    with gr.Row(elem_classes="experiment"):
        with gr.Column(elem_classes="controls"):
            controls = form(model)
        with gr.Column(elem_classes="runbar"):
            start = gr.Button("Run", variant="primary", elem_classes="when-resting", elem_id=RUN)
            cancel = gr.Button("Cancel", variant="secondary", elem_classes="when-running", elem_id="reverse-cancel")
        with gr.Column(elem_classes="stage-column"):
            decode = decoder(model, sessions) if can.latent else None
            stage = player(
                PLAYER, decode=decode, fill=filler(sessions), pixels=not can.latent, single=can.guidance != "cfg"
            )  # fmt: skip
            forking = fork.build(model, sessions, family, controls, stage)
            if can.latent:  # the recorded run is of latents
                traces.recorded(model, sessions, stage, said)
            traces.files(model, sessions, family, stage, said, PLAYER)
            diagram(model, PLAYER)

    apart = compare.build(model, controls)
    lesson.build(model, controls)
    apart |= truth.build(model, controls)

    # Enter in the prompt presses Run where it is there to be pressed; while something runs, Cancel is in its place.
    press = f"document.querySelector('.experiment:not([data-running]) #{RUN}')?.click()"
    controls["prompt"].submit(fn=None, js=f"() => {{ {press}; }}")  # type: ignore[attr-defined]
    start.click(fn=None, js=signal(PLAYER, "run"))
    running = start.click(_runner(model, sessions), list(controls.values()), stage, api_name="reverse", **RUNS)
    for over in (running.then, running.failure):  # gradio's then() is silent after an error
        over(fn=None, js=signal(PLAYER, "end"))
    cancel.click(fn=None, js=signal(PLAYER, "cancel"), cancels=[running, *forking])

    def check(given: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
        mine = {name: text for name, text in given.items() if name in controls}
        parts = [checked(model, mine), compare.checked(given, can), truth.checked(given)]
        return {k: v for values, _ in parts for k, v in values.items()}, [note for _, notes in parts for note in notes]

    return Linked(seen(controls | apart), check, RUN, Runs(controls, stage, cancel))


def _runner(model: Model, sessions: Sessions) -> Callable[..., Iterator[Record]]:
    """The endpoint: its parameters are those of the API, in the order of the form."""

    @told
    def reverse(
        prompt: str,
        seed: int | None,
        steps: int,
        guidance: float,
        sampler: str,
        negative_prompt: str,
        guidance_rescale: float,
        eta: float,
        noise_scale: float,
        spacing: str,
        karras: bool,
        width: int | None = None,
        height: int | None = None,
        request: gr.Request | None = None,
    ) -> Iterator[Record]:
        """Denoises from pure noise and yields one record per step; the last one has the decoded picture.

        Parameters:
            prompt: what the picture should show
            seed: which noise to start from, 0 to 2**32 - 1
            steps: number of sampling steps, 1 to 1000
            guidance: classifier-free guidance scale, -5 to 30; at exactly 1 there is one conditional call per evaluation
            sampler: a name of explorer.samplers.SAMPLERS
            negative_prompt: takes the place of the empty prompt in the unconditional call
            guidance_rescale: phi of arXiv:2305.08891, 0 to 1
            eta: share of DDPM's variance that DDIM puts back, 0 to 1
            noise_scale: share of the injected noise that a stochastic sampler keeps, 0 to 1
            spacing: leading, linspace or trailing; empty for the model's own
            karras: whether sigmas are spaced as in arXiv:2206.00364; null for the model's own
            width: pixels; null for the model's own
            height: pixels; null for the model's own
        """
        wanted = asked(
            model, prompt=prompt, negative_prompt=negative_prompt, seed=seed, steps=steps, guidance=guidance,
            guidance_rescale=guidance_rescale, sampler=sampler, eta=eta, noise_scale=noise_scale, spacing=spacing,
            karras=karras, width=width, height=height,
        )  # fmt: skip
        yield from stream(model, sessions, session(request), wanted)

    return reverse


def stream(model: Model, sessions: Sessions, here: str, wanted: Request, start: Start | None = None) -> Iterator[Record]:
    """Runs a request for the player, one record per step, and keeps the run.

    Args:
        here: the session that it is kept for.
        wanted: checked.
        start: None begins in noise, (latents, noise, k) at a picture's latents; see `explorer.engine.denoise`.
    """
    run, plan = token_hex(6), schedule(wanted, model.scheduler_config)
    sessions.open(here)
    if start is None:
        sessions.note(here, run, wanted)
    else:
        plan.start_at(start[2])  # PNDM makes one evaluation more
    n = plan.evaluations + 1

    def keep(steps: Sequence[Step]) -> None:
        sessions.put(here, run, collect(model, wanted, steps, start))

    with closing(keeping(sessions, denoise(model, wanted, start), n, keep)) as steps:
        for step in steps:
            picture = frames.data_uri(model.decode(step.latents)) if step.index == n - 1 else None
            yield frames.encode(step, run=run, n=n, model_preview=model.preview, picture=picture, steps=wanted.steps)
