"""A film once more: its frames placed anew, so that neighbours differ equally, or by the other path, beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import fmean
from typing import Any

import gradio as gr

from explorer import pace
from explorer.records import Model, RequestError
from explorer.tabs.common import noun, session, told
from explorer.tabs.lanes import Record
from explorer.tabs.walk_runs import Made, Walks
from explorer.tabs.walk_words import SAME, named, still
from explorer.walk import Walk
from explorer.walk_readings import rms

ROUNDS = 5  # films that are made at most until the pace is even
SHARE = 0.5  # of the first film's variation: even enough
EVEN = 0.03  # a variation that nobody sees
NONE = "There is no film yet; press Run first."
EMPTY = "No frame of this film is there yet to put another beside; press Run."
ALONE = "The small circle around one noise has no other path; take another kind of walk."

Filming = Callable[..., Iterator[Record]]  # walk.filming


def evening(model: Model, walks: Walks, filming: Filming) -> Callable[..., Iterator[Record]]:
    """The handler of Even pace: run → the records of a film with its frames placed anew, until neighbours differ evenly."""

    @told
    def even(run: Any, request: gr.Request) -> Iterator[Record]:
        made = _there(walks, run)
        places, curve = made.places, made.curve()
        before, first = curve, pace.variation(curve)
        if max(curve) < SAME:
            raise RequestError("All frames of this film are one and the same; there is no pace to make even.")
        if first < EVEN:
            raise RequestError(
                f"This film is even already: the changes from frame to frame vary by {first:.0%} of their mean."
            )
        for turn in range(1, ROUNDS + 1):
            places = pace.even(places, curve, len(places), made.closed)
            again = _anew(made, made.walk, places)
            yield from filming(
                model, walks, session(request), again, made.batch, note=f"Round {turn} of at most {ROUNDS}. ",
                name=f"{named(made.walk)}, even pace", before=[round(one, 5) for one in before],
            )  # fmt: skip
            curve = again.curve()
            now = pace.variation(curve)
            done = now <= SHARE * first or turn == ROUNDS
            yield {"run": again.run, "summary": _paced(first, now, turn)}
            if done:
                return

    return even


def other(model: Model, walks: Walks, filming: Filming) -> Callable[..., Iterator[Record]]:
    """The handler of Beside the other path: run → the records of a second film, by the other of lerp and slerp."""

    @told
    def beside(run: Any, request: gr.Request) -> Iterator[Record]:
        made = _there(walks, run)
        walk = otherwise(made.walk)
        if not made.latents:
            raise RequestError(EMPTY)
        again = _anew(made, walk, made.places)
        yield from filming(model, walks, session(request), again, made.batch, beside=run, name=named(walk))
        yield {"run": again.run, "summary": _apart(made, again, noun(model))}

    return beside


def otherwise(walk: Walk) -> Walk:
    """The walk by the other path: of the noise where it moves, else of the prompt.

    Raises:
        RequestError: it has no other path.
    """
    if walk.kind == "sphere":
        raise RequestError(ALONE)
    turned = {"slerp": "lerp", "lerp": "slerp"}
    if still(walk):
        return replace(walk, prompt_path=turned[walk.prompt_path])
    return replace(walk, noise_path=turned[walk.noise_path])


def _there(walks: Walks, run: Any) -> Made:
    if run in ("", None):
        raise RequestError(NONE)
    return walks.there(run)


def _anew(made: Made, walk: Walk, places: tuple[float, ...]) -> Made:
    return Made(walk, places, ends=made.ends, sources=made.sources, batch=made.batch)


def _apart(made: Made, again: Made, what: str) -> str:
    """How far two films are from each other, frame by frame."""
    both = [i for i in made.latents if i in again.latents]
    between = {i: rms(made.latents[i], again.latents[i]) for i in both}
    most = max(between, key=lambda i: between[i])
    if between[most] < SAME:
        return "Both films are the same here, but for rounding."
    curve = [pair[0] for pair in made.apart.values()]
    usual = f"; neighbours within the first film are {fmean(curve):.2f} apart on average" if curve else ""
    return (
        f"The two films are furthest apart at frame {most + 1}, by {between[most]:.2f} (root mean square of the {what}' "
        f"difference){usual}."
    )


def _paced(before: float, now: float, turns: int) -> str:
    """What placing the frames anew has done."""
    times = {1: "once", 2: "twice"}.get(turns, f"{turns} times")
    return (
        f"Even pace: the changes from frame to frame vary by {now:.0%} of their mean; before, by {before:.0%}. "
        f"The frames were placed anew {times}, closer together where the picture changes fast."
    )
