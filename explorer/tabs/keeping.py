"""Runs whose Steps are kept while a person watches them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing

from explorer.records import Step
from explorer.sessions import Sessions
from explorer.tabs.common import paced


def keeping(sessions: Sessions, steps: Iterator[Step], n: int, keep: Callable[[Sequence[Step]], object]) -> Generator[Step]:
    """The Steps as they are made, no faster than is useful; what there is of a run that was cancelled is kept too.

    Args:
        sessions: where they go.
        steps: of one run.
        n: how many there will be; of a run that is too large nothing is kept.
        keep: is given all of them at the end, or when this is closed.
    """
    kept: list[Step] = []
    whole = True  # all of it or nothing
    try:
        with closing(paced(steps)) as stream:
            for step in stream:
                if whole := whole and sessions.holds(step, n):
                    kept.append(step)
                else:
                    kept.clear()
                yield step
    finally:
        if kept:
            keep(kept)
