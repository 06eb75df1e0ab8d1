"""The Walk tab: a film scrubbed while it fills, its second axis, even pace, the other path, a circle, and Cancel."""

from __future__ import annotations

import base64
import threading

import numpy as np
import pytest
from actions import requests_during
from PIL import Image

from explorer import Request, run

STAGE = "#walk-stage .walk"
ROOT = f"document.querySelector('{STAGE}')"
STEPS = 4
STATIONS = "pizza @ 3%0Ared house @ 5"
STATES = f"[...{ROOT}.querySelector('.marks').children].map((mark) => mark.dataset.state)"

PLACES = f"""['.screen', '.bar', '.curves', '.said', '.own'].map((part) => {{
    const box = {ROOT}.querySelector(part).getBoundingClientRect();
    return [box.x, box.y, box.width, box.height].map(Math.round); }})"""


class Gate:
    """Lets a model predict so many times, then holds it until it is opened."""

    def __init__(self, model, monkeypatch) -> None:
        self._turns, self._open, predict = threading.Semaphore(0), False, model.predict

        def held(*given):
            if not self._open:
                assert self._turns.acquire(timeout=60)
            return predict(*given)

        monkeypatch.setattr(model, "predict", held)

    def allow(self, calls: int) -> None:
        self._turns.release(calls)

    def open(self) -> None:
        self._open = True
        self._turns.release(1)


@pytest.fixture
def gate(model, monkeypatch):
    one = Gate(model, monkeypatch)
    yield one
    one.open()


def opened(chromium, address, wrong, query: str, width: int = 1440, height: int = 900):
    context = chromium.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(20000)
    page.on("pageerror", lambda error: wrong.append(error))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.goto(f"{address}?tab=walk&{query}")
    page.wait_for_selector(f"{STAGE} .curve-row")
    page.wait_for_function("document.documentElement.dataset.restored === ''")
    return page


@pytest.fixture(scope="module")
def kept(chromium, address):
    """One page for all tests that leave a whole film of eight frames behind."""
    wrong: list[object] = []
    page = opened(chromium, address, wrong, f"stations={STATIONS}&frames=8&steps={STEPS}")
    yield page
    page.context.close()
    assert wrong == []


@pytest.fixture
def filmed(kept):
    """That page with a whole film from station to station."""
    if kept.evaluate(f"{ROOT}.dataset.phase") != "done" or kept.locator(f"{STAGE} .film-name").first.inner_text() != NAME:
        press(kept)
    return kept


NAME = "The walk by slerp"


def press(page, button: str = "#walk-run") -> None:
    """Presses a button and waits until a film that was not there before is whole."""
    before = page.evaluate(f"{ROOT}.films().map((film) => film.run)")
    page.locator(button).click()
    page.wait_for_function(
        f"before => {ROOT}.dataset.phase === 'done' && {ROOT}.films().some(({{ run }}) => !before.includes(run))"
        f" && {ROOT}.films().every((film) => film.frames.every(({{ state }}) => state === 'filled'))",
        arg=before,
    )


def go_to(page, i: int) -> None:
    page.locator(f"{STAGE} .scrub").evaluate(
        "(slider, i) => { slider.value = i; slider.dispatchEvent(new Event('input')); }", i
    )
    page.wait_for_function(f"i => {ROOT}.dataset.frame == i", arg=i)


def rest(page, i: int) -> None:
    """Stays on a frame until its own run is here."""
    go_to(page, i)
    page.wait_for_function(f"i => Array.isArray({ROOT}.asked.get(`${{{ROOT}.dataset.run}} ${{i}}`))", arg=i)


def pixels(page, film: str = "first") -> np.ndarray:
    """What a film shows, RGBA."""
    width, height, data = page.evaluate(
        """([stage, film]) => { const c = document.querySelector(`${stage} .film[data-film="${film}"] canvas`);
            const bytes = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
            return [c.width, c.height, btoa(String.fromCharCode(...bytes))]; }""",
        [STAGE, film],
    )
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)


def clear(page) -> None:
    """Closes what was told, so that it covers nothing."""
    page.evaluate("document.querySelectorAll('.toast-close').forEach((button) => button.click())")
    page.wait_for_function("!document.querySelector('.toast-body')")


def badge(page) -> str:
    return page.locator(f"{STAGE} .badge").first.inner_text()


def stop(page, gate, phase: str) -> None:
    """Cancels a run that the gate holds, and waits until it is over."""
    page.locator("#walk-cancel").click()
    gate.allow(1)
    page.wait_for_function(f"phase => {ROOT}.dataset.phase === phase", arg=phase)


def test_a_first_run_stopped_at_once_leaves_the_page_as_it_was(kept, gate):
    page = kept
    page.locator("#walk-run").click()
    gate.allow(1)
    page.wait_for_function(f"{ROOT}.dataset.run")
    stop(page, gate, "empty")
    page.get_by_text("Stopped before the first frame was there").first.wait_for()
    assert page.evaluate(f"[{ROOT}.dataset.run, {ROOT}.films().length]") == ["", 0]
    assert page.locator(f"{STAGE} .hint").is_visible()
    assert page.locator(f"{STAGE} .badge").first.is_hidden()
    assert page.locator(f"{STAGE} .even").is_disabled()


def test_a_film_is_scrubbed_and_plays_while_it_fills(kept, gate):
    page = kept
    assert page.locator(".stations .prompt").first.input_value() == "pizza"  # the address is in the editor
    assert page.locator(f"{STAGE} .hint").is_visible()
    before = page.evaluate(PLACES)
    page.locator("#walk-run").click()
    gate.allow(STEPS)  # four frames at once: the ends, the middle, a quarter
    page.wait_for_function(f"{ROOT}.dataset.filled == 4")
    assert page.evaluate(PLACES) == before  # nothing jumps
    states = page.evaluate(STATES)
    assert [i for i in range(8) if states[i] == "filled"] == [0, 1, 3, 7]
    gate.allow(1)
    page.wait_for_function(f"{STATES}.filter((state) => state === 'making').length === 4")
    page.get_by_text("4 of 8 frames are there; 4 more at step 1 of 4").wait_for()
    for i in (0, 1, 3, 7):
        rest(page, i)
        assert badge(page) == ""
        assert pixels(page).shape == (64, 64, 4)  # decoded

    def scrub():
        for i in (7, 3, 1, 0):
            go_to(page, i)
            assert page.evaluate(f"{ROOT}.dataset.shown") == str(i)

    assert requests_during(page, scrub) == []
    go_to(page, 5)
    assert badge(page) == f"being made: step 0 of {STEPS}"
    assert pixels(page).shape == (8, 8, 4)  # by the linear preview
    page.locator(f"{STAGE} .fps").select_option("24")
    seen = page.evaluate(f"{ROOT}.painted.length")
    page.locator(f"{STAGE} .roll").click()
    page.wait_for_function(f"seen => {ROOT}.painted.length > seen + 8", arg=seen)  # it plays, though half is not there
    page.locator(f"{STAGE} .roll").click()
    gate.open()
    page.wait_for_function(f"{ROOT}.dataset.phase === 'done' && {ROOT}.dataset.filled == 8")
    assert set(page.evaluate(STATES)) == {"filled"}
    assert page.locator("#walk-run").is_visible()


def test_down_from_a_frame_is_its_own_denoising(filmed, tiny_model):
    page = filmed
    plain = run(tiny_model, Request(prompt="red house", seed=5, steps=STEPS))
    rest(page, 6)
    rest(page, 7)
    decoded = pixels(page)
    ours = tiny_model.decode(plain.latents)[0].permute(1, 2, 0).mul(255).round().numpy()
    assert np.abs(decoded[..., :3] - ours).max() <= 2  # batched
    matrix, offset = np.array(tiny_model.preview.matrix), np.array(tiny_model.preview.offset)
    slider = page.locator(f"{STAGE} .own-scrub")
    for k in (STEPS - 1, STEPS - 2):
        page.keyboard.press("ArrowUp") if slider.evaluate("s => s === document.activeElement") else slider.press("ArrowUp")
        page.wait_for_function(f"k => {ROOT}.dataset.own == k", arg=k)
        page.get_by_text(f"x0 at step {k} of {STEPS}").wait_for()
        x0 = plain.steps[k].x0[0].numpy().reshape(4, -1)
        expected = np.clip(255 * (matrix @ x0 + offset[:, None]), 0, 255).reshape(3, 8, 8).transpose(1, 2, 0)
        assert np.abs(pixels(page)[..., :3] - expected).max() <= 3
    page.keyboard.press("ArrowLeft")  # along the walk, at this step of each frame's run
    page.wait_for_function(f"{ROOT}.dataset.frame == 6")
    assert badge(page) == f"x0 at step {STEPS - 2} of {STEPS}"
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    page.wait_for_function(f"{ROOT}.dataset.own == {STEPS}")
    assert badge(page) == ""


def test_the_curves_have_the_cursor_of_the_film(filmed):
    page = filmed
    tracks, pairs = page.evaluate(f"[{ROOT}.films()[0].tracks, {ROOT}.films()[0].pairs]")
    for i in (2, 6):
        go_to(page, i)
        numbers = page.locator(f"{STAGE} .curves dd").all_text_contents()
        expected = [tracks["norm"][i], tracks["other_norm"][i], tracks["angle"][i], *pairs[i], tracks["cosine"][i]]
        assert [float(text.strip("°").replace("−", "-")) for text in numbers] == pytest.approx(expected, abs=0.5)
        assert [float(numbers[k]) for k in (0, 1)] == pytest.approx(expected[:2], abs=6e-4)
        share = float(page.evaluate(f"{ROOT}.style.getPropertyValue('--at')"))
        assert share == pytest.approx((i + 0.5) / 8)
        said = page.locator(f"{STAGE} .said").inner_text()
        assert f"{tracks['norm'][i]:.2f}" in said
        assert f"by lerp it would be {tracks['other_norm'][i]:.2f}" in said
    plot = page.locator(f"{STAGE} .plot").first.bounding_box()
    page.mouse.click(plot["x"] + plot["width"] * 0.3, plot["y"] + 20)
    page.wait_for_function(f"{ROOT}.dataset.frame == 2")


def test_the_other_path_is_filmed_beside(filmed):
    page = filmed
    press(page, f"{STAGE} .other")
    assert page.locator(f"{STAGE} .film-name").all_inner_texts() == [NAME, "The walk by lerp"]
    page.get_by_text("The two films are furthest apart at frame").wait_for()
    go_to(page, 4)
    assert not np.array_equal(pixels(page), pixels(page, "second"))
    go_to(page, 0)
    assert np.abs(pixels(page).astype(int) - pixels(page, "second")).max() <= 2  # both begin at the station
    page.get_by_role("button", name="Close", exact=True).click()
    page.wait_for_function(f"!('second' in {ROOT}.dataset)")
    assert page.locator(f"{STAGE} .compass").is_visible()


def test_even_pace_draws_the_curve_before_and_after(filmed):
    page = filmed
    before = page.evaluate(f"{ROOT}.films()[0].pairs.map(([latents]) => latents)")
    press(page, f"{STAGE} .even")
    page.get_by_text("Even pace: the changes from frame to frame vary by").wait_for()
    page.wait_for_function("!('running' in document.querySelector('.walk-tab').dataset)")
    film = page.evaluate(f"(({{ before, places, pairs, name }}) => ({{ before, places, pairs, name }}))({ROOT}.films()[0])")
    assert film["name"] == f"{NAME}, even pace"
    assert film["before"] == pytest.approx(before, abs=1e-4)
    assert (film["places"][0], film["places"][-1]) == (0, 1)
    after = [latents for latents, _ in film["pairs"]]
    assert np.std(after) / np.mean(after) < np.std(before) / np.mean(before)
    assert page.get_by_text("latents, before").is_visible()


def test_what_is_stopped_halfway_gives_the_film_back(filmed, gate):
    page = filmed
    go_to(page, 3)
    run_ = page.evaluate(f"{ROOT}.dataset.run")
    for button, calls, filled_ in ((f"{STAGE} .even", STEPS, 4), ("#walk-run", 1, 0)):
        page.locator(button).click()
        gate.allow(calls)
        page.wait_for_function(
            f"([run, filled]) => {ROOT}.dataset.run !== run && {ROOT}.dataset.filled == filled", arg=[run_, filled_]
        )
        stop(page, gate, "done")
        page.get_by_text("Stopped; this is the film from before").first.wait_for()
        assert page.evaluate(f"['run', 'filled', 'frame'].map((name) => {ROOT}.dataset[name])") == [run_, "8", "3"]
    rest(page, 4)  # its frames' own runs are still there to ask for


def test_the_film_is_saved_with_all_its_frames(filmed):
    page = filmed
    page.get_by_role("button", name="Save the film").first.click()
    page.locator("#walk-film-format").get_by_label("GIF", exact=True).check()
    page.wait_for_function("document.querySelector('#walk-film-way input').checked")  # as the stage plays it
    with page.expect_download() as saved:
        page.locator("#walk-save").click()
    assert saved.value.suggested_filename.endswith(".gif")
    with Image.open(saved.value.path()) as film:
        assert (film.n_frames, film.size) == (14, (64, 64))  # there and back, each end once
        film.seek(7)
        last = np.array(film.convert("RGB")).astype(int)
    go_to(page, 7)
    assert np.abs(last - pixels(page)[..., :3]).mean() < 12  # in 256 colours
    page.get_by_role("button", name="Save the film").first.click()


def test_bad_stations_are_refused_in_a_sentence_and_the_film_stays(filmed):
    page = filmed
    before = page.evaluate(f"{ROOT}.dataset.run")
    page.get_by_role("button", name="As text").click()
    text = page.get_by_label("Stations as text")
    good = text.input_value()
    text.fill("pizza @ 3\nred house @ far")
    page.wait_for_function("document.querySelectorAll('.stations .seed')[1].value === 'far'")
    page.locator("#walk-run").click()
    page.get_by_text("The seed of station 2 is 'far'").wait_for()
    page.wait_for_function(f"{ROOT}.dataset.phase === 'done'")
    assert page.evaluate(f"[{ROOT}.dataset.run, {ROOT}.dataset.filled]") == [before, "8"]
    clear(page)
    text.fill(good)
    page.wait_for_function("document.querySelectorAll('.stations .seed')[1].value === '5'")
    page.get_by_role("button", name="As text").click()


def test_the_editor_adds_removes_and_writes_the_text(filmed):
    page = filmed
    page.get_by_role("button", name="Add station").click()
    page.locator(".stations .prompt").nth(2).fill("star @ night")
    page.locator(".stations .seed").nth(2).fill("12")
    page.wait_for_function(
        "new URL(location).searchParams.get('stations') === 'pizza @ 3\\nred house @ 5\\nstar @ night @ 12'"
    )
    page.get_by_role("button", name="Remove station 3").click()
    page.wait_for_function("new URL(location).searchParams.get('stations') === 'pizza @ 3\\nred house @ 5'")
    assert page.locator(".stations .remove:visible").count() == 0  # two are the fewest


def test_a_circle_closes(filmed):
    page = filmed
    page.get_by_role("combobox", name="Walk", exact=True).click()
    page.get_by_role("option", name="a circle through two noises").click()
    page.wait_for_selector(".stations[data-kind=circle]")
    assert page.locator(".stations .prompt").nth(1).is_disabled()
    press(page)
    assert page.evaluate(f"{ROOT}.dataset.way") == "loop"
    assert page.locator(f"{STAGE} .post").all_inner_texts() == ["seed 3", "seed 5", "−seed 3", "−seed 5"]
    assert page.evaluate(f"{ROOT}.films()[0].pairs.length") == 8  # the last frame's next one is the first
    go_to(page, 7)
    page.locator(f"{STAGE} .scrub").press("ArrowRight")
    page.wait_for_function(f"{ROOT}.dataset.frame == 0")
    page.get_by_role("combobox", name="Walk", exact=True).click()
    page.get_by_role("option", name="from station to station").click()
    page.wait_for_function("!document.querySelectorAll('.stations .prompt')[1].disabled")
    assert page.locator(".stations .prompt").nth(1).input_value() == "red house"


def test_cancel_keeps_the_frames_made_so_far(kept, gate):
    page = kept
    page.emulate_media(reduced_motion="no-preference")
    page.locator("#walk-run").click()
    gate.allow(STEPS)
    page.wait_for_function(f"{ROOT}.dataset.filled == 4 && {ROOT}.dataset.frame > 1")  # it plays by itself
    page.emulate_media(reduced_motion="reduce")
    page.locator("#walk-cancel").click()
    gate.open()
    page.wait_for_function(f"{ROOT}.dataset.phase === 'stopped'")
    page.get_by_text("Stopped: 4 of 8 frames are there").first.wait_for()
    assert page.evaluate(STATES).count("filled") == 4
    go_to(page, 4)
    assert badge(page) == "frame 4, the nearest that is there"
    rest(page, 3)  # and its own run is kept
    page.locator(f"{STAGE} .even").click()
    page.get_by_text("Only 4 of 8 frames are there").wait_for()
    clear(page)


def violations(page) -> list[str]:
    """What axe-core finds serious or critical, one line each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page, context=".walk-tab").response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {node['html'][:160]}" for one in serious for node in one["nodes"]]


def test_axe_finds_nothing_serious_in_either_theme(filmed):
    for dark in (False, True):
        filmed.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
        filmed.wait_for_timeout(400)  # Gradio's buttons change colour slowly
        assert violations(filmed) == []
    filmed.evaluate("document.body.classList.remove('dark')")


def test_the_stage_is_seen_without_scrolling(filmed):
    filmed.evaluate("scrollTo(0, 0)")
    for place in (".screen", ".bar", ".curves"):
        box = filmed.locator(f"{STAGE} {place}").bounding_box()
        assert box["y"] + box["height"] <= 900, place
        assert box["x"] + box["width"] <= 1440, place
    run_ = filmed.locator("#walk-run").bounding_box()
    assert run_["y"] + run_["height"] <= 900


def test_a_phone_has_the_film_the_timeline_and_run_first(chromium, address):
    wrong: list[object] = []
    page = opened(chromium, address, wrong, "stations=star @ 4", 390, 844)
    # Two are the fewest: the editor adds one, and it is in the address too.
    page.wait_for_function("new URL(location).searchParams.get('stations').startsWith('star @ 4\\nstar @ ')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert violations(page) == []
    run_ = page.locator("#walk-run").bounding_box()
    assert run_["y"] + run_["height"] <= 844
    order = [page.locator(one).bounding_box()["y"] for one in
             (f"{STAGE} .screen", f"{STAGE} .bar", "#walk-run", ".walk-tab .controls", f"{STAGE} .curves")]  # fmt: skip
    assert order == sorted(order)
    page.context.close()
    assert wrong == []


def test_a_changed_form_says_so_until_it_is_as_it_was(filmed):
    page = filmed
    field = page.locator(".walk-tab .controls").get_by_label("number input for Guidance")
    for value, said in (("9", "The form has changed; press Run to see it."), ("4", "")):
        field.fill(value)
        field.press("Tab")
        page.wait_for_function("said => document.querySelector('.walk .formed').textContent === said", arg=said)
