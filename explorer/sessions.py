"""The last few Trajectories of each session, by run id, bounded in bytes.

A tab that forks, decodes or compares needs the tensors of a run that the browser only shows; they wait here until
newer runs push them out, or the session ends.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock

from torch import Tensor

from explorer.records import Step, Trajectory

MIB = 2**20


class Sessions:
    """Least recently used Trajectories go first; safe to use from several threads."""

    def __init__(self, session_bytes: int = 64 * MIB, total_bytes: int = 1024 * MIB) -> None:
        """
        Args:
            session_bytes: what the runs of one session may hold together.
            total_bytes: what all sessions may hold together.
        """
        self._session_bytes = session_bytes
        self._total_bytes = total_bytes
        self._kept: OrderedDict[tuple[str, str], tuple[Trajectory, int]] = OrderedDict()
        self._lock = Lock()

    def holds(self, step: Step, n: int) -> bool:
        """Whether a run of n such Steps can be kept at all."""
        return n * nbytes([step]) <= min(self._session_bytes, self._total_bytes)

    def put(self, session: str, run: str, trajectory: Trajectory) -> bool:
        """Keeps a run; False where it alone is larger than a session may hold."""
        size = nbytes(trajectory.steps)
        with self._lock:
            self._kept.pop((session, run), None)
            if size > min(self._session_bytes, self._total_bytes):
                return False
            self._kept[session, run] = trajectory, size
            self._evict(self._session_bytes, session)
            self._evict(self._total_bytes)
            return True

    def get(self, session: str, run: str) -> Trajectory | None:
        """The run, which now counts as used last; None where it was never kept or is gone."""
        with self._lock:
            if (session, run) not in self._kept:
                return None
            self._kept.move_to_end((session, run))
            return self._kept[session, run][0]

    def drop(self, session: str) -> None:
        """Forgets all runs of a session."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == session]:
                del self._kept[key]

    def _evict(self, limit: int, session: str | None = None) -> None:
        """Drops the oldest runs, of one session or of all, until `limit` holds."""
        keys = [key for key in self._kept if session in (None, key[0])]
        held = sum(self._kept[key][1] for key in keys)
        for key in keys:
            if held <= limit:
                return
            held -= self._kept.pop(key)[1]


def nbytes(steps: Iterable[Step]) -> int:
    """The bytes of all tensors of these Steps; a tensor that is both a prediction and a term counts once."""
    tensors: dict[int, int] = {}
    for step in steps:
        for value in vars(step).values():
            if isinstance(value, Tensor):
                tensors[value.data_ptr()] = value.nbytes
        for terms in step.forms.values():
            tensors.update((term.tensor.data_ptr(), term.tensor.nbytes) for term in terms)
    return sum(tensors.values())
