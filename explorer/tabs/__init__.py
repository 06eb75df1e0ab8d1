"""The page: its header, and one tab a row of TABS. A new tab is a file here and a row there."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import NamedTuple

import gradio as gr

from explorer.records import Abilities, Model
from explorer.sessions import Sessions
from explorer.tabs import about, forward, guidance, latents, present, reverse, url, walk
from explorer.tabs import menu as models_menu
from explorer.tabs.common import session
from explorer.tabs.gpu import Remote, on_gpu
from explorer.tabs.menu import Menu


class Tab(NamedTuple):
    """A title, what builds the tab's content into the open Blocks and says what of it an address can hold, and which
    models it is for."""

    title: str
    build: Callable[[Model, Sessions], url.Linked | None]
    fits: Callable[[Abilities], bool] = lambda can: True


TABS = (
    Tab(reverse.TITLE, reverse.build),
    Tab(forward.TITLE, forward.build),
    Tab(latents.TITLE, latents.build, lambda can: can.latent),
    Tab(guidance.TITLE, guidance.build, lambda can: can.guidance == "cfg"),
    Tab(walk.TITLE, walk.build),
)


def fitting(model: Model) -> tuple[Tab, ...]:
    """The tabs that a model has, in their order."""
    return tuple(tab for tab in TABS if tab.fits(model.abilities))


def build(model: Model, menu: Menu | None = None, sessions: Sessions | None = None) -> gr.Blocks:
    """The whole page for one model.

    Args:
        model: what predicts, for the page's whole life.
        menu: the models that a person may go to; None where there is no choice.
        sessions: what is kept of its runs; None as much as usual.
    """
    sessions = sessions or Sessions()
    _ = model.preview  # fitted at first use: now, rather than in somebody's first run
    model = on_gpu(model)
    menu = None if isinstance(model, Remote) else menu  # its workers have the one model with which they were forked

    def forget(request: gr.Request) -> None:
        sessions.drop(session(request))

    with gr.Blocks(title="Diffuscope", analytics_enabled=False, delete_cache=(600, 600), fill_width=True) as page:
        gr.HTML(_masthead(model, menu is not None), apply_default_css=False, padding=False)
        chooser = None if menu is None else models_menu.build(menu, model)
        notes = url.notes()
        items, linked = {}, {}
        with gr.Tabs() as tabs:
            for tab in fitting(model):
                key = tab.title.lower()
                with gr.Tab(tab.title, id=key) as items[key]:
                    linked[key] = tab.build(model, sessions)
        about.fold(model.abilities)
        known = {key: one for key, one in linked.items() if one is not None}
        for one in known.values():
            if one.meet is not None:
                one.meet(known)
        url.link(page, notes, tabs, items, known)
        if chooser is not None:
            models_menu.keep_own(chooser, known)
        present.build(model, known)
        page.unload(forget)
    return page


def _masthead(model: Model, choice: bool) -> str:
    facts = {"device": str(model.device).upper(), "precision": str(model.dtype).removeprefix("torch.")}
    chips = {"model": model.name} if not choice else {}
    items = f'<li class="model-chip">{models_menu.chip(model)}</li>' if choice else ""
    items += "".join(f'<li title="{name}"><b>{escape(value)}</b></li>' for name, value in (chips | facts).items())
    return (
        '<header class="masthead"><h1>Diffuscope</h1><p class="promise">Watch noise become a picture</p>'
        f'<ul class="chips" aria-label="model, device, precision">{items}</ul>{present.BUTTONS}</header>'
    )
