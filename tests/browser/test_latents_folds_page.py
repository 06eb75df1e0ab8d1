"""The folds of the Latents tab in a browser: decoders, a mixture, runs in 2-D and 3-D with a cursor, statistics, files."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
import torch
from actions import PLAYER, run_to_the_end
from latents_actions import STAGE, mute, opened

from explorer.latent_files import read, to_npy

FOLDS = "document.querySelector('.latents-folds')"
PLOT = "document.querySelector('.latents-folds .plot')"


def unfold(page, name: str) -> None:
    page.locator(f".latents-folds > .{name} > summary").click()


def canvas(page, where: str) -> np.ndarray:
    """(H, W, 3) of a canvas in the folds."""
    height, width, values = page.evaluate(
        """where => { const c = document.querySelector(`.latents-folds ${where}`);
            return [c.height, c.width, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]; }""",
        where,
    )
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def violations(page) -> list[str]:
    """What axe-core finds serious or critical in the folds, one line each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page, context=".latents-folds").response["violations"]
    return [
        f"{v['id']}: {node['html'][:160]}" for v in found if v["impact"] in ("serious", "critical") for node in v["nodes"]
    ]


def said(page, name: str) -> str:
    return page.locator(f".latents-folds > .{name} .said").text_content()


@pytest.fixture
def latents(open_page, address):
    return opened(open_page(address))


def test_the_decoders_follow_the_stage_and_two_pictures_are_mixed(latents):
    page = latents
    assert page.locator(".latents-folds details[open]").count() == 0
    asked: list[str] = []
    page.on("request", lambda request: asked.append((request.post_data_json or {}).get("fn_name", "")))
    mute(page, 0)
    page.wait_for_timeout(400)
    assert set(asked) & {"decoders", "ends", "mix", "project", "measure", "plotly"} == set()  # what is closed asks nothing
    unfold(page, "decoders")
    on_stage = f"JSON.stringify([{STAGE}.state.key, {STAGE}.state.edits])"
    shown = f"{FOLDS}.querySelector('.decoders').dataset.shown === {on_stage}"
    page.wait_for_function(shown)
    full = canvas(page, '[data-pane="full VAE"] canvas')
    assert len(np.unique(full)) > 20
    assert len(np.unique(canvas(page, '[data-pane="linear preview difference"] canvas'))) > 2
    assert "ms" in page.locator('[data-decoder="full VAE"] .numbers').text_content()
    assert "The linear preview is off by" in said(page, "decoders")
    assert page.locator('[data-decoder="tiny decoder"].is-missing').count() == 1  # said, where the model has none
    mute(page, 1)
    page.wait_for_function(shown)
    assert (canvas(page, '[data-pane="full VAE"] canvas') != full).any()
    unfold(page, "decoders")

    unfold(page, "mix")
    mixed = "share => document.querySelector('.latents-folds .mix').dataset.shown === share"
    page.wait_for_function(mixed, arg="0.5 slerp")
    middle = canvas(page, '[data-pane="mix"] canvas')
    a, b, fade = (canvas(page, f'[data-pane="{name}"] canvas').astype(float) for name in ("a", "b", "fade"))
    assert np.abs(fade - (a + b) / 2).max() < 2  # the browser's own
    slider = page.get_by_role("slider", name="Share of the second picture")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(mixed, arg="0.53 slerp")
    assert (canvas(page, '[data-pane="mix"] canvas') != middle).any()
    page.keyboard.press("Home")
    page.wait_for_function(mixed, arg="0 slerp")
    np.testing.assert_array_equal(canvas(page, '[data-pane="mix"] canvas'), a)  # an end is the picture itself
    page.get_by_role("button", name="hold what is on the stage").click()
    page.get_by_role("button", name="lerp", exact=True).click()
    page.keyboard.press("Tab")
    page.wait_for_function("document.querySelector('.latents-folds .norms .angle').textContent === '0°'")  # with itself
    page.wait_for_function(mixed, arg="0 lerp")


def test_a_run_is_projected_in_2d_and_3d_and_measured(open_page, address):
    page = open_page(address)
    run_to_the_end(page, 4)
    opened(page)
    unfold(page, "runs")
    page.locator(".run-list input").first.wait_for()
    run = page.evaluate(f"{PLAYER}.dataset.run")
    assert page.locator(".run-list input:checked").get_attribute("data-run") == run
    page.get_by_role("button", name="Project", exact=True).click()
    page.wait_for_function(f"{FOLDS}.querySelector('.runs').dataset.drawn?.startsWith('2')")
    paths = page.evaluate(f"{PLOT}.data.slice(0, 2).map((path) => [path.x.length, path.y.length])")
    assert paths == [[5, 5], [4, 4]]  # x_t, and x0, which the last state has none of
    assert page.locator(".latents-folds .plot .scatterlayer .trace").count() == 4  # both paths, and a marker on each

    # The cursor: one key, one state, on both paths; the frames follow.
    at = f"i => {FOLDS}.querySelector('.runs').dataset.state == i"
    markers = f"{PLOT}.data.slice(2).map((one) => [one.x[0], one.y[0]])"
    on_paths = f"i => {PLOT}.data.slice(0, 2).map((path) => [path.x[i], path.y[i]])"
    cursor = page.get_by_role("slider", name="State of the projected runs")
    cursor.focus()
    page.keyboard.press("Home")
    page.wait_for_function(at, arg=0)
    first = canvas(page, ".frame-row .q-x_t canvas")
    for i in (1, 2, 3):
        page.keyboard.press("ArrowRight")
        page.wait_for_function(at, arg=i)
        np.testing.assert_allclose(page.evaluate(markers), page.evaluate(on_paths, i), rtol=1e-3, atol=1e-3)
    assert (canvas(page, ".frame-row .q-x_t canvas") != first).any()
    assert "step 3 of 4" in cursor.get_attribute("aria-valuetext")

    # The pointer on a point: its frame.
    page.locator(".latents-folds .plot").scroll_into_view_if_needed()
    x, y = page.evaluate(
        f"""() => {{
            const plot = {PLOT}, box = plot.getBoundingClientRect(), [path] = plot.data;
            const {{ xaxis, yaxis }} = plot._fullLayout;
            return [box.left + xaxis._offset + xaxis.c2p(path.x[0]), box.top + yaxis._offset + yaxis.c2p(path.y[0])];
        }}"""
    )
    page.mouse.move(x - 3, y)
    page.mouse.move(x, y)
    page.locator(".latents-folds .at-pointer").wait_for()
    np.testing.assert_array_equal(canvas(page, ".at-pointer canvas"), first)
    page.mouse.move(5, 5)

    page.get_by_role("button", name="3-D").click()
    page.wait_for_function(f"{FOLDS}.querySelector('.runs').dataset.drawn.startsWith('3')")
    drawn = f"{PLOT}.querySelector('.gl-container canvas')?.width > 100"
    page.wait_for_function(drawn)
    assert page.evaluate(f"{PLOT}.data.map((path) => path.type)") == ["scatter3d"] * 4
    painted = f"""() => {{
        const scene = {PLOT}._fullLayout.scene._scene, from = {PLOT}.querySelector('.gl-container canvas');
        const flat = Object.assign(document.createElement('canvas'), {{ width: from.width, height: from.height }});
        const pen = flat.getContext('2d');
        scene.glplot.redraw(); // what WebGL drew can be read in the same task only
        pen.drawImage(from, 0, 0);
        return new Set(new Uint32Array(pen.getImageData(0, 0, flat.width, flat.height).data.buffer)).size;
    }}"""
    page.wait_for_function(f"({painted})() > 20")
    camera = page.evaluate(f"JSON.stringify({PLOT}._fullLayout.scene._scene.getCamera())")
    cursor.focus()
    page.keyboard.press("Home")
    page.wait_for_function(at, arg=0)
    marker, start = page.evaluate(f"[{PLOT}.data[2].z[0], {PLOT}.data[0].z[0]]")
    assert marker == pytest.approx(start, rel=1e-3, abs=1e-3)
    assert page.evaluate(f"JSON.stringify({PLOT}._fullLayout.scene._scene.getCamera())") == camera  # it stays

    # Statistics: the same cursor.
    unfold(page, "runs")
    unfold(page, "theory")
    page.wait_for_function(f"{FOLDS}.querySelector('.theory').dataset.state == 0")
    assert page.locator(".latents-folds .channel").count() == 4
    assert "of the weight is noise" in said(page, "theory")
    start = page.locator(".latents-folds .spectrum .measured").get_attribute("points")
    page.get_by_role("slider", name="State of the measured run").focus()
    page.keyboard.press("End")
    page.wait_for_function(f"{FOLDS}.querySelector('.theory').dataset.state == 4")
    assert page.locator(".latents-folds .spectrum .measured").get_attribute("points") != start
    assert said(page, "theory").startswith("The end")
    box = page.locator(".latents-folds .channel svg").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function(f"{FOLDS}.querySelector('.theory').dataset.state == 2")
    unfold(page, "runs")
    assert violations(page) == []


def test_a_latent_is_saved_and_opened_and_a_bad_one_is_refused(latents, tiny_model):
    page = latents
    mute(page, 1)
    unfold(page, "latent-files")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save .npy").click()
    content = download.value.path().read_bytes()
    assert (read(content, (4, 8, 8))[1] == 0).all()
    first = page.evaluate(f"{STAGE}.dataset.key")

    def give(name: str, content: bytes) -> None:
        page.locator(".latent-files input[type=file]").set_input_files(
            {"name": name, "mimeType": "application/octet-stream", "buffer": content}
        )

    give("<b class=evil>mine.npy", content)
    page.wait_for_function(f"key => {STAGE}.state.key !== key", arg=first)
    assert page.locator(".evil").count() == 0
    mine = page.evaluate(f"{STAGE}.dataset.key")
    planes = np.frombuffer(base64.b64decode(page.evaluate(f"{STAGE}.state.planes")), "<f2").reshape(4, 8, 8)
    assert (planes[1] == 0).all()
    assert (planes[0] != 0).any()
    assert json.loads(page.evaluate(f"JSON.stringify({STAGE}.state.edits)")) == []
    page.get_by_text("is on the stage.").wait_for()
    page.wait_for_function("new URL(location).searchParams.get('example') === ''")  # it is on the stage no more

    for name, bad, words in (
        ("shape.npy", to_npy(torch.zeros(4, 9, 8)), "shape 4 × 9 × 8"),
        ("nothing.safetensors", b"nothing of a latent", "neither a .safetensors nor an .npy"),
    ):
        give(name, bad)
        page.get_by_text(words).wait_for()
        page.get_by_text("what is on the stage stays").wait_for()
        assert page.evaluate(f"{STAGE}.dataset.key") == mine


def test_a_phone_in_the_dark_has_all_folds_and_nothing_overflows(open_page, address):
    page = opened(open_page(f"{address}?__theme=dark", 390, 844))
    for name in ("decoders", "mix", "runs", "theory", "latent-files"):
        unfold(page, name)
    for name in ("decoders", "mix"):
        page.wait_for_function(f"{FOLDS}.querySelector('.{name}').dataset.shown")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert violations(page) == []
