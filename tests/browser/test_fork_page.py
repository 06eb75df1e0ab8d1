"""Rewind and fork on the page: a branch plays beside its origin under one timeline, and the tree brings each one back."""

from __future__ import annotations

import pytest
from actions import (
    PLAYER,
    choose,
    press_run,
    requests_during,
    run_to_the_end,
    set_number,
    wait_for,
    wait_for_frame,
    wait_for_painted,
)
from branching import ROOT, STAGE, fork, names, rewind, whole

from explorer import Request, run, trace
from explorer.lessons import distance

ORIGIN = Request(prompt="pizza", seed=3, steps=12, karras=False)


@pytest.fixture
def ready(page):
    """The page after a run of twelve steps of its own."""
    page.locator(".controls textarea").first.fill("pizza")
    run_to_the_end(page, 12)
    return page


def apart(page) -> list[float]:
    """The distance of the two states at every place of the timeline, read there."""
    page.locator(f"{STAGE} .scrub").press("Home")
    values = []
    for i in range(int(page.locator(f"{STAGE} .scrub").get_attribute("max")) + 1):
        page.wait_for_function(f"i => {ROOT}.dataset.frame == i", arg=i)
        values.append(float(page.locator(f"{STAGE} dd").first.text_content()))
        page.locator(f"{STAGE} .scrub").press("ArrowRight")
    return values


def cells(page, lane: int, plane: str) -> list[int]:
    return page.evaluate(
        """([s, lane, plane]) => { const one = document.querySelectorAll(`${s} .lane`)[lane];
                                   const c = one.querySelector(`[data-plane=${plane}] canvas`);
                                   return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }""",
        [STAGE, lane, plane],
    )


def test_rewind_change_fork_and_fork_the_branch(ready, tiny_model):
    page = ready
    rewind(page, 8)
    assert page.locator(".label").text_content().startswith("step 8 of 12")
    assert page.locator(".player .fork").inner_text() == "Fork from step 8"
    set_number(page, "Guidance", 12)
    fork(page, ".player", 12, 2)

    assert not page.locator(".player").is_visible()
    assert page.locator(STAGE).is_visible()
    origin = run(tiny_model, ORIGIN)
    branch = run(tiny_model, Request(prompt="pizza", seed=3, steps=12, guidance=12.0, karras=False), (origin, 8))
    wanted = [0] * 8 + [distance(a, b) for a, b in zip(origin.steps[8:], branch.steps, strict=True)]
    assert apart(page) == pytest.approx(wanted, abs=6e-4)
    assert page.locator(f"{STAGE} .cells img:visible").count() == 2
    rewind(page, 8, f"{STAGE} .scrub")
    assert cells(page, 0, "x_t") == cells(page, 1, "x_t")
    assert cells(page, 0, "x0") != cells(page, 1, "x0")
    assert float(page.locator(f"{STAGE} .mark").get_attribute("x1")) == pytest.approx(1000 * 8 / 12)
    assert "replayed exactly" in page.locator(f"{STAGE} .summary").text_content()

    rewind(page, 10, f"{STAGE} .scrub")
    choose(page, "Sampler", "Euler")
    fork(page, STAGE, 12, 3)
    assert "rescaled by" in page.locator(f"{STAGE} .summary").text_content()
    assert names(page) == ["“pizza” · seed 3", "guidance 4 → 12 at step 8", "DDIM → Euler at step 10"]
    assert page.locator(f"{STAGE} .node[aria-current]").text_content() == "DDIM → Euler at step 10"
    assert page.locator(f"{STAGE} .name b").first.text_content() == "Origin · guidance 4 → 12"


def test_the_tree_brings_each_of_them_back_by_keyboard(ready):
    page = ready
    rewind(page, 8)
    set_number(page, "Guidance", 12)
    fork(page, ".player", 12, 2)
    rewind(page, 9, f"{STAGE} .scrub")
    set_number(page, "Guidance", 2)
    fork(page, STAGE, 12, 3)
    assert page.get_by_role("navigation", name="Runs and their branches").is_visible()

    page.get_by_role("button", name="guidance 4 → 12 at step 8").press("Enter")
    page.wait_for_function(f"() => {ROOT}.querySelector('[aria-current]').textContent === 'guidance 4 → 12 at step 8'")
    whole(page, 12, 3)
    assert page.evaluate("document.activeElement.textContent") == "guidance 4 → 12 at step 8"
    asked = requests_during(page, lambda: page.get_by_role("button", name="“pizza” · seed 3").press("Enter"))
    assert asked == []  # it is still in the player
    assert page.locator(".player").is_visible()
    assert page.evaluate("document.activeElement.className") == "timeline"
    assert page.evaluate(f"{PLAYER}.dataset.frame") == "8"
    page.get_by_role("button", name="2 branches").press("Enter")
    assert page.locator(STAGE).is_visible()

    set_number(page, "Steps", 3)
    press_run(page)  # another run takes the stage; the first is brought back from the tree
    wait_for(page, "done")
    wait_for_frame(page, 3)
    assert page.locator(".player").is_visible()
    page.get_by_role("button", name="2 branches").click()
    page.get_by_role("button", name="“pizza” · seed 3").click()
    wait_for_frame(page, 12)
    wait_for(page, "done")
    assert page.locator(".status").text_content() == "Brought back"
    rewind(page, 4)
    set_number(page, "Steps", 12)
    fork(page, ".player", 12, 5)
    assert names(page)[-2:] == ["guidance 4 → 2 at step 4", "“pizza” · seed 3"]
    page.locator(f"{STAGE} .node").last.click()  # the one that was in the player when the first came back
    wait_for_frame(page, 3)
    wait_for(page, "done")


def test_the_tree_is_bounded_and_keeps_what_is_shown(ready):
    """Records of thirty branches, as the server would send them: the oldest go first, the run at the root stays."""
    page = ready
    page.evaluate(
        f"""() => {{ for (let i = 0; i < 30; i++) {{
            const branch = {{ run: `b${{i}}`, begins: 2, line: [["root", "a run"], [`b${{i}}`, `<b>branch</b> ${{i}}`]] }};
            {ROOT}.dispatchEvent(new CustomEvent("begun", {{ detail: {{ branch, n: 13, at: [`b${{i}}`, 2] }} }})); }} }}"""
    )
    assert names(page) == ["a run", *(f"<b>branch</b> {i}" for i in range(7, 30))]
    assert page.locator(f"{STAGE} .node[aria-current]").text_content() == "<b>branch</b> 29"


def test_with_nothing_changed_the_tail_is_the_same_on_the_pages_own_data(ready):
    page = ready
    rewind(page, 5)
    fork(page, ".player", 12, 2)
    assert names(page)[1] == "unchanged at step 5"
    assert apart(page) == [0] * 13
    for step in (6, 9, 12):
        rewind(page, step, f"{STAGE} .scrub")
        for plane in ("x_t", "x0"):
            assert cells(page, 0, plane) == cells(page, 1, plane)
        assert len(set(zip(*[iter(cells(page, 2, "dx_t"))] * 4, strict=True))) == 1
    assert "the change made no difference" in page.locator(f"{STAGE} .said").text_content()


def test_where_the_run_ends_the_button_rewinds_and_asks_for_nothing(ready):
    page = ready
    for place, middle in ((".player", 6), (STAGE, 9)):  # of the run, and of what the branch has of its own
        button = page.locator(f"{place} .fork")
        assert button.inner_text() == "Rewind to fork"
        assert requests_during(page, button.click) == []
        page.wait_for_function(f"i => document.querySelector('{place}').dataset.frame == i", arg=middle)
        assert button.inner_text() == f"Fork from step {middle}"
        if place == ".player":
            fork(page, ".player", 12, 2)


def test_the_recorded_run_of_another_model_is_refused(page):
    rewind(page, 5)
    page.locator(".player .fork").click()
    toast = page.locator(".toast-body")
    toast.wait_for()
    assert "made by the model 'emoji-ldm', and here is 'tiny': it can be played but not forked." in toast.inner_text()
    wait_for(page, "done")
    assert page.evaluate(f"{PLAYER}.dataset.frame") == "5"


def test_cancel_stops_a_branch_and_what_there_is_of_it_stays(page, model, slow):
    run_to_the_end(page, 40)
    rewind(page, 3)
    slow(0.3)
    page.locator(".player .fork").click()
    page.wait_for_function(f"() => {ROOT}.painted.length > 6")
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_function(f"() => {ROOT}.dataset.phase === 'stopped'")
    wait_for(page, "done")
    page.get_by_role("button", name="Run", exact=True).wait_for()
    slow(0)
    predictions, last = model.predictions, int(page.evaluate(f"{ROOT}.dataset.frame"))
    assert 3 < last < 40
    page.locator(f"{STAGE} .fork").click()  # a branch that was stopped goes on too
    page.wait_for_function(f"() => {ROOT}.dataset.phase === 'done' && {ROOT}.dataset.frame == 40")
    assert model.predictions <= predictions + 40 - last + 1


def test_a_run_that_was_stopped_can_be_forked(page, slow):
    slow(0.3)
    set_number(page, "Steps", 40)
    press_run(page)
    wait_for_painted(page, 3)
    page.get_by_role("button", name="Cancel").click()
    wait_for(page, "stopped")
    slow(0)
    rewind(page, 1)
    fork(page, ".player", 40, 2)
    assert "its origin was stopped at step" in page.locator(f"{STAGE} .said").text_content()


def test_what_is_saved_is_the_branch_that_is_shown(ready, tmp_path):
    page = ready
    rewind(page, 8)
    set_number(page, "Guidance", 9)
    fork(page, ".player", 12, 2)

    def saved():
        with page.expect_download() as download:
            page.get_by_role("button", name="Save trace").click()
        path = tmp_path / "one.safetensors"
        download.value.save_as(path)
        return trace.load(path)

    kept = saved()
    assert (kept.request.guidance, kept.steps[0].index) == (9.0, 8)
    page.locator(f"{STAGE} .node").first.click()
    assert saved().request.guidance == 4.0


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (390, 844)])
def test_a_branch_fits_the_screen(open_page, address, width, height):
    page = open_page(address, width, height)
    run_to_the_end(page, 6)
    rewind(page, 3)
    set_number(page, "Guidance", 12)
    fork(page, ".player", 6, 2)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for part in (".scrub", ".fork", ".tree", ".lanes"):
        box = page.locator(f"{STAGE} {part}").bounding_box()
        assert box["x"] >= 0, part
        assert box["x"] + box["width"] <= width, part
        assert width < 1440 or box["y"] + box["height"] <= height, part
    assert -1 <= page.locator(f"{STAGE} .lanes").bounding_box()["y"] < height / 2
    page.locator(f"{STAGE} .name").first.click()
    page.keyboard.press("Home")  # what was clicked has the focus, so that keys move the timeline
    page.wait_for_function(f"() => {ROOT}.dataset.frame == 0")
