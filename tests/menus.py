"""Serves a page with its model menu, as app.py does, and makes folders of tiny models to choose from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiny import tiny_parts, tiny_pipeline

import app

KINDS = ("epsilon", "v_prediction", "sample")  # one a folder, so that no two models are the same


def tiny_folders(where: Path, names: tuple[str, ...]) -> list[Path]:
    """Folders in diffusers layout, by these names."""
    made = []
    for i, name in enumerate(names):
        folder = where / name
        tiny_pipeline(tiny_parts(KINDS[i % len(KINDS)])).save_pretrained(folder, safe_serialization=True)
        made.append(folder)
    return made


@contextmanager
def serve_menu(model, source: str, models: str = "", public: bool = False) -> Iterator[tuple[str, object]]:
    """Launches the page of a model with its menu; yields its address and the menu."""
    menu = app.create_menu(model, source, models, public)
    page = app.create_app(menu.home, menu)
    server, url, _ = page.launch(server_name="127.0.0.1", **app.launch_options(), quiet=True, prevent_thread_lock=True)
    menu.pages.attach(server)
    try:
        yield url, menu
    finally:
        page.close(verbose=False)
