"""The player: frames at any rate, stale frames, scrubbing without a request, and numbers that are the engine's."""

from __future__ import annotations

import time

import gradio as gr
import numpy as np
import pytest
from actions import PLAYER, painted, pixels, requests_during, run_to_the_end, wait_for_frame
from serving import serve

from explorer import Request, run
from explorer.diffusion import to_vp
from explorer.frames import data_uri, encode
from explorer.player import player


@pytest.fixture(scope="module")
def trajectory(tiny_model):
    return run(tiny_model, Request(prompt="pizza", steps=29, seed=2))


@pytest.fixture(scope="module")
def records(trajectory, tiny_model):
    """Records of two runs of the same 30 Steps, by run id."""
    picture = data_uri(tiny_model.decode(trajectory.latents))
    made = {
        name: [
            encode(
                s, run=name, n=30, model_preview=tiny_model.preview, picture=picture if s.index == 29 else None, steps=29
            )
            for s in trajectory.steps
        ]
        for name in ("a", "b")
    }
    for record in made["b"]:
        record["t"] = 5000 + record["i"]  # so that the label tells whose frame it is
    return made


@pytest.fixture(scope="module")
def bench(chromium, records):
    """A page with nothing but a player and buttons that send it records."""

    def burst():
        yield from records["a"]

    def thirty_per_second():
        for record in records["b"]:
            time.sleep(1 / 30)
            yield record

    def stale():
        """Run b begins while frames of run a still arrive, out of order."""
        yield from records["a"][:10]
        for late, fresh in zip(records["a"][10:], records["b"][10:], strict=True):
            yield fresh
            yield late
        yield from records["b"][:10]

    with gr.Blocks() as page:
        stage = player("bench")
        for sender in (burst, thirty_per_second, stale):
            gr.Button(sender.__name__).click(sender, None, stage, show_progress="hidden")
    with serve(page.queue()) as url:
        yield url


@pytest.mark.parametrize("sender", ["burst", "thirty_per_second"])
def test_thirty_of_thirty_frames_are_painted(open_page, bench, sender):
    page = open_page(bench)
    page.get_by_role("button", name=sender).click()
    wait_for_frame(page, 29)
    assert painted(page) == list(range(30))
    assert page.locator(".player").get_attribute("data-painted") == "30"


def test_frames_of_another_run_are_dropped(open_page, bench):
    page = open_page(bench)
    page.get_by_role("button", name="stale").click()
    page.wait_for_function("document.querySelector('.status').textContent.startsWith('29 evaluations')")
    wait_for_frame(page, 29)
    page.locator(".timeline").press("Home")
    wait_for_frame(page, 0)
    for i in range(1, 30):  # every frame that is there is one of run b
        page.locator(".timeline").press("ArrowRight")
        wait_for_frame(page, i)
        assert f"t = {5000 + i} ·" in page.locator(".label").text_content()
    assert page.locator(".player").get_attribute("data-run") == "b"


def test_at_most_one_draw_an_animation_frame(open_page, bench):
    page = open_page(bench)
    page.get_by_role("button", name="burst").click()
    wait_for_frame(page, 29)
    drawn = page.evaluate(
        f"""() => new Promise(done => {{
            const slider = document.querySelector('.timeline'), before = {PLAYER}.painted.length;
            for (let i = 0; i < 30; i++) {{ slider.value = i; slider.dispatchEvent(new Event('input')); }}
            requestAnimationFrame(() => requestAnimationFrame(() => done({PLAYER}.painted.length - before)));
        }})"""
    )
    assert drawn == 1


def test_scrubbing_and_playing_make_no_request(page):
    run_to_the_end(page, 12)
    timeline = page.locator(".timeline")

    def act():
        timeline.focus()
        for key, frame in (("ArrowLeft", 11), ("ArrowLeft", 10), ("Home", 0), ("ArrowRight", 1), ("End", 12)):
            page.keyboard.press(key)
            wait_for_frame(page, frame)
        page.locator(".plot").click(position={"x": 4, "y": 30})
        wait_for_frame(page, 0)
        page.locator(".speed select").select_option("30")
        timeline.focus()
        page.keyboard.press("Space")
        wait_for_frame(page, 12)
        page.get_by_role("button", name="Previous step").click()
        wait_for_frame(page, 11)
        page.get_by_role("button", name="Next step").click()
        wait_for_frame(page, 12)

    asked = requests_during(page, act)
    assert [url for url in asked if "component_server" not in url] == []  # resting may decode; see test_player_rest.py
    assert painted(page)[13:18] == [11, 10, 0, 1, 12]
    assert painted(page)[18:31] == list(range(13))


def test_space_pauses(page):
    run_to_the_end(page, 12)
    page.locator(".timeline").focus()
    page.keyboard.press("Space")
    page.wait_for_selector(".play.is-playing")
    assert page.locator(".play").get_attribute("aria-label") == "Pause"
    page.keyboard.press("Space")
    assert page.locator(".play.is-playing").count() == 0


def test_a_pane_reads_all_channels_of_a_cell(open_page, bench, trajectory):
    page = open_page(bench)
    page.get_by_role("button", name="burst").click()
    wait_for_frame(page, 29)
    for _ in range(9):
        page.locator(".timeline").press("ArrowLeft")
    wait_for_frame(page, 20)
    box = page.locator('.pane[data-pane="eps"] .frame').bounding_box()
    row, column = 5, 2
    page.mouse.move(box["x"] + box["width"] * (column + 0.5) / 8, box["y"] + box["height"] * (row + 0.5) / 8)
    page.wait_for_function("document.querySelector('.readout .where').textContent === 'row 5, column 2'")
    step, after = trajectory.steps[20:22]
    tensors = (step.latents, step.eps, step.x0, to_vp_of(after) - to_vp_of(step))
    for line, tensor in zip(page.locator(".readout tbody tr").all(), tensors, strict=True):
        shown = [float(cell.replace("−", "-")) for cell in line.locator("td").all_inner_texts()]
        np.testing.assert_allclose(shown, tensor[0, :, row, column].numpy(), atol=0.006)
    assert page.locator(".cell:visible").count() == 5


def to_vp_of(step):
    return to_vp(step.latents, step.alpha, step.sigma)


def test_the_equation_has_this_steps_coefficients(open_page, bench, trajectory):
    page = open_page(bench)
    page.get_by_role("button", name="burst").click()
    wait_for_frame(page, 29)
    page.locator(".timeline").press("ArrowLeft")
    wait_for_frame(page, 28)
    step = trajectory.steps[28]
    numbers = [float(n) for n in page.locator(".step-equation .number").all_inner_texts()]
    np.testing.assert_allclose(numbers, [abs(t.coefficient) for t in step.terms], atol=0.0006)
    numbers = [float(n) for n in page.locator(".state-equation .number").all_inner_texts()]
    np.testing.assert_allclose(numbers, [step.alpha, step.sigma], atol=0.0006)
    assert page.locator(".label").text_content() == (
        f"step 28 of 29 · t = {step.timestep:g} · α {step.alpha:.3f} · σ {step.sigma:.3f}"
    )


def test_latents_are_coloured_by_the_preview_matrix(open_page, bench, trajectory, tiny_model):
    page = open_page(bench)
    page.get_by_role("button", name="burst").click()
    wait_for_frame(page, 29)
    step, preview = trajectory.steps[29], tiny_model.preview
    latents = step.latents[0].half().float().numpy() / np.hypot(step.alpha, step.sigma)
    rgb = np.einsum("kc,chw->hwk", np.array(preview.matrix), latents) + np.array(preview.offset)
    shown = np.array(pixels(page, "x_t")).reshape(8, 8, 4)[..., :3]
    np.testing.assert_allclose(shown, np.clip(rgb * 255, 0, 255), atol=1.01)


def test_the_update_is_the_next_state_minus_this_one(open_page, bench, trajectory, tiny_model):
    page = open_page(bench)
    page.get_by_role("button", name="burst").click()
    wait_for_frame(page, 29)
    page.evaluate(
        "() => { const s = document.querySelector('.timeline'); s.value = 20; s.dispatchEvent(new Event('input')); }"
    )
    wait_for_frame(page, 20)
    change = (to_vp_of(trajectory.steps[21]) - to_vp_of(trajectory.steps[20]))[0].double().numpy()
    direction = np.array([0.2126, 0.7152, 0.0722]) @ np.array(tiny_model.preview.matrix)
    values = np.einsum("c,chw->hw", direction / np.linalg.norm(direction), change)
    pane = page.locator('.pane[data-pane="update"]')
    scale = float(pane.locator(".high").inner_text())
    assert np.abs(values).max() <= scale * 1.01 < np.abs(values).max() * 2.6  # 1, 2 or 5 × a power of ten
    assert pane.locator(".low").inner_text() == f"−{pane.locator('.high').inner_text()[1:]}"
    ends = np.where(values[..., None] < 0, (0x14, 0x50, 0x9E), (0xC2, 0x5A, 0x00))
    expected = 255 + np.minimum(np.abs(values) / scale, 1)[..., None] * (ends - 255.0)
    shown = np.array(pixels(page, "update")).reshape(8, 8, 4)[..., :3]
    np.testing.assert_allclose(shown, expected, atol=2.5)  # latents travel in half precision


def test_a_tab_chooses_its_panes(open_page, records):
    with gr.Blocks() as blocks:
        stage = player("few", panes=("x0", "update"))
        gr.Button("burst").click(lambda: records["a"][3], None, stage, show_progress="hidden")
    with serve(blocks.queue()) as url:
        page = open_page(url)
        page.get_by_role("button", name="burst").click()
        wait_for_frame(page, 3)
        assert page.locator(".pane").evaluate_all("panes => panes.map(p => p.dataset.pane)") == ["x0", "update"]
        assert page.locator(".readout tbody tr").count() == 2


def test_smooth_and_sharp(page):
    run_to_the_end(page, 2)
    canvas = page.locator('.pane[data-pane="x_t"] canvas')
    rendering = lambda: canvas.evaluate("c => getComputedStyle(c).imageRendering")  # noqa: E731
    assert rendering() == "pixelated"
    page.get_by_role("button", name="smooth").click()
    assert rendering() == "auto"


def test_a_pane_opens_large_and_saves(page):
    run_to_the_end(page, 2)
    page.get_by_role("button", name="Enlarge latents now").click()
    assert page.locator(".player dialog.large canvas").bounding_box()["width"] > 500
    with page.expect_download() as download:
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
    assert download.value.suggested_filename == "diffuscope-x_t-step-2.png"
    page.keyboard.press("Escape")
    assert not page.locator(".player dialog.large").is_visible()
