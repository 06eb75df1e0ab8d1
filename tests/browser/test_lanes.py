"""The comparison alone: any number of lanes, a burst, and records of a run that is no longer shown."""

from __future__ import annotations

import gradio as gr
import pytest
from serving import serve

from explorer import Request
from explorer.player.compare import compare
from explorer.tabs.compare import pairs
from explorer.tabs.lanes import Lane, curve, record


@pytest.fixture(scope="module")
def bench(chromium, tiny_model):
    """A page with a comparison alone: any number of lanes, all records in one burst, stale ones among them."""
    request = Request(prompt="a cat", seed=3, steps=29)
    steps = list(pairs(tiny_model, request, request, [29, 29]))

    def made(run_id: str, names: str) -> list[dict]:
        lanes = [[Lane(name, step, ("x_t",)) for name, step in zip(names, [x, y, x, y], strict=False)] for x, y in steps]
        curves = [curve("apart", "x_t", 0.0)]
        return [record(tiny_model, run_id, i, 30, one, note=run_id, series=curves) for i, one in enumerate(lanes)]

    def burst():
        yield from made("first", "ABCD")

    def stale():
        old, new = made("old", "AB"), made("new", "ABC")
        yield from old[:10]
        for late, fresh in zip(old[10:], new[10:], strict=True):
            yield fresh
            yield late
        yield from new[:10]

    with gr.Blocks() as page:
        stage_ = compare("bench-player", "bench", [{"label": "A", "show": ["x_t"]}], "Nothing yet.")
        for sender in (burst, stale):
            gr.Button(sender.__name__).click(sender, None, stage_, show_progress="hidden")
    with serve(page.queue()) as url:
        yield url


@pytest.fixture
def bench_page(chromium, bench):
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(bench)
    page.wait_for_selector(".compare canvas")
    yield page
    context.close()


def test_a_burst_is_painted_whole_and_at_most_once_an_animation_frame(bench_page):
    page = bench_page
    page.get_by_role("button", name="burst").click()
    page.wait_for_function("() => document.querySelector('.compare').painted.length === 30")
    assert page.evaluate("document.querySelector('.compare').painted") == list(range(30))
    assert page.locator(".compare .lane").count() == 4
    drawn = page.evaluate(
        """() => new Promise((done) => {
            const root = document.querySelector('.compare'), slider = root.querySelector('.scrub');
            const before = root.painted.length;
            for (let i = 0; i < 30; i++) { slider.value = i; slider.dispatchEvent(new Event('input')); }
            requestAnimationFrame(() => requestAnimationFrame(() => done(root.painted.length - before)));
        })"""
    )
    assert drawn == 1


def test_records_of_another_run_are_dropped(bench_page):
    page = bench_page
    page.evaluate(
        """() => { const root = document.querySelector('.compare'); root.there = new Set();
                   root.addEventListener('kept', ({ detail }) => root.there.add(`${detail.run} ${detail.i}`)); }"""
    )
    page.get_by_role("button", name="stale").click()
    page.wait_for_function(
        "() => [...Array(30).keys()].every((i) => document.querySelector('.compare').there.has(`new ${i}`))"
    )
    page.locator(".scrub").press("Home")
    page.wait_for_function("() => document.querySelector('.compare').dataset.frame === '0'")
    for i in range(1, 30):
        page.locator(".scrub").press("ArrowRight")
        page.wait_for_function("i => document.querySelector('.compare').dataset.frame == i", arg=i)
        assert page.locator(".said").text_content() == "new"
    assert page.locator(".compare .lane").count() == 3
