"""Steps of several runs → one record of a comparison (explorer.player.compare), and the request behind a form's values.

The folds under the Reverse tab's stage share these; each adds its own numbers and sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import gradio as gr
from torch import Tensor

from explorer import frames, limits
from explorer.diffusion import to_vp
from explorer.player.compare import tell
from explorer.records import Model, Request, RequestError, Step
from explorer.tabs.common import RUNS

Record: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Lane:
    """One column: a state, what to call it, and which of its planes to show."""

    label: str
    step: Step
    show: tuple[str, ...]
    detail: str = ""
    planes: Mapping[str, Tensor] = field(default_factory=dict)  # planes of other names than a Step's, (1, C, H, W)
    picture: str | None = None  # a data URI, where the latents were decoded
    place: str = ""  # where its own run is, "step 3 of 8"; empty where that is the comparison's


def record(
    model: Model, run: str, i: int, n: int, lanes: Sequence[Lane], *, note: str,
    series: Sequence[Record] = (), equations: Sequence[Record] = (), log: bool = False,
) -> Record:  # fmt: skip
    """The record of one place on the timeline, 0 … n - 1; log draws its series by their logarithm."""
    base = frames.encode(lanes[0].step, run=run, n=n, model_preview=model.preview)
    kept = {key: base[key] for key in ("run", "n", "shape", "preview", "pixels") if key in base}
    return kept | {
        "i": i,
        "lanes": [_lane(model, lane) for lane in lanes],
        "series": list(series),
        "equations": list(equations),
        "log": log,
        "note": note,
    }


def curve(label: str, colour: str, value: float | None = None) -> Record:
    """One number of this step, drawn as a curve over the run; None where it has none."""
    return {"label": label, "colour": colour, "value": value}


def difference(a: Step, b: Step) -> dict[str, Tensor]:
    """b - a of the states in VP form, and of the predicted x0 where both have one."""
    planes = {"dx_t": to_vp(b.latents, b.alpha, b.sigma) - to_vp(a.latents, a.alpha, a.sigma)}
    return planes if a.x0 is None or b.x0 is None else planes | {"dx0": b.x0 - a.x0}


def place(step: Step, n: int) -> str:
    """Where a run is, in words."""
    return f"step {step.index} of {n} · t = {step.timestep:.4g}"


def asked(model: Model, **values: Any) -> Request:
    """The checked request of a form's values; an empty spacing or size is the model's own."""
    if values["seed"] in (None, ""):
        raise RequestError(f"The seed is empty; type a whole number from 0 to {limits.SEED[1]}, or press Roll.")
    own = {name: None for name in ("spacing", "width", "height") if values[name] == ""}
    return limits.check(Request(**values | own), model)


def wire(
    handler: Callable[..., Any], start: gr.Button, cancel: gr.Button, inputs: Sequence[Any], stage: gr.HTML, name: str
) -> None:
    """Connects a fold: the button that starts, the one that cancels, and the comparison that shows."""
    target = str(stage.elem_id)
    start.click(fn=None, js=tell(target, "run"))
    running = start.click(handler, list(inputs), stage, api_name=name, **RUNS)
    for over in (running.then, running.failure):  # gradio's then() is silent after an error
        over(fn=None, js=tell(target, "end"))
    cancel.click(fn=None, js=tell(target, "cancel"), cancels=running)


def buttons(label: str, elem_id: str) -> tuple[gr.Button, gr.Button]:
    """The button that starts, and Cancel in its place."""
    return (
        gr.Button(label, variant="primary", elem_id=f"{elem_id}-run", elem_classes="trial-run"),
        gr.Button("Cancel", variant="secondary", elem_id=f"{elem_id}-cancel", elem_classes="trial-cancel"),
    )


def _lane(model: Model, lane: Lane) -> Record:
    planes = _planes(model, lane.step)
    for name, tensor in lane.planes.items():  # a plane is packed as if it were the state
        planes[name] = _planes(model, replace(lane.step, latents=tensor))["x_t"]
    made: Record = {
        "label": lane.label,
        "detail": lane.detail,
        "show": list(lane.show),
        "alpha": lane.step.alpha,
        "sigma": lane.step.sigma,
        "planes": {name: planes[name] for name in lane.show if name in planes},
    }
    if lane.place:
        made["place"] = lane.place
    return made if lane.picture is None else made | {"picture": lane.picture}


def _planes(model: Model, step: Step) -> dict[str, str]:
    return frames.encode(step, run="", n=0, model_preview=model.preview)["planes"]
