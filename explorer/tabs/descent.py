"""What a branch goes back to, for all that is saved of it: its own Request alone would say something false."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any, NamedTuple

from explorer.forks import Fork, Forks, counted
from explorer.records import Request, Trajectory
from explorer.sessions import Sessions


class Origin(NamedTuple):
    """A run before a branch."""

    request: Request | None  # None where the run is no longer kept
    fork: Fork | None  # where the next one left it


def descent(sessions: Sessions, family: Forks, session: str, run: str) -> list[Origin]:
    """All that a run goes back to, the first one first; empty for one that began in noise, or came from a file."""
    origins = []
    for one, after in pairwise(family.line(session, run)):
        kept = sessions.get(session, one)
        origins.append(Origin(kept.request if kept else sessions.request(one), family.get(session, after)))
    return origins


def words(trajectory: Trajectory, origins: Sequence[Origin]) -> str:
    """How a branch was made, a line for each run in it; empty for a run that is none."""
    if not _is_branch(trajectory, origins):
        return ""
    unit, first = counted(trajectory.request), trajectory.steps[0].index
    said = f"A branch: the settings here are those of {unit} {first} and all after it."
    if not origins:
        return f"{said} The run that it goes on from is not known here."
    began = origins[0].request
    lines = [
        "It goes back to " + (_brief(began) if began else "a run that is no longer kept"),
        *(f"then {origin.fork.label}" for origin in origins if origin.fork),
    ]
    return "\n".join((said, *lines))


def settings(trajectory: Trajectory, origins: Sequence[Origin]) -> dict[str, Any]:
    """What made a run, in plain values: its Request; of a branch that, the Step from which it holds, and the origins'."""
    request = asdict(trajectory.request)
    if not _is_branch(trajectory, origins):
        return request
    before = [
        {"request": origin.request and asdict(origin.request), "left_at": origin.fork and origin.fork.at}
        for origin in origins
    ]
    return {"branch": {"request": request, "from": trajectory.steps[0].index, "origins": before}}


def _is_branch(trajectory: Trajectory, origins: Sequence[Origin]) -> bool:
    return bool(origins) or trajectory.steps[0].index > 0


def _brief(request: Request) -> str:
    prompt = f"“{request.prompt}”" if request.prompt else "no prompt"
    guidance = f"{request.guidance:g}" if isinstance(request.guidance, int | float) else "of its own at each evaluation"
    return f"{prompt}, seed {request.seed}, {request.steps} steps of {request.sampler}, guidance {guidance}"
