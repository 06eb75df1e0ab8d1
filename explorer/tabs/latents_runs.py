"""Runs in the folds of the Latents tab: which there are, their paths in a common projection, their statistics.

A run's id is a random token, and knowing one is enough to look at it; only the list is asked for by session.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
from PIL import Image
from plotly.offline import get_plotlyjs
from torch import Tensor
from torch.nn.functional import interpolate

from explorer import limits, spectrum, trace
from explorer.diffusion import to_vp
from explorer.pictures import to_image
from explorer.projection import RUNS, Path
from explorer.projection import project as project_runs
from explorer.projection_figure import figure
from explorer.records import Model, RequestError, Trajectory
from explorer.sessions import Sessions
from explorer.tabs.latents_asking import Answer, Asked
from explorer.tabs.traces import FIRST, PREFIX, RECORDED

PROMPT = 60  # characters of it that are shown
COLUMNS = 32  # of a sheet of frames
SIDES = ((100, 64), (400, 32))  # states up to which a frame may have so many cells a side
SMALL = 16  # cells a side of a frame of the longest runs
KEPT = 16  # statistics
GONE = "This run is not kept here any more; open the fold again for those that are."


def listed(model: Model, sessions: Sessions, session: str) -> list[dict[str, Any]]:
    """The runs of a session, the one used last first, and the recorded one last: {"run", "name", "detail", "states"}."""
    runs = sessions.runs(session)[::-1]
    if not any(run == FIRST for run, _ in runs) and not limits.foreign(_recorded(), model):
        runs.append((FIRST, _recorded()))
    return [{"run": run, **_said(run, trajectory), "states": len(trajectory.steps)} for run, trajectory in runs]


def projecting(sessions: Sessions) -> Asked:
    """[run, …] → the figures in 2-D and 3-D, both paths of each run, its frames, and what the axes explain."""

    def project(wanted: Any) -> Answer:
        chosen = wanted if isinstance(wanted, list | tuple) else []
        names = list(dict.fromkeys(str(run) for run in chosen))
        if not names:
            raise RequestError("No run is chosen; tick at least one.")
        if len(names) > RUNS:
            raise RequestError(f"{len(names)} runs are chosen; the limit of one projection is {RUNS}.")
        runs = [_find(sessions, name) for name in names]
        made = project_runs(runs)
        titles = _titles([_said(name, one) for name, one in zip(names, runs, strict=True)])
        return {
            "figures": {
                str(dimensions): json.loads(str(figure(made, titles, dimensions).to_json())) for dimensions in (2, 3)
            },
            "explained": made.explained_variance_ratio.tolist(),
            "runs": [
                {"run": name, "name": title, **_path(path), **frames(run)}
                for name, title, path, run in zip(names, titles, made.paths, runs, strict=True)
            ],
        }

    return project


def measuring(sessions: Sessions) -> Asked:
    """run → its statistics beside theory, as `spectrum.statistics` gives them."""
    kept: OrderedDict[str, Answer] = OrderedDict()

    def measure(wanted: Any) -> Answer:
        run = wanted if isinstance(wanted, str) else ""
        trajectory = _find(sessions, run)
        if run not in kept:
            kept[run] = {"run": run, **_said(run, trajectory), **spectrum.statistics(trajectory)}
        kept.move_to_end(run)
        while len(kept) > KEPT:
            kept.popitem(last=False)
        return kept[run]

    return measure


@cache
def plotly() -> str:
    """plotly.js as plotly.py brings it along, gzipped, in base64: 2 MB."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode("utf-8"), 9)).decode()


def frames(trajectory: Trajectory) -> dict[str, Any]:
    """A run's frames on one sheet, x_t first and then x0, each through the run's own linear preview."""
    tiles = list(_tiles(trajectory))
    rows = -(-len(tiles) // COLUMNS)
    height, width = tiles[0].shape[1:]
    sheet = torch.zeros(3, rows * height, min(len(tiles), COLUMNS) * width)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, COLUMNS)
        sheet[:, row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
    return {"sheet": _png(to_image(sheet)), "tile": [width, height], "columns": min(len(tiles), COLUMNS)}


def _tiles(trajectory: Trajectory) -> Iterator[Tensor]:
    """(3, h, w) in 0 … 1, of every x_t in VP form and then of every x0, made smaller where there are many."""
    states = [to_vp(step.latents, step.alpha, step.sigma) for step in trajectory.steps]
    states += [step.x0 for step in trajectory.steps if step.x0 is not None]
    height, width = states[0].shape[-2:]
    side = next((side for most, side in SIDES if len(states) <= most), SMALL)
    shrunk = max(1.0, max(height, width) / side)
    size = max(1, round(height / shrunk)), max(1, round(width / shrunk))
    preview = trajectory.capsule["preview"]
    matrix, offset = torch.tensor(preview["matrix"]), torch.tensor(preview["offset"])
    for state in states:
        smaller = state.float() if shrunk == 1 else interpolate(state.float(), size, mode="area")
        yield (torch.einsum("kc,chw->khw", matrix, smaller[0]) + offset[:, None, None]).clamp(0, 1)


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _find(sessions: Sessions, run: str) -> Trajectory:
    if (found := sessions.find(run)) is not None:
        return found
    if run == FIRST:
        return _recorded()
    raise RequestError(GONE)


def _path(path: Path) -> dict[str, Any]:
    """Both paths of a run in the common axes, and where its states are in time."""
    return {
        "x_t": path.x_t.tolist(), "x0": path.x0.tolist(), "steps": list(path.x_t_steps), "x0_steps": list(path.x0_steps),
        "timesteps": list(path.timesteps),
    }  # fmt: skip


def _titles(said: Sequence[dict[str, str]]) -> list[str]:
    """A short name for each run, none of them twice: the prompt, or where several have it what sets a run apart."""
    names = [one["name"] for one in said]
    titles = [name if names.count(name) == 1 else one["detail"] for name, one in zip(names, said, strict=True)]
    return [
        title if titles.count(title) == 1 else f"{titles[: i + 1].count(title)}: {title}" for i, title in enumerate(titles)
    ]


def _said(run: str, trajectory: Trajectory) -> dict[str, str]:
    """What a run is called, and the rest of what tells it from others."""
    request, first = trajectory.request, trajectory.steps[0].index
    prompt = request.prompt.strip()
    name = f"“{prompt[:PROMPT]}{'…' * (len(prompt) > PROMPT)}”" if prompt else "no prompt"
    kind = "recorded, " if run == FIRST else "opened trace, " if run.startswith(PREFIX) else ""
    branch = f", branch from {first} on" if first else ""
    return {"name": name, "detail": f"{kind}seed {request.seed}, {request.sampler}, {request.steps} steps{branch}"}


@cache
def _recorded() -> Trajectory:
    return trace.load(RECORDED)
