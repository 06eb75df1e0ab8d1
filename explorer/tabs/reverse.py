"""The Reverse tab: a prompt emerges from noise, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from secrets import token_hex
from typing import Any

import gradio as gr

from explorer import frames, limits
from explorer.engine import capsule, denoise
from explorer.player import player, signal
from explorer.records import Model, Request, Step, Trajectory
from explorer.samplers import SAMPLERS
from explorer.sessions import Sessions
from explorer.tabs.common import paced, prompts, session, told

TITLE = "Reverse"
LEAD = "Press Run: noise drawn by the seed becomes a picture of the prompt, one step at a time. Then drag the timeline."
PROMPTS = (
    "cat with tears of joy on black",
    "a house on a blue background",
    "jack-o-lantern",
    "a tiger face",
    "ambulance",
    "star",
    "face with medical mask",
    "tangerine",
)
PLAYER = "reverse-player"
SAMPLER = "DDIM"
# What the sliders span; the API takes all that explorer.limits allows.
STEPS = (1, 100)
GUIDANCE = (0.0, 15.0)


def build(model: Model, sessions: Sessions) -> None:
    """Builds the tab into the open Blocks."""
    gr.Markdown(LEAD, elem_classes="lead")
    with gr.Row(elem_classes="experiment"):
        with gr.Column(elem_classes="controls"):
            prompt, others = _form(model)
        with gr.Column(elem_classes="runbar"):
            start = gr.Button("Run", variant="primary", elem_classes="when-resting", elem_id="reverse-run")
            cancel = gr.Button("Cancel", variant="secondary", elem_classes="when-running", elem_id="reverse-cancel")
        with gr.Column(elem_classes="stage-column"):
            stage = player(PLAYER)

    triggers = [start.click, prompt.submit]
    gr.on(triggers, fn=None, js=signal(PLAYER, "run"))
    running = gr.on(
        triggers,
        _runner(model, sessions),
        [prompt, *others],
        stage,
        api_name="reverse",
        preprocess=False,  # raw values: the engine's own sentence is the only refusal
        show_progress="hidden",
        concurrency_limit=1,
        concurrency_id="model",
        trigger_mode="once",
    )
    for over in (running.then, running.failure):  # gradio's then() is silent after an error
        over(fn=None, js=signal(PLAYER, "end"))
    cancel.click(fn=None, js=signal(PLAYER, "cancel"), cancels=running)


def _runner(model: Model, sessions: Sessions) -> Callable[..., Iterator[dict[str, Any]]]:
    """The endpoint: its parameters are those of the API, in the order of the form."""

    @told
    def reverse(
        prompt: str,
        seed: int,
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
    ) -> Iterator[dict[str, Any]]:
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
        wanted = limits.check(
            Request(
                prompt=prompt,
                negative_prompt=negative_prompt,
                seed=seed,
                steps=steps,
                guidance=guidance,
                guidance_rescale=guidance_rescale,
                sampler=sampler,
                eta=eta,
                noise_scale=noise_scale,
                spacing=None if spacing == "" else spacing,
                karras=karras,
                width=width,
                height=height,
            ),
            model,
        )
        run, n = token_hex(6), SAMPLERS[wanted.sampler].evaluations(wanted.steps) + 1
        kept: list[Step] = []
        with closing(paced(denoise(model, wanted))) as stream:
            for step in stream:
                if sessions.holds(step, n):
                    kept.append(step)
                picture = frames.data_uri(model.decode(step.latents)) if step.index == n - 1 else None
                yield frames.encode(step, run=run, n=n, model_preview=model.preview, picture=picture)
        if len(kept) == n and session(request):
            trajectory = Trajectory(request=wanted, steps=tuple(kept), capsule=capsule(model))
            sessions.put(session(request), run, trajectory)

    return reverse


def _form(model: Model) -> tuple[gr.Textbox, list[gr.components.Component]]:
    """The prompt, and the other controls in the order of the endpoint's parameters; the rarer ones are under More."""
    prompt = gr.Textbox(PROMPTS[0], label="Prompt", lines=1, max_lines=3)
    prompts(PROMPTS, prompt)
    with gr.Row(elem_classes="seed-row"):
        seed = gr.Number(3, label="Seed", precision=0, minimum=limits.SEED[0], maximum=limits.SEED[1])
        dice = gr.Button("Roll", elem_classes="dice", size="sm", min_width=64)
    steps = gr.Slider(*STEPS, value=20, step=1, label="Steps")
    guidance = gr.Slider(*GUIDANCE, value=4.0, step=0.5, label="Guidance")
    guidance_note = gr.Markdown(_about_guidance(4.0), elem_classes="note guidance-note")
    sampler = gr.Dropdown(list(SAMPLERS), value=SAMPLER, label="Sampler")
    sampler_note = gr.Markdown(_about_sampler(SAMPLER, 20), elem_classes="note sampler-note")
    with gr.Accordion("More", open=False):
        negative_prompt = gr.Textbox("", label="Negative prompt", info="Guidance moves away from it.", lines=1)
        guidance_rescale = _share("Guidance rescale", 0.0, "Pulls the prediction back to its unguided spread.")
        eta = _share("Eta", 0.0, "DDIM: fresh noise; 1 is DDPM's variance.")
        noise_scale = _share("Noise scale", 1.0, "Share of the injected noise that is kept.")
        spacing = gr.Dropdown(
            [("the model's own", ""), *limits.SPACINGS], value="", label="Spacing", info="Which timesteps are visited."
        )
        karras = gr.Checkbox(
            False, label="Karras sigmas", info="More of the steps at low noise.", interactive=SAMPLERS[SAMPLER].karras
        )
        with gr.Row():  # with a value: an empty number becomes 0 when it is mounted
            width, height = (
                gr.Number(size, label=label, precision=0, min_width=80)
                for size, label in zip(model.default_size, ("Width", "Height"), strict=True)
            )

    dice.click(fn=None, js="() => Math.floor(Math.random() * 100000)", outputs=seed)
    quick: dict[str, Any] = {"preprocess": False, "queue": False, "show_progress": "hidden", "api_visibility": "private"}
    last: dict[str, Any] = {**quick, "trigger_mode": "always_last"}
    guidance.change(_about_guidance, guidance, guidance_note, **last)
    gr.on([sampler.change, steps.change], _about_sampler, [sampler, steps], sampler_note, **last)
    sampler.change(_applicable, sampler, [eta, noise_scale, spacing, karras], **quick)
    always = [seed, steps, guidance, sampler]
    return prompt, [*always, negative_prompt, guidance_rescale, eta, noise_scale, spacing, karras, width, height]


def _share(label: str, value: float, info: str) -> gr.Slider:
    return gr.Slider(*limits.UNIT, value=value, step=0.05, label=label, info=info)


def _about_guidance(guidance: Any) -> str:
    """What the guidance scale does at this value."""
    if guidance == 1:
        return "At exactly 1 there is one conditional call per evaluation; the negative prompt and rescale are ignored."
    if guidance == 0:
        return "0 ignores the prompt: only the unconditional prediction is used."
    return "Two predictions per evaluation, with and without the prompt: their difference is multiplied by this."


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
