"""The Latents tab: what the model really sees. A picture goes through the VAE, and its latents can be touched.

One handler takes a picture, an example or the end of a run; what is done to its latents is asked of `touch`, live. From
the edited latents a run can begin, which streams into the Reverse tab's player.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial, wraps
from typing import Any

import gradio as gr

from explorer import edits as edited
from explorer import forward, limits, trace
from explorer.intake import bring
from explorer.latents import Held, from_picture, from_run
from explorer.player import latents as player
from explorer.player import signal
from explorer.records import Model, RequestError, Trajectory
from explorer.samplers import SAMPLERS
from explorer.sessions import Sessions
from explorer.tabs import latents_folds, picture_field, reverse, traces
from explorer.tabs.common import RUNS, once, session, told
from explorer.tabs.lanes import asked
from explorer.tabs.latents_form import GO, LONGEST, checked, follow, form
from explorer.tabs.latents_store import Record, Shelf, kept, record, toucher
from explorer.tabs.latents_store import checked as checked_edits
from explorer.tabs.picture_field import EXAMPLES, FOLDER
from explorer.tabs.url import Linked

TITLE = "Latents"
LEAD = "Choose a picture, then mute a channel, drag a slider or paint on a heatmap: the decoded picture follows."
STAGE = "latents-stage"
ASK = "latents-ask"
LAST = "last"
BUSY = "A run is under way in the Reverse tab; wait for it, or cancel it there."
NO_RUN = "This run is not kept here; press Run in the Reverse tab for one of your own."
ROOT = f"document.querySelector('#{STAGE} .latents')"
# The first picture takes the edits of the address; another one begins with none.
OF_EXAMPLE = f"(picture, example, run, edits) => [null, example, '', {ROOT}?.state ? '' : edits, '']"
TO_BOX = f"""(example) => {{
  const stage = {ROOT}, text = stage.edits();
  return [stage.wrote(text.length > {LONGEST} ? '' : text), 'encoded' in stage.dataset ? example : ''];
}}"""
FROM_BOX = f"(text) => {{ {ROOT}?.dispatchEvent(new CustomEvent('edits', {{ detail: text }})); }}"


def build(model: Model, sessions: Sessions) -> Linked:
    """Builds the tab into the open Blocks."""
    shelf = Shelf()
    sessions.on_drop(shelf.drop)
    with gr.Row(elem_classes="leads"):
        gr.Markdown(LEAD, elem_classes="lead")
        first = picture_field.opened()
    with gr.Row(elem_classes="experiment latents-tab"):
        with gr.Column(elem_classes="controls"):
            controls = form(model)
        with gr.Column(elem_classes="runbar"):
            go = gr.Button("Denoise from here", variant="primary", elem_id=GO)
        with gr.Column(elem_classes="stage-column"):
            stage = player.latents(STAGE, touch=toucher(model, shelf))
            latents_folds.build(model, sessions, shelf, STAGE, stage)
    ask = gr.Button("Ask", visible="hidden", elem_id=ASK)

    handler, example, box = runner(model, sessions, shelf), controls.linked["example"], controls.linked["edits"]

    @wraps(handler)
    def another(*values: Any) -> Any:
        return handler(*values) if values[0] is not None or values[1] else gr.skip()  # emptied, by the lines below

    wire: dict[str, Any] = {
        "inputs": controls.inputs(), "outputs": stage, "concurrency_id": "latents", "concurrency_limit": 2,
        "preprocess": False,  # raw values: the sentences here are the only refusal, and no picture is decoded unchecked
        "show_progress": "hidden",
    }  # fmt: skip
    private: dict[str, Any] = {"api_visibility": "private", **wire}
    first.click(handler, js=OF_EXAMPLE, api_name="latents", **wire)
    example.change(another, js=OF_EXAMPLE, trigger_mode="always_last", **private)  # type: ignore[attr-defined]
    given = controls.picture.change(another, js="(picture) => [picture, '', '', '', '']", trigger_mode="once", **private)
    given.success(fn=None, js="(picture, example) => picture ? [null, ''] : [picture, example]",
                  inputs=[controls.picture, example], outputs=[controls.picture, example])  # fmt: skip
    given.failure(fn=None, js="() => null", outputs=controls.picture)
    controls.last.click(handler, js=f"() => [null, '', '{LAST}', '', '']", trigger_mode="once", **private)
    stage.edited(fn=None, js=TO_BOX, inputs=example, outputs=[box, example])  # type: ignore[attr-defined]
    box.change(fn=None, js=FROM_BOX, inputs=box)  # type: ignore[attr-defined]

    def meet(tabs: Mapping[str, Linked]) -> None:
        runs = tabs[reverse.TITLE.lower()].runs
        assert runs is not None
        follow(controls, first, runs, model)
        shown = str(runs.player.elem_id)
        go.click(fn=None, js=_leave(shown))
        running = ask.click(
            denoiser(model, sessions, shelf), [*runs.form.values(), controls.key, box, controls.noised], runs.player,
            js=f"(...values) => [...values.slice(0, -3), {ROOT}.dataset.key, {ROOT}.edits(), values.at(-1)]",
            api_visibility="private", **RUNS,
        )  # fmt: skip
        for over in (running.then, running.failure):  # gradio's then() is silent after an error
            over(fn=None, js=signal(shown, "end"))
        runs.cancel.click(fn=None, cancels=running)

    return Linked(controls.linked, partial(checked, model), GO, meet=meet)


def runner(model: Model, sessions: Sessions, shelf: Shelf) -> Callable[..., Record]:
    """The endpoint: its parameters are those of the API."""

    @cache
    def of_example(name: str) -> Held:
        return from_picture(EXAMPLES[name], bring((FOLDER / f"{name}.png").read_bytes(), model.default_size), model)

    def chosen(picture: Any, example: Any, run: Any, here: str) -> Held:
        if picture is not None:
            name, data = picture_field.read(picture)
            return from_picture(name, bring(data, model.default_size), model)
        if run not in ("", None):
            return from_run(_run(sessions, here, run), model)
        if not isinstance(example, str) or example not in EXAMPLES:
            raise RequestError(f"example is {str(example)[:40]!r}; it must be one of {', '.join(EXAMPLES)}.")
        return of_example(example)

    @once
    def latents(
        picture: dict[str, Any] | None = None,
        example: str = "house",
        run: str = "",
        edits: str = "",
        key: str = "",
        request: gr.Request | None = None,
    ) -> Record:
        """Encodes a picture and answers one record: its latents, their numbers, and what the decoder makes of them.

        planes are the latents after the edits, base those before, scaled, base64 of little-endian float16; spread is the
        posterior's standard deviation; facts has each channel's statistics; picture and original are data URIs,
        fidelity their PSNR in dB and SSIM.

        Parameters:
            picture: a file (PNG, JPEG, WebP, GIF, BMP or TIFF); null for the run, or for the example
            example: which of the pictures in assets/examples, where neither file nor run is given; empty for `key`
            run: "last" for the end of this session's last run, or of the recorded one; or the id of a run of this session
            edits: JSON text, a list such as [{"op": "mute", "channel": 0}] (see explorer.edits); empty for none
            key: the key of an earlier answer, whose latents to edit
        """
        here = session(request)
        shelf.open(here)
        if picture is None and run in ("", None) and example in ("", None):
            held = kept(shelf, key)
        else:
            held, key = chosen(picture, example, run, here), ""
        made = checked_edits(held, edits)
        return record(key or shelf.put(here, held), held, made, model)

    return latents


def denoiser(model: Model, sessions: Sessions, shelf: Shelf) -> Callable[..., Iterator[Record]]:
    """A run of the Reverse tab that begins at edited latents, noised by its seed."""

    @told
    def denoise_from(
        prompt: str, seed: int | None, steps: int, guidance: float, sampler: str, negative_prompt: str,
        guidance_rescale: float, eta: float, noise_scale: float, spacing: str, karras: bool, width: int | None,
        height: int | None, key: str, edits: str, noised: int, request: gr.Request,
    ) -> Iterator[Record]:  # fmt: skip
        held = kept(shelf, key)
        latents = edited.apply(held.mean, checked_edits(held, edits))
        wanted = asked(
            model, prompt=prompt, negative_prompt=negative_prompt, seed=seed, steps=steps, guidance=guidance,
            guidance_rescale=guidance_rescale, sampler=sampler, eta=eta, noise_scale=noise_scale, spacing=spacing,
            karras=karras, width=latents.shape[2] * model.latent_scale, height=latents.shape[1] * model.latent_scale,
        )  # fmt: skip
        at = limits.whole("noised", noised, (0, wanted.steps - 1))
        noise = forward.noise(tuple(latents.shape), wanted.seed)
        start = latents[None], noise[None], first_evaluation(wanted.sampler, wanted.steps, at)
        yield from reverse.stream(model, sessions, session(request), wanted, start)

    return denoise_from


def first_evaluation(sampler: str, steps: int, step: int) -> int:
    """The evaluation with which a step begins, both counted from 0; samplers may look twice a step."""
    evaluations = SAMPLERS[sampler].evaluations(steps)
    return round(step * (evaluations - 1) / max(steps - 1, 1))


def _run(sessions: Sessions, here: str, run: Any) -> Trajectory:
    """A run of this session, or its last whole one; before any the recorded one."""
    if run == LAST:
        whole = [found for _, found in sessions.runs(here) if _is_whole(found)]
        return whole[-1] if whole else trace.load(traces.RECORDED)
    found = sessions.get(here, run) if isinstance(run, str) else None
    if found is None:
        raise RequestError(NO_RUN)
    if not _is_whole(found):
        raise RequestError("This run was stopped before its end; press Run for a whole one.")
    return found


def _is_whole(run: Trajectory) -> bool:
    return run.steps[-1].x0 is None  # the last Step of a whole run predicts nothing


def _leave(shown: str) -> str:
    """The `js` that goes over to the player and starts there, unless something runs there already."""
    tab = f"[...document.querySelectorAll('[role=tab]')].find((tab) => tab.textContent.trim() === '{reverse.TITLE}')"
    return f"""() => {{
        const stage = {ROOT}, there = document.querySelector('#{shown} .player').closest('.experiment');
        if (!stage?.dataset.key) return void setTimeout(() => document.getElementById('{GO}').click(), 300); // soon
        if ('running' in there.dataset) return stage.say({json.dumps(BUSY)});
        {tab}?.click();
        document.querySelector('#{shown} .player').dispatchEvent(new CustomEvent('run'));
        document.getElementById('{ASK}').click();
    }}"""
