"""Models by name: the allow-list, ids of the Hub, and how their files come here.

A revision is resolved to a commit before anything else, and only files of that commit are fetched, each by a name that
was chosen from its listing; see `files`. What can't be used or doesn't fit is refused before its weights are fetched.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from explorer.models import checks, files, room
from explorer.models.wires import Wires, in_plain_words, unreachable
from explorer.records import SourceError

NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_]|\.(?!\.)|-(?!-)){0,95}(?<![.-])"
ID = re.compile(rf"({NAME})/({NAME})(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,127}}))?")
COMMIT = re.compile(r"[0-9a-f]{40}")
STAGES = ("resolving", "checking", "fetching", "reading", "warming")

Progress = Callable[[str, int, int], None]  # stage, bytes done, bytes in all; it may raise to stop


class HubId(NamedTuple):
    """One model of the Hub."""

    repo: str  # "owner/name"
    revision: str | None  # a branch, a tag or a commit; None is the default branch

    @property
    def name(self) -> str:
        """As it is written."""
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


@dataclass(frozen=True)
class Hub:
    """Where models come from and where they are kept; None is what huggingface_hub's own environment variables say."""

    endpoint: str | None = None
    cache: Path | None = None
    patience: float = 15.0  # seconds for the Hub's first answer; then the cache is asked


@dataclass(frozen=True)
class Allowed:
    """The only models that may be loaded, beside the embedded one, by the names that people give them."""

    sources: Mapping[str, str] = field(default_factory=dict)

    def find(self, text: str) -> str:
        """What to load for a name on the list.

        Raises:
            SourceError: it is not on the list.
        """
        if text not in self.sources:
            names = ", ".join(self.sources) or "only the embedded one"
            raise SourceError(f"The model {str(text)[:80]!r} is not among those offered here: {names}.")
        return self.sources[text]


def allowed(texts: Iterable[str]) -> Allowed:
    """An allow-list from what somebody wrote: Hub ids, each with its @revision or for its default branch, and folders.

    A folder goes by its last name, so that nobody has to know, or learns, where it is.

    Raises:
        SourceError: an entry is neither, or two have one name.
    """
    sources: dict[str, str] = {}
    for text in (text.strip() for text in texts):
        if folder := files.given(text):
            name, source = folder.resolve().name, str(folder.resolve())
        elif parse(text):
            name, source = text, text
        else:
            raise SourceError(f"The allowed model {text[:80]!r} is neither a folder nor a Hub id like 'owner/name'.")
        if sources.setdefault(name, source) != source:
            raise SourceError(f"Two of the allowed models are called {name!r}; rename one folder.")
    return Allowed(sources)


def parse(text: str) -> HubId | None:
    """Reads "owner/name" or "owner/name@revision"; None where it is neither."""
    if not (match := ID.fullmatch(text)) or any(part.endswith(".git") for part in match.groups()[:2]):
        return None
    owner, name, revision = match.groups()
    steps = (revision or "main").split("/")
    if steps[0] == "refs" or not all(step[:1].isalnum() and step[-1] != "." for step in steps) or ".." in steps[-1]:
        return None  # proposals of strangers are under refs/pr
    return None if revision and (".." in revision or revision.endswith(".lock")) else HubId(f"{owner}/{name}", revision)


def fetch(
    source: HubId, hub: Hub, device: torch.device, dtype: torch.dtype | None, families: Collection[str], tell: Progress
) -> Path:
    """The folder of a model of the Hub, of one commit, fetched where the cache doesn't have it.

    Complete files stay in the cache whatever happens, so that a second try goes on from there.

    Args:
        source: its id.
        hub: where to ask.
        device, dtype: for which it is loaded; its memory is looked at first.
        families: the classes of pipelines that can be run.
        tell: called with how far it is; what it raises stops the fetching and comes out as it is.

    Raises:
        SourceError: it can't be had, can't be used, or doesn't fit.
    """
    wires = Wires(source.repo, hub.endpoint, hub.cache, tell)
    with in_plain_words(source.name, wires):
        wires.tell("resolving")
        try:
            commit, listing, etags = _resolve(source, wires, hub.patience)
        except Exception as error:
            kept = _kept(source, wires) if unreachable(error) else None
            if kept is None:
                raise
            return kept
        wires.tell("checking")
        if files.INDEX not in listing:
            raise SourceError(f"The model {source.name!r} has no {files.INDEX}; give one in diffusers layout.")
        if listing[files.INDEX] > files.LONGEST["config"]:
            raise SourceError(f"The model {source.name!r} has a {files.INDEX} of {listing[files.INDEX]} bytes.")
        folder = wires.get(commit, files.INDEX, listing[files.INDEX]).parent
        if dtype == torch.float16 or (dtype is None and device.type == "cuda"):
            listing = files.halved(listing)
        index = files.index(folder, source.name, families)
        chosen = files.choose(listing, index.parts, source.name)
        wanted = [file for file in chosen.all if not (folder / file).exists() and not wires.has(etags[file])]
        room.on_disk(source.name, sum(listing[file] for file in wanted), wires.cache)
        for file in chosen.small:
            wires.get(commit, file, listing[file])
        headers = {part: wires.headers(folder, shards, listing) for part, shards in chosen.weights.items()}
        room.in_memory(source.name, checks.memory(headers, device, dtype), device)
        checks.configs(folder, chosen, index.parts, headers, source.name)
        wires.total = sum(listing[file] for file in chosen.all)
        wires.tell("fetching")
        for file in chosen.all:
            wires.get(commit, file, listing[file], count=True)
        _keep(source, wires, commit)
        return folder


def _resolve(source: HubId, wires: Wires, patience: float) -> tuple[str, dict[str, int], dict[str, str]]:
    """The commit of a revision, its files with their sizes in bytes, and the names of their contents in the cache."""
    info: Any = wires.api.model_info(source.repo, revision=source.revision, files_metadata=True, timeout=patience)
    asked = source.revision or ""
    if not COMMIT.fullmatch(info.sha or "") or (COMMIT.fullmatch(asked) and info.sha != asked):
        raise SourceError(f"The Hub gives no commit for the model {source.name!r}; try again later.")
    sizes = {file.rfilename: file.size for file in info.siblings or ()}
    listing = {file: size for file, size in sizes.items() if isinstance(size, int) and size >= 0}
    etags = {file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id or "" for file in info.siblings or ()}
    return info.sha, listing, etags


def _kept(source: HubId, wires: Wires) -> Path | None:
    """The folder in the cache where the Hub can't be asked: of the commit that the revision last had, if all is there."""
    commit = source.revision or "main"
    if not COMMIT.fullmatch(commit):
        try:
            commit = (wires.repo_cache / "refs" / commit).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
    folder = wires.repo_cache / "snapshots" / commit
    return folder if COMMIT.fullmatch(commit) and (folder / files.INDEX).is_file() else None


def _keep(source: HubId, wires: Wires, commit: str) -> None:
    """Notes in the cache, in its own way, which commit the revision has, now that all of it is there."""
    if source.revision == commit:
        return
    ref = wires.repo_cache / "refs" / (source.revision or "main")
    passing = ref.with_name(f"{ref.name}.{uuid.uuid4().hex[:8]}.tmp")
    with suppress(OSError):  # a cache that can't be written to serves all the same
        ref.parent.mkdir(parents=True, exist_ok=True)
        passing.write_text(commit, encoding="ascii")
        os.replace(passing, ref)
