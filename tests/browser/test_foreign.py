"""A trace that another model made: it plays by what it brought along, and only its own model can decode it or go on."""

from __future__ import annotations

import pytest
from actions import PLAYER, pixels, wait_for_frame
from PIL import Image
from serving import serve
from test_files import open_trace, save
from tiny import HOSTILE, as_model, saved, tiny_parts, tiny_pipeline

import app
from explorer import Request, load_model, run, trace
from explorer.collecting import pictured
from explorer.pictures import to_image
from explorer.tabs.traces import FIRST, RECORDED

STEPS = 6


class Mute:
    """A Model that must neither predict nor decode once its page is there."""

    def __init__(self, model) -> None:
        self._model = model
        _ = model.preview

    def __getattr__(self, name):
        return getattr(self._model, name)

    def predict(self, *args):
        raise AssertionError("the model was run")

    def decode(self, *args):
        raise AssertionError("the model decoded")


@pytest.fixture(scope="module")
def elsewhere():
    return as_model(tiny_parts("v_prediction", beta_end=0.02), name="owner/elsewhere")


@pytest.fixture(scope="module")
def theirs(elsewhere):
    return run(elsewhere, Request(prompt="red star", steps=STEPS, seed=2))


@pytest.fixture(scope="module")
def mute(chromium, tiny_model):
    with serve(app.create_app(Mute(tiny_model))) as url:
        yield url


@pytest.fixture
def opened(open_page, mute, tmp_path):
    """opened(trajectory) → the page with this trace on the stage."""

    def open_(trajectory):
        trace.save(trajectory, tmp_path / "theirs.safetensors")
        page = open_page(mute)
        open_trace(page, tmp_path / "theirs.safetensors")
        page.wait_for_function(f"{PLAYER}.dataset.run !== '{FIRST}'")
        wait_for_frame(page, STEPS)
        return page

    return open_


def rest_on(page, i: int) -> str:
    """Rests on a step until something is said of its picture; returns that."""
    page.locator(".timeline").press("Home")
    wait_for_frame(page, 0)
    for k in range(1, i + 1):
        page.locator(".timeline").press("ArrowRight")
        wait_for_frame(page, k)
    foot = page.locator(".pane.is-picture .foot")
    page.wait_for_function(
        "foot => !/decoding$/.test(foot.innerText) && !/^preview: x0 as colours$/.test(foot.innerText.trim())",
        arg=foot.element_handle(),
    )
    return foot.inner_text()


def test_it_plays_by_its_own_preview_and_its_own_pictures(opened, theirs, elsewhere, tmp_path):
    page = opened(pictured(elsewhere, theirs, [3, STEPS]))
    assert "of the model owner/elsewhere" in page.locator(".html-container .recorded-line").inner_text()
    preview = theirs.capsule["preview"]
    latents = theirs.latents[0].half().float()
    colours = [
        sum(m * c for m, c in zip(row, latents, strict=True)) + offset
        for row, offset in zip(preview["matrix"], preview["offset"], strict=True)
    ]
    drawn = pixels(page, "x_t")
    for k, plane in enumerate(colours):
        level = (theirs.steps[-1].alpha ** 2 + theirs.steps[-1].sigma ** 2) ** 0.5
        assert level == pytest.approx(1, abs=1e-3)
        for p, value in enumerate(plane.flatten().tolist()):
            assert abs(drawn[4 * p + k] - min(max(255 * value, 0), 255)) <= 1
    picture = Image.open(save(page, "Save picture", tmp_path))
    assert picture.tobytes() == to_image(elsewhere.decode(theirs.latents)).tobytes()
    assert rest_on(page, 3).split() == ["preview", "decoded"]  # side by side


def test_what_it_did_not_bring_is_refused_in_one_sentence(opened, theirs, elsewhere):
    page = opened(pictured(elsewhere, theirs, [3]))
    assert page.locator(".pane.is-picture img").is_hidden()
    said = rest_on(page, 2)
    assert "This run was made by the model 'owner/elsewhere', and here is 'tiny'" in said
    assert "it can be played but not decoded." in said
    page.get_by_role("button", name="Save picture").click()
    toast = page.locator(".toast-body")
    toast.wait_for()
    assert "has no picture of its end, and only the model that made it can decode it." in toast.inner_text()


def test_it_can_be_taken_along_again_as_it_came(opened, theirs, elsewhere, tmp_path):
    brought = pictured(elsewhere, theirs, [3, STEPS])
    page = opened(brought)
    kept = trace.load(save(page, "Save trace", tmp_path))
    assert kept.capsule == brought.capsule
    assert [*kept.pictures] == [3, STEPS]
    assert (kept.latents == theirs.latents).all()
    html = save(page, "Save page", tmp_path).read_text("utf-8")
    assert "owner/elsewhere" in html
    assert html.count("data:image/webp;base64,") == 1


def test_the_recorded_run_is_saved_with_its_picture(page, tmp_path):
    """It is of the embedded model, which this page has not."""
    kept = trace.load(save(page, "Save trace", tmp_path))
    assert [*kept.pictures] == [kept.request.steps]
    assert to_image(kept.pictures[kept.request.steps] / 255).tobytes() == (
        Image.open(RECORDED.with_suffix(".png")).convert("RGB").tobytes()
    )


def test_a_hostile_folders_prompts_are_only_texts(open_page, tmp_path):
    """Gradio reads a template as Handlebars and as JavaScript before it is HTML."""
    prompts = [HOSTILE, "{{#if x}}", "`", "a fox"]
    folder = saved(tmp_path / "hostile", tiny_pipeline(tiny_parts()), sampler="DDIM", steps=4, scale=4.0, prompts=prompts)
    with serve(app.create_app(load_model(folder, "cpu"))) as url:
        page = open_page(url)
        buttons = page.locator(".controls .prompts").first
        assert buttons.locator("button").all_inner_texts() == prompts
        assert page.title() != "x"
        page.get_by_role("button", name="a fox").first.click()
        page.wait_for_function("document.querySelector('.controls textarea').value === 'a fox'")
        page.get_by_role("tab", name="Walk").click()
        page.wait_for_selector(".stations input.prompt")
        assert page.locator(".stations input.prompt").first.input_value() == HOSTILE
