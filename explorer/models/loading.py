"""One loading of a model, and those who wait for it: it goes on as long as one of them does."""

from __future__ import annotations

import threading

from explorer.models.shelved import Shelved
from explorer.records import SourceError


class Unwanted(Exception):
    """Everybody who asked for a model has left."""


class Job:
    """One loading, for all who ask for that model meanwhile."""

    def __init__(self, source: str) -> None:
        self.source, self.askers, self.over = source, 0, threading.Event()
        self.told: tuple[str, int, int] = ("waiting", 0, 0)
        self.error: BaseException | None = None
        self.made: Shelved | None = None

    def tell(self, stage: str, done: int, total: int) -> None:
        """The loading's progress; raises Unwanted where nobody waits for it any more."""
        if self.askers == 0:
            raise Unwanted
        self.told = stage, done, total


class Loading:
    """One asker's view of a loading; to be closed, and the last one to leave stops it."""

    def __init__(self, job: Job, lock: threading.Lock) -> None:
        self._job, self._lock, self._here = job, lock, True

    @property
    def told(self) -> tuple[str, int, int]:
        """The stage, bytes done and bytes in all: "waiting" for another model, or one of `hub.STAGES`."""
        return self._job.told

    def wait(self, seconds: float | None = None) -> bool:
        """Waits at most so long; whether it is over."""
        return self._job.over.wait(seconds)

    def result(self) -> Shelved:
        """The model, waited for.

        Raises:
            SourceError: it can't be had.
        """
        self._job.over.wait()
        if self._job.made is not None:
            return self._job.made
        if isinstance(self._job.error, SourceError):
            raise self._job.error.with_traceback(None)  # whose frames would keep what was half made
        raise RuntimeError("A model was not loaded.") from self._job.error

    def close(self) -> None:
        """Wants it no more."""
        with self._lock:
            self._job.askers -= self._here
            self._here = False

    def __enter__(self) -> Loading:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
