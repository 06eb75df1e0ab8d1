"""Several models in one server: on the shelf while there is room, put away and read again when they are wanted.

A page is built for one model for life, while its weights come and go: it gets a `Shelved`, which knows what the model is
and takes what computes from the shelf. A model that something is made with is held, and never put away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from explorer import models
from explorer.models import files, room
from explorer.models.hub import Progress
from explorer.models.loading import Job, Loading
from explorer.models.shelved import Shelved, let_go, nbytes
from explorer.records import Model

EMBEDDED = ""  # the embedded model, among the sources
KNOWN = 32  # models that were put away and are still known by name and size
SHARE = 0.7  # of the memory that is free when the shelf is made

Load = Callable[[str | None, Progress], Model]


class Row(NamedTuple):
    """What is known of a model that was loaded."""

    source: str
    name: str
    nbytes: int  # of its parameters and buffers
    loaded: bool


@dataclass(eq=False)
class _Place:
    source: str
    name: str
    nbytes: int
    model: Model | None
    pins: int = 0


class Shelf:
    """Models by source: a Hub id, the resolved path of a folder, or EMBEDDED. Safe to use from several threads.

    One is loaded at a time. When there is no room, the one that was used least recently is put away; never one that is
    held, nor the embedded one. A loading that fails leaves on the shelf what was there.
    """

    def __init__(self, load: Load, budget: int) -> None:
        """
        Args:
            load: a source, None for the embedded one, and who is told how far it is → the model.
            budget: bytes that all models may have together.
        """
        self._load, self._budget = load, budget
        self._places: dict[str, _Place] = {}  # in the order of their last use
        self._jobs: dict[str, Job] = {}
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def put(self, source: str, model: Model) -> Shelved:
        """Puts a model here that was loaded elsewhere, whatever its size."""
        with self._lock:
            self._places[source] = _Place(source, model.name, nbytes(model), model)
        return Shelved(self.held, source, model)

    def ask(self, source: str) -> Loading:
        """Has a model loaded, in a thread of its own, unless it is here; two who ask for the same get the same."""
        with self._lock:
            job = self._jobs.get(source)
            if job is None or job.over.is_set():
                job = self._jobs[source] = Job(source)
                threading.Thread(target=self._work, args=(job,), name="loading", daemon=True).start()
            job.askers += 1
            return Loading(job, self._lock)

    @contextmanager
    def held(self, source: str) -> Iterator[Model]:
        """The model itself, which stays while this is open; loaded again where it was put away.

        Raises:
            SourceError: it can't be had, or there is no room beside those that are held.
        """
        place, model = self._pin(source)
        try:
            yield model
        finally:
            with self._lock:
                place.pins -= 1

    def rows(self) -> list[Row]:
        """All that are known, the one that was used last first."""
        with self._lock:
            return [Row(p.source, p.name, p.nbytes, p.model is not None) for p in reversed(self._places.values())]

    def _pin(self, source: str) -> tuple[_Place, Model]:
        while True:
            with self._lock:
                place = self._places.get(source)
                if place is not None and place.model is not None:
                    place.pins += 1
                    self._places[source] = self._places.pop(source)  # used last
                    return place, place.model
            with self.ask(source) as loading:
                loading.result()

    def _work(self, job: Job) -> None:
        try:
            with self._turn:
                with self._lock:
                    place = self._places.get(job.source)
                    model = None if place is None else place.model
                if model is None:
                    model = self._fetched(job)
                    self._admit(job.source, model)
                job.made = Shelved(self.held, job.source, model)
        except BaseException as error:  # told to who waits, in their own thread
            room.give_back(error)
            job.error = error
        finally:
            with self._lock:
                if self._jobs.get(job.source) is job:
                    del self._jobs[job.source]
            job.over.set()

    def _fetched(self, job: Job) -> Model:
        """The model; where it doesn't fit beside the others, they are put away, one by one, for another try."""
        while True:
            job.tell("waiting", 0, 0)
            try:
                return self._load(job.source or None, job.tell)
            except room.NoRoom as error:
                with self._lock:
                    away = [] if error.disk else self._take(self._idle()[:1])
                if not away:
                    raise
            let_go(away)

    def _admit(self, source: str, model: Model) -> None:
        """Gives a new model its place, and puts away what its room takes, or nothing."""
        size = nbytes(model)
        with self._lock:
            loaded = [p for p in self._places.values() if p.model is not None]
            idle = self._idle()
            least = sum(p.nbytes for p in loaded) - sum(p.nbytes for p in idle)
            if size + least > self._budget:
                busy = sum(p.pins > 0 for p in loaded)
                raise room.NoRoom(
                    f"There is no room for the model {model.name!r} beside those that are in use; "
                    "try again when their runs are over."
                    if busy and size < self._budget
                    else f"The model {model.name!r} needs {room.gb(size)}, and models may have "
                    f"{room.gb(self._budget)} here; give a smaller one."
                )
            free, away = self._budget - size - sum(p.nbytes for p in loaded), []
            for place in idle:
                if free < 0:
                    away.append(place)
                    free += place.nbytes
            self._places.pop(source, None)
            self._places[source] = _Place(source, model.name, size, model)
            gone = self._take(away)
            for name in [p.source for p in self._places.values() if p.model is None][:-KNOWN]:
                del self._places[name]
        let_go(gone)

    def _idle(self) -> list[_Place]:
        """Those that may be put away, the one that was used longest ago first; under the lock."""
        return [p for p in self._places.values() if p.model is not None and not p.pins and p.source != EMBEDDED]

    def _take(self, places: list[_Place]) -> list[Model]:
        """Takes models from their places; under the lock."""
        models = [place.model for place in places if place.model is not None]
        for place in places:
            place.model = None
        return models


def resolved(source: str) -> str:
    """The name by which a shelf knows what a person wrote: EMBEDDED, a folder's resolved path, or the text itself."""
    text = source.strip()
    if folder := files.given(text):
        return EMBEDDED if folder.resolve() == models.EMBEDDED.resolve() else str(folder.resolve())
    return text


def room_for(model: Model) -> int:
    """Bytes that models may have together where this one is: of what it has and what is free there now."""
    return int((nbytes(model) + room.free_memory(model.device)) * SHARE)
