"""The last few Trajectories of each session, by run id, bounded in bytes, and the Requests of more of them.

A tab that forks, decodes or compares needs the tensors of a run that the browser only shows; they wait here until
newer runs push them out, or the session ends. A Request is small: of a run that is gone, or was never kept whole, it
stays longer, so that the run can be made again. Run ids are random tokens, and knowing one is enough to look.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from threading import Lock

from torch import Tensor

from explorer.records import Request, Step, Trajectory

MIB = 2**20
REQUESTS = 1024  # of at most some 60 KiB each: two prompts, one guidance scale per evaluation


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
        self._made: dict[tuple[str, str], None] = {}  # the same keys in the order in which they were put
        self._closed: OrderedDict[str, None] = OrderedDict()  # a run may end after its page was closed
        self._requests: OrderedDict[str, tuple[str, Request]] = OrderedDict()
        self._others: list[Callable[[str], None]] = []
        self._lock = Lock()

    def holds(self, step: Step, n: int) -> bool:
        """Whether a run of n such Steps can be kept at all."""
        return n * nbytes([step]) <= min(self._session_bytes, self._total_bytes)

    def put(self, session: str, run: str, trajectory: Trajectory) -> bool:
        """Keeps a run; False where it alone is larger than a session may hold, and for a client that has no session."""
        size = held(trajectory)
        with self._lock:
            self._kept.pop((session, run), None)
            self._made.pop((session, run), None)
            if not session or session in self._closed or size > min(self._session_bytes, self._total_bytes):
                return False
            self._kept[session, run], self._made[session, run] = (trajectory, size), None
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

    def find(self, run: str) -> Trajectory | None:
        """The run, whoever made it; None where it was never kept or is gone."""
        with self._lock:
            session = next((session for session, name in self._kept if name == run), None)
        return None if session is None else self.get(session, run)

    def runs(self, session: str) -> list[tuple[str, Trajectory]]:
        """A session's runs and their ids in the order in which they were made, whichever was looked at since."""
        with self._lock:
            return [(run, self._kept[owner, run][0]) for owner, run in self._made if owner == session]

    def note(self, session: str, run: str, request: Request) -> None:
        """Keeps what a run was made from; only for runs that begin in noise, which need nothing else."""
        with self._lock:
            if session in self._closed:
                return
            self._requests[run] = session, request
            while len(self._requests) > REQUESTS:
                self._requests.popitem(last=False)

    def request(self, run: str) -> Request | None:
        """What a run was made from; None where that was never noted or is gone."""
        with self._lock:
            return self._requests.get(run, (None, None))[1]

    def open(self, session: str) -> None:
        """Has what a session makes from now on kept again: a page whose connection broke goes on under the same name."""
        with self._lock:
            self._closed.pop(session, None)

    def on_drop(self, forget: Callable[[str], None]) -> None:
        """Has something else that is kept for sessions forget them when they end."""
        self._others.append(forget)

    def drop(self, session: str) -> None:
        """Forgets all runs of a session, those too that end after this."""
        for forget in self._others:
            forget(session)
        with self._lock:
            self._closed[session] = None
            while len(self._closed) > REQUESTS:
                self._closed.popitem(last=False)
            for run in [run for run, (owner, _) in self._requests.items() if owner == session]:
                del self._requests[run]
            for key in [key for key in self._kept if key[0] == session]:
                del self._kept[key], self._made[key]

    def _evict(self, limit: int, session: str | None = None) -> None:
        """Drops the oldest runs, of one session or of all, until `limit` holds."""
        keys = [key for key in self._kept if session in (None, key[0])]
        held = sum(self._kept[key][1] for key in keys)
        for key in keys:
            if held <= limit:
                return
            held -= self._kept.pop(key)[1]
            del self._made[key]


def held(trajectory: Trajectory) -> int:
    """The bytes of a run with all that it brings along; what it shares with another run counts for both."""
    rest = [*trajectory.pictures.values(), *(tensor for past in trajectory.past or () for tensor in past)]
    return nbytes(trajectory.steps) + sum(tensor.nbytes for tensor in rest)


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
