"""The forward process's schedule as a person asks for it: by name, the model's own, or drawn by hand, for any T."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from explorer import noising
from explorer.limits import text, whole
from explorer.noising import GRID, SCHEDULES, T_RANGE, Values
from explorer.records import Model, RequestError

OWN = "the model's own"
DRAWN = "drawn by hand"
NAMES = (*SCHEDULES, OWN, DRAWN)
KNOTS = "log-SNR 0:40 0.25:12 0.6:-4 1:-40"  # a drawn schedule to begin with


@dataclass(frozen=True, eq=False)
class Schedule:
    """ᾱ_1 … ᾱ_T, and where they come from."""

    name: str
    values: Values
    timesteps: tuple[int, ...]  # of the schedule's own grid, counted from 0; the t-th state's at t - 1
    rescaled: bool
    formula: str
    source: str

    @property
    def steps(self) -> int:
        return len(self.values)

    def alpha_bar(self, t: int) -> float:
        """ᾱ at a place of the timeline, 0 … T; 1 at 0."""
        return 1.0 if t == 0 else float(self.values[t - 1])


def schedule(
    name: Any, steps: Any, rescaled: Any, drawn: Any, model: Model, field: str = "schedule"
) -> Schedule:  # fmt: skip
    """One schedule of T steps by its name, everything checked.

    Args:
        name: one of NAMES.
        steps: T, 10 … 1000.
        rescaled: a smaller T takes a subsequence of the 1000 values; False spreads the betas over T steps instead, which
            a drawn log-SNR has none of: it stays rescaled.
        drawn: the knots of a schedule that is drawn by hand, as `knots` reads them.
        model: whose scheduler config is "the model's own".
        field: what an error calls the name.

    Raises:
        RequestError: names what is wrong.
    """
    if not isinstance(name, str) or name not in NAMES:
        raise RequestError(f"{field} is {str(name)[:40]!r}; it must be one of {', '.join(NAMES)}.")
    steps = whole("T", steps, T_RANGE)
    if not isinstance(rescaled, bool):
        raise RequestError(f"rescaled is {str(rescaled)[:40]!r}; it must be true or false.")
    if name in SCHEDULES:
        row = SCHEDULES[name]
        values = noising.alphas_cumprod(name, steps, rescaled=rescaled)
        places = noising.timesteps(GRID, steps) if rescaled else np.arange(steps)
        return Schedule(name, values, tuple(places.tolist()), rescaled, row.formula, row.source)
    if name == OWN:
        config = model.scheduler_config
        grid = int(config.get("num_train_timesteps", GRID))
        values = noising.of_config(config, steps, rescaled=rescaled)
        places = noising.timesteps(grid, len(values)) if rescaled else np.arange(len(values))
        return Schedule(name, values, tuple(places.tolist()), rescaled, _formula(config), model.name)
    kind, points = knots(drawn)
    values = noising.drawn(kind, points, steps, rescaled=rescaled)
    rescaled = rescaled or kind == "log-SNR"  # which says ᾱ itself: there are no betas to spread
    places = noising.timesteps(GRID, steps) if rescaled else np.arange(steps)
    return Schedule(name, values, tuple(places.tolist()), rescaled, f"{kind} through {len(points)} knots", "drawn here")


def knots(line: Any) -> tuple[str, list[tuple[float, float]]]:
    """The kind and the knots of a line such as "log-SNR 0:40 0.5:0 1:-50" or "beta 0:0.0001 1:0.02".

    Raises:
        RequestError: it can't be read so; what the knots must be besides is checked by `noising.drawn`.
    """
    words = text("drawn", line).split()
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
    pairs = [re.fullmatch(rf"({number}):({number})", word, re.IGNORECASE) for word in words[1:]]
    for word, pair in zip(words[1:], pairs, strict=True):
        if pair is None:
            raise RequestError(f"drawn has the knot {word[:40]!r}; a knot is place:value, as in 0.5:0.")
    kind = words[0] if words else ""
    return kind, [(float(pair[1]), float(pair[2])) for pair in pairs if pair]


def _formula(config: Mapping[str, Any]) -> str:
    """A scheduler config's kind of betas in words."""
    kind, ends = str(config.get("beta_schedule", "linear")), (config.get("beta_start"), config.get("beta_end"))
    if config.get("trained_betas") is not None:
        return "its trained betas"
    named = f"{kind.replace('_', ' ')} betas"
    return named if None in ends or kind == "squaredcos_cap_v2" else f"{named} from {ends[0]:g} to {ends[1]:g}"
