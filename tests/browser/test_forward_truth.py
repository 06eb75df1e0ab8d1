"""The Forward tab's words and names are true of what is seen beside them."""

from __future__ import annotations

import pytest
from forward_actions import opened, seek


@pytest.fixture(scope="module")
def kept(chromium, address):
    """One page for all: they only move the timeline."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(address)
    yield opened(page)
    context.close()


def test_the_least_stage_is_called_the_same_everywhere(kept):
    seek(kept, 2)
    label, caption = (kept.locator(f".forward .{part}").text_content() for part in ("label", "caption"))
    assert label.endswith("hardly any noise (stage: none)")
    assert "of signal to noise: hardly any noise." in caption
    assert kept.locator('.stage-mark[data-level="0"]').get_attribute("title").startswith("none: hardly any: SNR")
    assert kept.locator(".histogram .cut").is_visible()  # bars higher than the axis
    seek(kept, 1000)
    assert kept.locator(".histogram .cut").is_hidden()


def test_every_pane_is_enlarged_under_its_own_name(kept):
    seek(kept, 210)
    kept.locator('.pane[data-pane="decoded"] img[alt="the latents at t = 210, decoded"]').wait_for()
    buttons = kept.locator(".forward .enlarge:visible")
    names = buttons.evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
    assert len(set(names)) == len(names) == 7
    for number, name in enumerate(names):
        buttons.nth(number).click()
        title = kept.locator(".forward .large-title").text_content()
        assert name.removeprefix("Enlarge the ") in title
        kept.keyboard.press("Escape")
    assert title.strip() == "decoded latents"  # the last one


def test_no_ink_leaves_the_water(kept):
    kept.locator(".ink summary").click()
    for t in (0, 300, 1000):
        seek(kept, t)
        edge = kept.evaluate(
            """() => { const c = document.querySelector('.water');
                const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
                let inked = 0, edge = 0;
                for (let p = 0; p < c.width * c.height; p++) {
                  const y = Math.floor(p / c.width), x = p % c.width, on = data[4 * p + 3] > 0;
                  inked += on; edge += on && (!x || !y || x === c.width - 1 || y === c.height - 1);
                }
                return [inked > 2000, edge]; }"""
        )
        assert edge == [True, 0]
    kept.locator(".ink summary").click()
