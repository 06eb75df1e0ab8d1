"""The folds under the stage: every lane painted under one timeline, scrubbing asks nothing, numbers are the engine's."""

from __future__ import annotations

import re

import pytest
from actions import choose, requests_during, set_number

from explorer import Request, run
from explorer.lessons import distance, readings, spread
from explorer.tabs import truth

FOLDS = {"compare": "A / B", "lesson": "The DDPM lesson", "truth": "Predicted against true"}
A = Request(prompt="pizza", seed=3, steps=6)


def stage(fold: str) -> str:
    return f"#{fold}-player .compare"


@pytest.fixture
def unfold(page):
    """unfold(name) → the page with that fold open and the form filled for a short run."""

    def unfold_(fold: str, steps: int = 6):
        page.locator(".controls textarea").first.fill("pizza")
        set_number(page, "Steps", steps)
        page.get_by_role("button", name=FOLDS[fold]).click()
        page.wait_for_selector(f"{stage(fold)} .cells canvas")
        return page

    return unfold_


def press(page, fold: str, frame: int) -> None:
    """Presses the fold's button and waits until all is painted and the button is back."""
    page.locator(f"#{fold}-run").click()
    page.wait_for_function(
        "([s, i]) => { const c = document.querySelector(s); return c.dataset.phase === 'done' && c.dataset.frame == i; }",
        arg=[stage(fold), frame],
    )


def go_to(page, fold: str, frame: int) -> None:
    page.locator(f"{stage(fold)} .scrub").evaluate(
        "(slider, i) => { slider.value = i; slider.dispatchEvent(new Event('input')); }", frame
    )
    page.wait_for_function("([s, i]) => document.querySelector(s).dataset.frame == i", arg=[stage(fold), frame])


def colours(page, fold: str) -> list[int]:
    """How many different colours each pane shows."""
    return page.evaluate(
        """s => [...document.querySelectorAll(s + ' .cells canvas')].map(c =>
              new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size)""",
        stage(fold),
    )


def numbers(page, fold: str) -> list[str]:
    return page.locator(f"{stage(fold)} .distances dd").all_text_contents()


def said(page, fold: str, part: str = "said") -> str:
    return page.locator(f"{stage(fold)} .{part}").text_content()


@pytest.mark.parametrize(("fold", "panes"), [("compare", 6), ("lesson", 6), ("truth", 5)])
def test_every_lane_is_painted_under_one_timeline_and_scrubbing_asks_nothing(unfold, fold, panes):
    page = unfold(fold)
    assert all(count > 5 for count in colours(page, fold))  # no blank boxes before the first run
    last = 6 if fold != "truth" else 5  # 0.3 of 6 evaluations are left out
    press(page, fold, last)
    assert page.evaluate("s => document.querySelector(s).painted", stage(fold)) == list(range(last + 1))
    assert len(colours(page, fold)) == panes
    scrub = page.locator(f"{stage(fold)} .scrub")
    assert scrub.count() == 1

    def act():
        for i in reversed(range(last)):
            go_to(page, fold, i)
            assert scrub.get_attribute("aria-valuetext") == f"step {i} of {last}"
        scrub.focus()
        page.keyboard.press("End")
        page.wait_for_function(f"document.querySelector('{stage(fold)}').dataset.frame == {last}")
        page.keyboard.press("Space")  # plays from the beginning to the end
        page.wait_for_function(f"document.querySelector('{stage(fold)}').dataset.frame == 0")
        page.wait_for_function(f"document.querySelector('{stage(fold)}').dataset.frame == {last}")

    assert requests_during(page, act) == []
    go_to(page, fold, 2)
    assert all(count > 5 for count in colours(page, fold))


def test_a_and_b_show_the_engines_distance(unfold, tiny_model):
    page = unfold("compare")
    press(page, "compare", 6)
    a, b = run(tiny_model, A).steps, run(tiny_model, Request(prompt="pizza", seed=3, steps=6, guidance=1.0)).steps
    for i in (6, 3, 0):
        go_to(page, "compare", i)
        assert float(numbers(page, "compare")[0]) == pytest.approx(distance(a[i], b[i]), abs=6e-4)
        assert (
            page.locator(f"{stage('compare')} .name span").first.text_content()
            == f"step {i} of 6 · t = {a[i].timestep:.4g}"
        )
    go_to(page, "compare", 6)
    assert page.locator(f"{stage('compare')} .cells img:visible").count() == 2
    assert f"{distance(a[-1], b[-1]):.3f} apart" in said(page, "compare")


def test_what_is_changed_is_what_is_asked_for(unfold):
    page = unfold("compare")
    for change, label in (("prompt", "B's prompt"), ("sampler", "B's method"), ("steps", "B's number of steps")):
        page.get_by_role("radio", name=change).check()
        page.wait_for_function("() => document.querySelectorAll('.change-is').length === 4")
        assert page.locator(".change-is:visible").count() == 1
        assert label in page.locator(".change-is:visible").inner_text()
    field = page.locator('.change-steps input[type="number"]')
    field.fill("3")
    field.press("Tab")
    press(page, "compare", 6)
    go_to(page, "compare", 4)
    details = page.locator(f"{stage('compare')} .name span").all_text_contents()
    assert [d.split(" · ")[0] for d in details[:2]] == ["step 4 of 6", "step 2 of 3"]  # lined up by progress
    page.get_by_role("radio", name="sampler").check()
    choose(page, "B's method", "Heun")
    press(page, "compare", 11)
    assert "Heun" in page.locator(f"{stage('compare')} .name b").nth(1).text_content()


def test_a_bad_value_is_told_in_one_sentence_and_the_last_result_stays(unfold):
    page = unfold("compare")
    press(page, "compare", 6)
    before = page.evaluate("s => document.querySelector(s).painted.length", stage("compare"))
    page.locator(".seed-row input").fill("-1")
    page.locator(".seed-row input").press("Tab")
    page.locator("#compare-run").click()
    page.locator(".toast-body").wait_for()
    page.wait_for_function("s => document.querySelector(s).dataset.phase === 'done'", arg=stage("compare"))
    assert re.search(r"seed is -1; .+\.", page.locator(".toast-body").inner_text())
    assert page.evaluate("s => document.querySelector(s).painted.length", stage("compare")) == before
    assert page.locator("#compare-run").is_visible()


# Presses the button and, as soon as the run is seen, Cancel; returns where both were on the page.
PRESS_AND_CANCEL = """([s, fold]) => {
    const [stage, run, cancel] = [s, `#${fold}-run`, `#${fold}-cancel`].map((name) => document.querySelector(name));
    const place = (button) => { const b = button.getBoundingClientRect();
                                return [b.x, b.y + scrollY, b.width, b.height].map(Math.round); };
    const before = place(run);
    run.click();
    return new Promise((done) => { const look = () => {
        if (stage.dataset.phase !== 'running') return requestAnimationFrame(look);
        const after = place(cancel);
        cancel.click();
        done([before, after]); };
      look(); }); }"""


@pytest.mark.parametrize("fold", FOLDS)
def test_cancel_stands_where_the_button_was_and_stops_the_run(unfold, model, fold):
    page = unfold(fold, steps=100)
    before, after = page.evaluate(PRESS_AND_CANCEL, [stage(fold), fold])
    assert before == after
    over = "s => !['running', 'waiting', 'stopping'].includes(document.querySelector(s).dataset.phase)"
    page.wait_for_function(over, arg=stage(fold))
    page.locator(f"#{fold}-run").wait_for()
    assert page.evaluate("s => document.querySelector(s).dataset.phase", stage(fold)) != "done"
    predictions = model.predictions
    set_number(page, "Steps", 2)
    press(page, fold, 2)
    assert model.predictions == predictions + {"compare": 2, "lesson": 2 * 4, "truth": 2 * 2}[fold]  # of the new run alone


def test_the_lesson_shows_this_steps_readings_and_this_runs_spread(unfold, tiny_model):
    page = unfold("lesson")
    press(page, "lesson", 6)
    made = Request(prompt="pizza", seed=3, steps=6, sampler="DDPM")
    steps = run(tiny_model, made).steps
    for i in (5, 2, 0):
        go_to(page, "lesson", i)
        for reading in readings(steps[i].alpha, steps[i].sigma, steps[i + 1].alpha, steps[i + 1].sigma):
            line = page.locator(f'{stage("lesson")} [data-reading="{reading.name}"]')
            assert line.locator(".number").all_text_contents() == [f"{v:.3f}" for v in (reading.x0, reading.eps, reading.z)]
            assert line.locator(".q-x0, .q-eps, .q-z").count() == 3
        assert said(page, "lesson").startswith("Equal here" if i == 5 else "Not equal here")
    ends = [[run(tiny_model, Request(prompt="pizza", seed=s, steps=6, sampler="DDPM", noise_scale=scale)).latents
             for s in range(3, 7)] for scale in (0.0, 0.5, 1.0)]  # fmt: skip
    shown = [float(value) for value in re.findall(r"\d+\.\d{3}", said(page, "lesson", "summary"))]
    assert shown == pytest.approx([spread(end) for end in ends], abs=6e-4)


def test_predicted_against_true_shows_the_error_of_each_step(unfold, tiny_model):
    page = unfold("truth")
    press(page, "truth", 5)
    records = [r for r in truth.runner(tiny_model)("pizza", 3, 6, 4.0, "DDIM", "", 0, 0, 1, "", False) if "lanes" in r]
    for i in (4, 2, 0):
        go_to(page, "truth", i)
        assert [float(v) for v in numbers(page, "truth")] == pytest.approx(
            [s["value"] for s in records[i]["series"]], abs=6e-4
        )
        assert said(page, "truth") == records[i]["note"]
    assert "exactly the drawn noise" in said(page, "truth")
    ends = page.locator(f'{stage("truth")} [data-plane="error"] .scale span').all_text_contents()
    assert ends == ["−1.5", "", "+1.5"]


@pytest.mark.parametrize("width", [1440, 390])
def test_the_folds_fit_the_screen_in_both_themes(open_page, address, width):
    for theme in ("light", "dark"):
        page = open_page(f"{address}?__theme={theme}", width, 900)
        for fold, title in FOLDS.items():
            page.get_by_role("button", name=title).click()
            page.wait_for_selector(f"{stage(fold)} .cells canvas")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_pane_can_be_enlarged(unfold):
    page = unfold("compare")
    press(page, "compare", 6)
    page.get_by_role("button", name="Enlarge clean latents of B · guidance 1").click()
    dialog = page.locator(f"{stage('compare')} dialog.large")
    assert dialog.is_visible()
    assert dialog.locator(".save").is_visible()
    page.keyboard.press("Escape")
    assert dialog.is_hidden()
