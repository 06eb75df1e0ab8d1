"""Without a mouse, without motion, with a screen reader: axe-core, the keyboard alone, keys, reduced motion."""

from __future__ import annotations

import re

import pytest
from actions import PLAYER, painted, press_run, run_to_the_end, set_number, wait_for, wait_for_frame

ANIMATED = """() => [...document.querySelectorAll('.player, .player *')].filter(e => {
    const s = getComputedStyle(e);
    return s.animationName !== 'none' || s.transitionDuration.split(', ').some(d => parseFloat(d) > 0);
}).map(e => e.className)"""


def violations(page) -> list[str]:
    """What axe-core finds serious or critical, one line each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{v['id']} ({v['impact']}): {node['target']} {node['html'][:160]}"
        for v in found
        if v["impact"] in ("serious", "critical")
        for node in v["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_axe_finds_nothing_serious(open_page, address, theme, width):
    page = open_page(f"{address}?__theme={theme}", width, 900)
    assert violations(page) == []
    run_to_the_end(page, 4)
    assert violations(page) == []
    page.locator(".timeline").press("ArrowLeft")  # and with a step decoded beside its preview
    page.wait_for_selector(".split:visible")
    assert violations(page) == []


def test_a_run_is_made_and_read_with_the_keyboard_alone(page):
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Run":
            break
    page.keyboard.press("Enter")
    wait_for(page, "done")
    wait_for_frame(page, 20)
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.timeline')"):
            break
    for key, frame in (("ArrowLeft", 19), ("0", 0), ("3", 6), ("9", 18), ("Home", 0), ("End", 20), ("5", 10)):
        page.keyboard.press(key)
        wait_for_frame(page, frame)
    assert page.locator(".timeline").get_attribute("aria-valuetext") == page.locator(".label").text_content()
    page.keyboard.press("Shift+ArrowRight")  # a cell is read without a mouse, from the middle on
    assert page.locator(".readout .where").inner_text() == "row 4, column 5"


def test_digits_typed_elsewhere_stay_there(page):
    run_to_the_end(page, 4)
    seed = page.get_by_label("Seed", exact=True)
    seed.fill("")
    seed.press_sequentially("20")
    assert seed.input_value() == "20"
    assert page.locator(".player").get_attribute("data-frame") == "4"


def test_loop_starts_again_at_the_end(page):
    run_to_the_end(page, 4)
    loop = page.get_by_role("button", name="loop")
    assert loop.get_attribute("aria-pressed") == "false"
    loop.click()
    assert loop.get_attribute("aria-pressed") == "true"
    page.locator(".speed select").select_option("30")
    page.locator(".timeline").press("Space")
    page.wait_for_function(f"{PLAYER}.painted.length >= 5 + 13")
    assert page.locator(".play").get_attribute("aria-label") == "Pause"
    assert painted(page)[5:18] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2]
    loop.click()  # the round is finished, then it stops
    page.wait_for_selector(".play:not(.is-playing)")
    wait_for_frame(page, 4)


def test_with_reduced_motion_nothing_moves_but_the_stream(open_page, address):
    page = open_page(address, reduced_motion="reduce")
    assert page.evaluate(ANIMATED) == []
    run_to_the_end(page, 4)
    assert painted(page) == [0, 1, 2, 3, 4]
    assert page.evaluate(ANIMATED) == []
    page.wait_for_timeout(500)
    assert painted(page) == [0, 1, 2, 3, 4]  # nothing plays by itself
    assert page.locator(".play.is-playing").count() == 0


def test_a_screen_reader_hears_phases_and_not_every_step(page):
    set_number(page, "Steps", 6)
    page.evaluate(
        """() => { window.heard = [];
                   const said = document.querySelector('.announce');
                   const what = { childList: true, characterData: true, subtree: true };
                   new MutationObserver(() => heard.push(said.textContent)).observe(said, what); }"""
    )
    press_run(page)
    wait_for(page, "done")
    heard = page.evaluate("heard")
    assert len(heard) <= 3
    assert re.fullmatch(r"6 evaluations in \d+\.\d s", heard[-1])
