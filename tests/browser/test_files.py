"""Runs as files: the recorded run at first, a picture and a trace to take along, a trace that plays without the model."""

from __future__ import annotations

import json

import pytest
from actions import PLAYER, painted, press_run, run_to_the_end, set_number, wait_for, wait_for_frame, wait_for_painted
from PIL import Image
from serving import serve

import app
from explorer import Request, limits, run, trace
from explorer.models.abilities import GENERAL
from explorer.pictures import to_image
from explorer.snippet import snippet
from explorer.tabs.traces import FIRST, RECORDED

LINE = ".html-container .recorded-line"


class Asleep:
    """A Model that must not predict."""

    def __init__(self, model) -> None:
        self._model = model

    def __getattr__(self, name):
        return getattr(self._model, name)

    def predict(self, *args):
        raise AssertionError("the model was run")


def save(page, button: str, folder):
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def open_trace(page, path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Open trace").click()
    chooser.value.set_files(path)


@pytest.fixture
def theirs(tiny_model, tmp_path):
    """A trace that somebody else made with the same model."""
    path = tmp_path / "theirs.safetensors"
    trace.save(run(tiny_model, Request(prompt="pizza", steps=5, seed=8)), path)
    return path


def test_the_stage_shows_a_recorded_run_before_the_first_one(page):
    """The page runs the tiny model: the recorded run of another one plays all the same."""
    steps = trace.load(RECORDED).request.steps
    wait_for_frame(page, steps)
    assert painted(page) == list(range(steps + 1))
    assert page.evaluate(f"{PLAYER}.dataset.run") == FIRST
    assert page.locator(LINE).is_visible()
    said = page.locator(LINE).inner_text()
    assert said.startswith("Recorded run of the model emoji-ldm: ")
    assert f"{trace.load(RECORDED).request.prompt}”, seed 3; press Run" in said
    assert page.locator(".status").inner_text() == "Recorded run"
    assert page.evaluate("document.querySelector('.pane.is-picture img').naturalWidth") == 128


def test_the_first_run_replaces_it_and_nothing_jumps(page):
    places = """['.player .stage > *', '.player .transport', '.player .curves', '.controls', '.diagram'].map(s => {
        const b = document.querySelector(s).getBoundingClientRect(); return [b.x, b.y, b.width].map(Math.round); })"""
    set_number(page, "Steps", 2)
    before = page.evaluate(places)
    press_run(page)
    page.wait_for_function(f"{PLAYER}.dataset.run !== '{FIRST}'")
    wait_for(page, "done")
    wait_for_frame(page, 2)
    assert page.evaluate(places) == before
    assert not page.locator(LINE).is_visible()
    assert painted(page) == [0, 1, 2]


def test_picture_and_trace_of_the_last_run(page, tiny_model, tmp_path):
    set_number(page, "Seed", 6)
    run_to_the_end(page, 4)
    kept = trace.load(save(page, "Save trace", tmp_path))
    wanted = Request(prompt=GENERAL[0], seed=6, steps=4, guidance=4.0, karras=False)
    assert kept.request == limits.check(wanted, tiny_model)
    assert (kept.latents == run(tiny_model, wanted).latents).all()
    assert [*kept.pictures] == [1, 2, 3, 4]  # for whoever opens it without the model
    picture = Image.open(save(page, "Save picture", tmp_path))
    assert Request(**json.loads(picture.text["diffuscope"])) == kept.request
    assert picture.tobytes() == to_image(tiny_model.decode(kept.latents)).tobytes()


def test_the_recorded_run_can_be_saved_too(page, tmp_path):
    assert trace.load(save(page, "Save trace", tmp_path)).request == trace.load(RECORDED).request
    assert save(page, "Save picture", tmp_path).read_bytes() == RECORDED.with_suffix(".png").read_bytes()


def test_a_trace_plays_without_the_model_being_run(open_page, tiny_model, theirs):
    with serve(app.create_app(Asleep(tiny_model))) as url:
        page = open_page(url)
        open_trace(page, theirs)
        page.wait_for_function(f"{PLAYER}.dataset.run !== '{FIRST}'")
        wait_for_frame(page, 5)
        assert painted(page) == [0, 1, 2, 3, 4, 5]
        assert "Opened trace: prompt “pizza”, seed 8; press Run" in page.locator(LINE).inner_text()
        assert page.evaluate("document.querySelector('.pane.is-picture img').naturalWidth") == 64


def test_a_bad_trace_is_told_in_one_sentence_and_the_last_result_stays(page, tmp_path, theirs):
    run_to_the_end(page, 3)
    before = page.evaluate(f"{PLAYER}.dataset.run")
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(theirs.read_bytes()[:-100])
    open_trace(page, bad)
    toast = page.locator(".toast-body")
    toast.wait_for()
    assert "bytes of numbers; it holds" in toast.inner_text()
    assert page.evaluate(f"[{PLAYER}.dataset.run, {PLAYER}.dataset.frame]") == [before, "3"]
    assert page.locator(".pane.is-picture img").is_visible()


def test_a_stopped_run_is_not_saved_and_that_is_told(page, slow):
    slow(0.3)
    set_number(page, "Steps", 100)
    press_run(page)
    wait_for_painted(page, 3)
    page.get_by_role("button", name="Cancel").click()
    wait_for(page, "stopped")
    page.get_by_role("button", name="Save trace").click()
    toast = page.locator(".toast-body")
    toast.wait_for()
    assert "This run was stopped before its end; press Run for a whole one." in toast.inner_text()


def test_the_run_as_a_script_on_the_clipboard(open_page, address, tiny_model):
    page = open_page(address, permissions=["clipboard-read", "clipboard-write"])
    run_to_the_end(page, 3)
    page.get_by_role("button", name="Copy script").click()
    page.get_by_role("button", name="Copied").wait_for()
    wanted = Request(prompt=GENERAL[0], seed=3, steps=3, guidance=4.0, karras=False)
    assert page.evaluate("navigator.clipboard.readText()") == snippet(wanted, tiny_model)
    page.get_by_role("button", name="Copy script").wait_for()  # its label again


def test_without_a_clipboard_the_script_is_shown_and_selected(open_page, address):
    page = open_page(address, 390, 844)
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")  # as on a page without https
    run_to_the_end(page, 2)
    button = page.get_by_role("button", name="Copy script")
    button.click()
    script = page.get_by_role("textbox", name="The run as a Python script")
    script.wait_for()
    assert "num_inference_steps=2," in script.input_value()
    assert page.evaluate("getSelection().toString()") == script.input_value()
    page.keyboard.press("Escape")
    script.wait_for(state="detached")
    assert button.evaluate("button => button === document.activeElement")


def test_the_buttons_of_a_phone_are_all_on_the_screen(open_page, address):
    page = open_page(address, 390, 844)
    boxes = page.evaluate("""[...document.querySelectorAll('.experiment .files button')].map(b => b.getBoundingClientRect())
        .filter(b => b.width).map(b => [b.left, b.right, b.top, b.height])""")
    assert len(boxes) == 5
    assert all(left >= 0 and right <= 390 and height >= 44 for left, right, _, height in boxes)
    assert len({top for _, _, top, _ in boxes}) == 2
