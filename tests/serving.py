"""Serves a page in this process on a free port, for the tests of the tabs and of the browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import app


@contextmanager
def serve(page) -> Iterator[str]:
    """Launches a gr.Blocks as app.py would and yields its address, http://127.0.0.1:port/."""
    options = {**app.launch_options(), "quiet": True, "prevent_thread_lock": True}
    _, url, _ = page.launch(server_name="127.0.0.1", **options)
    try:
        yield url
    finally:
        page.close(verbose=False)


class Counting:
    """A Model that counts its predictions, and takes its time where `pause` says so."""

    def __init__(self, model) -> None:
        self._model, self.predictions, self.pause = model, 0, 0.0

    def __getattr__(self, name):
        return getattr(self._model, name)

    def predict(self, latents, t, conditioning):
        self.predictions += 1
        time.sleep(self.pause)
        return self._model.predict(latents, t, conditioning)
