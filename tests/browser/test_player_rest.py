"""Resting on a step decodes it: one request, the engine's own picture, beside the preview; scrubbing asks for nothing."""

from __future__ import annotations

import time

import gradio as gr
import pytest
from actions import PLAYER, pixels, press_run, requests_during, set_number, wait_for, wait_for_frame, wait_for_painted
from serving import serve

from explorer import Request, run
from explorer.frames import data_uri, encode
from explorer.player import player
from explorer.sessions import Sessions
from explorer.tabs.decoding import decoder

REQUEST = Request(prompt="pizza", steps=12, seed=2)
SCRUB = """async steps => {
    const slider = document.querySelector('.timeline');
    for (const i of steps) {
        slider.value = i; slider.dispatchEvent(new Event('input'));
        await new Promise(done => setTimeout(done, 60));
    }
}"""
SPLIT = "document.querySelector('.frame.is-split img:not([hidden])')"
PLACES = """[...document.querySelectorAll('.pane, .frame, .frame canvas, .foot, .transport, .numbers, .curves, .caption')]
    .map(e => JSON.stringify(e.getBoundingClientRect()))"""


@pytest.fixture(scope="module")
def trajectory(tiny_model):
    return run(tiny_model, REQUEST)


@pytest.fixture(scope="module")
def asked():
    """What the page asked to be decoded, in order."""
    return []


@pytest.fixture(scope="module")
def bench(chromium, trajectory, tiny_model, asked):
    """A page with a player that decodes: one run is kept, of another only the Request, of a third nothing."""
    sessions = Sessions()
    sessions.put("ann", "kept", trajectory)
    sessions.note("ann", "noted", REQUEST)
    decode = decoder(tiny_model, sessions)

    def watched(run_id, index):
        asked.append((run_id, index))
        time.sleep(0.1)
        return decode(run_id, index)

    def sender(name):
        def send():
            for step in trajectory.steps:
                picture = data_uri(tiny_model.decode(step.latents)) if step.index == 12 else None
                yield encode(step, run=name, n=13, model_preview=tiny_model.preview, picture=picture, steps=12)

        return send

    with gr.Blocks() as page:
        stage = player("bench", decode=watched)
        for name in ("kept", "noted", "lost"):
            gr.Button(name).click(sender(name), None, stage, show_progress="hidden")
    with serve(page.queue()) as url:
        yield url


@pytest.fixture
def rested(open_page, bench, asked):
    """rested(name) → a page that has shown the whole of a run."""

    def show(name: str):
        page = open_page(bench)
        page.get_by_role("button", name=name).click()
        wait_for_frame(page, 12)
        asked.clear()
        return page

    return show


def test_scrubbing_without_a_rest_asks_for_nothing_and_a_rest_asks_once(rested, asked, trajectory, tiny_model):
    page = rested("kept")
    assert requests_during(page, lambda: page.evaluate(SCRUB, [11, 9, 6, 3, 0, 4, 8, 7])) == []
    page.wait_for_function(SPLIT)
    assert asked == [("kept", 7)]
    assert page.evaluate(f"{SPLIT}.src") == data_uri(tiny_model.decode(trajectory.steps[7].x0))
    page.evaluate(SCRUB, [8, 7])
    assert not page.evaluate(SPLIT)  # the preview first
    page.wait_for_function(SPLIT)
    page.wait_for_timeout(400)
    assert asked == [("kept", 7)]  # the browser had it


def test_preview_and_decoding_stand_side_by_side_and_nothing_moves(rested):
    page = rested("kept")
    page.evaluate(SCRUB, [5])
    page.evaluate("() => new Promise(requestAnimationFrame)")
    before, preview = page.evaluate(PLACES), pixels(page, "picture")
    assert page.locator(".is-picture .foot").inner_text().startswith("preview: x0 as colours")
    page.wait_for_function(SPLIT)
    assert page.evaluate(PLACES) == before
    foot = page.locator(".is-picture .foot")
    assert foot.inner_text().split() == ["preview", "decoded"]
    assert pixels(page, "picture") == preview
    assert page.locator(".is-picture img").evaluate("e => getComputedStyle(e).clipPath") == "inset(0px 0px 0px 50%)"
    page.locator(".split").fill("20")
    assert page.locator(".is-picture img").evaluate("e => getComputedStyle(e).clipPath") == "inset(0px 0px 0px 20%)"
    assert page.locator(".player").get_attribute("data-frame") == "5"  # the divider's arrows are its own
    page.locator(".split").press("ArrowRight")
    assert page.locator(".player").get_attribute("data-frame") == "5"


def test_the_last_state_shows_its_whole_picture(rested, asked):
    page = rested("kept")
    page.wait_for_timeout(450)
    assert asked == []
    assert page.locator(".is-picture .foot").inner_text() == "decoded by the VAE"
    page.evaluate(SCRUB, [3])
    page.wait_for_function(SPLIT)
    page.locator(".timeline").press("End")
    wait_for_frame(page, 12)
    assert not page.evaluate(SPLIT)
    assert page.locator(".is-picture img").evaluate("e => getComputedStyle(e).clipPath") == "none"


def test_a_run_that_is_gone_is_made_again(rested, trajectory, tiny_model):
    page = rested("noted")
    page.evaluate(SCRUB, [4])
    page.wait_for_function(SPLIT)
    assert page.evaluate(f"{SPLIT}.src") == data_uri(tiny_model.decode(trajectory.steps[4].x0))


def test_a_run_nobody_knows_is_told_in_one_sentence(rested, asked):
    page = rested("lost")
    page.evaluate(SCRUB, [4])
    page.wait_for_function("document.querySelector('.is-picture .foot').innerText.includes('not kept')")
    assert not page.evaluate(SPLIT)
    assert "press Run" in page.locator(".is-picture .foot").get_attribute("title")


def test_playing_does_not_rest(rested, asked):
    page = rested("kept")
    page.locator(".speed select").select_option("2")  # 500 ms a step: longer than a rest
    page.locator(".timeline").press("Home")
    page.keyboard.press("Space")
    wait_for_frame(page, 2)
    page.keyboard.press("Space")
    assert asked in ([], [("kept", 0)])


@pytest.mark.parametrize("data", [None, 7, "x", [], ["kept"], ["kept", 99], [None, None], {"run": 1}, ["kept", "0", 1]])
def test_the_endpoint_takes_anything(open_page, bench, data):
    page = open_page(bench)
    answer = page.evaluate(
        """async data => {
            const id = window.gradio_config.components.find(c => c.props.elem_id === 'bench').id;
            const answer = await fetch('gradio_api/component_server', { method: 'POST',
                headers: { 'Content-Type': 'application/json' },
                body: JSON.stringify({ data, component_id: id, fn_name: 'decode_step', session_hash: 'nobody' }) });
            return { status: answer.status, body: await answer.json() };
        }""",
        data,
    )
    assert answer["status"] == 200
    assert list(answer["body"]) == ["error"]
    assert answer["body"]["error"].endswith(".")
    assert page.locator(PLAYER.split("'")[1]).is_visible()


def test_a_run_that_stops_is_decoded_only_where_a_person_goes(page, model, slow):
    slow(0.3)
    set_number(page, "Steps", 100)
    press_run(page)
    wait_for_painted(page, 4)
    page.get_by_role("button", name="Cancel").click()
    wait_for(page, "stopped")
    slow(0)
    before = model.predictions
    page.wait_for_timeout(700)
    assert model.predictions == before
    page.evaluate(SCRUB, [2])
    page.wait_for_function(SPLIT)
    assert model.predictions - before in (0, 3)  # its Steps are kept, or its Request is run again up to this one
