"""Headless Chromium, and pages that fail on a console error or on any request that leaves this machine."""

from __future__ import annotations

import os
import shutil

import pytest
from serving import Counting, serve

import app

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# Before the first run the stage shows a recorded one, which comes a moment after the page.
RECORDED = "document.querySelector('.recorded-line') && document.querySelector('.player').dataset.phase !== 'done'"
LOCAL = ("http://127.0.0.1", "data:", "blob:")


@pytest.fixture(scope="session")
def chromium():
    """One browser for the whole session; the browser tests skip, and say why, where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def model(tiny_model):
    return Counting(tiny_model)


@pytest.fixture
def slow(model):
    """slow(seconds): from now on each prediction takes at least so long, for what is looked at meanwhile."""
    yield lambda seconds: setattr(model, "pause", seconds)
    model.pause = 0.0


@pytest.fixture(scope="session")
def address(chromium, model):
    """The app with the tiny model."""
    with serve(app.create_app(model)) as url:
        yield url


@pytest.fixture(scope="session")
def shared_context(chromium):
    """One context for all pages that ask for nothing special: the app's scripts are fetched and compiled once."""
    context = chromium.new_context()
    yield context
    context.close()


@pytest.fixture
def open_page(chromium, shared_context):
    """open_page(url, width, height, ...) → a page that was watched from its first request on."""
    contexts, pages, wrong = [], [], []

    def open_(url: str, width: int = 1440, height: int = 900, **options):
        context = shared_context
        if options:
            context = chromium.new_context(**options)
            contexts.append(context)
        page = context.new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.set_default_timeout(float(os.environ.get("DIFFUSCOPE_BROWSER_TIMEOUT", "20")) * 1000)
        page.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda e: wrong.append(f"error: {e}"))
        page.on("request", lambda r: wrong.append(f"request: {r.url}") if not r.url.startswith(LOCAL) else None)
        page.goto(url)
        page.wait_for_selector(".player .frame canvas")
        page.wait_for_function(f"!({RECORDED})")
        return page

    yield open_
    for page in pages:
        if not page.is_closed():
            page.evaluate("localStorage.clear(), sessionStorage.clear()")
            page.close()
    shared_context.clear_cookies()
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def page(open_page, address):
    """The app on a desktop's screen."""
    return open_page(address)
