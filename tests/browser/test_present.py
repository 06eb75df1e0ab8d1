"""Presenter mode and the tour: a clicker drives them, every answer is run live, and leaving puts the page back."""

from __future__ import annotations

import re
import time

import pytest
from actions import PLAYER, choose, pixels, requests_during, run_to_the_end, set_number, wait_for, wait_for_frame
from serving import serve
from test_player_access import violations

import app
from explorer.models.abilities import GENERAL
from explorer.samplers import SAMPLERS
from explorer.tabs.present import stops


@pytest.fixture(scope="module")
def slow_address(chromium, tiny_model):
    """The app with a model that takes its time, so that there is a run to wait for."""
    with serve(app.create_app(Slow(tiny_model))) as url:
        yield url


@pytest.fixture
def slow(open_page, slow_address):
    return open_page(slow_address)


class Slow:
    """A Model that takes 0.2 s a prediction."""

    def __init__(self, model) -> None:
        self._model = model

    def __getattr__(self, name):
        return getattr(self._model, name)

    def predict(self, latents, t, conditioning):
        time.sleep(0.2)
        return self._model.predict(latents, t, conditioning)


STOPS = stops()
TOUR = "document.querySelector('.tour')"
# All that a person would notice: the address, the controls, the folds, where the page is, what the player shows.
STATE = """() => ({
    address: location.href, scroll: [scrollX, scrollY], focus: document.activeElement.className,
    values: [...document.querySelectorAll('.experiment:not(.forward-tab) .controls :is(input, textarea)')]
        .map(e => e.type === 'checkbox' || e.type === 'radio' ? e.checked : e.value),
    folds: [...document.querySelectorAll('.fold > button, .about-fold > button')]
        .map(e => getComputedStyle(e.nextElementSibling).display),
    player: ['run', 'frame', 'phase'].map(k => document.querySelector('.player').dataset[k]),
    truth: ['run', 'frame', 'phase'].map(k => document.querySelector('#truth-player .compare')?.dataset[k]),
    words: ['.label', '.caption', '.step-equation', '.legend'].map(s => document.querySelector(s).textContent),
    places: [...document.querySelectorAll('.controls, .runbar, .pane, .transport, .numbers, .curves, .fold, .diagram')]
        .filter(e => e.closest('.tabitem')?.style.display !== 'none')  // of the tab that is open
        .map(e => { const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height].map(Math.round); }),
})"""
# Of what is pointed at: whether it can be seen, and whether the card leaves it clear; on a phone, the top of the first.
LIT = """() => { const card = document.querySelector('.tour').getBoundingClientRect(),
        lit = [...document.querySelectorAll('[data-present-lit]')].map(e => e.getBoundingClientRect());
    return { seen: lit.map(b => b.width > 0 && b.height > 0),
             clear: innerWidth <= 900
                ? lit[0].top > -12 && lit[0].right <= innerWidth && Math.min(lit[0].top + 60, lit[0].bottom) <= card.top
                : lit.every(b => b.top >= 0 && b.left >= 0 && b.bottom <= innerHeight && b.right <= card.left) }; }"""
SIZE = """s => parseFloat(getComputedStyle(document.querySelector(s)).fontSize)"""


def state(page) -> dict:
    return page.evaluate(STATE)


def wait_for_tour(page, phase: str) -> None:
    page.wait_for_function(f"phase => {TOUR}.dataset.state === phase", arg=phase)


def start_tour(page) -> None:
    page.get_by_role("button", name="Tour", exact=True).click()
    wait_for_tour(page, "asking")


def settled(page, before: dict) -> None:
    """Waits until the page is as it was: the controls are put back a moment after the look."""
    page.wait_for_function("document.documentElement.dataset.restored === ''")
    for _ in range(40):
        if state(page) == before:
            break
        page.wait_for_timeout(50)
    assert state(page) == before


def test_the_stage_is_entered_scrubbed_with_a_clicker_and_left(page):
    run_to_the_end(page, 6)
    page.locator(".timeline").press("ArrowLeft")
    wait_for_frame(page, 5)
    page.wait_for_selector(".split:visible")
    before, noise = state(page), pixels(page, "eps")
    small = page.locator(".pane.is-picture .frame").bounding_box()["width"]
    page.keyboard.press("p")
    page.wait_for_selector(".present-head:visible")
    for hidden in (".controls", "#reverse-run", ".masthead", ".fold", ".files", ".player .buttons", ".player .options"):
        assert not page.locator(hidden).first.is_visible(), hidden
    assert page.locator(".present-prompt").inner_text() == f"“{GENERAL[0]}”"
    assert page.locator(".present-settings").inner_text() == "seed 3 · 6 steps · guidance 4 · DDIM"
    assert page.locator(".pane.is-picture .frame").bounding_box()["width"] > 1.5 * small
    assert page.evaluate(SIZE, ".player .label") >= 26
    assert page.evaluate(SIZE, ".step-equation") >= 28

    def act():
        for key, frame in (("PageUp", 4), ("PageUp", 3), ("PageDown", 4), ("ArrowLeft", 3), ("Home", 0), ("PageDown", 1)):
            page.keyboard.press(key)
            wait_for_frame(page, frame)
        assert re.match(r"step 1 of 6 · t = .+ · α .+ · σ ", page.locator(".player .label").inner_text())

    assert [url for url in requests_during(page, act) if "server" not in url and "component" not in url] == []
    page.keyboard.press("Escape")
    page.wait_for_selector(".controls:visible")
    settled(page, before)
    page.wait_for_selector(".split:visible")
    assert pixels(page, "eps") == noise


@pytest.mark.parametrize("size", [(1440, 900), (1280, 720), (1920, 1080)])
def test_the_stage_fills_a_projectors_screen_and_no_more(open_page, address, size):
    page = open_page(address, *size)
    page.get_by_role("button", name="Present", exact=True).click()
    page.wait_for_selector(".present-head:visible")
    assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == list(size)
    picture = page.locator(".pane.is-picture .frame").bounding_box()
    assert picture["height"] > 0.7 * size[1]
    for part in (".pane.is-picture .frame", ".player .label", ".step-equation", ".caption"):
        box = page.locator(part).bounding_box()
        assert box["x"] >= 0, part
        assert box["y"] + box["height"] <= size[1], part
        assert part.endswith(".frame") or box["x"] + box["width"] <= picture["x"], part


@pytest.mark.parametrize("width", [1440, 390])
def test_the_tour_asks_runs_and_tells_at_every_stop_and_leaves_the_page_as_it_was(open_page, address, model, width):
    page = open_page(address, width, 900 if width > 900 else 844)
    page.locator(".controls textarea").first.fill("pizza")
    set_number(page, "Seed", 11)
    choose(page, "Sampler", "Euler")
    run_to_the_end(page, 5)
    page.locator(".timeline").press("Home")
    page.wait_for_selector(".split:visible")
    page.get_by_role("button", name="Predicted against true").click()
    page.locator("#truth-run").click()  # a result of its own, which the tour's must not replace
    page.wait_for_function("document.querySelector('#truth-player .compare')?.dataset.phase === 'done'")
    page.evaluate("scrollTo(0, 40)")
    page.get_by_role("button", name="Tour", exact=True).focus()
    before = state(page)
    page.keyboard.press("Enter")
    for i, stop in enumerate(STOPS):
        wait_for_tour(page, "asking")
        assert page.locator(".tour-count").inner_text() == f"{i + 1} of {len(STOPS)}"
        assert page.locator(".tour-guess").count() == len(stop["guesses"])
        assert page.locator(".tour-text").inner_text() == ""
        check_view(page, stop["scene"])
        page.keyboard.press(str(i % len(stop["guesses"]) + 1))
        predictions = model.predictions
        page.keyboard.press("PageDown")
        wait_for_tour(page, "told")
        assert page.locator(".tour-status").inner_text() == "", stop["title"]
        assert (model.predictions > predictions) == ("settings" in stop["reveal"]), stop["title"]
        check_view(page, stop["reveal"])
        told = page.locator(".tour-text").inner_text()
        assert "{" not in told
        for selector in stop["reveal"].get("numbers", {}).values():
            assert page.locator(selector).first.inner_text() in told
        assert page.locator(".tour-guess[data-right]").count() == 1
        assert "right" in page.locator(".tour-guess").nth(stop["answer"]).inner_text()
        assert page.evaluate("document.activeElement.className") == "tour-on"
        page.keyboard.press("PageDown")
    page.locator(".controls").first.wait_for()
    settled(page, before)


def check_view(page, view: dict) -> None:
    """What a view shows is there and uncovered, at its step, and no control is."""
    assert page.locator(".controls:visible").count() == 0
    for selector in view.get("show", [".player"]):
        assert page.locator(selector).first.is_visible(), selector
    for selector in [*view["look"], *view.get("cover", [])]:
        assert page.locator(selector).count() == 1, selector
    lit = page.evaluate(LIT)
    assert lit["seen"] == [True] * len(view["look"])
    assert lit["clear"], view["look"]
    if "step" in view:
        player = page.locator(view.get("timeline", ".player"))
        last = int(player.locator(".timeline, .scrub").first.get_attribute("max"))
        assert int(player.get_attribute("data-frame")) == (view["step"] if view["step"] >= 0 else last + 1 + view["step"])


def test_the_tours_settings_are_the_forms_and_nothing_is_left_of_them(page):
    page.locator(".controls textarea").first.fill("a zebra")
    set_number(page, "Seed", 11)
    choose(page, "Sampler", "DDPM")
    start_tour(page)
    page.locator(".tour-dots button").nth(5).click()
    page.wait_for_function(f"{PLAYER}.dataset.frame === '20' && {TOUR}.dataset.state === 'asking'")
    assert page.locator(".present-settings").inner_text() == "seed 3 · 20 steps · guidance 4 · DDIM"
    assert page.locator(".controls textarea").first.input_value() == GENERAL[0]
    assert "prompt=a+zebra" in page.url
    page.keyboard.press("Escape")
    page.wait_for_function("document.documentElement.dataset.restored === ''")
    assert page.locator(".controls textarea").first.input_value() == "a zebra"
    assert page.get_by_role("combobox", name="Sampler").input_value() == "DDPM"
    assert page.locator(".recorded-line").first.is_visible()
    assert "seed=11" in page.url
    assert "prompt=a+zebra" in page.url


def test_leaving_stops_the_tours_run_and_the_tour_is_resumed_where_it_was(page, model):
    start_tour(page)
    page.locator(".tour-dots button").nth(6).click()
    wait_for_tour(page, "asking")
    page.keyboard.press("2")
    page.keyboard.press("PageDown")
    page.wait_for_function("document.querySelector('#compare-player .compare')?.dataset.phase === 'running'")
    page.keyboard.press("Escape")
    page.wait_for_selector(".controls:visible")
    page.wait_for_function("document.documentElement.dataset.restored === ''")
    assert page.locator("[data-running]").count() == 0
    assert not page.locator("#compare-run").is_visible()  # its fold is closed again
    assert page.evaluate(f"{PLAYER}.dataset.run") == "recorded-first"
    predictions = model.predictions
    page.reload()
    page.wait_for_function(f"{PLAYER}?.dataset.phase === 'done'")
    page.keyboard.press("t")
    wait_for_tour(page, "asking")
    assert page.locator(".tour-count").inner_text() == f"7 of {len(STOPS)}"
    assert page.locator(".tour-guess").nth(1).get_attribute("aria-pressed") == "true"
    assert model.predictions == predictions + 20  # the scene was run anew, and nothing of the run that was left


def test_present_shows_the_branch_that_is_on_the_stage(page):
    run_to_the_end(page, 6)
    page.locator(".timeline").press("ArrowLeft")
    wait_for_frame(page, 5)
    page.locator(".controls textarea").first.fill("pizza")
    page.locator(".player .fork").click()
    page.wait_for_function("document.querySelector('.experiment .compare').dataset.frame === '6'")
    page.wait_for_selector(".experiment:not([data-running])")
    page.get_by_role("button", name="Present", exact=True).click()
    page.wait_for_selector(".present-head:visible")
    assert page.locator(".experiment .compare .lanes").is_visible()
    assert not page.locator(".player .frame").first.is_visible()
    assert page.locator(".present-prompt").inner_text() == f"“{GENERAL[0]}” · seed 3"
    assert page.locator(".present-settings").inner_text() == "prompt → “pizza” at step 5"
    page.keyboard.press("PageUp")
    page.wait_for_function("document.querySelector('.experiment .compare').dataset.frame === '5'")


def test_a_branch_is_presented_and_comes_back_after_the_tour(page):
    run_to_the_end(page, 6)
    page.locator(".timeline").press("ArrowLeft")
    wait_for_frame(page, 5)
    page.locator(".player .fork").click()
    branch = page.locator(".experiment .compare")
    page.wait_for_function("document.querySelector('.experiment .compare').dataset.frame === '6'")
    page.wait_for_selector(".experiment:not([data-running])")
    page.keyboard.press("p")
    page.wait_for_selector(".present-head:visible")
    assert branch.is_visible()
    assert not page.locator(".player .frame").first.is_visible()
    assert branch.locator("button:visible").count() == 0
    page.keyboard.press("PageUp")
    page.wait_for_function("document.querySelector('.experiment .compare').dataset.frame === '5'")
    page.keyboard.press("t")
    wait_for_tour(page, "asking")
    assert page.locator(".player .frame").first.is_visible()
    assert not branch.is_visible()
    page.keyboard.press("Escape")
    page.wait_for_selector(".experiment[data-branching] .compare .fork:visible")
    page.wait_for_function("document.querySelector('.experiment .compare').dataset.frame === '6'")
    assert not page.locator(".player .frame").first.is_visible()


def press_during_a_run(page, stop: int, presses: int) -> None:
    """Asks for the answer of a stop, and once its run is on the stage presses so many times more."""
    page.locator(".tour-dots button").nth(stop).click()
    wait_for_tour(page, "asking")
    page.keyboard.press("PageDown")
    page.wait_for_function(f"/^, \\d+ of \\d+$/.test({TOUR}.querySelector('.tour-progress').textContent)")
    for _ in range(presses):
        page.keyboard.press("PageDown")


def test_a_press_while_the_answer_runs_waits_for_it(slow):
    page = slow
    start_tour(page)
    press_during_a_run(page, 7, 1)
    assert page.evaluate(f"{TOUR}.dataset.state") == "running"
    page.wait_for_function(r"/^Running, \d+ of 20$/.test(document.querySelector('.tour-line').textContent)")
    assert page.locator(".tour-skip").is_visible()
    wait_for_tour(page, "told")
    assert page.locator(".tour-line").inner_text() == ""
    assert page.locator(".tour-text").inner_text() == STOPS[7]["reveal"]["text"]
    assert page.locator(".present-settings").inner_text() == "seed 3 · 20 steps · guidance 0 · DDIM"
    wait_for_frame(page, 20)
    assert not page.locator(".tour-skip").is_visible()


def test_a_run_that_is_skipped_is_not_spoken_of(slow):
    page = slow
    start_tour(page)
    for stop in [i for i, stop in enumerate(STOPS) if "settings" in stop["reveal"]]:
        press_during_a_run(page, stop, 2)
        wait_for_tour(page, "told")
        assert page.locator(".tour-line").inner_text() == "The run was skipped, so this is only what holds in general."
        assert page.locator(".tour-text").inner_text() == STOPS[stop]["reveal"]["skipped"]
        assert page.locator("[data-running], [data-present-lit], [data-present-cover]").count() == 0
        assert page.locator(".player .stage").is_visible()  # what the question was about, not an empty comparison
        page.keyboard.press("PageUp")  # asks it again
        wait_for_tour(page, "asking")
        page.keyboard.press("PageUp")
        page.wait_for_function(f"{TOUR}.querySelector('.tour-count').textContent.startsWith('{stop} ')")


def test_the_visible_skip_ends_the_run_of_the_question_too(slow):
    page = slow
    page.keyboard.press("t")
    page.wait_for_function(f"/ of 20$/.test({TOUR}.querySelector('.tour-progress').textContent)")
    page.keyboard.press("PageDown")
    page.locator(".tour-skip").click()
    wait_for_tour(page, "told")
    assert page.locator(".tour-text").inner_text() == STOPS[0]["reveal"]["skipped"]
    assert page.evaluate("document.activeElement.className") == "tour-on"
    assert page.locator("[data-running]").count() == 0


def test_the_first_question_keeps_its_noise_while_it_runs(slow):
    page = slow
    page.evaluate("window.furthest = 0")
    page.evaluate(
        f"""{PLAYER}.addEventListener("drawn", ({{ detail, target }}) => {{
            if (!target.dataset.run.startsWith("recorded")) furthest = Math.max(furthest, detail.i); }})"""
    )
    page.keyboard.press("t")
    page.wait_for_function(
        f"{TOUR}.querySelector('.tour-progress').textContent === ', 20 of 20' || {TOUR}.dataset.state === 'asking'"
    )
    wait_for_tour(page, "asking")
    assert page.evaluate(f"{PLAYER}.dataset.frame") == "0"
    assert page.evaluate("window.furthest") <= 1
    page.keyboard.press("PageDown")
    wait_for_tour(page, "told")
    wait_for_frame(page, 20)


def test_letters_typed_into_the_form_stay_there(page):
    prompt = page.locator(".controls textarea").first
    prompt.fill("")
    prompt.press_sequentially("pt")
    assert prompt.input_value() == "pt"
    assert not page.locator(".present-head").is_visible()


def test_a_run_says_on_the_stage_what_it_was_asked_for(page):
    choose(page, "Sampler", "Heun")
    assert "Heun" in SAMPLERS
    set_number(page, "Guidance", 2.5)
    set_number(page, "Steps", 2)
    page.get_by_role("button", name="Run", exact=True).click()
    wait_for(page, "done")
    set_number(page, "Steps", 9)  # of the form, not of the run
    page.locator(".timeline").focus()
    page.keyboard.press("p")
    assert page.locator(".present-settings").inner_text() == "seed 3 · 2 steps · guidance 2.5 · Heun"


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_axe_finds_nothing_serious_on_the_stage_and_the_tour(open_page, address, theme, width):
    page = open_page(f"{address}?__theme={theme}", width, 844)
    page.keyboard.press("p")
    page.wait_for_selector(".present-head:visible")
    assert violations(page) == []
    page.keyboard.press("t")
    wait_for_tour(page, "asking")
    page.keyboard.press("2")
    assert violations(page) == []
    page.keyboard.press("PageDown")
    wait_for_tour(page, "told")
    assert violations(page) == []


def test_every_tabs_stage_stands_alone_and_larger(page):
    for tab, stage in (("Forward", ".forward"), ("Latents", ".latents"), ("Walk", ".walk")):
        page.get_by_role("tab", name=tab, exact=True).click()
        page.locator(stage).wait_for()
        width = page.locator(stage).bounding_box()["width"]
        page.keyboard.press("p")
        page.locator(".present-head").wait_for()
        assert page.locator(stage).bounding_box()["width"] > width
        assert page.locator(".controls:visible").count() == 0
        assert page.locator(".present-prompt").text_content() == page.locator(stage).get_attribute("aria-label")
        if tab == "Forward":
            page.wait_for_function("document.querySelector('.forward').dataset.frame > 0")
            before = int(page.locator(stage).get_attribute("data-frame"))
            page.keyboard.press("PageDown")
            page.wait_for_function("before => document.querySelector('.forward').dataset.frame == before + 1", arg=before)
        page.keyboard.press("Escape")
        page.locator(".controls:visible").first.wait_for()
        assert page.locator(stage).bounding_box()["width"] == width
