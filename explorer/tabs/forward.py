"""The Forward tab: a picture dissolves into noise, in pixels and in latents, by any schedule.

One handler answers every change: with the picture and its noise where these are new, with the schedule alone where they
are on the stage already. All states in between are the browser's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from secrets import token_hex
from typing import Any

import gradio as gr

from explorer import forward as process
from explorer import limits
from explorer.figures import curves
from explorer.forward import LARGEST, Noising, Source
from explorer.forward_schedule import KNOTS
from explorer.forward_schedule import schedule as scheduled
from explorer.intake import bring
from explorer.noising import STAGES, T_RANGE
from explorer.player import forward as player
from explorer.records import Model, RequestError
from explorer.sessions import Sessions
from explorer.tabs import forward_files, picture_field
from explorer.tabs.common import once, session
from explorer.tabs.forward_form import checked, form
from explorer.tabs.forward_runs import GONE, Runs, answers
from explorer.tabs.picture_field import EXAMPLES, FOLDER
from explorer.tabs.url import Linked, seen

TITLE = "Forward"
LEAD = (
    "Choose a picture, then drag the timeline: it dissolves into noise, in pixels and in latents, the small grid of "
    "numbers that the model works on in place of pixels."
)
IN_PIXELS = "Choose a picture, then drag the timeline: it dissolves into noise, at the size at which the model works on it."
STAGE = "forward-stage"
PLAY = "forward-play"
# The run that is on the stage, put in place of the last input.
SHOWN = f"document.querySelector('#{STAGE} [data-run]')?.dataset.run ?? ''"
# What is asked is remembered: whether it is still what the controls say is seen when the answer is there (AGAIN, FREE).
ASK = f"""(...values) => {{
  const stage = document.querySelector('#{STAGE}'), path = values[0]?.path;
  stage.asked = JSON.stringify(values.slice(0, -1));
  if (path) (stage.given ??= {{}})[path] ??= values[1];
  if (!path && values[1] === stage.freed) values[1] = ''; // on its way out: FREE's two outputs come one after the other
  else if (!path) delete stage.freed;
  return [...values.slice(0, -1), {SHOWN}];
}}"""
# A picture that is on the stage leaves the field free for the next one, and no example is pressed but one chosen since.
FREE = f"""(picture, example) => {{
  const stage = document.querySelector('#{STAGE}'), was = stage.given?.[picture?.path];
  if (was === undefined) return [picture, example];
  if (example === was) stage.freed = example || undefined;
  return [null, example === was ? '' : example];
}}"""
# Gradio drops an event that waits for one that fails: the controls are asked for again where they have changed since.
# And a T that is no T is put back once nobody types it any more.
AGAIN = f"""async (picture, ...values) => {{
  const stage = document.querySelector('#{STAGE}'), field = document.querySelector('#forward-steps input');
  const again = values.pop();
  if (JSON.stringify([picture, ...values]) !== stage.asked) return [picture, values[2], again + 1];
  const typed = field.value, fine = (T) => Number.isInteger(T) && T >= {T_RANGE[0]} && T <= {T_RANGE[1]};
  if (!fine(values[2])) await new Promise((done) => setTimeout(done, 1500));
  const T = fine(values[2]) || field.value !== typed ? values[2] : stage.querySelector('.forward').state?.schedule.steps;
  return [null, field.value === typed ? T : +field.value, again];
}}"""
NARROW = 900  # pixels, of forward.css

Record = dict[str, Any]


def build(model: Model, sessions: Sessions) -> Linked:
    """Builds the tab into the open Blocks."""
    runs, can = Runs(), model.abilities
    sessions.on_drop(runs.drop)
    look, sees, walk = answers(model, runs)
    with gr.Row(elem_classes="leads"):
        gr.Markdown(LEAD if can.latent else IN_PIXELS, elem_classes="lead")
        first = picture_field.opened()
    with gr.Row(elem_classes="experiment forward-tab"):
        with gr.Column(elem_classes="controls"):
            controls = form(can.prompts)
        with gr.Column(elem_classes="stage-column"):
            stage = player.forward(STAGE, look=look, stages=STAGES, pixels=not can.latent)
            plot = gr.Plot(elem_id=player.CURVES, show_label=False, container=False, format="png")
            player.folds("forward-folds", stage=STAGE, sees=sees, walk=walk, pixels=not can.latent)
            forward_files.build(model, runs, stage, SHOWN)

    handler, given = runner(model, runs), [controls.picture, *controls.linked.values()]
    # One listener for whatever changes, with the values of the moment at which it is sent: what changes while it works is
    # asked for next, so that the last word is always that of the controls.
    asked = gr.on(
        [first.click, controls.again.change, *(control.change for control in given)],  # type: ignore[attr-defined]
        handler, [*given, controls.run], stage, js=ASK, api_name="forward", trigger_mode="always_last",
        preprocess=False,  # raw values: the sentences here are the only refusal, and no picture is decoded unchecked
        show_progress="hidden", concurrency_id="forward", concurrency_limit=2,
    )  # fmt: skip
    own = [controls.picture, controls.linked["example"]]
    asked.success(fn=None, js=FREE, inputs=own, outputs=own)
    again = [controls.picture, controls.linked["steps"], controls.again]
    asked.failure(fn=None, js=AGAIN, inputs=[*given, controls.again], outputs=again)
    stage.curves(  # type: ignore[attr-defined]
        lambda run, stacked: _plotted(runs, run, stacked), [stage, controls.run], plot,
        js=f"() => [{SHOWN}, innerWidth <= {NARROW}]", preprocess=False, queue=False, show_progress="hidden",
        api_visibility="private", trigger_mode="always_last",
    )  # fmt: skip
    return Linked(seen(controls.linked), checked, PLAY)


def runner(model: Model, runs: Runs) -> Callable[..., Record]:
    """The endpoint: its parameters are those of the API."""

    most = LARGEST if model.abilities.latent else None  # else the pixel row is what the model works on

    @cache
    def example_source(name: str) -> Source:
        data = (FOLDER / f"{name}.png").read_bytes()
        return process.source(EXAMPLES[name], bring(data, model.default_size, most), model)

    def chosen(picture: Any, example: Any, kept: Noising | None) -> Source:
        if picture is not None:
            name, data = picture_field.read(picture)
            return process.source(name, bring(data, model.default_size, most), model)
        if example in ("", None):
            if kept is None:
                raise RequestError(GONE)
            return kept.source
        if not isinstance(example, str) or example not in EXAMPLES:
            raise RequestError(f"example is {str(example)[:40]!r}; it must be one of {', '.join(EXAMPLES)}.")
        return example_source(example)

    @once
    def forward(
        picture: dict[str, Any] | None = None,
        example: str = "house",
        schedule: str = "linear",
        steps: int = 1000,
        seed: int = 7,
        rescaled: bool = True,
        drawn: str = KNOTS,
        second: str = "",
        prompt: str = "",
        run: str = "",
        request: gr.Request | None = None,
    ) -> Record:
        """Noises a picture: one record with its pixels, its latents, their noise and the schedule's alphas_cumprod.

        State t is sqrt(alphas_cumprod[t - 1]) * x0 + sqrt(1 - alphas_cumprod[t - 1]) * eps, for pixels (x0 as bytes, 0 to
        255 meaning -1 to 1) and latents alike; all other planes are base64 of little-endian float16.

        Parameters:
            picture: a file (PNG, JPEG, WebP, GIF, BMP or TIFF); null for the example
            example: which of the pictures in assets/examples, where no file is given; empty for the picture of `run`
            schedule: linear, scaled linear, cosine, sigmoid, the model's own, or drawn by hand
            steps: T, 10 to 1000
            seed: which noise, 0 to 2**32 - 1; the latents' noise is what a Reverse run of this seed begins with
            rescaled: whether a smaller T takes a subsequence of alphas_cumprod and so ends in noise; false keeps the betas
            drawn: knots of a schedule drawn by hand, its kind and then place:value, as in "log-SNR 0:40 0.5:0 1:-40"
            second: another schedule to compare with; empty for none
            prompt: with which the model is asked what it sees
            run: the id of an earlier answer; where picture and seed are still the same, only the schedule is sent
        """
        here = session(request)
        runs.open(here)
        made = scheduled(schedule, steps, rescaled, drawn, model)
        other = None if second in ("", None) else scheduled(second, steps, rescaled, drawn, model, "second")
        if seed in (None, ""):
            raise RequestError(
                f"The seed is empty; type a whole number from {limits.SEED[0]} to {limits.SEED[1]}, or press Roll."
            )
        asked = limits.told("prompt", prompt, model)
        whole = limits.whole("seed", seed, limits.SEED)
        kept = runs.get(run)
        source = chosen(picture, example, kept)
        state = Noising(source, whole, made, other, asked)
        if kept is not None and kept.source is source and kept.seed == whole and runs.owns(here, run):
            record = process.schedule_record(run, state)
            if record != process.schedule_record(run, kept):  # else what was worked out for it stays worked out
                runs.keep(here, run, state)
            return record
        name = token_hex(6)
        runs.keep(here, name, state)
        return process.picture_record(name, state, model.preview)

    return forward


def _plotted(runs: Runs, run: Any, stacked: Any) -> Any:
    """The curves of the schedules that a run is noised by, for its own picture; skipped where the run is gone."""
    if (state := runs.get(run)) is None:
        return gr.skip()
    both = [one for one in (state.schedule, state.second) if one is not None]
    variance = process.moments(process.signed(state.source.pixels))["var"]
    return curves([(one.name, one.values) for one in both], variance, stacked=stacked is True)
