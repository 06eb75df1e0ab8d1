"""A / B: the same seed with one thing changed, both runs under one timeline, and how far apart they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from secrets import token_hex
from typing import Any

import gradio as gr

from explorer import frames, limits
from explorer.lessons import distance, mse
from explorer.player.compare import compare as comparison
from explorer.records import Abilities, Model, Request, RequestError, Step
from explorer.samplers import SAMPLERS
from explorer.tabs.common import noun, paced, told
from explorer.tabs.form import GUIDANCE, STEPS, cut_note, numeral, one_of, taken
from explorer.tabs.gpu import denoise, denoise_batch
from explorer.tabs.lanes import Lane, Record, asked, buttons, curve, difference, place, record, wire

TITLE = "A / B: the same seed, one thing changed"
LEAD = "A is the form above. Choose what B has otherwise and press the button: both start in the same noise."
STAGE = "compare-player"
CHANGES = ("prompt", "sampler", "steps", "guidance")
CURVES = (("apart, x_t", "x_t"), ("apart, x0", "x0"))
SHOW = ("x_t", "x0")
DIFFERENCE = ("dx_t", "dx0")


def build(model: Model, controls: Mapping[str, gr.components.Component]) -> dict[str, gr.components.Component]:
    """Builds the fold.

    Args:
        model: what predicts.
        controls: the Reverse tab's, by the endpoint's parameters, in their order.

    Returns:
        The fold's own controls, by the endpoint's parameters.
    """
    can = model.abilities
    choices = changes(can)
    with gr.Accordion(TITLE, open=False, elem_classes="fold"), gr.Row(elem_classes="trial"):
        with gr.Column():
            gr.Markdown(LEAD, elem_classes="note")
            change = gr.Radio(choices, value="guidance" if "guidance" in choices else "sampler", label="Change")
            others = [
                gr.Textbox(
                    can.examples[:2][-1] if can.prompts else "", label="B's prompt", lines=1,
                    elem_classes="change-is change-prompt", visible=can.prompts,
                ),
                gr.Dropdown(list(SAMPLERS), value=_other(can), label="B's method", elem_classes="change-is change-sampler"),
                gr.Slider(*STEPS, value=8, step=1, label="B's number of steps", elem_classes="change-is change-steps"),
                gr.Slider(
                    *GUIDANCE, value=1, step=0.5, label="B's guidance", elem_classes="change-is change-guidance",
                    visible=can.guidance != "none",
                ),
            ]  # fmt: skip
            cut_note(model, others[0])
            start, cancel = buttons("Run A and B", "compare")
        with gr.Column():
            empty = [{"label": name, "show": SHOW} for name in ("A", "B")] + [{"label": "B − A", "show": DIFFERENCE}]
            hint = "Two runs from one noise: what differs at the end began as a small difference."
            curves = [curve(*one) for one in CURVES]
            stage = comparison(STAGE, TITLE, empty, hint, curves, pixels=not can.latent)
    wire(runner(model), start, cancel, [*controls.values(), change, *others], stage, "compare")
    return {"change": change} | {f"other_{name}": other for name, other in zip(CHANGES, others, strict=True)}


def changes(can: Abilities) -> tuple[str, ...]:
    """What B can have otherwise, for a model that can do this."""
    has = {"prompt": can.prompts, "guidance": can.guidance != "none"}
    return tuple(name for name in CHANGES if has.get(name, True))


def checked(given: Mapping[str, str], can: Abilities | None = None) -> tuple[dict[str, Any], list[str]]:
    """The values of an address that the fold can take, and one sentence for each that it can't."""
    return taken(
        given,
        {
            "change": lambda text: one_of("change", text, changes(can or Abilities())),
            "other_prompt": lambda text: limits.text("other_prompt", text),
            "other_sampler": lambda text: one_of("other_sampler", text, tuple(SAMPLERS)),
            "other_steps": lambda text: limits.whole("other_steps", numeral(text), STEPS),
            "other_guidance": lambda text: limits.number("other_guidance", numeral(text), GUIDANCE),
        },
    )


def _other(can: Abilities) -> str:
    """Another method than the one that the form begins with."""
    return "Euler" if can.sampler != "Euler" else "DDIM"


def runner(model: Model) -> Callable[..., Iterator[Record]]:
    """The endpoint: the form's parameters, then what B has otherwise."""

    @told
    def compare(
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
        change: str = "guidance",
        other_prompt: str = "",
        other_sampler: str = "Euler",
        other_steps: int = 8,
        other_guidance: float = 1.0,
    ) -> Iterator[Record]:
        """Denoises the same seed twice with one thing changed; yields one record per step of the longer run.

        Parameters:
            prompt: what A's picture should show
            seed: which noise both start from, 0 to 2**32 - 1
            steps: A's number of sampling steps, 1 to 1000
            guidance: A's classifier-free guidance scale, -5 to 30
            sampler: A's sampler, a name of explorer.samplers.SAMPLERS
            negative_prompt: takes the place of the empty prompt in the unconditional call, in both
            guidance_rescale: phi of arXiv:2305.08891, 0 to 1, in both
            eta: share of DDPM's variance that DDIM puts back, 0 to 1
            noise_scale: share of the injected noise that a stochastic sampler keeps, 0 to 1
            spacing: leading, linspace or trailing; empty for the model's own
            karras: whether sigmas are spaced as in arXiv:2206.00364; null for the model's own
            width: pixels, of both; null for the model's own
            height: pixels, of both; null for the model's own
            change: what B has otherwise: prompt, sampler, steps or guidance
            other_prompt: B's prompt, where change is prompt
            other_sampler: B's sampler, where change is sampler; what it does not take is left out
            other_steps: B's number of steps, where change is steps
            other_guidance: B's guidance scale, where change is guidance
        """
        a = asked(
            model, prompt=prompt, seed=seed, steps=steps, guidance=guidance, sampler=sampler,
            negative_prompt=negative_prompt, guidance_rescale=guidance_rescale, eta=eta, noise_scale=noise_scale,
            spacing=spacing, karras=karras, width=width, height=height,
        )  # fmt: skip
        values = {"prompt": other_prompt, "sampler": other_sampler, "steps": other_steps, "guidance": other_guidance}
        b = limits.check(changed(a, change, values), model)
        run, counts = token_hex(6), [SAMPLERS[r.sampler].evaluations(r.steps) for r in (a, b)]
        n = max(counts) + 1
        labels = [_label(name, change, getattr(r, change)) for name, r in (("A", a), ("B", b))]
        with closing(paced(pairs(model, a, b, counts))) as stream:
            for i, pair in enumerate(stream):
                last = i == n - 1
                lanes = [
                    Lane(
                        label,
                        step,
                        SHOW,
                        place(step, count),
                        place=f"step {step.index} of {count}",
                        picture=frames.data_uri(model.decode(step.latents)) if last else None,
                    )
                    for label, step, count in zip(labels, pair, counts, strict=True)
                ]
                lanes.append(Lane("B − A", pair[0], DIFFERENCE, "0 has the ground's colour", planes=difference(*pair)))
                apart = distance(*pair), x0_apart(*pair)
                series = [curve(*one, value) for one, value in zip(CURVES, apart, strict=True)]
                note = sentence(i, n, *apart, f"step {i} of {n - 1}", noun(model))
                yield record(model, run, i, n, lanes, series=series, note=note)

    return compare


def changed(a: Request, change: Any, values: dict[str, Any]) -> Request:
    """A with one thing changed. Another sampler keeps of A's settings those that it takes."""
    if not isinstance(change, str) or change not in CHANGES:
        raise RequestError(f"change is {str(change)[:40]!r}; it must be one of {', '.join(CHANGES)}.")
    b = replace(a, **{change: values[change]})
    row = SAMPLERS.get(b.sampler) if isinstance(b.sampler, str) else None
    if change != "sampler" or row is None:
        return b
    return replace(
        b,
        eta=b.eta if row.stochastic == "eta" else 0.0,
        noise_scale=b.noise_scale if row.stochastic != "no" else 1.0,
        spacing=b.spacing if row.spacing else None,
        karras=b.karras if row.karras else None,
    )


def pairs(model: Model, a: Request, b: Request, counts: Sequence[int]) -> Iterator[list[Step]]:
    """Both runs, lined up by progress: together where they fit into one batch, else in turns."""
    if counts[0] == counts[1]:
        try:
            return denoise_batch(model, [a, b])
        except RequestError:  # two of them are more work than one call may be
            pass
    return _turns([denoise(model, a), denoise(model, b)], counts)


def _turns(runs: Sequence[Iterator[Step]], counts: Sequence[int]) -> Iterator[list[Step]]:
    now, n = [next(run) for run in runs], max(counts)
    for i in range(n + 1):
        for lane, run in enumerate(runs):
            while now[lane].index < round(i * counts[lane] / n):
                now[lane] = next(run)
        yield list(now)


def _label(name: str, change: str, value: Any) -> str:
    if change == "prompt":
        return f"{name} · {value or 'no prompt'}"
    return (
        f"{name} · {value} steps"
        if change == "steps"
        else f"{name} · {value}"
        if change == "sampler"
        else f"{name} · guidance {value:g}"
    )


def x0_apart(a: Step, b: Step) -> float | None:
    """Root mean square distance of the predicted x0; None where one has none."""
    return None if a.x0 is None or b.x0 is None else mse(a.x0, b.x0) ** 0.5


def sentence(i: int, n: int, x_t: float, x0: float | None, where: str, what: str = "latents") -> str:
    """What the two lanes show at place i of n on the timeline; `where` is that place in words, `what` as of `noun`."""
    if i == n - 1:
        if x_t == 0:
            return f"The two runs ended in the same {what}: the change made no difference."
        decoded = ", and both were decoded by the VAE" if what == "latents" else ""
        return f"The end: the {what} are {x_t:.3f} apart (root mean square){decoded}."
    guess = "" if x0 is None else f", and the clean {what} that they predict are {x0:.3f} apart"
    if i == 0:
        return f"The start: the states are {x_t:.3f} apart{guess}. All states are in VP form, where pure noise has size 1."
    return f"At {where} the states are {x_t:.3f} apart (root mean square, VP form){guess}."
