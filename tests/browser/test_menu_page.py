"""The model menu in a browser: opened and used by the keyboard, another model's page and back, an error told in it."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

import pytest
from actions import set_number
from menus import serve_menu, tiny_folders
from test_player_access import violations

FOCUS = "document.activeElement.textContent"
READY = "!!document.querySelector('.player .frame canvas') && 'restored' in document.documentElement.dataset"


@pytest.fixture(scope="module")
def served(chromium, model, tmp_path_factory):
    (folder,) = tiny_folders(tmp_path_factory.mktemp("menu"), ("second",))
    with serve_menu(model, "the first", "owner/offered") as (url, menu):
        yield url, menu, folder


@pytest.fixture
def browse(chromium, served):
    """browse(path, width) → a page; it goes to others, which ends Gradio's streams, and they say so on the console."""
    pages, wrong = [], []

    def open_(path: str = "", width: int = 1440):
        page = chromium.new_page(viewport={"width": width, "height": 900 if width > 900 else 844})
        pages.append(page)
        page.set_default_timeout(30000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(served[0] + path)
        page.wait_for_function(READY)
        return page

    yield open_
    for page in pages:
        page.close()
    assert [line for line in wrong if "abort" not in line.lower()] == []


def open_menu(page) -> None:
    page.locator("[data-menu]").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".menu-choice")


def arrived(page, path: str) -> None:
    page.wait_for_url(lambda url: urlsplit(url).path == path)
    page.wait_for_function(READY)


def test_there_and_back_with_the_keyboard_and_the_settings_come_along(browse, served):
    page = browse()
    set_number(page, "Seed", 77)
    page.wait_for_function("location.search.includes('seed=77')")
    open_menu(page)
    assert page.locator("[data-menu]").get_attribute("aria-expanded") == "true"
    assert page.evaluate(f"{FOCUS}").startswith("emoji-ldm")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(FOCUS).startswith("tiny")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Escape")
    assert not page.locator(".model-menu").is_visible()
    assert page.evaluate("document.activeElement.hasAttribute('data-menu')")
    page.keyboard.press("Enter")
    field = page.get_by_label("Another one")
    field.fill(str(served[2]))
    with page.expect_request(lambda request: request.is_navigation_request()) as went:
        field.press("Enter")
    assert parse_qs(urlsplit(went.value.url).query) == {"tab": ["reverse"], "seed": ["77"]}  # the rest is the other's own
    arrived(page, "/models/second/")
    assert page.locator(".model-button b").inner_text() == "second"
    assert page.locator('.controls input[aria-label="Seed"]').input_value() == "77"
    open_menu(page)
    assert page.locator(".menu-choice[aria-current=page] .menu-name").inner_text() == "second"
    page.evaluate("window.stays = true")
    field.fill(str(served[2]))
    field.press("Enter")
    page.locator(".model-menu").wait_for(state="hidden")
    assert page.evaluate("window.stays")  # its runs are not lost by asking for the page that is open
    open_menu(page)
    page.locator(".menu-choice", has_text="tiny").press("Enter")
    arrived(page, "/")
    assert page.locator(".model-button b").inner_text() == "tiny"


@pytest.mark.parametrize("width", [1440, 390])
def test_what_cannot_be_loaded_is_said_in_the_menu_and_the_page_goes_on(browse, width):
    page = browse("?__theme=dark" if width == 390 else "", width)
    open_menu(page)
    box = page.locator(".model-menu").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    page.get_by_label("Another one").fill("no such folder")
    page.get_by_role("button", name="Load", exact=True).click()
    wrong = page.locator(".menu-wrong")
    wrong.wait_for()
    assert "'no such folder' is neither a folder nor a Hub id" in wrong.inner_text()
    assert page.locator(".menu-loading").is_hidden()
    assert not page.get_by_label("Another one").is_disabled()
    assert violations(page) == []
    if width == 390:
        assert all(choice.bounding_box()["height"] >= 44 for choice in page.locator(".menu-choice, .menu-load").all())
    page.get_by_role("button", name="Close", exact=True).click()
    set_number(page, "Steps", 2)
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_function("document.querySelector('.player').dataset.frame == 2")


def test_loading_is_told_cancelled_and_heard_outside_the_closed_menu(browse, served):
    page, shelf = browse(), served[1].shelf
    load, state = shelf._load, {"stop": False, "heard": False}

    def slow(source, progress):
        try:
            while not state["stop"]:
                progress("fetching", 1_200_000_000, 4_300_000_000)
                time.sleep(0.05)
        except BaseException:
            state["heard"] = True
            raise
        return load(str(served[2]), progress)

    shelf._load = slow
    try:
        open_menu(page)
        page.locator(".menu-choice", has_text="owner/offered").click()
        page.wait_for_function("document.querySelector('.menu-line').textContent === 'Fetching 1.2 of 4.3 GB'")
        assert page.locator(".model-menu progress").evaluate("bar => bar.value") == pytest.approx(1.2 / 4.3)
        assert page.evaluate(FOCUS) == "Cancel"
        assert violations(page) == []
        page.keyboard.press("Enter")
        page.locator(".menu-loading").wait_for(state="hidden")
        while not state["heard"]:
            page.wait_for_timeout(50)
        page.locator(".menu-choice", has_text="owner/offered").click()
        page.wait_for_function("document.querySelector('.menu-line').textContent.startsWith('Fetching')")
        page.keyboard.press("Escape")
        page.wait_for_function("document.querySelector('.model-state').textContent === ' · 27%'")
        state["stop"] = True
        page.wait_for_function("document.querySelector('.model-state').textContent === ' · ready'")
        assert urlsplit(page.url).path == "/"  # nobody is taken away
        open_menu(page)
        link = page.get_by_role("link", name="Open its page")
        path = urlsplit(link.get_attribute("href")).path
        assert path.startswith("/models/second")
        link.click()
        arrived(page, path)
    finally:
        shelf._load = load


def test_an_address_that_is_not_here_opens_the_menu(browse):
    page = browse("models/gone/")
    page.wait_for_selector(".menu-choice")
    assert "There is no page “gone” on this server now" in page.locator(".menu-wrong").inner_text()
    assert "missing" not in page.url
