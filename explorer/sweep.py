"""A guidance sweep: one prompt and one seed at several scales, run together, and what each scale means.

All cells begin in one state and are asked the same there, so the engine predicts their first evaluation once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from explorer import limits
from explorer.engine import denoise_batch
from explorer.records import Model, Request, Step

SCALES = (1, 12)  # how many
EXTREME = 15.0  # twice Stable Diffusion's usual 7.5; the embedded model's latents are then half as large again, or more

Guidance = float | tuple[float, ...]


@dataclass(frozen=True)
class Meaning:
    """What a range of scales does: its name, and one sentence."""

    name: str
    sentence: str


AWAY = Meaning("away from the prompt", "Each step is pushed to the far side of the unconditional prediction.")
TOWARD_NEGATIVE = Meaning("away from the prompt", "Each step is pushed past the negative prompt's own prediction.")
UNCONDITIONAL = Meaning("unconditional", "The prompt plays no part: the prediction is the one for the empty prompt.")
NEGATIVE_ONLY = Meaning("negative prompt only", "The negative prompt alone is followed; the prompt plays no part.")
BETWEEN = Meaning("part of the way", "A mixture: between the unconditional and the conditional prediction.")
BETWEEN_TWO = Meaning("part of the way", "A mixture of two prompts' predictions: the negative one's and the prompt's.")
CONDITIONAL = Meaning("conditional only", "The prompt's own prediction, with no guidance: one call of the model, not two.")
BEYOND = Meaning("past the prompt", "Each step goes further along the difference than the prompt's own prediction.")
FAR = Meaning("extreme", "The latents grow past what the decoder was trained on: colours and edges overshoot.")


def sweep(
    model: Model, request: Request, scales: Sequence[float], shaped: Callable[[float], Guidance] | None = None
) -> Iterator[list[Step]]:
    """Runs the request at each scale; yields one list of Steps per evaluation, in the order of the scales.

    Each row equals its single run to 1e-3 in its latents (of magnitude 1), and exactly where there is one scale.
    Arguments and errors are those of `requests`.
    """
    return denoise_batch(model, requests(model, request, scales, shaped))


def requests(
    model: Model, request: Request, scales: Sequence[float], shaped: Callable[[float], Guidance] | None = None
) -> list[Request]:
    """The checked requests of a sweep, for whatever runs them.

    Args:
        model: what will run them.
        request: all but its guidance, which the scales replace.
        scales: 1 … 12 guidance scales, each from -5 to 30, in any order.
        shaped: from a scale to its w(t), one value per evaluation, such as a dial of `explorer.dial`; None is constant.

    Raises:
        RequestError: too many scales, one out of range, or batch x steps x size above `limits.WORK`.
    """
    values = check_scales(scales)
    return limits.check_batch([replace(request, guidance=shaped(w) if shaped else w) for w in values], model)


def check_scales(scales: Any) -> list[float]:
    """1 … 12 numbers within `limits.GUIDANCE`.

    Raises:
        RequestError: says which one is wrong.
    """
    listed = limits.several("scales", scales, SCALES, "numbers")
    return [limits.number(f"scales[{i}]", value, limits.GUIDANCE) + 0.0 for i, value in enumerate(listed)]  # -0 is 0


def meaning(scale: float, negative_prompt: str = "") -> Meaning:
    """What a scale asks for. With a negative prompt, that one takes the unconditional prediction's place.

    Raises:
        RequestError: the scale is not a number from -5 to 30.
    """
    w = limits.number("guidance", scale, limits.GUIDANCE)
    if w < 0:
        return TOWARD_NEGATIVE if negative_prompt else AWAY
    if w == 0:
        return NEGATIVE_ONLY if negative_prompt else UNCONDITIONAL
    if w < 1:
        return BETWEEN_TWO if negative_prompt else BETWEEN
    if w == 1:
        return CONDITIONAL
    return BEYOND if w < EXTREME else FAR


def named(scale: float, negative_prompt: str = "") -> str:
    """The name of `meaning`, for a label."""
    return meaning(scale, negative_prompt).name
