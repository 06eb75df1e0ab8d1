"""What a page lost on the way: of two records that come at once Gradio shows a component the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from explorer import trace
from explorer.limits import STEPS
from explorer.sessions import Sessions
from explorer.tabs import traces


def filler(sessions: Sessions) -> Callable[[Any, Any], dict[str, list[Any]]]:
    """fill(run, there) → {"records": those that are not `there`}; takes anything, raises nothing."""

    def fill(run: Any, there: Any) -> dict[str, list[Any]]:
        if not isinstance(run, str) or not isinstance(there, list) or len(there) > 2 * STEPS[1]:
            return {"records": []}
        trajectory = trace.load(traces.RECORDED) if run == traces.FIRST else sessions.find(run)
        if trajectory is None:
            return {"records": []}
        return {"records": [record for record in traces.records(trajectory, run, None) if record["i"] not in there]}

    return fill
