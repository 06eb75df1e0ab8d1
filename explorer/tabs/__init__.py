"""The page: its header, and one tab a row of TABS. A new tab is a file here and a row there."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import NamedTuple

import gradio as gr

from explorer.records import Model
from explorer.sessions import Sessions
from explorer.tabs import about, forward, guidance, latents, present, reverse, url, walk
from explorer.tabs.common import session
from explorer.tabs.gpu import on_gpu


class Tab(NamedTuple):
    """A title, and what builds the tab's content into the open Blocks and says what of it an address can hold."""

    title: str
    build: Callable[[Model, Sessions], url.Linked | None]


TABS = (
    Tab(reverse.TITLE, reverse.build),
    Tab(forward.TITLE, forward.build),
    Tab(latents.TITLE, latents.build),
    Tab(guidance.TITLE, guidance.build),
    Tab(walk.TITLE, walk.build),
)


def build(model: Model) -> gr.Blocks:
    """The whole page for one model."""
    sessions = Sessions()
    _ = model.preview  # fitted at first use: now, rather than in somebody's first run
    model = on_gpu(model)

    def forget(request: gr.Request) -> None:
        sessions.drop(session(request))

    with gr.Blocks(title="Diffuscope", analytics_enabled=False, delete_cache=(600, 600), fill_width=True) as page:
        gr.HTML(_masthead(model), apply_default_css=False, padding=False)
        notes = url.notes()
        items, linked = {}, {}
        with gr.Tabs() as tabs:
            for tab in TABS:
                key = tab.title.lower()
                with gr.Tab(tab.title, id=key) as items[key]:
                    linked[key] = tab.build(model, sessions)
        about.fold()
        known = {key: one for key, one in linked.items() if one is not None}
        for one in known.values():
            if one.meet is not None:
                one.meet(known)
        url.link(page, notes, tabs, items, known)
        present.build(model, known)
        page.unload(forget)
    return page


def _masthead(model: Model) -> str:
    chips = {"model": model.name, "device": str(model.device).upper(), "precision": str(model.dtype).removeprefix("torch.")}
    items = "".join(f'<li title="{name}"><b>{escape(value)}</b></li>' for name, value in chips.items())
    return (
        '<header class="masthead"><h1>Diffuscope</h1><p class="promise">Watch noise become a picture</p>'
        f'<ul class="chips" aria-label="model, device, precision">{items}</ul>{present.BUTTONS}</header>'
    )
