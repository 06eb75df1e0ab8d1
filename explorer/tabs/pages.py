"""Pages of other models in the running server, each at models/<slug>/ beside the one that it was launched with.

Gradio mounts a page while an app is made; here pages come and go in one that runs. A route of its own finds the page by
its slug, starts it with its first request, and counts who has it open: a page that nobody has open may go for another.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any
from urllib.parse import quote

import gradio as gr
from fastapi import FastAPI
from fastapi.dependencies import models as dependencies
from gradio.routes import App, mount_gradio_app
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Receive, Scope, Send

from explorer.models.shelved import Shelved
from explorer.records import SourceError
from explorer.tabs.common import slug

MOST = 8  # pages at once; each takes about 10 MB, and what its sessions keep
AT = "/models/"
# Of what is given to launch(), what a mounted page takes too.
MOUNTED = ("theme", "css_paths", "footer_links", "ssr_mode", "enable_monitoring", "max_file_size", "show_error")


class Page:
    """One mounted page, which lives from its first request on until it is dropped."""

    def __init__(self, path: str, weights: str, blocks: gr.Blocks, options: Mapping[str, Any]) -> None:
        self.weights = weights
        self.open = 0  # requests under way; a browser keeps one as long as it shows the page
        self.app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        mount_gradio_app(self.app, blocks, path, **{name: options[name] for name in MOUNTED if name in options})
        blocks.favicon_path = options.get("favicon_path")
        self.blocks = blocks
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started: asyncio.Future[None] | None = None
        self._over = asyncio.Event()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        self.open += 1
        try:
            if self._started is None:
                self._loop = asyncio.get_running_loop()
                self._started = self._loop.create_future()
                self._life = asyncio.create_task(self._live(self._started))
            await asyncio.shield(self._started)
            await self.app(scope, receive, send)
        finally:
            self.open -= 1

    def end(self) -> None:
        """Stops what runs for it, so that nothing holds it; from any thread."""
        self.blocks.is_running = False
        self.blocks._queue.stopped = True  # its tasks in the event loop would poll, and hold the page, for ever
        for mount in self.app.routes:
            if isinstance(mount, Mount) and isinstance(mount.app, App):
                mount.app.stop_event.set()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._over.set)

    async def _live(self, started: asyncio.Future[None]) -> None:
        try:
            async with self.app.router.lifespan_context(self.app):
                started.set_result(None)
                await self._over.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)  # to who asks for it, rather than let them wait


class Pages(BaseRoute):
    """The pages by their slugs; a route of the server that was launched."""

    def __init__(self, build: Callable[[Shelved], gr.Blocks], options: Mapping[str, Any], most: int = MOST) -> None:
        """
        Args:
            build: a model's page, not launched.
            options: those of launch().
            most: how many there may be.
        """
        self._build, self._options, self._most = build, options, most
        self._pages: dict[str, Page] = {}  # in the order of their last use
        self._slugs: dict[str, str] = {}  # by source; a page that comes again has its address again
        self._lock = threading.Lock()  # one page is built at a time: Gradio has one place for the page being built

    def path(self, model: Shelved) -> str:
        """Where a model's page is, relative to the first page; built and mounted where it is not there.

        Raises:
            SourceError: there are too many, and all of them are open.
        """
        with self._lock:
            slug_ = self._slug(model)
            page = self._pages.pop(slug_, None)
            if page is not None and page.weights != model.weights:  # the folder has other weights now
                page.end()
                page = None
            if page is None:
                self._make_room()
                blocks = Context().run(self._build, model)  # not in the context of the event that asked for it
                page = Page(f"{AT}{slug_}", model.weights, blocks, self._options)
            self._pages[slug_] = page
        return f"{AT[1:]}{slug_}/"

    def has(self, model: Shelved) -> bool:
        """Whether a model's page is mounted, for the weights that it has now."""
        page = self._pages.get(self._slugs.get(model.source, ""))
        return page is not None and page.weights == model.weights

    def attach(self, server: App) -> None:
        """Serves the pages from now on; `server` is what launch() gave."""
        server.router.routes.insert(0, self)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Starlette's question: all below models/ is ours."""
        here = scope["type"] in ("http", "websocket") and (scope["path"] + "/").startswith(AT)
        return (Match.FULL if here else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Starlette's request: to the page, or to the first one's menu where it is not there."""
        rest = scope["path"][len(AT) :]
        name = rest.split("/")[0]
        page = self._pages.get(name)
        if page is not None:
            await page.serve(dict(scope), receive, send)  # an idle connection keeps the scope, and a page in it
        elif scope["type"] == "http":
            await _missing(scope, name, rest)(scope, receive, send)

    def _slug(self, model: Shelved) -> str:
        if model.source not in self._slugs:
            first = slug(model.name.replace("_", "-")).lower() or "model"
            taken = set(self._slugs.values())
            numbered = (first if i == 1 else f"{first}-{i}" for i in range(1, len(taken) + 2))
            self._slugs[model.source] = next(one for one in numbered if one not in taken)
        return self._slugs[model.source]

    def _make_room(self) -> None:
        """Drops what was used longest ago and nobody has open, until one more has its place."""
        while len(self._pages) >= self._most:
            name = next((name for name, page in self._pages.items() if not page.open), None)
            if name is None:
                raise SourceError(f"The pages of {self._most} models are open here, and there is no room for one more.")
            self._pages.pop(name).end()
            forget()


def forget() -> None:
    """Has FastAPI forget the functions it has seen: the last 4096 routes would keep some 13 dropped pages in memory."""
    for known in vars(dependencies).values():
        if isinstance(known, functools._lru_cache_wrapper):
            known.cache_clear()


def _missing(scope: Scope, name: str, rest: str) -> Response:
    """For a person the first page, which says so in its menu; for a program a sentence."""
    wants = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
    if "text/html" not in wants:
        return PlainTextResponse(f"The model page {name[:80]!r} is not loaded here; load it with load_model first.", 404)
    query = scope["query_string"].decode("latin-1")
    more = f"&{query}" if query else ""
    return RedirectResponse(f"{'../' * (1 + rest.count('/'))}?missing={quote(name[:80])}{more}", 303)
