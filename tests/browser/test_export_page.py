"""The exported page, opened from a file with the network off: it scrubs, and draws what the live player draws."""

from __future__ import annotations

from dataclasses import replace

import pytest
from actions import PLAYER, pixels, run_to_the_end, set_number, wait_for_frame
from PIL import Image
from test_files import save

from explorer import Request, run
from explorer.models.abilities import GENERAL
from explorer.pictures import to_image
from explorer.tabs.common import slug
from explorer.tabs.export import export, webp
from explorer.tabs.traces import FIRST, records

PANES = ("x_t", "eps", "x0", "update", "picture")
HOSTILE = "</script><script>pwned=1</script><img src=x onerror=pwned=1>\"'&amp;<!--<script>"


@pytest.fixture
def open_file(chromium):
    """open_file(path, anchor, ...) → the page of a file with no network; fails on any request but for the file."""
    contexts, wrong = [], []

    def open_(path, anchor: str = "", width: int = 1280, height: int = 720, **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda e: wrong.append(f"error: {e}"))
        allowed = path.as_uri(), "data:", "blob:"
        page.on("request", lambda r: wrong.append(f"request: {r.url}") if not r.url.startswith(allowed) else None)
        page.goto(path.as_uri() + anchor)
        page.wait_for_function(f"() => {PLAYER}.dataset.phase === 'done' && {PLAYER}.dataset.frame !== '-1'")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def trajectory(tiny_model):
    return run(tiny_model, Request(prompt="pizza", steps=6, seed=4))


@pytest.fixture
def written(trajectory, tiny_model, tmp_path):
    """written(prompt) → the file of a run, as though its prompt had been this."""

    def write(prompt: str = "pizza"):
        made = records(trajectory, FIRST, webp(to_image(tiny_model.decode(trajectory.latents))))
        path = tmp_path / "run.html"
        path.write_text(export(replace(trajectory, request=replace(trajectory.request, prompt=prompt)), made), "utf-8")
        return path

    return write


def test_it_is_saved_from_the_page_and_draws_what_the_live_player_draws(page, open_file, tmp_path):
    set_number(page, "Seed", 6)
    run_to_the_end(page, 8)
    path = save(page, "Save page", tmp_path)
    assert path.name == f"diffuscope-{slug(GENERAL[0])[:40]}-seed-6.html"
    alone = open_file(path)
    wait_for_frame(alone, 8)
    for i in (8, 3, 0):
        for each in (page, alone):
            each.locator(".timeline").press("Home")
            wait_for_frame(each, 0)
            for k in range(1, i + 1):
                each.locator(".timeline").press("ArrowRight")
                wait_for_frame(each, k)
        assert all(pixels(page, pane) == pixels(alone, pane) for pane in PANES), i
    assert alone.locator(".status").inner_text() == "A run kept as a page"
    assert "seed\n6" in alone.locator(".facts").inner_text()
    assert alone.get_by_text("Made with Diffuscope").is_visible()


def test_it_scrubs_by_keys_before_any_click_and_by_the_slider(open_file, written):
    page = open_file(written())
    wait_for_frame(page, 6)
    for key, frame in (("Home", 0), ("ArrowRight", 1), ("5", 3), ("ArrowLeft", 2), ("End", 6)):
        page.keyboard.press(key)
        wait_for_frame(page, frame)
    box = page.locator(".timeline").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    wait_for_frame(page, 3)
    middle = pixels(page, "x_t")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 1, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    wait_for_frame(page, 0)
    assert pixels(page, "x_t") != middle
    page.locator(".play").click()
    wait_for_frame(page, 6)


def test_the_last_state_shows_the_picture_that_the_model_decoded(open_file, written, trajectory, tiny_model):
    page = open_file(written(), "#6")
    wait_for_frame(page, 6)
    picture = page.locator(".pane.is-picture img")
    picture.wait_for()
    shown = picture.evaluate(
        """async (img) => { await img.decode(); const c = Object.assign(document.createElement("canvas"),
             { width: img.naturalWidth, height: img.naturalHeight }), d = c.getContext("2d"); d.drawImage(img, 0, 0);
             return [...d.getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 < 3); }"""
    )
    assert bytes(shown) == to_image(tiny_model.decode(trajectory.latents)).tobytes()
    page.keyboard.press("ArrowLeft")
    wait_for_frame(page, 5)
    assert picture.is_hidden()


def test_a_pane_opens_large_and_is_saved(open_file, written, tmp_path):
    page = open_file(written(), "#6")
    wait_for_frame(page, 6)
    page.get_by_role("button", name="Enlarge picture").click()
    with page.expect_download() as download:
        page.locator("dialog.large .save").click()
    assert download.value.suggested_filename == "diffuscope-picture-step-6.png"
    download.value.save_as(tmp_path / "large.png")
    assert Image.open(tmp_path / "large.png").size == (768, 768)


def test_an_address_can_name_the_step(open_file, written):
    page = open_file(written(), "#2")
    wait_for_frame(page, 2)
    assert page.evaluate(f"{PLAYER}.painted") == [2]


def test_a_branch_begins_where_it_left_its_origin(open_file, trajectory, tiny_model, tmp_path):
    branch = run(tiny_model, replace(trajectory.request, guidance=9.0), (trajectory, 3))
    path = tmp_path / "branch.html"
    path.write_text(export(branch, records(branch, FIRST, webp(to_image(tiny_model.decode(branch.latents))))), "utf-8")
    page = open_file(path)
    wait_for_frame(page, 6)
    for key, frame in (("Home", 3), ("ArrowLeft", 3), ("ArrowRight", 4), ("1", 3)):
        page.keyboard.press(key)
        wait_for_frame(page, frame)
    assert page.locator(".label").inner_text().startswith("step 3 of 6")
    caption = page.locator(".caption")
    assert caption.inner_text().startswith(f"The branch begins here, at t = {branch.steps[0].timestep:.0f}: ")
    page.locator(".play").click()
    wait_for_frame(page, 6)
    assert "from the branch's first guess" in caption.inner_text()
    page.locator(".play").click()  # at the end: from the branch's first frame once more
    page.wait_for_function(f"() => {PLAYER}.painted.slice(-4).join() === '3,4,5,6'")
    assert "A branch: the settings here are those of step 3" in page.locator(".facts").inner_text()


def test_light_and_dark(open_file, written):
    grounds = {}
    for scheme in ("light", "dark"):
        page = open_file(written(), "#2", color_scheme=scheme)
        grounds[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor"), pixels(page, "eps")
    assert [ground for ground, _ in grounds.values()] == ["rgb(255, 255, 255)", "rgb(19, 21, 25)"]
    assert grounds["light"][1] != grounds["dark"][1]
    page.get_by_role("button", name="light", exact=True).click()
    page.wait_for_function(f"() => {PLAYER}.painted.length === 2")
    assert pixels(page, "eps") == grounds["light"][1]


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_screen(open_file, written, width):
    page = open_file(written("a " * 400 + "w" * 200), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_hostile_prompt_is_only_read(open_file, written):
    page = open_file(written(HOSTILE))
    assert page.locator(".facts .wide dd").first.inner_text() == HOSTILE
    assert page.locator("h1").inner_text() == f"“{HOSTILE}”"
    assert page.evaluate("typeof pwned") == "undefined"
    page.keyboard.press("Home")
    wait_for_frame(page, 0)
