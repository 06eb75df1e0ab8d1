"""Predicted against true: a run that starts from a noised picture, whose true noise is known at every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from secrets import token_hex
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from explorer import limits
from explorer.lessons import mse, true_eps
from explorer.player.compare import compare as comparison
from explorer.records import Abilities, Model, Request, RequestError, Step
from explorer.schedule import schedule
from explorer.tabs.common import noun, paced, told
from explorer.tabs.form import cut_note, numeral, taken
from explorer.tabs.gpu import denoise
from explorer.tabs.lanes import Lane, Record, asked, buttons, curve, place, record, wire

TITLE = "Predicted against true: how wrong is the noise prediction"
LEAD = (
    "Press the button: a picture is made with the next seed, noised with the noise of the form's seed, and denoised with "
    "the form's settings. The picture is known, so the true noise is known too."
)
STAGE = "truth-player"
SHARE = (0.0, 0.95)
CURVES = (("MSE, after guidance", "eps"), ("MSE, with the prompt", "cond"), ("MSE, without", "uncond"))
LANES = (("The picture", "x0"), ("Latents", "x_t"), ("Predicted", "eps"), ("True", "true_eps"), ("Error", "error"))


def build(model: Model, controls: Mapping[str, gr.components.Component]) -> dict[str, gr.components.Component]:
    """Builds the fold.

    Args:
        model: what predicts.
        controls: the Reverse tab's, by the endpoint's parameters, in their order.

    Returns:
        The fold's own controls, by the endpoint's parameters.
    """
    can = model.abilities
    with gr.Accordion(TITLE, open=False, elem_classes="fold"), gr.Row(elem_classes="trial"):
        with gr.Column():
            gr.Markdown(LEAD, elem_classes="note")
            picture = gr.Textbox(
                "", label="The picture is of", info="Empty: of what the form's prompt says.", lines=1, visible=can.prompts
            )
            cut_note(model, picture)
            begin = gr.Slider(
                *SHARE,
                value=0.3,
                step=0.05,
                label="Begin at",
                info="Share of the run that is left out; 0 is the most noise.",
            )
            start, cancel = buttons("Noise and denoise", "truth")
        with gr.Column():
            empty = [{"label": label, "show": [plane]} for label, plane in columns(model)]
            hint = "The model's guess of the noise beside the noise that is really there."
            stage = comparison(STAGE, TITLE, empty, hint, [curve(*one) for one in curves(can)], pixels=not can.latent)
    wire(runner(model), start, cancel, [*controls.values(), picture, begin], stage, "predicted_against_true")
    return {"picture_prompt": picture, "begin_at": begin}


def columns(model: Model) -> tuple[tuple[str, str], ...]:
    """LANES in a model's own words."""
    return tuple((noun(model).capitalize() if plane == "x_t" else label, plane) for label, plane in LANES)


def curves(can: Abilities) -> tuple[tuple[str, str], ...]:
    """The errors that there are: of a model that is asked once, one."""
    return CURVES if can.guidance == "cfg" else (("MSE", "eps"),)


def checked(given: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The values of an address that the fold can take, and one sentence for each that it can't."""
    readers = {
        "picture_prompt": lambda text: limits.text("picture_prompt", text),
        "begin_at": lambda text: limits.number("begin_at", numeral(text), SHARE),
    }
    return taken(given, readers)


def runner(model: Model) -> Callable[..., Iterator[Record]]:
    """The endpoint: the form's parameters, then the picture and where to begin."""

    @told
    def predicted_against_true(
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
        picture_prompt: str = "",
        begin_at: float = 0.3,
    ) -> Iterator[Record]:
        """Makes a picture with the next seed, noises it, denoises it and yields one record per step with the error.

        Parameters:
            prompt: the prompt of the denoising
            seed: which noise is added, 0 to 2**32 - 1; the picture is made with the next one
            steps: number of sampling steps, 1 to 1000
            guidance: classifier-free guidance scale, -5 to 30
            sampler: a name of explorer.samplers.SAMPLERS
            negative_prompt: takes the place of the empty prompt in the unconditional call
            guidance_rescale: phi of arXiv:2305.08891, 0 to 1
            eta: share of DDPM's variance that DDIM puts back, 0 to 1
            noise_scale: share of the injected noise that a stochastic sampler keeps, 0 to 1
            spacing: leading, linspace or trailing; empty for the model's own
            karras: whether sigmas are spaced as in arXiv:2206.00364; null for the model's own
            width: pixels; null for the model's own
            height: pixels; null for the model's own
            picture_prompt: what the picture shows; empty for the prompt itself
            begin_at: share of the run that is left out, 0 to 0.95
        """
        wanted = asked(
            model, prompt=prompt, seed=seed, steps=steps, guidance=guidance, sampler=sampler,
            negative_prompt=negative_prompt, guidance_rescale=guidance_rescale, eta=eta, noise_scale=noise_scale,
            spacing=spacing, karras=karras, width=width, height=height,
        )  # fmt: skip
        share = limits.number("begin_at", begin_at, SHARE)
        described = limits.text("picture_prompt", picture_prompt) or wanted.prompt
        k, evaluations = _begin(model, wanted, share)
        run, n = token_hex(6), evaluations - k + 1
        other = (wanted.seed + 1) % (limits.SEED[1] + 1)
        with closing(paced(denoise(model, replace(wanted, prompt=described, seed=other)))) as stream:
            for step in stream:
                yield {"run": run, "doing": f"Making the picture: step {step.index}"}
        x0, noise = step.latents, drawn(step.latents.shape, wanted.seed)
        with closing(paced(denoise(model, wanted, (x0, noise, k)))) as stream:
            for i, step in enumerate(stream):
                yield _record(model, run, i, n, evaluations, step, x0)

    return predicted_against_true


def drawn(shape: Sequence[int], seed: int) -> Tensor:
    """The noise of a seed, as a run from the beginning would draw it, (1, C, H, W)."""
    return torch.randn(tuple(shape), generator=torch.Generator("cpu").manual_seed(seed))


def _begin(model: Model, request: Request, share: float) -> tuple[int, int]:
    """The evaluation to begin at, and how many the run then has; Heun can't begin at a second look."""
    plan = schedule(request, model.scheduler_config)
    k = min(int(share * plan.evaluations), plan.evaluations - 1)
    k -= k % 2 if request.sampler == "Heun" else 0
    plan.start_at(k)
    if plan.levels[k][1] == 0:
        raise RequestError(f"begin_at is {share:g}, but no noise is left there; take less.")
    return k, plan.evaluations


def _record(model: Model, run: str, i: int, n: int, evaluations: int, step: Step, x0: Tensor) -> Record:
    """One step: the planes, and the mean squared errors of the prediction, its conditional and its unconditional half."""
    planes = {"x0": x0}  # the known one, not the predicted
    errors: dict[str, float | None] = {"eps": None, "eps_cond": None, "eps_uncond": None}
    if step.eps is not None:
        true = true_eps(step, x0)
        planes |= {"true_eps": true, "error": step.eps - true}
        predictions = {"eps": step.eps, "eps_cond": step.eps_cond, "eps_uncond": step.eps_uncond}
        errors = {name: None if eps is None else mse(eps, true) for name, eps in predictions.items()}
    lanes = [
        Lane(label, step, (name,), place(step, evaluations) if name == "x_t" else "", planes=planes)
        for label, name in columns(model)
    ]
    series = [curve(*one, error) for one, error in zip(curves(model.abilities), errors.values(), strict=False)]
    sigma = step.sigma / math.hypot(step.alpha, step.sigma)
    note = sentence(i, n, sigma, errors["eps"], mse(step.latents, x0), noun(model))
    return record(model, run, i, n, lanes, series=series, note=note, log=True)


def sentence(i: int, n: int, sigma: float, error: float | None, left: float, what: str = "latents") -> str:
    """What the panes show here; sigma is in VP form, `left` the MSE of the state against the known picture, `what` as of
    `noun`."""
    if error is None:
        return (
            f"The last state: nothing is left to predict. The {what} ended {left**0.5:.3f} (root mean square) from the "
            "picture that was noised; an error in the predicted noise is what led elsewhere."
        )
    if i == 0:
        return (
            f"At the first state the true eps is exactly the drawn noise. The model's guess misses it by an MSE of "
            f"{error:.3g}; guessing 0 everywhere would miss it by about 1."
        )
    if sigma < 0.5:
        return (
            f"At step {i} of {n - 1} the MSE is {error:.3g}. Only {sigma:.3f} of noise is left, so even a small difference "
            f"of the picture, divided by {sigma:.3f}, is a large error in eps: late errors look large and change little."
        )
    return (
        f"At step {i} of {n - 1} the MSE is {error:.3g}. The true eps is now the noise that would lead from the known "
        f"picture to these {what}: what earlier errors changed counts as noise too."
    )
