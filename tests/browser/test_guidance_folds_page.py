"""The Guidance tab's folds in the browser: the dial follows the hand, both directions and the grid are painted."""

from __future__ import annotations

import re

import gradio as gr
import pytest
from actions import requests_during
from serving import Counting, serve

from explorer import Request, run
from explorer.lessons import spread
from explorer.sessions import Sessions
from explorer.tabs.guidance_folds import build
from explorer.tabs.guidance_form import form
from explorer.tabs.guidance_live import STEPS

DIAL, GRID = "document.querySelector('.guidance-live')", "document.querySelector('.seeds-scales')"
TWO = "document.querySelector('#negative-player .compare')"
FOLDS = ("Turn the dial live", "Negative prompt", "Fidelity against")
# Moves the dial as a hand does, 16 ms from one value to the next, and tells in which turn it ended.
DRAG = """async ([from, to, moves]) => {
  const root = document.querySelector('.guidance-live'), dial = root.querySelector('.turn');
  for (let k = 1; k <= moves; k++) {
    dial.value = from + ((to - from) * k) / moves;
    dial.dispatchEvent(new Event('input'));
    await new Promise((done) => setTimeout(done, 16));
  }
  return +root.dataset.turn; }"""

PLACE = """node => { const box = node.getBoundingClientRect();
  return [box.x, box.y + scrollY, box.width, box.height].map(Math.round); }"""
# Presses the grid's button, and Cancel in the frame that shows the run; answers with Cancel's place.
PRESS_AND_CANCEL = f"""() => {{
    document.querySelector('#diversity-run').click();
    return new Promise((done) => {{ const look = () => {{
        if ({GRID}.dataset.phase !== 'running') return requestAnimationFrame(look);
        const cancel = document.querySelector('#diversity-cancel'), place = ({PLACE})(cancel);
        cancel.click();
        done(place); }};
      look(); }}); }}"""
LOCAL = ("http://127.0.0.1", "data:", "blob:")


@pytest.fixture(scope="module")
def counting(tiny_model):
    return Counting(tiny_model)


@pytest.fixture(scope="module")
def shared(chromium, counting):
    """One page for the module, with its form and its folds open."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        with gr.Row(elem_classes="guidance-tab"), gr.Column(elem_classes="controls"):
            controls = form(counting)
        build(counting, Sessions(), controls, "no-stage")
    wrong: list[str] = []
    with serve(blocks.queue()) as url:
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(20_000)
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith((url, "data:", "blob:")) else wrong.append(request.url),
        )
        page.goto(url)
        for fold in FOLDS:
            page.get_by_role("button", name=fold).click()
        page.wait_for_selector(".seeds-scales td button")
        page.locator(".controls textarea").first.fill("pizza")
        set_steps(page, 4)
        yield page
        page.close()
    assert wrong == []


def set_steps(page, steps: int) -> None:
    field = page.locator('.controls input[type="number"][aria-label$=" for Steps"]')
    field.fill(str(steps))
    field.press("Tab")


def fill(page, label: str, text: str) -> None:
    page.get_by_label(label).fill(text)
    page.get_by_label(label).press("Tab")


def settled(page) -> None:
    """Waits until the dial's newest value is painted to its end."""
    page.wait_for_function(f"{DIAL}.dataset.phase === 'done' && {DIAL}.painted.at(-1)?.[0] === +{DIAL}.dataset.turn")


def painted(page) -> list[list[int]]:
    return page.evaluate(f"{DIAL}.painted")


def test_a_drag_shows_the_newest_value_and_leaves_the_older_ones(shared, counting):
    before, from_ = counting.predictions, len(painted(shared))
    turn = shared.evaluate(DRAG, [0, 6, 30])
    settled(shared)
    shown = painted(shared)[from_:]
    turns = [one for one, _ in shown]
    assert turns == sorted(turns)
    assert [i for one, i in shown if one == turn][-1] == STEPS
    older = {one for one, _ in shown if one != turn}
    assert len(older) < 29  # movements while a step was under way were passed over
    assert counting.predictions - before <= STEPS + len(shown)  # no older run went on by itself
    assert shared.locator(".guidance-live .w").text_content() == "w = 6.0"
    assert shared.locator(".guidance-live .view img").is_visible()
    assert "w = 6.0" in shared.locator(".guidance-live .where").text_content()


def test_a_value_tried_comes_back_without_a_request(shared):
    for w in (1, 0):
        shared.locator(f'.guidance-live .mark[data-w="{w}"]').click()
        settled(shared)
    assert shared.locator(".guidance-live .named").text_content() == "unconditional"
    kept = [float(text.replace("−", "-")) for text in shared.locator(".guidance-live .tried button").all_text_contents()]
    assert kept == sorted(kept)
    assert {0.0, 1.0} <= set(kept)
    assert requests_during(shared, lambda: shared.locator('.guidance-live .tried [data-w="1"]').click()) == []
    settled(shared)
    assert shared.locator('.guidance-live .tried [aria-current="true"]').text_content() == "1.0"
    assert shared.locator(".guidance-live .w").text_content() == "w = 1.0"


def test_the_arrow_keys_turn_the_dial_and_the_form_is_followed(shared):
    shared.locator(".guidance-live .turn").focus()
    shared.keyboard.press("ArrowRight")
    settled(shared)
    assert shared.locator(".guidance-live .w").text_content() == "w = 1.1"
    before = len(painted(shared))
    shared.locator(".controls textarea").first.fill("red star")
    shared.wait_for_function(f"n => {DIAL}.painted.length > n", arg=before)  # at the same value, by itself
    settled(shared)
    assert "“red star”" in shared.locator(".guidance-live .from").text_content()
    assert shared.locator(".guidance-live .tried button").count() == 1  # those of another prompt don't compare
    shared.locator(".controls textarea").first.fill("pizza")
    shared.wait_for_function(f"{DIAL}.querySelector('.from').textContent.includes('pizza')")


def test_a_fold_opened_again_shows_the_forms_own(shared):
    shared.locator('.guidance-live .mark[data-w="1"]').click()
    settled(shared)
    shared.get_by_role("button", name=FOLDS[0]).click()
    shared.locator(".guidance-live").wait_for(state="hidden")
    shared.locator(".controls textarea").first.fill("red star")
    shared.wait_for_function(f"{DIAL}.querySelector('.from').textContent.includes('red star')")
    turn = shared.locator(".guidance-live").get_attribute("data-turn")
    shared.wait_for_timeout(700)  # longer than the dial waits for the form: nothing runs unseen
    assert shared.locator(".guidance-live").get_attribute("data-turn") == turn
    shared.get_by_role("button", name=FOLDS[0]).click()
    shared.wait_for_function(f"turn => {DIAL}.dataset.turn !== turn", arg=turn)
    settled(shared)
    shared.locator(".controls textarea").first.fill("pizza")
    shared.wait_for_function(f"turn => +{DIAL}.dataset.turn > +turn + 1", arg=turn)
    settled(shared)


def test_the_marks_name_what_they_set_with_a_negative_prompt_too(shared):
    mark = shared.locator('.guidance-live .mark[data-w="0"]')
    mark.click()
    settled(shared)
    assert mark.text_content() == "0 unconditional"
    shared.locator(".controls button.label-wrap").click()
    shared.locator(".controls").get_by_role("textbox", name="Negative prompt").fill("red")
    shared.wait_for_function("mark => mark.textContent === '0 negative prompt only'", arg=mark.element_handle())
    shared.locator(".controls").get_by_role("textbox", name="Negative prompt").fill("")
    shared.wait_for_function("mark => mark.textContent === '0 unconditional'", arg=mark.element_handle())
    settled(shared)


def test_what_is_wrong_is_told_and_the_last_picture_stays(shared):
    settled(shared)
    field = shared.locator(".seed-row input")
    field.fill("")
    shared.wait_for_function(f"{DIAL}.querySelector('.from').textContent.includes('seed –')")
    shared.evaluate(DRAG, [3, 4, 1])
    shared.wait_for_function(f"{DIAL}.querySelector('.said').textContent.startsWith('The seed is empty')")
    assert shared.locator(".guidance-live .view img").is_visible()
    field.fill("3")
    shared.wait_for_function(f"{DIAL}.querySelector('.from').textContent.includes('seed 3')")
    shared.evaluate(DRAG, [4, 5, 1])
    settled(shared)


def test_both_directions_of_a_negative_prompt_are_painted(shared):
    shared.locator("#negative-run").click()
    shared.wait_for_function(f"{TWO}.dataset.phase === 'done' && {TWO}.dataset.frame == 4")
    assert shared.evaluate(f"{TWO}.painted") == [0, 1, 2, 3, 4]
    assert shared.locator("#negative-player .cells img:visible").count() == 2
    shared.locator("#negative-player .scrub").evaluate(
        "slider => { slider.value = 2; slider.dispatchEvent(new Event('input')); }"
    )
    shared.wait_for_function(f"{TWO}.dataset.frame == 2")
    colours = shared.evaluate(
        f"""[...{TWO}.querySelectorAll('.cells canvas')].map(c =>
              new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size)"""
    )
    assert len(colours) == 4
    assert all(count > 5 for count in colours)
    angle = shared.locator("#negative-player .distances dd").nth(2).text_content()
    assert re.fullmatch(r"\d+\.\d°", angle)
    degrees = float(angle[:-1])
    assert f"{degrees:.0f}° lie between them" in shared.locator("#negative-player .said").text_content()


def test_the_grid_fills_and_its_curve_is_drawn(shared, tiny_model):
    rows = shared.locator(".seeds-scales tbody th")
    fill(shared, "At the scales w", "0, 2, 4, 10")  # the places are the form's before anything ran
    shared.wait_for_function(f"{GRID}.querySelectorAll('thead th')[1].textContent === 'w = 2'")
    fill(shared, "At the scales w", "0, 1, 4, 10")
    shared.wait_for_function(f"{GRID}.querySelectorAll('thead th')[1].textContent === 'w = 1'")
    assert rows.all_text_contents() == ["seed 3", "seed 4", "seed 5"]
    assert shared.locator(".seeds-scales td canvas:visible").count() == 0
    seeds = shared.locator('input[type="number"][aria-label$=" for Seeds"]')
    shared.evaluate(f"""() => {{ window.most = 0; new MutationObserver(() => {{
        window.most = Math.max(window.most, {GRID}.querySelectorAll('tbody tr').length); }})
        .observe({GRID}.querySelector('tbody'), {{ childList: true }}); }}""")
    seeds.fill("60")  # on the way to being bounded
    seeds.press("Tab")
    shared.wait_for_function("window.most > 3")
    seeds.fill("3")
    shared.wait_for_function(f"{GRID}.querySelectorAll('tbody tr').length === 3")
    assert shared.evaluate("window.most") == 4
    shared.locator("#diversity-run").click()
    shared.wait_for_function(f"{GRID}.dataset.phase === 'done'")
    assert "that column is the run without a prompt" in shared.locator(".seeds-scales .said").text_content()
    assert shared.locator(".seeds-scales td img:visible").count() == 3 * 5
    assert shared.locator(".seeds-scales tbody th").all_text_contents() == ["seed 3", "seed 4", "seed 5"]
    assert shared.locator(".seeds-scales polyline").count() == 3
    ends = [run(tiny_model, Request(prompt="pizza", seed=seed, steps=4, guidance=10.0)).latents for seed in (3, 4, 5)]
    assert f"to {spread(ends):.2f}, and the distance" in shared.locator(".seeds-scales .said").text_content()
    shared.locator(".seeds-scales td button").first.click()
    assert shared.locator(".seeds-scales dialog .large-title").text_content().strip() == "seed 3, w = 0"
    shared.keyboard.press("Escape")


def test_axe_finds_nothing_serious_in_the_folds(shared):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    for fold in (".guidance-live", "#negative-player", ".seeds-scales"):
        found = axe.Axe().run(shared, context=fold).response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


def test_cancel_stands_where_the_grids_button_was_and_stops_it(shared, counting):
    set_steps(shared, 100)
    place = shared.locator("#diversity-run").evaluate(PLACE)
    assert shared.evaluate(PRESS_AND_CANCEL) == place
    shared.wait_for_function(f"{GRID}.dataset.phase === 'stopped'")
    shared.locator("#diversity-run").wait_for()
    assert shared.locator("#diversity-run").evaluate(PLACE) == place
    assert "the curve needs every picture" in shared.locator(".seeds-scales .said").text_content()
    made = counting.predictions
    set_steps(shared, 4)
    shared.locator("#negative-run").click()
    shared.wait_for_function(f"{TWO}.dataset.phase === 'done'")
    assert counting.predictions == made + 2 * 4  # each step of the two runs, and the three prompts at it
