"""A stand-in for the Hub: a real HTTP server with the few addresses that huggingface_hub asks for, made to misbehave.

It serves small repositories from memory, commit by commit. What goes wrong is said per address:

    with HubStandIn() as hub:
        hub.add("owner/name", files_of(folder))
        hub.mishap("unet/.*safetensors", status=500)
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from explorer.models.hub import Hub


def files_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder by their names in a repository."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass(frozen=True)
class Mishap:
    """What goes wrong at the addresses that a pattern matches."""

    pattern: str
    method: str = "GET|HEAD"
    status: int | None = None  # in place of the answer
    code: str = ""  # X-Error-Code, by which the Hub tells kinds of refusal apart
    body: Callable[[bytes], bytes] | None = None  # another body, with its own length; a HEAD still tells the first one
    whole: bool = False  # not where a part of a file is asked for
    cut: int | None = None  # the connection ends after so many bytes of the body
    wait: float = 0.0  # seconds before the answer
    act: Callable[[], object] | None = None  # what happens on the Hub just then


class HubStandIn:
    """Repositories by id, each with commits and references, served at `endpoint`."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.refs: dict[str, dict[str, str]] = {}
        self.sizes: dict[str, int] = {}  # what a listing says of a file, where it lies
        self.mishaps: list[Mishap] = []
        self.connections: list[socket.socket] = []
        self.asked: list[str] = []  # "GET /owner/name/resolve/…", in order

    def add(self, repo: str, files: Mapping[str, bytes], ref: str = "main") -> str:
        """Commits files to a branch and gives the commit."""
        content = [name.encode() + b"\0" + data for name, data in sorted(files.items())]
        commit = hashlib.sha1(b"".join([repo.encode(), *content])).hexdigest()
        self.commits.setdefault(repo, {})[commit] = dict(files)
        self.refs.setdefault(repo, {})[ref] = commit
        return commit

    def mishap(self, pattern: str, **what) -> None:
        """From now on something goes wrong at these addresses; the last one that was added counts."""
        self.mishaps.insert(0, Mishap(pattern, **what))

    def fetched(self, ending: str = "") -> list[str]:
        """The files whose contents were asked for so far."""
        whole = [line.split("/resolve/")[1] for line in self.asked if line.startswith("GET") and "/resolve/" in line]
        return [name.split("/", 1)[1] for name in whole if name.endswith(ending)]

    def __enter__(self) -> HubStandIn:
        hub = self

        class Handler(_Handler):
            stand_in = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Nobody answers any more, not even on connections that are open."""
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def hub(self, cache: Path) -> Hub:
        """What `explorer.models.load` takes, with a cache of the test's own."""
        return Hub(self.endpoint, cache, patience=2.0)


class _Handler(BaseHTTPRequestHandler):
    stand_in: HubStandIn
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.stand_in.connections.append(self.connection)

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.stand_in, unquote(urlsplit(self.path).path).lstrip("/")
        ranged = " ranged" if "Range" in self.headers else ""
        hub.asked.append(f"{self.command} /{path}{ranged}")
        mine = [m for m in hub.mishaps if re.fullmatch(m.method, self.command) and not (m.whole and ranged)]
        fits = [m for m in mine if re.search(m.pattern, path)]
        mishap = fits[0] if fits else Mishap("")
        time.sleep(mishap.wait)
        status, headers, body = (
            (mishap.status, {"X-Error-Code": mishap.code}, b"{}") if mishap.status else self._found(path)
        )
        if mishap.act:
            mishap.act()
        if mishap.body and self.command == "GET" and not ranged:
            body = mishap.body(body)
        if ranged and status == 200:
            first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"]).groups()
            total = len(body)
            body, status = body[int(first) : int(last) + 1 if last else None], 206
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(body) - 1}/{total}"
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body if mishap.cut is None else body[: mishap.cut])
        if mishap.cut is not None:
            self.close_connection = True

    def _found(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of what is at an address."""
        hub = self.stand_in
        if match := re.fullmatch(r"api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            repo, revision = match[1], match[2] or "main"
            if repo not in hub.refs:
                return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
            commit = hub.refs[repo].get(revision, revision)
            if commit not in hub.commits[repo]:
                return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
            siblings = [self._sibling(name, data) for name, data in hub.commits[repo][commit].items()]
            body = json.dumps({"id": repo, "sha": commit, "siblings": siblings, "tags": [], "private": False}).encode()
            return 200, {"Content-Type": "application/json"}, body
        if match := re.fullmatch(r"([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            repo, revision, name = match.groups()
            commit = hub.refs.get(repo, {}).get(revision, revision)
            if name not in hub.commits.get(repo, {}).get(commit, {}):
                return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
            data = hub.commits[repo][commit][name]
            return 200, {"ETag": f'"{_etag(name, data)}"', "X-Repo-Commit": commit}, data
        return 404, {}, b""

    def _sibling(self, name: str, data: bytes) -> dict:
        size = self.stand_in.sizes.get(name, len(data))
        found = {"rfilename": name, "size": size, "blobId": hashlib.sha1(data).hexdigest()}
        if name.endswith(".safetensors"):
            found["lfs"] = {"sha256": _etag(name, data), "size": size, "pointerSize": 134}
        return found


def _etag(name: str, data: bytes) -> str:
    return (hashlib.sha256 if name.endswith(".safetensors") else hashlib.sha1)(data).hexdigest()
