"""The model menu: what is loaded here, what may be, and the way to another model's page, with its loading told as it goes.

A page belongs to one model, so that choosing another goes to another page; see `pages`. The menu hangs on the model's
name in the masthead (menu.js), and a program does the same by the endpoint load_model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.models import EMBEDDED as EMBEDDED_FOLDER
from explorer.models.hub import Allowed
from explorer.models.shelf import EMBEDDED, Loading, Shelf, resolved
from explorer.models.shelved import Shelved
from explorer.records import DiffuscopeError, Model, RequestError
from explorer.tabs.common import told
from explorer.tabs.pages import Pages
from explorer.tabs.url import Linked

HERE = Path(__file__).parent
EVERY = 0.25  # seconds between two records
LONGEST = 300  # characters of an id or a folder
AT_ONCE = 8  # who may wait for a model on one page
STAGES = {
    "waiting": "Waiting until another model is loaded",
    "resolving": "Looking for it",
    "checking": "Checking its files",
    "fetching": "Fetching",
    "reading": "Reading the weights",
    "warming": "Fitting its preview",
    "building": "Building its page",
}

Record = dict[str, Any]


class Menu:
    """What may be loaded in one server, and where it runs."""

    def __init__(
        self,
        shelf: Shelf,
        home: Shelved,
        allowed: Allowed,
        public: bool,
        page: Callable[[Shelved], gr.Blocks],
        options: Mapping[str, Any],
    ) -> None:
        """
        Args:
            shelf: where the models are.
            home: the one of the first page.
            allowed: what the operator offers.
            public: only that, and the embedded model, may be loaded.
            page: another model's page, not launched.
            options: those of launch().
        """
        self.shelf, self.home, self.allowed, self.public = shelf, home, allowed, public
        self.pages = Pages(page, options)  # to be attached to the server, once it is launched
        self._named = {resolved(source): name for name, source in allowed.sources.items()}

    @property
    def worth_it(self) -> bool:
        """Whether there is anything to choose."""
        return not self.public or bool(self.allowed.sources) or self.home.source != EMBEDDED

    def load(self, source: str) -> Iterator[Record]:
        """Loads a model and its page, told as it goes; left early, it stops where nobody else waits for it.

        Raises:
            SourceError: it may not, or can't, be loaded.
        """
        with self.shelf.ask(self._source(source)) as loading:
            while not loading.wait(EVERY):
                yield _record(loading)
            model = loading.result()
        yield {"stage": "building", "done": 0, "total": 0, "line": STAGES["building"]}
        home = model.source == self.home.source
        new = not home and not self.pages.has(model)
        path = "" if home else self.pages.path(model)
        told = {"line": f"{model.name} is ready", "model": model.name, "page": path, "new": new}
        yield {"stage": "ready", "done": 1, "total": 1, **told}

    def catalog(self) -> Record:
        """What the menu shows: models under their headings, and whether others may be named."""
        known = {row.source: row for row in self.shelf.rows()}
        others = [source for source in known if source not in self._named]  # the last used first; the offered as written
        sources = {**dict.fromkeys(others, "recent"), **dict.fromkeys(self._named, "allowed"), EMBEDDED: "embedded"}
        rows = []
        for source, group in sources.items():
            row = known.get(source)
            name = EMBEDDED_FOLDER.name if source == EMBEDDED else self._named.get(source) or (row.name if row else source)
            hidden = self.public and group == "recent" and source != self.home.source
            if not hidden:
                size = _size(row.nbytes) if row else ""
                rows.append({"group": group, "name": name, "load": self._text(source), "size": size,
                             "state": "" if row is None else "in memory" if row.loaded else "on disk"})  # fmt: skip
        return {"rows": rows, "free": not self.public}

    def _text(self, source: str) -> str:
        """What load() takes for a source; no path where the server is public."""
        if source == self.home.source and source != EMBEDDED:
            return self.home.name
        return self._named.get(source, source)

    def _source(self, text: Any) -> str:
        if not isinstance(text, str) or len(text) > LONGEST or "\0" in text:
            raise RequestError(f"source is not a text of at most {LONGEST} characters; give a Hub id or a folder.")
        text = text.strip()
        if text in self.allowed.sources:
            return resolved(self.allowed.sources[text])
        if text in ("", EMBEDDED_FOLDER.name):
            return EMBEDDED
        if text == self.home.name:
            return self.home.source
        if self.public:
            self.allowed.find(text)  # refuses
        return resolved(text)


def chip(model: Model) -> str:
    """The model's name in the masthead, as the button of its menu."""
    return (
        f'<button type="button" class="model-button" data-menu aria-haspopup="dialog" aria-expanded="false" '
        f'title="Choose another model"><span class="model-said">Model </span><b>{escape(model.name)}</b>'
        '<span class="model-state" role="status"></span></button>'
    )


def build(menu: Menu, model: Model) -> gr.HTML:
    """Builds the menu, closed, and the endpoint load_model into the open Blocks."""

    def catalog(_: Any = None) -> Record:
        return menu.catalog()

    component = gr.HTML(
        None,
        elem_classes="model-menu-block",
        html_template=(HERE / "menu.html").read_text("utf-8"),
        js_on_load=(HERE / "menu.js").read_text("utf-8"),
        apply_default_css=False,
        padding=False,
        server_functions=[catalog],
        here=model.name,
        own={},
    )
    turns: dict[str, Any] = {"concurrency_limit": AT_ONCE, "concurrency_id": "load"}  # not behind the runs

    def wanted(asked: Any) -> Iterator[Record]:
        token = asked.get("token") if isinstance(asked, Mapping) else None
        try:
            for record in menu.load(asked.get("load") if isinstance(asked, Mapping) else None):  # type: ignore[arg-type]
                yield record | {"token": token}
        except DiffuscopeError as error:  # told in the menu
            yield {"error": str(error), "token": token}

    loading = component.wanted(
        told(wanted), component, component, queue=True, show_progress="hidden", api_visibility="private", **turns
    )
    loading.then(fn=None, js="() => { document.querySelector('.model-menu').dispatchEvent(new Event('over')); }")
    component.stopped(fn=None, cancels=[loading])
    gr.api(_endpoint(menu), api_name="load_model", **turns)
    return component


def keep_own(component: gr.HTML, linked: Mapping[str, Linked]) -> None:
    """Tells the menu where the forms of this page begin: those settings are this model's, and stay when a person leaves."""
    component.props["own"] = {
        tab: {name: getattr(control, "value", None) for name, control in one.controls.items()}
        for tab, one in linked.items()
    }


def _endpoint(menu: Menu) -> Any:
    @told
    def load_model(source: str = "") -> Iterator[dict]:
        """Loads another model into this server, where runs of the others go on. Yields records of how far it is: stage,
        done and total in bytes, and a line in words; the last one has "page", the address of the model's own page
        relative to this server's, where its runs are endpoints as here, and "new", whether it was built for this.

        Parameters:
            source: a Hub id like owner/name or owner/name@revision, a folder, or an offered name; empty: the embedded one
        """
        yield from menu.load(source)

    return load_model


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.{0 if nbytes >= 1e7 else 1}f} MB"


def _record(loading: Loading) -> Record:
    stage, done, total = loading.told
    line = STAGES.get(stage, stage.capitalize())
    if stage == "fetching" and total:
        of, unit = _size(total).split(" ")
        line = f"{line} {done / (1e9 if unit == 'GB' else 1e6):.{len(of.partition('.')[2])}f} of {of} {unit}"
    return {"stage": stage, "done": done, "total": total, "line": line}
