"""A walk through latent space: its stations, the places of its frames, and where the run of each frame begins.

A walk is a path from place 0 to place 1. Along it move the noise that a run begins in, the conditioning that it is
told, or a picture's latents; all else is one Request. Every frame is a whole run, and at a station it is that station's
own: same noise, same conditioning object. Samplers that inject noise are refused: their noise has no place on a path.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from torch import Tensor

from explorer import diffusion, limits
from explorer.records import Model, Origin, Request, RequestError
from explorer.samplers import SAMPLERS
from explorer.schedule import schedule
from explorer.walk_paths import between, circle, noises, sphere

STATIONS = {"stations": (2, 8), "circle": (2, 2), "pictures": (1, 1), "sphere": (1, 1)}  # how many, by kind
KINDS = tuple(STATIONS)
MOVES = ("both", "prompt", "noise")
PATHS = ("slerp", "lerp")
FRAMES = (8, 120)
ANGLE = (1.0, 90.0)  # degrees
STRENGTH = (0.05, 1.0)
WORK = 2**30  # frames * steps * pixels: 4096 frame-steps at 512x512; a few frames run at a time, so it bounds time alone


@dataclass(frozen=True)
class Station:
    """A point of the path: a prompt, and a seed that stands for its noise."""

    prompt: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Walk:
    """What to walk, in plain values only, so that it fits into an address and into a file's metadata.

    "stations" goes from one to the next; "circle" through both noises, their opposites, and back; "pictures" between the
    latents of two pictures, in one noise; "sphere" around one noise, at one angle from it.
    """

    kind: str = "stations"
    stations: tuple[Station, ...] = ()  # 2 … 8; circle: 2, with the first one's prompt; pictures and sphere: 1
    moves: str = "both"  # of "stations": what the others than the first one give; the rest stays the first one's
    noise_path: str = "slerp"  # of noises, and of pictures' latents; "lerp" makes a square of the circle
    prompt_path: str = "slerp"
    frames: int = 24  # 8 … 120
    angle: float = 20.0  # degrees, 1 … 90: the sphere's radius
    strength: float = 0.3  # pictures: share of the run that is denoised anew, 0.05 … 1
    request: Request = field(default_factory=Request)  # all but prompt and seed

    @property
    def closed(self) -> bool:
        """Whether the frame after the last one would be the first."""
        return self.kind in ("circle", "sphere")


def check(walk: Walk, model: Model) -> Walk:
    """The walk with plain, whole values; its request is checked, and has the first station's prompt and seed.

    Raises:
        RequestError: a value has the wrong type or is outside its limit, the walk would stand still, its sampler injects
            noise, or frames x steps x size is above `WORK`.
    """
    if not isinstance(walk, Walk):
        raise RequestError(f"A Walk is needed, not {limits.show(walk)}.")
    kind = _one_of("kind", walk.kind, KINDS)
    moves = _one_of("moves", walk.moves, MOVES)
    stations = _stations(kind, moves, walk.stations)
    frames = limits.whole("frames", walk.frames, FRAMES)
    if not isinstance(walk.request, Request):
        raise RequestError(f"request is {limits.show(walk.request)}; a Request is needed.")
    request = limits.check(replace(walk.request, prompt=stations[0].prompt, seed=stations[0].seed), model)
    work = frames * request.steps * int(request.width or 0) * int(request.height or 0)
    if work > WORK:
        raise RequestError(
            f"frames x steps x width x height is {frames} x {request.steps} x {request.width} x {request.height} = {work}; "
            f"the limit is {WORK}."
        )
    if SAMPLERS[request.sampler].stochastic == "always" or request.eta > 0:
        what = f"eta is {request.eta:g}" if request.eta > 0 else f"sampler is {request.sampler!r}"
        fitting = ", ".join(name for name, row in SAMPLERS.items() if row.stochastic != "always")
        raise RequestError(f"{what}, which injects noise; a walk needs eta 0 and one of {fitting}.")
    schedule(request, model.scheduler_config)  # refuses what diffusers would
    return replace(
        walk, kind=kind, stations=stations, moves=moves, frames=frames, request=request,
        noise_path=_one_of("noise_path", walk.noise_path, PATHS),
        prompt_path=_one_of("prompt_path", walk.prompt_path, PATHS),
        angle=limits.number("angle", walk.angle, ANGLE),
        strength=limits.number("strength", walk.strength, STRENGTH),
    )  # fmt: skip


def check_pictures(walk: Walk, model: Model, pictures: Any) -> tuple[Tensor, Tensor] | None:
    """The two scaled latents (1, C, h, w) of a walk between pictures, on the CPU; None for every other walk.

    Raises:
        RequestError: they are not two, or of another shape than the checked walk's runs.
    """
    if walk.kind != "pictures":
        return None
    if pictures is None:
        raise RequestError("pictures is None; a walk between pictures needs the latents of two.")
    shape = limits.latent_shape(walk.request, model)
    first, last = limits.several("pictures", pictures, (2, 2), "latents")
    return limits.check_latents("pictures[0]", first, shape), limits.check_latents("pictures[1]", last, shape)


def check_places(places: Any) -> tuple[float, ...]:
    """1 … 120 numbers from 0 to 1.

    Raises:
        RequestError: says which one is wrong.
    """
    listed = limits.several("places", places, (1, FRAMES[1]), "numbers")
    return tuple(limits.number(f"places[{i}]", place, limits.UNIT) for i, place in enumerate(listed))


def places(walk: Walk) -> tuple[float, ...]:
    """The place of each frame of a checked walk, rising from 0, evenly between stations.

    Every station has a frame, and so have a circle's opposites. Where the frames can't be shared out equally, the stretches
    between them differ by one. An open path ends in 1 exactly; a closed one before it, so that the frame after the last
    would be the first.
    """
    gaps = walk.frames if walk.closed else walk.frames - 1
    inner = {"circle": (0.25, 0.5, 0.75), "sphere": ()}.get(walk.kind, station_places(walk)[1:-1])
    knots = [0.0, *inner, 1.0]
    at = [round(knot * gaps) for knot in knots]
    found: list[float] = []
    for (low, high), (i, j) in zip(pairwise(knots), pairwise(at), strict=True):
        found += [low + (high - low) * (n - i) / (j - i) for n in range(i, j)]
    return tuple(found if walk.closed else [*found, 1.0])


def station_places(walk: Walk) -> tuple[float, ...]:
    """Where the stations lie; circle: at 0 and a quarter; pictures: at both ends; sphere: none lies on it."""
    if walk.kind in ("circle", "sphere"):
        return (0.0, 0.25) if walk.kind == "circle" else ()
    last = 1 if walk.kind == "pictures" else len(walk.stations) - 1
    return tuple(i / last for i in range(last + 1))


def order(frames: int, closed: bool = False) -> list[int]:
    """Every frame once, in the order in which they are made: the ends, the middle, the quarters, and so on.

    A closed path has one end: frame 0, which is also the one after the last.
    """
    found = [0] if closed or frames == 1 else [0, frames - 1]
    spans = deque([(0, frames if closed else frames - 1)])
    while spans:
        low, high = spans.popleft()
        if high - low > 1:
            middle = (low + high) // 2
            found.append(middle)
            spans += [(low, middle), (middle, high)]
    return found


def origin(model: Model, walk: Walk, place: float, pictures: tuple[Tensor, Tensor] | None = None) -> tuple[Request, Origin]:
    """What is run at a place of a checked walk: the Request, and where it begins.

    The Request has the prompt and seed of a station beside the place; where the place is a station, it alone would do.

    Args:
        model: what encodes the prompts; call it where it computes.
        walk: checked.
        place: 0 … 1; on a closed path 1 is 0 again.
        pictures: what `check_pictures` gave, for a walk between pictures.
    """
    place = place % 1.0 if walk.closed else place
    here, there, weight = _stretch(walk, place)
    nearest = here if weight < 0.5 else there
    request = replace(walk.request, prompt=nearest.prompt, seed=nearest.seed)
    told = between(model.encode_prompt(here.prompt), model.encode_prompt(there.prompt), weight, walk.prompt_path)
    path = diffusion.slerp if walk.noise_path == "slerp" else diffusion.lerp
    shape = limits.latent_shape(walk.request, model)
    if walk.kind == "sphere":
        return request, Origin(noise=sphere(noises(shape, here.seed, 3), walk.angle, place), conditioning=told)
    a, b = noises(shape, here.seed)[0], noises(shape, there.seed)[0]
    if walk.kind == "circle":
        return request, Origin(noise=circle(a, b, place, walk.noise_path), conditioning=told)
    if walk.kind == "pictures" and pictures is not None:
        return request, Origin(noise=a, conditioning=told, start=(path(*pictures, place), span(model, walk)[0]))
    return request, Origin(noise=path(a, b, weight), conditioning=told)


def span(model: Model, walk: Walk) -> tuple[int, int]:
    """Where the runs of a checked walk begin, and how many evaluations they make from there.

    The first is evaluation 0, or between pictures the one from which `strength` of the run is left.
    """
    plan, k = schedule(walk.request, model.scheduler_config), 0
    if walk.kind == "pictures":
        k = plan.evaluations - max(1, round(walk.strength * plan.evaluations))
        k -= k % 2 if walk.request.sampler == "Heun" else 0  # its second look is no beginning
        plan.start_at(k)
    return k, plan.evaluations - k


def _stretch(walk: Walk, place: float) -> tuple[Station, Station, float]:
    """The two stations between which a place lies, each with what moves to it, and how far from the one to the other."""
    first = walk.stations[0]
    if walk.kind == "circle":
        opposite = Station(first.prompt, walk.stations[1].seed)
        return first, opposite, 4 * place if place <= 0.25 else 0.0
    stations = [
        Station(first.prompt if walk.moves == "noise" else one.prompt, first.seed if walk.moves == "prompt" else one.seed)
        for one in walk.stations
    ]
    along = place * (len(stations) - 1)
    i = min(int(along), max(0, len(stations) - 2))
    return stations[i], stations[min(i + 1, len(stations) - 1)], along - i


def _one_of(name: str, value: Any, names: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in names:
        raise RequestError(f"{name} is {limits.show(value)}; it must be one of {', '.join(names)}.")
    return value


def _stations(kind: str, moves: str, given: Any) -> tuple[Station, ...]:
    low, high = STATIONS[kind]
    if not isinstance(given, list | tuple) or not low <= len(given) <= high:
        has = f"has {len(given)}" if isinstance(given, list | tuple) else f"is {limits.show(given)}"
        takes = f"{low}" if low == high else f"{low} to {high}"
        raise RequestError(f"stations {has}; a walk of kind {kind} takes {takes}.")
    found = []
    for i, one in enumerate(given):
        if not isinstance(one, Station):
            raise RequestError(f"stations[{i}] is {limits.show(one)}; a Station is needed.")
        prompt = limits.text(f"stations[{i}].prompt", one.prompt)
        found.append(Station(prompt, limits.whole(f"stations[{i}].seed", one.seed, limits.SEED)))
    seeds, prompts = ({one.seed for one in found}, {one.prompt for one in found})
    if kind == "circle" and len(seeds) == 1:
        raise RequestError(f"stations[1].seed is {found[1].seed} again; a circle needs two different seeds.")
    if kind == "stations" and (moves == "prompt" or len(seeds) == 1) and (moves == "noise" or len(prompts) == 1):
        same = {"prompt": "have one prompt", "noise": "have one seed", "both": "are one and the same"}[moves]
        raise RequestError(f"moves is {moves!r}, but all stations {same}; two must differ, or every frame is the same.")
    return tuple(found)
