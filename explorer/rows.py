"""What a trace says of each Step: its row in the header, and that the numbers in the data agree with it.

A file that plays must not lie. What can be checked cheaply, is: levels that can be, predictions where the request makes
some, `latents = alpha * x0 + sigma * eps`, and terms that sum to the next latents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explorer.records import Request, TraceError
from explorer.samplers import SAMPLERS, Sampler

FIELDS = ("latents", "model_output", "eps_uncond", "eps_cond", "eps", "x0", "z")
PREDICTED = {"latents", "model_output", "eps_cond", "eps", "x0"}  # of every Step but a run's last
OWN = {"x_t": "latents", "eps": "eps", "x0": "x0", "z": "z"}  # terms whose tensor is a field of the Step
ROW = {"index", "timestep", "alpha", "sigma", "fields", "state", "forms"}
NAME = re.compile(r"[a-z][a-z0-9]{0,5}(_[a-z0-9]{1,2})?")  # of a form, or of a scheduler's state; nothing that JS knows
FORMS = 4  # of a Step
TERMS = 12  # of a form
SIGMA = 1e5  # of a VE level; the largest that diffusers makes is 4096, where the SNR is zero
MOST = 1e9  # of any number of the data
CLOSE = 1e-4  # of the largest summand; a sum is true to 1e-5 where it was made


def check(rows: Any, request: Request, grid: int, told: bool = False) -> None:
    """Each row must be whole, in order, and be what its request makes.

    Args:
        grid: training timesteps.
        told: whether the model was told the scale, and so made one prediction.

    Raises:
        TraceError: one sentence.
        KeyError, TypeError, ValueError, AttributeError: it has not even the form of a row.
    """
    sampler = SAMPLERS[request.sampler]
    evaluations = sampler.evaluations(request.steps)
    if not isinstance(rows, list) or not 2 <= len(rows) <= evaluations + 1:
        raise TraceError(f"The trace should have from 2 to {evaluations + 1} steps, as many as its request makes.")
    first = rows[0]["index"]
    if not whole(first, 0, evaluations):
        raise TraceError(f"The trace's first step should be from 0 to {evaluations}.")
    last = evaluations + (sampler.name == "PNDM" and first > 0)  # begun later it warms up once more
    for i, row in enumerate(rows):
        step = f"The trace's step {first + i}"
        if set(row) != ROW or not all(_listed(row[part]) for part in ("fields", "state")):
            raise TraceError(f"{step} has not the right form.")
        if type(row["index"]) is not int or row["index"] != first + i:
            raise TraceError(f"{step} is out of order.")
        _level(step, row, rows[max(i - 1, 0)], sampler, grid)
        _forms(step, row)
        if i == len(rows) - 1 and row["fields"] == ["latents"]:
            if first + i not in (evaluations, last) or row["timestep"] != 0 or row["forms"] or row["state"]:
                raise TraceError(
                    f"{step} is the end of a run of {evaluations} evaluations, or has something that no end has."
                )
        elif first + i >= last:
            raise TraceError(f"{step} predicts something, but the run has only {last} evaluations.")
        else:
            _predictions(step, row, request, sampler, first, last, told)


def agree(rows: list[dict[str, Any]], tensor: Callable[[int, str], NDArray[np.float32]]) -> None:
    """The numbers of each Step must be one state, and its terms must lead to the next.

    Args:
        rows: checked.
        tensor: the numbers of a row's tensor, by the number of the row and the name.

    Raises:
        TraceError: one sentence.
    """
    for i, row in enumerate(rows):
        if len(row["fields"]) == 1:
            continue
        named = {name: (i, field) for name, field in OWN.items()} | {name: (i, f"state.{name}") for name in row["state"]}
        sums = [("its x0 and eps", (i, "latents"), [[row["alpha"], "x0"], [row["sigma"], "eps"]])]
        if i + 1 < len(rows):
            sums += [(f"its terms by {form}", (i + 1, "latents"), terms) for form, terms in row["forms"].items()]
        for what, where, terms in sums:
            rest, scale = tensor(*where).copy(), 1.0
            with np.errstate(all="ignore"):  # too large a coefficient fails below
                for coefficient, name in terms:
                    summand = np.float32(coefficient) * tensor(*named[name])
                    scale = max(scale, float(np.abs(summand).max()))
                    rest -= summand
            if not float(np.abs(rest).max()) <= CLOSE * scale:
                aim = "its own" if where[0] == i else "the next"
                raise TraceError(
                    f"The trace's step {row['index']} is not one that a run makes: {what} don't sum to {aim} latents."
                )


def finite(value: Any) -> bool:
    """A number, not true or false, and not beyond what a computation makes."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30


def whole(value: Any, least: int, most: int) -> bool:
    """A whole number within limits, both included."""
    return type(value) is int and least <= value <= most


def names(row: Mapping[str, Any]) -> list[str]:
    """Names of a row's tensors."""
    return [*row["fields"], *(f"state.{name}" for name in row["state"])]


def _listed(part: Any) -> bool:
    return isinstance(part, list) and len(set(part)) == len(part)


def _level(step: str, row: Mapping[str, Any], before: Mapping[str, Any], sampler: Sampler, grid: int) -> None:
    timestep, alpha, sigma = (row[name] for name in ("timestep", "alpha", "sigma"))
    if not (finite(timestep) and finite(alpha) and finite(sigma)):
        raise TraceError(f"{step} has a timestep, alpha or sigma that is not a finite number.")
    if not 0 <= timestep <= grid - 1 or timestep > before["timestep"] + 1e-3:
        raise TraceError(f"{step} has the timestep {timestep:g}; it must be from 0 to {grid - 1}, and not rise.")
    fits = abs(alpha**2 + sigma**2 - 1) <= 1e-3 if sampler.space == "VP" else alpha == 1 and sigma <= SIGMA
    if alpha < 0 or sigma < 0 or not fits or sigma > before["sigma"] + 1e-4:
        raise TraceError(f"{step} has alpha {alpha:g} and sigma {sigma:g}, which {sampler.name} can't have there.")


def _forms(step: str, row: Mapping[str, Any]) -> None:
    forms = row["forms"]
    if len(forms) > FORMS or any(not 1 <= len(terms) <= TERMS for terms in forms.values()):
        raise TraceError(f"{step} has too many forms or terms, or a form of none; the limits are {FORMS} and {TERMS}.")
    if not all(NAME.fullmatch(name) for name in (*row["state"], *forms)) or set(row["state"]) & set(OWN):
        raise TraceError(f"{step} has a form or a state with a name that can't be.")
    if not all(finite(coefficient) for terms in forms.values() for coefficient, _ in terms):
        raise TraceError(f"{step} has a coefficient that is not a finite number.")


def _predictions(
    step: str, row: Mapping[str, Any], request: Request, sampler: Sampler, first: int, last: int, told: bool
) -> None:
    own, state, index = set(row["fields"]), set(row["state"]), row["index"]
    used = {name for terms in row["forms"].values() for _, name in terms}
    known = {name for name, field in OWN.items() if field in own} | state
    if not PREDICTED <= own <= set(FIELDS) or not state <= used <= known or not row["forms"]:
        raise TraceError(f"{step} lacks something that a step has, or speaks of tensors that it has not.")
    values = request.guidance if isinstance(request.guidance, tuple) else (request.guidance,) * last
    moved = sampler.name == "PNDM" and first and len(set(values)) > 1  # with its repeated evaluation
    guidance = values[min(index, len(values) - 1)]
    twice = guidance != 1 and not told
    if not (moved and not told) and twice != ("eps_uncond" in own):
        raise TraceError(f"{step} has not the predictions that guidance {guidance:g} makes.")
    draws = sampler.stochastic == "always" or request.eta > 0
    if ("z" in own) != draws and ("z" in own or index < last - 1):  # some draw none at their end
        raise TraceError(f"{step} has noise where {sampler.name} draws none, or none where it draws some.")
