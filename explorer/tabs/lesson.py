"""The DDPM lesson: the same seed with none, half and all of the injected noise, the spread of four seeds, and the three
readings of each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from secrets import token_hex

import gradio as gr
from torch import Tensor

from explorer import frames, limits
from explorer.lessons import distance, readings, spread
from explorer.player.compare import compare as comparison
from explorer.records import Model
from explorer.schedule import schedule
from explorer.tabs.common import noun, paced, told
from explorer.tabs.gpu import denoise_batch
from explorer.tabs.lanes import Lane, Record, asked, buttons, curve, place, record, wire

TITLE = "The DDPM lesson: what the injected noise is for"
LEAD = (
    "Press the button: DDPM runs three times from the noise of the form's seed, with none, half and all of the fresh noise "
    "that it injects at each step. Then three more seeds tell how far {} spread."
)
STAGE = "lesson-player"
SCALES = (0.0, 0.5, 1.0)
SEEDS = 4  # the form's seed and the next three
SHOW = ("x_t", "x0")
CURVES = (("apart, 0 and 1", "x_t"), ("apart, 0.5 and 1", "z"))
TAKES = ("prompt", "seed", "steps", "guidance", "negative_prompt", "guidance_rescale", "spacing", "width", "height")
WHAT = {
    "DDPM": "puts back some of the predicted noise and some fresh noise",
    "DDIM": "predicts x0 and puts the same noise back",
    "LCM": "predicts x0 and puts fresh noise back",
}


def build(model: Model, controls: Mapping[str, gr.components.Component]) -> None:
    """Builds the fold.

    Args:
        model: what predicts.
        controls: the Reverse tab's, by the endpoint's parameters, in their order.
    """
    inputs = [controls[name] for name in TAKES]
    with gr.Accordion(TITLE, open=False, elem_classes="fold"), gr.Row(elem_classes="trial"):
        with gr.Column():
            gr.Markdown(LEAD.format("results of one prompt" if model.abilities.prompts else "results"), elem_classes="note")
            start, cancel = buttons("Run the three", "lesson")
        with gr.Column():
            empty = [{"label": _label(scale), "show": SHOW} for scale in SCALES]
            hint = "Three runs from one noise, and below them the same step read in three ways."
            curves = [curve(*one) for one in CURVES]
            stage = comparison(STAGE, TITLE, empty, hint, curves, forms=True, pixels=not model.abilities.latent)
    wire(runner(model), start, cancel, inputs, stage, "ddpm_lesson")


def runner(model: Model) -> Callable[..., Iterator[Record]]:
    """The endpoint."""

    @told
    def ddpm_lesson(
        prompt: str,
        seed: int,
        steps: int,
        guidance: float,
        negative_prompt: str,
        guidance_rescale: float,
        spacing: str,
        width: int | None = None,
        height: int | None = None,
    ) -> Iterator[Record]:
        """Runs DDPM from one noise with noise_scale 0, 0.5 and 1, then measures the spread of four seeds at each.

        Yields one record per step, then records with "doing", and at the end one with "spread" and "summary".

        Parameters:
            prompt: what the pictures should show
            seed: the first of four seeds, 0 to 2**32 - 4
            steps: number of sampling steps, 1 to 1000
            guidance: classifier-free guidance scale, -5 to 30
            negative_prompt: takes the place of the empty prompt in the unconditional call
            guidance_rescale: phi of arXiv:2305.08891, 0 to 1
            spacing: leading, linspace or trailing; empty for the model's own
            width: pixels; null for the model's own
            height: pixels; null for the model's own
        """
        values = {"prompt": prompt, "seed": seed, "steps": steps, "guidance": guidance, "negative_prompt": negative_prompt,
                  "guidance_rescale": guidance_rescale, "spacing": spacing, "width": width, "height": height}  # fmt: skip
        first = asked(model, sampler="DDPM", **values)
        limits.whole("seed", first.seed, (limits.SEED[0], limits.SEED[1] - SEEDS + 1))
        requests = limits.check_batch([replace(first, noise_scale=scale) for scale in SCALES], model)
        levels = schedule(first, model.scheduler_config).levels
        run, n = token_hex(6), len(levels)
        ends: list[list[Tensor]] = [[] for _ in SCALES]
        with closing(paced(denoise_batch(model, requests))) as stream:
            for i, steps_now in enumerate(stream):
                last = i == n - 1
                lanes = [
                    Lane(_label(scale), step, SHOW, place(step, n - 1),
                         picture=frames.data_uri(model.decode(step.latents)) if last else None)
                    for scale, step in zip(SCALES, steps_now, strict=True)
                ]  # fmt: skip
                apart = [distance(step, steps_now[-1]) for step in steps_now[:-1]]
                series = [curve(*one, value) for one, value in zip(CURVES, apart, strict=True)]
                equations, note = read(levels, i)
                yield record(model, run, i, n, lanes, series=series, equations=equations, note=note)
        for end, step in zip(ends, steps_now, strict=True):
            end.append(step.latents)
        for turn, request in enumerate(requests):
            batch = [replace(request, seed=first.seed + more) for more in range(1, SEEDS)]
            seeds = f"seeds {batch[0].seed} to {batch[-1].seed}, noise_scale {request.noise_scale:g}"
            with closing(paced(denoise_batch(model, batch))) as stream:
                for i, others in enumerate(stream):
                    steps_now = others
                    yield {"run": run, "doing": f"Spread ({turn + 1} of {len(SCALES)}): {seeds}: {i} of {n - 1}"}
            ends[turn] += [step.latents for step in steps_now]
        spreads = [spread(end) for end in ends]
        summary = conclusion(spreads, noun(model))
        yield {"run": run, "spread": dict(zip(map(str, SCALES), spreads, strict=True)), "summary": summary}

    return ddpm_lesson


def read(levels: Sequence[tuple[float, float]], i: int) -> tuple[list[Record], str]:
    """The three readings of step i with its numbers, and a sentence on where they are equal."""
    if i + 1 >= len(levels):
        return [], "The last state: there is no step from here. All three readings met in the step before."
    (alpha, sigma), (alpha_next, sigma_next) = levels[i], levels[i + 1]
    made = readings(alpha, sigma, alpha_next, sigma_next)
    equations: list[Record] = [
        {"name": r.name, "gloss": WHAT[r.name], "terms": [[r.x0, "x0"], [r.eps, "eps"], [r.z, "z"]]} for r in made
    ]
    ddpm = made[0]
    if alpha > 0:  # DDPM, arXiv:2006.11239, Algorithm 2: s1 * (x_t - s2 * eps) + s3 * z
        s1 = alpha_next / alpha
        equations[0]["s"] = [s1, sigma - ddpm.eps / s1, ddpm.z]
    if sigma_next == 0:
        return equations, "Equal here: sigma of the next state is 0, no noise is put back, and all three are x0 itself."
    share = f"{100 * ddpm.z**2 / sigma_next**2:.0f}%"
    return equations, (
        f"Not equal here: all three put noise of size {sigma_next:.3f} back on {alpha_next:.3f} of x0. DDIM takes all "
        f"of it from the prediction, LCM draws all of it anew, and DDPM lies between: {share} of its variance is fresh. "
        "At the last step sigma is 0 and they are equal."
    )


def conclusion(spreads: Sequence[float], what: str = "latents") -> str:
    """Collapse and diversity, in the numbers of this run; `what` as of `noun`."""
    none, half, whole = spreads
    numbers = (
        f"Four seeds end {none:.3f} apart without fresh noise, {half:.3f} with half of it and {whole:.3f} with all of it"
    )
    if none < half < whole:
        meaning = "the noise that DDPM injects is what keeps results diverse; without it they collapse toward one average"
    elif none < whole:
        meaning = "with the injected noise the results are more diverse than without, though not in even steps"
    else:
        meaning = "here the injected noise did not add diversity, so what differs comes from the starting noise alone"
    return f"{numbers} (mean root mean square distance of the final {what}): {meaning}."


def _label(scale: float) -> str:
    return f"noise_scale {scale:g}"
