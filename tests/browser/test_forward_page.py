"""The Forward tab in a browser: example → scrub → schedule → upload → a bad picture; a second schedule; a drawn one."""

from __future__ import annotations

import numpy as np
import pytest
from actions import requests_during
from forward_actions import STAGE, canvas, choose, data, opened, png, seek, upload

from explorer import forward_schedule, noising


@pytest.fixture
def forward(open_page, address):
    """The tab with its first picture on the stage, in a page of its own."""
    return opened(open_page(address))


def test_example_scrub_schedule_upload_and_a_bad_picture(forward):
    page, first = forward, data(forward, "run")
    assert 0 < int(data(page, "frame")) < 1000  # no blank stage: an example, half dissolved

    page.get_by_role("button", name="a cat", exact=True).click()
    page.wait_for_function(f"run => {STAGE}.dataset.run !== run", arg=first)
    cat = data(page, "run")
    assert page.locator('.forward-examples [aria-pressed="true"]').evaluate_all("all => all.map((one) => one.title)") == [
        "a cat"
    ]

    def scrub():
        page.locator(".forward .timeline").focus()
        for key, t in (("Home", 0), ("ArrowRight", 1), ("3", 300), ("ArrowLeft", 299), ("End", 1000), ("5", 500)):
            page.keyboard.press(key)
            page.wait_for_function(f"t => {STAGE}.dataset.frame == t", arg=t)

    asked = requests_during(page, scrub)
    assert [url for url in asked if "component_server" not in url] == []  # resting may decode

    choose(page, "Schedule", "cosine")
    page.wait_for_function(f"{STAGE}.dataset.schedule === 'cosine' && {STAGE}.state.schedule.name === 'cosine'")
    assert data(page, "run") == cat
    assert data(page, "frame") == "500"
    alphas = page.evaluate(f"{STAGE}.state.schedule.alphas_cumprod")
    np.testing.assert_allclose(alphas, noising.alphas_cumprod("cosine", 1000), rtol=1e-9)

    upload(page, "<b class=evil>mine.png", png(150, 100))
    page.wait_for_function(f"run => {STAGE}.dataset.run !== run && {STAGE}.state.run === {STAGE}.dataset.run", arg=cat)
    page.wait_for_function(f"{STAGE}.querySelector('.notes').textContent.includes('cropped from 150×100')")
    assert page.locator(".evil").count() == 0
    mine, shown = data(page, "run"), canvas(page, "pixels")

    upload(page, "bad.png", b"nothing of a picture")
    page.get_by_text("The file is not a picture").wait_for()
    assert data(page, "run") == mine
    np.testing.assert_array_equal(canvas(page, "pixels"), shown)


def test_a_second_schedule_is_a_third_row_and_the_warning_follows_the_terminal_snr(forward):
    warning = forward.locator(".forward .warning")
    assert "-43.9 dB" in warning.text_content().replace("−", "-")
    assert forward.locator('.row[data-row="second"]').is_hidden()
    choose(forward, "Schedule", "cosine")
    warning.wait_for(state="hidden")
    forward.get_by_role("button", name="More").first.click()
    choose(forward, "A second schedule", "linear")
    forward.locator('.row[data-row="second"]').wait_for()
    seek(forward, 400)
    assert forward.evaluate(f"{STAGE}.state.at.second.t") == 400
    assert np.abs(canvas(forward, "second").astype(int) - canvas(forward, "pixels")).mean() > 5


def test_a_schedule_is_drawn_with_the_mouse_and_with_keys(forward):
    choose(forward, "Schedule", "drawn by hand")
    forward.wait_for_function(f"{STAGE}.dataset.schedule === 'drawn by hand'")
    knots = forward.locator(".forward-drawer .knot")
    knots.nth(1).scroll_into_view_if_needed()
    box = knots.nth(1).bounding_box()
    forward.mouse.move(box["x"] + 12, box["y"] + 12)
    forward.mouse.down()
    forward.mouse.move(box["x"] + 42, box["y"] + 2, steps=4)
    forward.mouse.up()
    value = float(knots.nth(1).get_attribute("aria-valuenow"))
    assert 15 < value < 25
    knots.nth(2).focus()
    forward.keyboard.press("Shift+ArrowDown")
    assert knots.nth(2).get_attribute("aria-valuenow") == "-9"
    forward.keyboard.press("Insert")
    assert knots.count() == 5
    field = forward.get_by_label("Its knots as text")
    forward.wait_for_function("field => field.value.split(' ').length === 6", arg=field.element_handle())
    wanted = noising.drawn(*forward_schedule.knots(field.input_value()), 1000)
    forward.wait_for_function(
        f"last => Math.abs({STAGE}.state.schedule.alphas_cumprod[700] - last) < 1e-9", arg=wanted[700]
    )
    np.testing.assert_allclose(forward.evaluate(f"{STAGE}.state.schedule.alphas_cumprod"), wanted, rtol=1e-9)


def test_a_phone_shows_the_stage_first_and_nothing_overflows(open_page, address):
    page = opened(open_page(address, 390, 844))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    tops = [
        page.locator(one).first.bounding_box()["y"] for one in (".forward .rows", ".forward .timeline", ".forward-examples")
    ]
    assert tops == sorted(tops)
    assert tops[1] < 760  # seen without scrolling
