"""What the stations and paths of a walk are called on its stage."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from explorer.tabs.walk_runs import Made
from explorer.walk import Station, Walk, station_places

SAME = 1e-4  # of latents, root mean square of a difference: rounding
UNEVEN = 1.8  # times the average change between neighbours
SHORT = 28  # characters of a prompt on the timeline


def label(station: Station, moves: str = "both") -> str:
    """A station on the timeline: its prompt, cut, and its seed; of the two only what moves."""
    prompt = station.prompt if len(station.prompt) <= SHORT else station.prompt[: SHORT - 1].rstrip() + "…"
    parts = {"prompt": [prompt or "no prompt"], "noise": [f"seed {station.seed}"]}
    return " · ".join(parts.get(moves, [prompt or "no prompt", f"seed {station.seed}"]))


def said(station: Station, moves: str = "both") -> str:
    """A station in a sentence."""
    prompt = f"“{station.prompt}”" if station.prompt else "no prompt"
    return {"prompt": prompt, "noise": f"seed {station.seed}"}.get(moves, f"{prompt}, seed {station.seed}")


def posts(walk: Walk, ends: tuple[str, str] | None = None) -> list[dict[str, Any]]:
    """Each {"place": 0 … 1, "label", "said"}, in the order of the path.

    Args:
        walk: checked.
        ends: what the pictures are called, of a walk between two.
    """
    if walk.kind == "circle":
        a, b = (f"seed {one.seed}" for one in walk.stations)
        names = (a, b, f"−{a}", f"−{b}")  # the opposite of a noise is a noise as likely
        return [
            {"place": i / 4, "label": name, "said": name if i < 2 else f"the opposite of {name[1:]}"}
            for i, name in enumerate(names)
        ]
    if walk.kind == "sphere":
        middle = label(walk.stations[0], "both" if walk.stations[0].prompt else "noise")
        return [{"place": 0.0, "label": f"{walk.angle:g}° from {middle}", "said": "the first frame"}]
    if ends is not None:
        return [{"place": float(i), "label": name, "said": name} for i, name in enumerate(ends)]
    moves = walk.moves
    if moves == "both" and len({one.seed for one in walk.stations}) == 1:
        moves = "prompt"
    elif moves == "both" and len({one.prompt for one in walk.stations}) == 1:
        moves = "noise"
    return [
        {"place": place, "label": label(one, moves), "said": said(one, moves)}
        for place, one in zip(station_places(walk), walk.stations, strict=True)
    ]


def still(walk: Walk) -> bool:
    """Whether the noise stands still, and only the prompt moves."""
    return walk.kind == "stations" and (walk.moves == "prompt" or len({one.seed for one in walk.stations}) == 1)


def named(walk: Walk) -> str:
    """A film by its path."""
    if walk.kind == "sphere":
        return "The walk"
    return f"Prompts by {walk.prompt_path}" if still(walk) else f"The walk by {walk.noise_path}"


def ways(walk: Walk) -> dict[str, str]:
    """The path of the noise or of the latents, and the other of lerp and slerp; empty where there is but one."""
    if walk.kind == "sphere" or still(walk):
        return {"norm": "", "other": ""}
    return {"norm": walk.noise_path, "other": "lerp" if walk.noise_path == "slerp" else "slerp"}


def changes(made: Made) -> str:
    """Where a whole film changes most, and what can be done about it."""
    curve, n = made.curve(), len(made.places)
    mean = fmean(curve)
    if mean < SAME:
        return "All frames are one and the same, but for rounding."
    most = max(range(len(curve)), key=curve.__getitem__)
    times, pair = curve[most] / mean, f"{most + 1} and {(most + 1) % n + 1}"
    if times < UNEVEN:
        return f"The film changes evenly: most between frames {pair}, {times:.1f} times its average."
    return (
        f"The film changes most between frames {pair}, {times:.1f} times its average. Even pace places the frames anew, "
        "closer together there."
    )
