"""What must hold of the page's look: the stage without scrolling, reserved places, the phone's order, both themes."""

from __future__ import annotations

import pytest
from actions import PLAYER, pixels, press_run, run_to_the_end, set_number, wait_for, wait_for_painted

PLACES = """() => Object.fromEntries(['#reverse-run', '#reverse-cancel', '.controls', '.pane.is-picture', '.transport',
    '.numbers', '.curves', '.caption'].map(s => { const b = document.querySelector(s).getBoundingClientRect();
    return [s, [b.x, b.y, b.width, b.height].map(Math.round)]; }))"""
CONTROLS = (
    ".controls input[type=number], .controls textarea, .controls input[role=combobox], .controls .prompts, "
    ".controls button.label-wrap, .runbar button"
)
# The element in focus: its accessible name, and whether it or the box around it shows a ring.
FOCUSED = """() => { const e = document.activeElement;
    if (e === document.body) return null;
    const ring = n => { const s = n && getComputedStyle(n);
        return Boolean(s && (parseFloat(s.outlineWidth) >= 2 && s.outlineStyle !== 'none' || s.boxShadow !== 'none')); };
    const label = e.labels && e.labels[0] ? e.labels[0].innerText : '';
    return { tag: e.tagName, name: e.getAttribute('aria-label') || e.innerText || label || e.title || '',
             ring: ring(e) || ring(e.parentElement) || ring(e.closest('.wrap')) }; }"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_desktop_needs_no_scrolling(open_page, address, theme):
    page = open_page(f"{address}?__theme={theme}")
    size = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert size[0] <= 1440
    for place in (".pane.is-picture", ".transport", ".curves", ".caption", ".experiment > .controls", "#reverse-run"):
        box = page.locator(place).first.bounding_box()
        assert box["y"] + box["height"] <= 900, place
    stage = page.locator(".pane.is-picture .frame").bounding_box()
    assert all(p.bounding_box()["width"] < stage["width"] for p in page.locator(".pane:not(.is-picture) .frame").all())


def test_nothing_jumps_when_a_run_starts_and_ends(page):
    set_number(page, "Steps", 30)
    before = page.evaluate(PLACES)
    press_run(page)
    wait_for_painted(page, 3)
    during = page.evaluate(PLACES)
    wait_for(page, "done")
    after = page.evaluate(PLACES)
    assert during["#reverse-cancel"] == before["#reverse-run"]
    for place in before.keys() - {"#reverse-run", "#reverse-cancel"}:
        assert before[place] == during[place] == after[place], place


def test_the_phone_has_stage_timeline_run_controls_in_this_order(open_page, address):
    page = open_page(address, 390, 844)
    run_to_the_end(page, 3)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = [
        page.locator(s).first.bounding_box() for s in (".stage", ".transport", "#reverse-run", ".controls", ".caption")
    ]
    assert [b["y"] for b in boxes] == sorted(b["y"] for b in boxes)
    page.evaluate("scrollTo(0, 0)")
    assert page.locator("#reverse-run").bounding_box()["y"] + page.locator("#reverse-run").bounding_box()["height"] <= 844


def test_no_pane_is_a_blank_box_before_the_first_run(page):
    for pane in ("x_t", "eps", "x0", "update", "picture"):
        assert len(set(zip(*[iter(pixels(page, pane))] * 4, strict=True))) > 5, pane
        assert page.locator(f'.pane[data-pane="{pane}"] .hint').text_content().endswith(".")


def test_at_most_eight_controls_are_visible(page):
    visible = page.locator(CONTROLS)
    assert sum(control.is_visible() for control in visible.all()) <= 8


def test_every_control_has_a_name_and_visible_focus(page):
    run_to_the_end(page, 2)
    seen = []
    for _ in range(80):
        page.keyboard.press("Tab")
        here = page.evaluate(FOCUSED)
        if here is not None and here in seen[:1]:
            break
        seen += [here] if here else []
    assert len(seen) > 20
    assert [s for s in seen if not s["name"].strip()] == []
    assert [s for s in seen if not s["ring"]] == []


def test_a_change_of_theme_recolours_the_noise(page):
    run_to_the_end(page, 2)
    light = pixels(page, "eps")
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_function(f"{PLAYER}.painted.length > 3")
    assert sum(pixels(page, "eps")) < sum(light)


def test_reduced_motion_has_no_transitions(open_page, address):
    page = open_page(address, reduced_motion="reduce")
    assert page.locator(".player .play").evaluate("e => getComputedStyle(e).transitionDuration") in ("0s", "")
