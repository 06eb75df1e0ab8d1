"""w(t): guidance that changes along the run, as one value per evaluation. One row of DIALS for each shape.

A shape is a function of the noise level or of the timestep, never of the count of calls, so that Heun's two looks at one
level, and PNDM's two at its second timestep, get one value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

from explorer import limits
from explorer.records import Model, Request, RequestError
from explorer.schedule import Schedule, schedule

KNOTS = (2, 12)
TEXT = 400  # characters of drawn knots
NOISE = (0.0, 1000.0)  # sigma / alpha; a level without any signal counts as the upper end
INTERVAL = (0.28, 5.42)  # the one of arXiv:2404.07724 for Stable Diffusion XL


class Place(NamedTuple):
    """Where an evaluation is: 0 at the run's first timestep … 1 at its last, and its noise level sigma / alpha."""

    at: float
    noise: float


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where a dial stands, checked: what its row's function is given."""

    guidance: float
    rest: float = 1.0  # w outside the interval, and at the low end of a ramp
    low: float = INTERVAL[0]
    high: float = INTERVAL[1]
    knots: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Dial:
    """One shape of w(t)."""

    name: str
    formula: str
    summary: str
    source: str = ""
    takes: tuple[str, ...] = ()  # of "rest", "low", "high", "knots"
    value: Callable[[Place, Setting], float]


def _ramp(part: float, setting: Setting) -> float:
    """From `rest` at 0 to the guidance at 1, both exact."""
    return setting.guidance if part == 1 else setting.rest + (setting.guidance - setting.rest) * part


def _bend(part: float) -> float:
    return (1 - math.cos(math.pi * part)) / 2


def _drawn(place: Place, setting: Setting) -> float:
    for (left, before), (right, after) in pairwise(setting.knots):
        if place.at <= right:
            part = (place.at - left) / (right - left)
            return after if part == 1 else before + (after - before) * part
    return setting.knots[-1][1]


SCHEDULERS = "arXiv:2404.13040"  # compares shapes of w(t); rising ones did better there than constant or falling ones

DIALS: Mapping[str, Dial] = {
    row.name: row
    for row in (
        Dial(
            name="constant",
            formula="w(t) = w",
            summary="The same pull at every evaluation.",
            source="arXiv:2207.12598",
            value=lambda place, setting: setting.guidance,
        ),
        Dial(
            name="interval",
            formula="w(t) = w where low < σ/α ≤ high, else 1",
            summary="Guides at middle noise levels only: early pulls narrow the choice, late ones change little.",
            source="arXiv:2404.07724",
            takes=("low", "high"),
            value=lambda place, setting: setting.guidance if setting.low < place.noise <= setting.high else 1.0,
        ),
        Dial(
            name="linear rising",
            formula="w(t) = rest + (w − rest) · s",
            summary="Lets the composition form freely, then pulls harder toward the end.",
            source=SCHEDULERS,
            takes=("rest",),
            value=lambda place, setting: _ramp(place.at, setting),
        ),
        Dial(
            name="linear falling",
            formula="w(t) = rest + (w − rest) · (1 − s)",
            summary="Pulls hard while the composition forms, then lets go.",
            source=SCHEDULERS,
            takes=("rest",),
            value=lambda place, setting: _ramp(1 - place.at, setting),
        ),
        Dial(
            name="cosine rising",
            formula="w(t) = rest + (w − rest) · (1 − cos πs) / 2",
            summary="Rises slowly at both ends and fast in the middle.",
            source=SCHEDULERS,
            takes=("rest",),
            value=lambda place, setting: _ramp(_bend(place.at), setting),
        ),
        Dial(
            name="cosine falling",
            formula="w(t) = rest + (w − rest) · (1 + cos πs) / 2",
            summary="Falls slowly at both ends and fast in the middle.",
            source=SCHEDULERS,
            takes=("rest",),
            value=lambda place, setting: _ramp(_bend(1 - place.at), setting),
        ),
        Dial(
            name="drawn",
            formula="straight lines between knots place:value",
            summary="Drawn by hand over the run, from its first evaluation (0) to its last (1).",
            takes=("knots",),
            value=_drawn,
        ),
    )
}


def dialled(model: Model, request: Request, name: str, guidance: float, **settings: Any) -> Request:
    """The checked request with a dial's w(t) as its guidance.

    Args:
        model: what will run it.
        request: all but its guidance.
        name, guidance, settings: as in `values`.

    Raises:
        RequestError: as `values`, or another value of the request is outside its limit.
    """
    checked = limits.check(replace(request, guidance=1.0), model)
    return replace(checked, guidance=values(name, guidance, schedule(checked, model.scheduler_config), **settings))


def values(
    name: str,
    guidance: float,
    plan: Schedule,
    *,
    rest: float = 1.0,
    low: float = INTERVAL[0],
    high: float = INTERVAL[1],
    knots: str = "",
) -> tuple[float, ...]:
    """w(t) at each evaluation of a run from the beginning: fits `Request.guidance`.

    Args:
        name: a key of DIALS. What its row doesn't take is not looked at.
        guidance: the scale w, -5 … 30; "drawn" has its own values instead.
        plan: the run's schedule, fresh from `explorer.schedule.schedule`.
        rest: w at the low end of a ramp, -5 … 30.
        low, high: noise levels sigma / alpha, 0 … 1000, low < high; guided where low < level <= high.
        knots: "place:value place:value …", 2 … 12 of them, places rising from 0 to 1, values -5 … 30.

    Raises:
        RequestError: names what is wrong.
    """
    if not isinstance(name, str) or name not in DIALS:
        raise RequestError(f"dial is {str(name)[:40]!r}; it must be one of {', '.join(DIALS)}.")
    row = DIALS[name]
    setting = Setting(guidance=limits.number("guidance", guidance, limits.GUIDANCE))
    if "rest" in row.takes:
        setting = replace(setting, rest=limits.number("rest", rest, limits.GUIDANCE))
    if "low" in row.takes:
        low, high = limits.number("low", low, NOISE), limits.number("high", high, NOISE)
        if low >= high:
            raise RequestError(f"low is {low:g} and high is {high:g}; low must be below high.")
        setting = replace(setting, low=low, high=high)
    if "knots" in row.takes:
        setting = replace(setting, knots=parse(knots))
    return tuple(row.value(place, setting) for place in places(plan))


def places(plan: Schedule) -> list[Place]:
    """Where each evaluation of a run is: what a dial sees, and the axis on which it is drawn."""
    times = [float(t) for t in plan.timesteps]
    length = times[0] - times[-1]
    return [
        Place((times[0] - t) / length if length else 0.0, min(sigma / alpha, NOISE[1]) if alpha else NOISE[1])
        for t, (alpha, sigma) in zip(times, plan.levels, strict=False)  # levels have the end too
    ]


def parse(
    text: str, *, field: str = "knots", called: str = "value", within: tuple[float, float] = limits.GUIDANCE,
    example: str = "0:1 0.5:8 1:1",
) -> tuple[tuple[float, float], ...]:  # fmt: skip
    """Knots from their text, such as "0:1 0.5:8 1:1"; spaces or commas between them.

    Args:
        text: 2 … 12 pairs place:value, places rising from 0 to 1.
        field, called, example: for the sentence of a refusal: of which field, what its values are, and a good one.
        within: what its values must lie in.

    Raises:
        RequestError: names the knot that is wrong.
    """
    if not isinstance(text, str) or len(text) > TEXT:
        raise RequestError(f"{field} must be a text of at most {TEXT} characters, such as {example}.")
    words = text.replace(",", " ").split()
    if not KNOTS[0] <= len(words) <= KNOTS[1]:
        raise RequestError(f"{field} has {len(words)} knots; it takes {KNOTS[0]} to {KNOTS[1]}, such as {example}.")
    knots = tuple(_knot(i, word, called, within, example) for i, word in enumerate(words, 1))
    if knots[0][0] != 0 or knots[-1][0] != 1 or any(a[0] >= b[0] for a, b in pairwise(knots)):
        raise RequestError("The knots' places must rise from 0 to 1.")
    return knots


def _knot(number: int, word: str, called: str, within: tuple[float, float], example: str) -> tuple[float, float]:
    place, _, value = word.partition(":")
    try:
        pair = float(place), float(value)
    except ValueError:
        raise RequestError(f"Knot {number} is {word[:40]!r}; place:{called} is needed, such as in {example}.") from None
    return (
        limits.number(f"The place of knot {number}", pair[0], limits.UNIT),
        limits.number(f"The {called} of knot {number}", pair[1], within),
    )


def written(knots: tuple[tuple[float, float], ...]) -> str:
    """The text of knots: the inverse of `parse`, to six digits."""
    return " ".join(f"{place:.6g}:{value:.6g}" for place, value in knots)
