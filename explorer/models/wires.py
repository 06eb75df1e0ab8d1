"""The wires to the Hub: one file at a time with its progress, and every failure there as one sentence in plain words."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from explorer.models import checks, room
from explorer.models.checks import Header
from explorer.records import SourceError

SLACK = 4096  # bytes by which a file may exceed its listing before it is stopped
BROKEN = ("RemoteProtocolError", "ReadError")  # of httpx, which the Hub's client uses under changing names
ETAG = re.compile(r"[0-9a-f]{40,64}")


class Wires:
    """One repository on the Hub and its place in the cache; huggingface_hub does the work, and is imported at first use."""

    def __init__(self, repo: str, endpoint: str | None, cache: Path | None, tell: Callable[[str, int, int], None]) -> None:
        self.repo, self.endpoint = repo, endpoint
        self.total, self.done = 0, 0  # bytes to come in all, and bytes of complete files
        self.stopped: BaseException | None = None  # what `tell` raised
        self._cache, self._tell = cache, tell

    @cached_property
    def api(self) -> Any:
        """The client for questions."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint)

    @cached_property
    def cache(self) -> Path:
        """Where the Hub's files are kept."""
        from huggingface_hub.constants import HF_HUB_CACHE

        return (self._cache or Path(HF_HUB_CACHE)).expanduser()

    @cached_property
    def repo_cache(self) -> Path:
        """This repository's folder there."""
        return self.cache / f"models--{self.repo.replace('/', '--')}"

    def has(self, etag: str) -> bool:
        """Whether the cache has a content already, of this commit or of another one."""
        return bool(ETAG.fullmatch(etag)) and (self.repo_cache / "blobs" / etag).exists()

    def headers(self, folder: Path, shards: tuple[str, ...], sizes: Mapping[str, int]) -> Header:
        """What the headers of weight files say: of those in a snapshot's folder, or fetched without the weights."""
        found: dict[str, tuple[str, tuple[int, ...]]] = {}
        for file in shards:
            if _sound(folder / file, sizes[file]):
                found |= checks.header(folder / file)
                continue
            said = self.api.parse_safetensors_file_metadata(self.repo, file, revision=folder.name)
            found |= {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in said.tensors.items()}
        return found

    def get(self, commit: str, file: str, size: int, count: bool = False) -> Path:
        """Fetches one file of a commit, or finds it in the cache.

        Args:
            commit: 40 hexadecimal digits.
            file: its name in the repository.
            size: in bytes, as listed; a file that turns out longer is stopped.
            count: whether the progress is told of it.

        Raises:
            SourceError: it is not the one that was listed.
            Exception: huggingface_hub's, its HTTP library's, or what `tell` raised; see `in_plain_words`.
        """
        from huggingface_hub import hf_hub_download

        place = self.repo_cache.resolve() / "snapshots" / commit / file
        spoilt = place.exists() and not _sound(place, size)  # a disk that was full, a copy that was cut off
        bar = _bar(lambda came: self._came(file, came, size, count))
        path = hf_hub_download(
            self.repo, file, revision=commit, cache_dir=self.cache, endpoint=self.endpoint, tqdm_class=bar,
            force_download=spoilt,
        )  # fmt: skip
        if self.stopped is not None:  # raised where nobody heard it, as in the threads of its transfer library
            raise self.stopped
        if Path(path) != place or place.stat().st_size != size:
            raise SourceError(f"The Hub gave another {file} of {self.repo!r} than it had listed; try again later.")
        if count:
            self.done += size
            self.tell("fetching")
        return place

    def tell(self, stage: str, more: int = 0) -> None:
        """Tells how far it is, with bytes of a file that is still coming, and notes what that raised."""
        try:
            self._tell(stage, self.done + more, self.total)
        except BaseException as error:
            self.stopped = error
            raise

    def _came(self, file: str, came: int, size: int, count: bool) -> None:
        if came > size + SLACK:
            self.stopped = SourceError(f"The Hub gives more of {file} of {self.repo!r} than it had listed; it was stopped.")
            raise self.stopped
        if count and self.stopped is None:
            self.tell("fetching", min(came, size))


def _sound(path: Path, size: int) -> bool:
    """Whether a file is there with that size, and if it has weights, with a header that goes with it."""
    try:
        if path.suffix == ".safetensors":
            checks.header(path)
        return path.stat().st_size == size
    except (OSError, ValueError):
        return False


def _bar(came: Callable[[int], None]) -> Any:
    """What huggingface_hub takes for a tqdm bar; calls `came` with the bytes of one file so far."""

    class Bar:
        def __init__(self, *_: Any, initial: int = 0, total: int | None = None, **__: Any) -> None:
            self.n, self.total = initial, total

        def update(self, n: int = 1) -> None:
            self.n += n
            came(self.n)

        def update_transfer(self, n: int = 1) -> None:
            """Bytes on the wire, which are fewer than those of the file where it is compressed."""

        def set_transfer_postfix_str(self, *_: Any, **__: Any) -> None:
            """Nothing is shown."""

        set_postfix_str = refresh = close = set_description = set_transfer_postfix_str

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: Any) -> None:
            """Nothing is open."""

    return Bar


@contextmanager
def in_plain_words(name: str, wires: Wires | None = None) -> Iterator[None]:
    """Whatever goes wrong with the Hub becomes one SourceError; what the progress callback raised stays as it is."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        if wires is not None and error is wires.stopped:
            raise
        sentence = f"The model {name!r} {_words(error)}."
        raise (room.NoRoom(sentence, disk=True) if room.disk_full(error) else SourceError(sentence)) from error


def unreachable(error: BaseException) -> bool:
    """Whether the Hub couldn't be asked at all, or had no answer: then what the cache has is used."""
    from huggingface_hub import errors

    status = _status(error)
    if status is not None:
        return status == 429 or status >= 500
    portal = isinstance(error, json.JSONDecodeError)  # a network's own page in place of the answer
    return portal or isinstance(error, errors.HTTPError | ConnectionError | TimeoutError)


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _words(error: BaseException) -> str:
    """The end of "The model 'x' …"."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        return _words(error.__cause__)
    kinds = {
        errors.GatedRepoError: "is gated: accept its terms on its page at the Hub, log in with 'hf auth login', try again",
        errors.RevisionNotFoundError: "has no such revision; give a branch, a tag or a commit of it",
        errors.RepositoryNotFoundError: "is not on the Hub, or is private: check its name, or log in with 'hf auth login'",
        errors.DisabledRepoError: "was disabled on the Hub; give another one",
        errors.EntryNotFoundError: "lacks a file that the Hub had listed; try again later",
        errors.SafetensorsParsingError: "has weights whose header can't be read; they are broken, or not safetensors",
    }
    if sentence := next((sentence for kind, sentence in kinds.items() if isinstance(error, kind)), None):
        return sentence
    if room.disk_full(error):
        return "can't be fetched: the disk is full; delete something, or set HF_HOME"
    status = _status(error)
    if status in (401, 403):
        return "can't be fetched: the Hub refuses access; log in with 'hf auth login' and an account that may read it"
    if status == 429:
        return "can't be fetched now: the Hub was asked too often; wait some minutes"
    if status is not None and status >= 500:
        return f"can't be fetched now: the Hub has a fault of its own ({status}); try again later"
    if type(error).__name__ in BROKEN:
        return "came in part only: the connection to the Hub broke off; try again, it goes on from the files that are there"
    if unreachable(error):
        return "can't be fetched: the Hub can't be reached, and the cache has no copy; check the network, or give a folder"
    if getattr(error, "errno", None) in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "can't be kept: the cache can't be written; set HF_HOME to a folder that can"
    if isinstance(error, OSError) and "onsistency" in str(error):
        return "arrived incomplete; try again"
    return f"can't be fetched from the Hub ({type(error).__name__}); check its name, the network and your access"
