"""What the tabs keep for pages beside Trajectories (pictures, latents, sweeps): by key, bounded in bytes, for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar

T = TypeVar("T")
CLOSED = 1024  # sessions that are known to be over


class Keep(Generic[T]):
    """The least recently used goes first; safe to use from several threads."""

    def __init__(self, nbytes: Callable[[T], int], session_bytes: int, total_bytes: int) -> None:
        """
        Args:
            nbytes: the size of one.
            session_bytes: what those of one session may hold together.
            total_bytes: what all may hold together.
        """
        self._nbytes, self._limits = nbytes, (session_bytes, total_bytes)
        self._kept: OrderedDict[str, tuple[str, T]] = OrderedDict()
        self._closed: OrderedDict[str, None] = OrderedDict()  # something may be ready after its page was closed
        self._lock = Lock()

    def keep(self, session: str, key: str, value: T) -> None:
        """Keeps a value, or replaces what it was; at least the newest of a session stays, and none of a closed one."""
        with self._lock:
            self._kept.pop(key, None)
            if session not in self._closed:
                self._kept[key] = session, value
                self._evict(session)

    def get(self, key: Any) -> T | None:
        """The value, which now counts as used last; None where it was never kept or is gone."""
        with self._lock:
            if not isinstance(key, str) or key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][1]

    def owns(self, session: str, key: Any) -> bool:
        """Whether a key is this session's, so that its value may be changed."""
        with self._lock:
            return isinstance(key, str) and key in self._kept and self._kept[key][0] == session

    def open(self, session: str) -> None:
        """Has what a session makes from now on kept again: a page whose connection broke goes on under the same name."""
        with self._lock:
            self._closed.pop(session, None)

    def drop(self, session: str) -> None:
        """Forgets all that a session holds, and what is ready for it after this."""
        with self._lock:
            self._closed[session] = None
            while len(self._closed) > CLOSED:
                self._closed.popitem(last=False)
            for key in [key for key, (owner, _) in self._kept.items() if owner == session]:
                del self._kept[key]

    def _evict(self, session: str) -> None:
        for owner, limit in ((session, self._limits[0]), (None, self._limits[1])):
            keys = [key for key, (whose, _) in self._kept.items() if owner in (None, whose)]
            held = sum(self._nbytes(self._kept[key][1]) for key in keys)
            for key in keys[:-1]:
                if held <= limit:
                    break
                held -= self._nbytes(self._kept.pop(key)[1])
