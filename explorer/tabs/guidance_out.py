"""Where a sweep goes from its stage: the chosen cell to another tab, all cells into a contact sheet."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from explorer import limits
from explorer.collecting import collect
from explorer.guidance_sheet import Cell, sheet
from explorer.pictures import to_image
from explorer.player import guidance as player
from explorer.records import Model, RequestError
from explorer.samplers import SAMPLERS
from explorer.sessions import Sessions
from explorer.tabs.common import session, slug, told
from explorer.tabs.guidance_runs import GONE, Sweep, Sweeps
from explorer.tabs.url import Linked

SEND = "guidance-send"
TO_WALK = "guidance-to-walk"
SENDS = {"Reverse": SEND, "Latents": SEND, "Walk": TO_WALK}  # by the tab that a cell goes to
FILE = "guidance-file"
WALK = ("stations", "kind", "moves", "steps", "guidance", "sampler", "negative_prompt")  # what the Walk tab is given
STOPPED = "This sweep was stopped before its end; press Run for a whole one."
LARGE = "This run is too large to be kept for another tab; take fewer steps."
PRIVATE: dict[str, Any] = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}


def build(model: Model, sessions: Sessions, sweeps: Sweeps, stage: gr.HTML) -> Callable[[Mapping[str, Linked]], None]:
    """Builds the buttons; those that send a cell are pressed by the microscope's own. Returns Linked's `meet`."""
    shown = f"document.querySelector('#{stage.elem_id} .compare').looked()"  # [run, cell]
    with gr.Row(elem_classes="files"):
        save = gr.Button("Save contact sheet", size="sm", min_width=72, elem_id="guidance-sheet")
        link = gr.DownloadButton("", visible="hidden", elem_id=FILE)
        send, on = (gr.Button("Send", visible="hidden", elem_id=name) for name in (SEND, TO_WALK))
        run, cell = gr.Textbox("", label="Run", visible="hidden"), gr.Number(0, label="Cell", visible="hidden")
        sent = gr.Textbox("", label="Sent", visible="hidden")

    @told
    def send_(run: Any, cell: Any, request: gr.Request) -> Iterator[str]:
        sweep, k = sweeps.cell(run, cell)
        name, here = f"{run}-{k}", session(request)
        sessions.open(here)
        made = collect(model, sweep.requests[k], [row[k] for row in list(sweep.rows)])
        if not sessions.put(here, name, made):
            raise RequestError(LARGE)
        sessions.note(here, name, sweep.requests[k])  # so that a look at it can make it again
        yield name

    @told
    def save_(run: Any) -> Iterator[str]:
        if (sweep := sweeps.get(run)) is None:
            raise RequestError(GONE)
        with tempfile.TemporaryDirectory(prefix="diffuscope-") as folder:  # Gradio copies it before it is gone again
            path = Path(folder) / f"{_name(sweep)}.png"
            path.write_bytes(contact_sheet(sweep))
            yield str(path)

    opened = send.click(send_, [run, cell], sent, js=f"() => {shown}", **PRIVATE)
    opened.success(fn=None, js=player.send(str(stage.elem_id)), inputs=sent)
    saved = save.click(save_, run, link, js=f"() => {shown}[0]", **PRIVATE)
    saved.success(fn=None, js=f"() => document.querySelector('#{FILE}').click()")

    @told
    def walked(run: Any, cell: Any) -> Iterator[list[Any]]:
        yield stations(*sweeps.cell(run, cell))

    def meet(tabs: Mapping[str, Linked]) -> None:
        if "walk" in tabs:
            controls = [tabs["walk"].controls[name] for name in WALK]
            given = on.click(walked, [run, cell], controls, js=f"() => {shown}", **PRIVATE)
            given.success(fn=None, js=player.send(str(stage.elem_id)))

    return meet


def stations(sweep: Sweep, cell: int) -> list[Any]:
    """The values of WALK's controls for a walk that begins in a cell: from its noise to the next seed's.

    Raises:
        RequestError: its sampler injects noise.
    """
    request = sweep.requests[cell]
    if SAMPLERS[request.sampler].stochastic == "always":
        raise RequestError(f"sampler is {request.sampler!r}, which injects noise; the Walk tab takes one that doesn't.")
    prompt, following = " ".join(request.prompt.split()), (request.seed + 1) % (limits.SEED[1] + 1)
    path = f"{prompt} @ {request.seed}\n{prompt} @ {following}"
    return [path, "stations", "noise", request.steps, sweep.scales[cell], request.sampler, request.negative_prompt]


def contact_sheet(sweep: Sweep) -> bytes:
    """All cells of a whole sweep as a PNG.

    Raises:
        RequestError: it was stopped before its end.
    """
    if not sweep.pictures:
        raise RequestError(STOPPED)
    cells = []
    for scale, titles, one, request in zip(sweep.scales, sweep.titles(), sweep.pictures, sweep.requests, strict=True):
        weights = request.guidance if isinstance(request.guidance, tuple) else None
        cells.append(Cell(to_image(one.pixels / 255), scale, *titles, one.clipped, one.saturation, weights))
    return sheet(sweep.requests[0], cells, sweep.dial)


def _name(sweep: Sweep) -> str:
    """A file's name, after what it shows."""
    request = sweep.requests[0]
    words = slug(request.prompt)[:40]
    return f"diffuscope-guidance-{words or 'no-prompt'}-seed-{request.seed}"
