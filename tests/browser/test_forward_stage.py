"""The Forward tab's stage and folds: what is painted and said is the mathematics, at every place of the timeline."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
from forward_actions import STAGE, canvas, choose, opened, seek
from PIL import Image
from test_player_access import violations

from explorer import forward as process
from explorer import forward_schedule, noising, seeing
from explorer.intake import bring
from explorer.tabs.gpu import predict
from explorer.tabs.picture_field import FOLDER

PLOT = "document.querySelector('#forward-curves .js-plotly-plot')"
HOUSE = (FOLDER / "house.png").read_bytes()


@pytest.fixture(scope="module")
def kept(chromium, address):
    """The same in one page, for the tests that only move the timeline."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(error))
    page.goto(address)
    yield opened(page)
    context.close()
    assert wrong == []


def a_house(model) -> process.Noising:
    """What is on the stage at first."""
    source = process.source("house", bring(HOUSE, model.default_size, process.LARGEST), model)
    return process.Noising(source, 7, forward_schedule.schedule("linear", 1000, True, "", model))


def test_the_painted_state_is_the_mixture(kept, model):
    state = a_house(model)
    preview = np.array(model.preview.matrix), np.array(model.preview.offset)
    for t in (0, 137, 1000):
        seek(kept, t)
        wanted = (state.pixels(t).numpy().transpose(1, 2, 0) + 1) * 127.5
        assert np.abs(canvas(kept, "pixels") - wanted.clip(0, 255)).max() < 1.2  # eps came as float16
        colours = np.einsum("kc,chw->hwk", preview[0], state.latents(t).numpy()) + preview[1]
        assert np.abs(canvas(kept, "latents") - (255 * colours).clip(0, 255)).max() < 1.2
        mean = kept.locator(".of-pixels dd").text_content().split()[1].strip(",").replace("−", "-")
        assert float(mean) == pytest.approx(state.pixels(t).mean().item(), abs=0.03)  # of a sample


def test_rows_matched_by_measured_snr(kept):
    linear = noising.alphas_cumprod("linear", 1000)
    seek(kept, 300)
    kept.get_by_role("button", name="measured SNR").click()
    kept.wait_for_function(f"{STAGE}.state.at.latents.t !== 300")
    variances = kept.evaluate(f"[{STAGE}.state.picture.pixels.var, {STAGE}.state.picture.latents.var]")
    for t in (1, 300, 777, 1000):
        seek(kept, t)
        wanted = noising.match(linear, variances[0], linear, variances[1])[t - 1] + 1
        assert kept.evaluate(f"{STAGE}.state.at.latents.t") == wanted
    seek(kept, 0)
    assert kept.evaluate(f"{STAGE}.state.at.latents.t") == 0
    kept.get_by_role("button", name="timestep", exact=True).click()


def test_formulas_and_label_have_this_steps_numbers(kept):
    alphas = noising.alphas_cumprod("linear", 1000)
    seek(kept, 300)
    jump, step = (kept.locator(f".forward .{name}-equation").text_content() for name in ("jump", "step"))
    beta = noising.betas(alphas)[299]
    assert f"{math.sqrt(alphas[299]):.3f}" in jump
    assert f"{1 - alphas[299]:.3f}" in jump
    assert f"{math.sqrt(1 - beta):.4f}" in step
    assert f"{beta:.4f}" in step
    variance = kept.evaluate(f"{STAGE}.state.picture.pixels.var")
    db = float(noising.snr_db(alphas[299], variance))
    label = kept.locator(".forward .label").text_content().replace("−", "-")
    assert f"{db:+.1f} dB" in label
    assert noising.stage(db) in label
    seek(kept, 1000)
    assert "ᾱ 4.0e−5 ·" in kept.locator(".forward .label").text_content()  # not 0.000


def test_the_curve_and_its_lines_have_the_snr_of_the_rail(kept):
    def curve():
        return kept.evaluate(
            f"(() => {{ const {{ data, layout }} = {PLOT};"
            " return [[...data[2].y], layout.shapes.map((line) => line.y0)]; })()"
        )

    kept.wait_for_selector(".forward-cursor span")
    linear = noising.alphas_cumprod("linear", 1000)
    for example in ("a night sky", "a house"):  # dark, and so of less variance
        before = kept.evaluate(f"{STAGE}.dataset.run")
        if kept.locator(f'.forward-examples [title="{example}"]').get_attribute("aria-pressed") == "false":
            kept.get_by_role("button", name=example, exact=True).click()
            kept.wait_for_function(f"run => {STAGE}.dataset.run !== run", arg=before)
        variance = kept.evaluate(f"{STAGE}.state.picture.pixels.var")
        wanted = noising.snr_db(linear, variance)
        kept.wait_for_function(
            "db => Math.abs(document.querySelector('#forward-curves .js-plotly-plot').data[2].y[499] - db) < 0.01",
            arg=wanted[499],
        )
        y, lines = curve()
        np.testing.assert_allclose(y, wanted, rtol=1e-3)
        marks = kept.locator(".stage-mark").evaluate_all(
            "all => all.map((one) => +one.style.getPropertyValue('--from') * 1000)"
        )
        crossed = [int((wanted < line).argmax()) + 1 for line in sorted(lines, reverse=True)]
        np.testing.assert_allclose(marks[-3:], [t - 0.5 for t in crossed])


def test_one_figure_a_change(kept):
    asked = []
    listener = lambda request: asked.append(request.post_data or "") if request.method == "POST" else None  # noqa: E731
    kept.on("request", listener)
    choose(kept, "Schedule", "cosine")
    kept.wait_for_function(f"{PLOT}.data[0].name === 'cosine'")
    seek(kept, 100)
    kept.wait_for_timeout(400)
    run = kept.evaluate(f"{STAGE}.dataset.run")
    assert sum(f'["{run}",false]' in post for post in asked) == 1
    choose(kept, "Schedule", "linear")
    kept.wait_for_function(f"{PLOT}.data[0].name === 'linear'")
    kept.remove_listener("request", listener)


def test_what_the_model_sees(kept, model):
    seek(kept, 600)
    kept.get_by_text("What the model sees here").click()
    kept.wait_for_selector('.sees[data-shown="600"]')
    assert kept.locator(".sees .dots span").count() == 11  # ten levels and the state shown
    seen = seeing.sees(a_house(model), 600, model, lambda *values: predict(model, *values))
    said = kept.locator(".sees .said").text_content()
    assert said.startswith(f"At t = 600, MSE {seen['mse']:.3f}: ")
    assert said.endswith(seen["note"])
    assert f"{seen['db']:.1f} dB" in said
    judged = {0.9: "hardly better than guessing 0", 0.3: "better than guessing 0", 0.0: "is recognised"}
    assert next(words for least, words in judged.items() if seen["mse"] > least) in said
    forms = kept.locator(".sees .form").all_text_contents()
    a, s = (f"{math.sqrt(x):.3f}" for x in (lambda alpha: (alpha, 1 - alpha))(noising.alphas_cumprod("linear", 1000)[599]))
    assert [a in form or s in form for form in forms] == [True] * 4
    seek(kept, 0)
    kept.get_by_text("there is nothing to predict").wait_for()


def test_the_chain_is_walked_one_step_at_a_time(kept):
    seek(kept, 41)
    kept.get_by_text("Chain and jump").click()
    kept.wait_for_selector('.walks[data-shown="41"]')
    kept.get_by_role("button", name="Take one more step").click()
    kept.wait_for_selector('.walks[data-shown="42"]')
    assert kept.locator(".stepper .where").text_content() == "step 42 of 1000"
    difference = float(kept.locator(".difference b").text_content().replace("−", "-"))
    assert 0 < difference < 1e-5
    for row in ("mean", "var"):
        measured, theory = (float(x.replace("−", "-")) for x in kept.locator(f".facts .{row} td").all_text_contents())
        assert measured == pytest.approx(theory, abs=0.02)
    kept.get_by_role("button", name="Back to x0").click()
    kept.wait_for_selector('.walks[data-shown="0"]')


def test_a_walk_that_fails_leaves_no_numbers_of_another_state(kept):
    seek(kept, 12)
    kept.wait_for_selector('.walks[data-shown="12"]')
    assert "–" not in kept.locator(".facts td").all_text_contents()
    kept.route("**/component_server/", lambda route: route.abort())
    seek(kept, 13)
    kept.get_by_text("The server did not answer.").first.wait_for()
    kept.unroute("**/component_server/")
    assert set(kept.locator(".facts td, .difference b").all_text_contents()) == {"–"}
    assert kept.locator(".facts .formula").text_content() == ""
    seek(kept, 14)
    kept.wait_for_selector('.walks[data-shown="14"]')
    assert "–" not in kept.locator(".facts td").all_text_contents()


def test_the_curves_have_a_cursor_that_can_be_moved(kept):
    kept.wait_for_selector(".forward-cursor span")
    kept.locator("#forward-curves").scroll_into_view_if_needed()
    seek(kept, 250)
    places = kept.evaluate(
        "[...document.querySelectorAll('.forward-cursor span')].map((line) => parseFloat(line.style.left))"
    )
    assert len(places) == 3
    seek(kept, 750)
    moved = kept.evaluate(
        "[...document.querySelectorAll('.forward-cursor span')].map((line) => parseFloat(line.style.left))"
    )
    assert all(after > before + 20 for before, after in zip(places, moved, strict=True))
    box = kept.locator("#forward-curves .svg-container").bounding_box()
    kept.mouse.click(box["x"] + places[0], box["y"] + box["height"] / 2)
    kept.wait_for_function(f"Math.abs({STAGE}.dataset.frame - 250) < 8")


def test_resting_decodes_and_playing_reaches_the_end(kept, model):
    seek(kept, 200)
    image = kept.locator('.pane[data-pane="decoded"] img[alt="the latents at t = 200, decoded"]')
    image.wait_for()
    shown = Image.open(io.BytesIO(base64.b64decode(image.get_attribute("src").split(",")[1]))).convert("RGB")
    wanted = model.decode(a_house(model).latents(200)[None])[0].permute(1, 2, 0).mul(255).numpy()
    assert np.abs(np.asarray(shown, float) - wanted).mean() < 4  # it may come compressed
    kept.locator(".forward .length select").select_option("3")
    kept.locator(".forward .timeline").focus()
    kept.keyboard.press("Space")
    kept.wait_for_function(f"{STAGE}.dataset.frame == 1000")
    assert kept.locator("#forward-play").get_attribute("aria-label") == "Play"


def test_at_most_one_draw_an_animation_frame(kept):
    drawn = kept.evaluate(
        f"""() => new Promise((done) => {{
            const slider = {STAGE}.querySelector('.timeline'), before = +{STAGE}.dataset.painted;
            for (let t = 0; t < 500; t += 10) {{ slider.value = t; slider.dispatchEvent(new Event('input')); }}
            requestAnimationFrame(() => requestAnimationFrame(() => done(+{STAGE}.dataset.painted - before)));
        }})"""
    )
    assert drawn == 1


def test_axe_finds_nothing_serious_in_either_theme(kept):
    kept.locator(".forward .warning summary").click()
    assert violations(kept) == []
    kept.evaluate("document.body.classList.add('dark')")
    kept.wait_for_timeout(500)  # buttons change their colours in a while
    assert violations(kept) == []
    kept.evaluate("document.body.classList.remove('dark')")
