"""The Forward tab in a browser: example → scrub → schedule → upload → a bad picture; a second schedule; a drawn one."""

from __future__ import annotations

import base64
import io
import json
import time

import numpy as np
import pytest
from actions import requests_during, set_number
from forward_actions import STAGE, canvas, choose, data, opened, png, seek, upload
from PIL import Image
from serving import serve

import app
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
    assert page.locator(".forward .origin").text_content() == "<b class=evil>mine.png, cropped from 150×100 to 100×100"
    assert page.locator(".evil").count() == 0
    mine, shown = data(page, "run"), canvas(page, "pixels")

    upload(page, "bad.png", b"nothing of a picture")
    page.get_by_text("The file is not a picture").wait_for()
    assert data(page, "run") == mine
    np.testing.assert_array_equal(canvas(page, "pixels"), shown)


def test_a_second_schedule_is_a_third_row_and_the_warning_follows_the_terminal_snr(forward):
    warning = forward.locator(".forward .warning")
    variance = forward.evaluate(f"{STAGE}.state.picture.pixels.var")
    measured = float(noising.snr_db(noising.alphas_cumprod("linear", 1000)[-1], variance))
    assert f"{measured:.1f} dB" in warning.locator("summary").text_content().replace("−", "-")
    assert warning.bounding_box()["height"] < 30  # one line, until it is opened
    warning.locator("summary").click()
    assert "neither dark nor bright" in warning.inner_text()
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
    page.wait_for_selector("#forward-curves .svg-container")
    widths = page.evaluate("[...document.querySelectorAll('#forward-curves, #forward-curves *')].map((e) => e.scrollWidth)")
    assert max(widths) <= 390
    tops = page.locator("#forward-curves .annotation-text").evaluate_all(
        "all => all.map((e) => e.getBoundingClientRect().top)"
    )
    assert min(np.diff(tops)) > 100  # one above the other


class Slow:
    """A Model that takes its time to encode a picture."""

    def __init__(self, model) -> None:
        self._model = model

    def __getattr__(self, name):
        return getattr(self._model, name)

    def encode(self, pixels):
        time.sleep(0.7)
        return self._model.encode(pixels)


def sends(request, name: str) -> bool:
    """Whether the page asks for this picture to be noised; its upload is over then."""
    return "queue/join" in request.url and name in (request.post_data or "")


def test_what_changes_while_a_picture_is_brought_is_not_lost(open_page, tiny_model):
    shows = f"([name, steps]) => {STAGE}.state.picture.name === name && {STAGE}.state.schedule.steps === steps"
    with serve(app.create_app(Slow(tiny_model))) as url:
        page = opened(open_page(url))
        for name, steps in (("one.png", 50), ("two.png", 60)):
            with page.expect_request(lambda request: sends(request, name)):  # noqa: B023
                upload(page, name, png(80, 70))
            set_number(page, "T, the number of steps", steps)
            page.wait_for_function(shows, arg=[name, steps])
        with page.expect_request(lambda request: sends(request, "three.png")):
            upload(page, "three.png", png(90, 70))
        page.get_by_role("button", name="a cat", exact=True).click()  # the last wish
        page.wait_for_function(shows, arg=["a cat", 60])
        page.wait_for_timeout(1000)
        assert page.evaluate(f"{STAGE}.state.picture.name") == "a cat"
        assert page.locator('.forward-examples [aria-pressed="true"]').get_attribute("title") == "a cat"
        assert page.locator("#forward-picture img").count() == 0  # free for the next


def test_a_t_out_of_range_is_told_and_put_back_and_the_next_is_not_lost(forward):
    field = forward.locator("#forward-steps input[type=number]")
    field.fill("5")
    field.fill("60")  # while the refusal of 5 is on its way
    forward.wait_for_function(f"{STAGE}.state.schedule.steps === 60")
    beta = noising.betas(noising.alphas_cumprod("linear", 60)).max()
    assert "Rescaled from its 1000 steps to 60: " in forward.locator(".forward .notes").text_content()
    assert f"β here goes up to {beta:.2f}." in forward.locator(".forward .notes").text_content()
    assert "rescaled: it does the work of 16.7" in forward.locator(".forward .step-equation").text_content()
    field.fill("5")
    forward.get_by_text("T is 5; it must be from 10 to 1000.").first.wait_for()
    forward.wait_for_function("document.querySelector('#forward-steps input[type=number]').value === '60'")
    assert forward.evaluate(f"{STAGE}.state.schedule.steps") == 60


def test_a_flat_picture_is_said_to_be_flat(forward):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 90, 90)).save(buffer, "PNG")
    upload(forward, "flat.png", buffer.getvalue())
    forward.wait_for_function(f"{STAGE}.state.picture.name === 'flat.png'")
    forward.get_by_role("button", name="measured SNR").click()
    for t in (0, 1, 400, 1000):
        seek(forward, t)
        assert forward.evaluate(f"{STAGE}.state.at.latents.t") == t  # no SNR to match by
        said = [forward.locator(f".forward {part}").text_content() for part in (".caption", ".label", ".stages")]
        assert "NaN" not in "".join(said)
        assert ("This picture is flat" in said[0]) == ("flat" in said[1]) == bool(t)
        assert "flat" in said[2]
    assert "matched by timestep" in said[0]


def test_a_picture_is_pasted(open_page, address):
    page = opened(open_page(address, permissions=["clipboard-read", "clipboard-write"]))
    page.evaluate(
        """async (data) => { const blob = await (await fetch('data:image/png;base64,' + data)).blob();
            await navigator.clipboard.write([new ClipboardItem({ 'image/png': blob })]); }""",
        base64.b64encode(png(150, 100)).decode(),
    )
    page.locator("#forward-picture").get_by_label("Paste from clipboard").click()
    page.wait_for_function(f"{STAGE}.querySelector('.notes').textContent.includes('cropped from 150×100')")
    assert page.locator('.forward-examples [aria-pressed="true"]').count() == 0


def test_a_contact_sheet_and_a_gif_are_saved(forward):
    for button, ending in (("Save contact sheet", "png"), ("Save GIF", "gif")):
        with forward.expect_download() as download:
            forward.get_by_role("button", name=button).click()
        assert download.value.suggested_filename == f"diffuscope-forward-a-house-linear-T-1000.{ending}"
        image = Image.open(download.value.path())
        if ending == "png":
            assert json.loads(image.text["diffuscope"])["rows"] == ["pixels", "latents", "decoded"]
