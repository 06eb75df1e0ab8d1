"""The Guidance tab: a sweep under one timeline, a cell under the microscope, w(t) drawn by hand, a cell in Reverse."""

from __future__ import annotations

import re

import numpy as np
import pytest
from actions import requests_during

from explorer import Request, limits, microscope, run
from explorer.dial import values
from explorer.schedule import schedule

ROOT = "document.querySelector('#guidance-stage .compare')"
STAGE = "#guidance-stage .compare"
SCALES = [0, 1, 3, 5, 8, 12]
STEPS = 6

# Presses Run, and Cancel as soon as the second state is painted.
PRESS_AND_CANCEL = f"""() => {{
    const root = {ROOT}, before = root.dataset.run;
    document.querySelector('#guidance-run').click();
    return new Promise((done) => {{ const look = () => {{
        if (root.dataset.run === before || root.dataset.frame < 1) return requestAnimationFrame(look);
        document.querySelector('#guidance-cancel').click();
        done(); }};
      look(); }}); }}"""


@pytest.fixture(scope="module")
def kept(chromium, address):
    """One page for all tests that leave a whole sweep of six scales behind."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page, wrong = context.new_page(), []
    page.set_default_timeout(20000)
    page.on("pageerror", lambda error: wrong.append(error))
    page.goto(f"{address}?tab=guidance&prompt=pizza&steps={STEPS}&seed=3")
    page.wait_for_selector(f"{STAGE} .choose")
    page.wait_for_function("document.documentElement.dataset.restored === ''")
    yield page
    context.close()
    assert wrong == []


@pytest.fixture
def swept(kept):
    """That page, on its tab, with a sweep of the first scales."""
    kept.get_by_role("tab", name="Guidance", exact=True).click()
    if labels(kept) != [f"w = {w}" for w in SCALES] or kept.locator(STAGE).get_attribute("data-phase") != "done":
        fill(kept, "Guidance scales w", ", ".join(map(str, SCALES)))
        set_steps(kept, STEPS)
        dial(kept, "constant")
        press(kept)
    return kept


def press(page) -> None:
    """Presses Run and waits until another run than before is whole and painted."""
    before = page.locator(STAGE).get_attribute("data-run")
    page.locator("#guidance-run").click()
    page.wait_for_function(
        f"before => {ROOT}.dataset.run !== before && {ROOT}.dataset.phase === 'done'"
        f" && {ROOT}.dataset.frame === {ROOT}.querySelector('.scrub').max",
        arg=before,
    )


def fill(page, label: str, text: str) -> None:
    page.get_by_label(label).first.fill(text)
    page.get_by_label(label).first.press("Tab")


def dial(page, name: str) -> None:
    page.get_by_role("combobox", name="w(t), the scale along the run").click()
    page.get_by_role("option", name=name, exact=True).click()


def set_steps(page, count: int) -> None:
    field = page.locator('.guidance-tab input[type="number"]').nth(1)
    field.fill(str(count))
    field.press("Tab")


def clear(page) -> None:
    """Closes what was told, so that it covers nothing."""
    page.evaluate("document.querySelectorAll('.toast-close').forEach((button) => button.click())")
    page.wait_for_function("!document.querySelector('.toast-body')")


def labels(page) -> list[str]:
    return page.locator(f"{STAGE} .lane .name b").all_text_contents()


def go_to(page, i: int) -> None:
    page.locator(f"{STAGE} .scrub").evaluate(
        "(slider, i) => { slider.value = i; slider.dispatchEvent(new Event('input')); }", i
    )
    page.wait_for_function(f"i => {ROOT}.dataset.frame == i", arg=i)


def choose(page, cell: int) -> None:
    page.locator(f"{STAGE} .lane").nth(cell).locator(".choose").click()
    page.wait_for_function(f"cell => {ROOT}.dataset.chosen == cell", arg=cell)


def maps(page, cell: int, i: int) -> dict[str, np.ndarray]:
    """What the microscope shows, once it is of this cell and step."""
    page.wait_for_function(
        f"([cell, i]) => {{ const [, k, at] = {ROOT}.lens.shown ?? []; return k === cell && at === i; }}", arg=[cell, i]
    )
    planes = page.evaluate(
        f"Object.fromEntries(Object.entries({ROOT}.lens.planes).map(([name, plane]) => [name, [...plane]]))"
    )
    return {name: np.array(plane) for name, plane in planes.items()}


def facts(page) -> list[float | None]:
    """|uncond|, |cond|, |difference|, |guided|, cosine, angle, clipped share, saturation."""
    texts = page.locator(".lens-facts dd").all_text_contents()
    return [None if text == "–" else float(re.sub("[°%]", "", text.replace("−", "-"))) for text in texts]


def rms(plane: np.ndarray) -> float:
    return float(np.sqrt(np.mean(plane**2)))


def test_a_sweep_is_a_grid_of_named_cells_seen_without_scrolling(swept):
    page = swept
    assert labels(page) == [f"w = {w}" for w in SCALES]
    names = page.locator(f"{STAGE} .lane .name span").all_text_contents()
    assert names == ["unconditional", "conditional only", *["past the prompt"] * 4]
    assert page.locator(f"{STAGE} .lane img:visible").count() == 6  # the decoded pictures
    tops = [page.locator(f"{STAGE} .lane").nth(k).bounding_box()["y"] for k in range(6)]
    assert tops[0] == tops[2] < tops[3] == tops[5]
    page.evaluate("scrollTo(0, 0)")
    for place in (".lanes", ".bar", ".microscope"):
        box = page.locator(f"{STAGE} {place}").bounding_box()
        assert box["y"] + box["height"] <= 900, place
        assert box["x"] + box["width"] <= 1440, place
    counted = (".controls input[type=number], .controls textarea, .controls input[role=combobox], "
               ".controls .prompts:not(.presets), .controls button.label-wrap, .runbar button")  # fmt: skip
    visible = page.locator(".guidance-tab").locator(counted)
    assert sum(control.is_visible() for control in visible.all()) <= 8


def test_the_microscope_satisfies_the_formula_at_every_step(swept, tiny_model):
    page = swept
    choose(page, 4)
    steps = run(tiny_model, Request(prompt="pizza", seed=3, steps=STEPS, guidance=8.0)).steps
    for i in (0, 2, STEPS - 1):
        go_to(page, i)
        seen = maps(page, 4, i)
        np.testing.assert_allclose(seen["difference"], seen["eps_cond"] - seen["eps_uncond"], atol=5e-3)
        guided = seen["x0_uncond"] + 8 * (seen["x0_cond"] - seen["x0_uncond"])  # x0 is linear in eps
        np.testing.assert_allclose(seen["x0"], guided, atol=9e-3 * np.abs(seen["x0_cond"]).max())  # float16, eight times
        np.testing.assert_allclose(seen["eps_cond"], steps[i].eps_cond.flatten().numpy(), atol=5e-3)
        uncond, cond, difference, norm, cosine, angle, *_ = facts(page)
        assert uncond == pytest.approx(rms(seen["eps_uncond"]), abs=1e-3)
        assert cond == pytest.approx(rms(seen["eps_cond"]), abs=1e-3)
        assert difference == pytest.approx(rms(seen["difference"]), abs=1e-3)
        assert norm == pytest.approx(rms(seen["eps_uncond"] + 8 * seen["difference"]), abs=5e-3)
        assert cosine == pytest.approx(microscope.cosine_of(steps[i].eps_cond, steps[i].eps_uncond), abs=1e-3)
        assert np.cos(np.deg2rad(angle)) == pytest.approx(cosine, abs=2e-3)
        for line in (".distances .cursor", ".dial-cursor"):
            assert float(page.locator(f"{STAGE} {line}").get_attribute("x1")) == pytest.approx(1000 * i / STEPS)
        formula = page.locator(".lens-formula").inner_text().replace("\n", "")
        assert re.sub(r"\s", "", formula) == "ε=εuncond+8·(εcond−εuncond)"


def test_a_rescaled_prediction_has_the_formula_that_made_it(swept):
    page = swept
    more = page.locator(".guidance-tab .controls button.label-wrap")
    more.click()
    phi = page.locator('.guidance-tab input[type="number"][aria-label$=" for Guidance rescale"]')
    negative = page.locator(".guidance-tab").get_by_role("textbox", name="Negative prompt")
    phi.fill("0.7")
    negative.fill("red")
    negative.press("Tab")
    press(page)
    choose(page, 4)
    go_to(page, 2)
    seen = maps(page, 4, 2)
    formula = re.sub(r"\s", "", page.locator(".lens-formula").inner_text())
    factor = re.fullmatch(r"ε=([\d.]+)·\[εuncond\+8·\(εcond−εuncond\)\]", formula)  # the factor is that of the whole
    guided = seen["eps_uncond"] + 8 * seen["difference"]
    assert facts(page)[3] == pytest.approx(float(factor[1]) * rms(guided), abs=1e-2)
    assert page.locator('[data-map="eps_uncond"] .title').text_content() == "negative prompt"
    made = page.evaluate(
        f"{ROOT}.lens.formula({{guidance: 8, norm_difference: 1, rescale: 0.7, factor: 0.5}}, 'v_prediction')"
    )
    assert "<i>v</i>" in made
    assert "ε" not in made  # it is the model's own output that is rescaled
    phi.fill("0")
    negative.fill("")
    negative.press("Tab")
    more.click()
    press(page)
    assert page.locator('[data-map="eps_uncond"] .title').text_content() == "without the prompt"


def test_a_cell_at_one_asks_once_and_the_end_keeps_the_last_maps(swept):
    page = swept
    choose(page, 1)
    go_to(page, 2)
    assert set(maps(page, 1, 2)) == {"eps_cond", "x0_cond", "x0"}
    assert page.locator(".microscope .absent:visible").count() == 3
    assert "exactly 1" in page.locator(".lens-note").text_content()
    choose(page, 5)
    go_to(page, STEPS)
    assert set(maps(page, 5, STEPS - 1)) >= {"eps_uncond", "difference"}
    assert f"The maps are of step {STEPS - 1}." in page.locator(".lens-note").text_content()
    assert page.locator(".microscope .absent:visible").count() == 0


def test_cells_are_chosen_with_keys_and_time_with_others(swept):
    page = swept
    go_to(page, 3)
    choose(page, 0)
    page.locator(f"{STAGE} .choose").first.focus()
    for key, cell in (("ArrowRight", 1), ("ArrowDown", 4), ("ArrowDown", 4), ("ArrowLeft", 3), ("Home", 0), ("End", 5)):
        page.keyboard.press(key)
        assert page.evaluate(f"{ROOT}.dataset.chosen") == str(cell)
        assert page.evaluate("document.activeElement.closest('.lane').dataset.cell ?? [...document.querySelectorAll"
                             f"('{STAGE} .choose')].indexOf(document.activeElement)") == cell  # fmt: skip
        assert page.locator(f"{STAGE} .choose[tabindex='0']").count() == 1
    assert page.evaluate(f"{ROOT}.dataset.frame") == "3"
    maps(page, 5, 3)
    page.locator(f"{STAGE} .scrub").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"{ROOT}.dataset.frame == 4")


def test_scrubbing_a_chosen_cell_asks_nothing_more(swept):
    page = swept
    choose(page, 2)
    go_to(page, 1)
    maps(page, 2, 1)

    def scrub():
        for i in (0, 5, 3, 4, 2):
            go_to(page, i)
            maps(page, 2, i)

    assert requests_during(page, scrub) == []


def test_w_of_t_is_drawn_by_hand(swept, tiny_model):
    page = swept
    dial(page, "drawn")
    knots = page.locator(".guidance-drawer .knot")
    page.locator(".guidance-drawer").scroll_into_view_if_needed()
    box = knots.nth(0).bounding_box()
    page.mouse.move(box["x"] + 12, box["y"] + 12)
    page.mouse.down()
    page.mouse.move(box["x"] + 12, box["y"] - 48, steps=4)
    page.mouse.up()
    assert 0.4 <= float(knots.nth(0).get_attribute("aria-valuenow")) <= 0.6
    knots.nth(1).focus()
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Delete")
    assert knots.count() == 3
    field = page.get_by_label("Its knots as text")
    page.wait_for_function("field => field.value.split(' ').length === 3", arg=field.element_handle())
    text = f"{field.input_value().rpartition(' ')[0]} 1:0.25"
    fill(page, "Its knots as text", text)
    page.wait_for_function(
        "document.querySelectorAll('.guidance-drawer .knot')[2].getAttribute('aria-valuenow') === '0.25'"
    )
    for wrong in ("0:0 0.5:", "0.5:1 0.2:0.3 1:1", "0:0 0.9:1"):  # on the way to another text, or refused: not drawn
        fill(page, "Its knots as text", wrong)
    fill(page, "Its knots as text", text)
    assert [knot.get_attribute("aria-valuenow") for knot in knots.all()][2:] == ["0.25"]
    assert knots.first.evaluate("knot => knot.style.left") == "0%"
    press(page)
    request = limits.check(Request(prompt="pizza", seed=3, steps=STEPS), tiny_model)
    shares = values("drawn", 1.0, schedule(request, tiny_model.scheduler_config), knots=text)
    choose(page, 5)
    for i in (0, 3, STEPS - 1):
        go_to(page, i)
        w = 1 + shares[i] * 11
        assert float(page.locator(".dial-now b").text_content()) == pytest.approx(w, abs=6e-3)
        seen = maps(page, 5, i)
        if w != 1:
            guided = seen["x0_uncond"] + w * (seen["x0_cond"] - seen["x0_uncond"])
            np.testing.assert_allclose(seen["x0"], guided, atol=1e-3 * (1 + w) * np.abs(seen["x0_cond"]).max())  # float16
    assert page.locator(".dial polyline").count() == 6
    dial(page, "constant")
    press(page)


def test_a_bad_value_is_told_and_cancel_keeps_what_there_is(swept, model):
    page = swept
    before = page.locator(STAGE).get_attribute("data-run")
    fill(page, "Guidance scales w", "1, far")
    page.locator("#guidance-run").click()
    page.get_by_text("Scale 2 is 'far'").wait_for()
    page.wait_for_function(f"{ROOT}.dataset.phase === 'done'")
    assert page.locator(STAGE).get_attribute("data-run") == before
    clear(page)
    fill(page, "Guidance scales w", "4")
    set_steps(page, 100)
    page.evaluate(PRESS_AND_CANCEL)
    page.wait_for_function(f"{ROOT}.dataset.phase === 'stopped'")
    page.locator("#guidance-run").wait_for()
    assert labels(page) == ["w = 4"]
    assert set(maps(page, 0, int(page.locator(STAGE).get_attribute("data-frame")))) >= {"difference"}
    page.locator("#guidance-sheet").click()
    page.get_by_text("stopped before its end").wait_for()
    clear(page)
    set_steps(page, STEPS)


def test_the_chosen_cell_plays_in_reverse(swept, tiny_model):
    page = swept
    choose(page, 3)
    name = f"{page.locator(STAGE).get_attribute('data-run')}-3"
    with page.expect_download() as sheet:
        page.locator("#guidance-sheet").click()
    assert sheet.value.suggested_filename == "diffuscope-guidance-pizza-seed-3.png"
    page.get_by_role("button", name="Open in Reverse").click()
    player = "document.querySelector('#reverse-player .player')"
    page.wait_for_function(f"name => {player}.dataset.run === name && {player}.dataset.phase === 'done'", arg=name)
    assert page.get_by_role("tab", name="Reverse", exact=True).get_attribute("aria-selected") == "true"
    page.locator("#reverse-player .is-picture img").wait_for()
    page.wait_for_function(f"{player}.dataset.frame == {STEPS}")
    steps = run(tiny_model, Request(prompt="pizza", seed=3, steps=STEPS, guidance=5.0)).steps
    legend = page.locator("#reverse-player .legend dd").all_text_contents()
    state = float(np.sqrt(np.mean(steps[-1].latents.numpy() ** 2) / (steps[-1].alpha ** 2 + steps[-1].sigma ** 2)))
    assert float(legend[2]) == pytest.approx(state, abs=2e-3)


def test_the_chosen_cell_is_opened_in_latents(swept):
    page = swept
    choose(page, 5)
    page.get_by_role("button", name="Open in Latents").click()
    latents = "document.querySelector('#latents-stage .latents')"
    page.wait_for_function(f"{latents}?.textContent.includes('“pizza”, seed 3')")
    assert page.get_by_role("tab", name="Latents", exact=True).get_attribute("aria-selected") == "true"


def test_a_phone_has_two_columns_then_the_timeline_then_run(open_page, address):
    page = open_page(address, 390, 844)
    page.get_by_role("tab", name="Guidance", exact=True).click()
    page.wait_for_selector(f"{STAGE} .choose")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    lanes = [page.locator(f"{STAGE} .lane").nth(k).bounding_box() for k in range(3)]
    assert lanes[0]["y"] == lanes[1]["y"] < lanes[2]["y"]
    rail = page.locator(f"{STAGE} .scrub").bounding_box()
    assert rail["y"] + rail["height"] <= 844  # in sight without scrolling
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    order = [page.locator(one).bounding_box()["y"] for one in
             (f"{STAGE} .lanes", f"{STAGE} .bar", "#guidance-run", ".guidance-tab .controls", ".microscope")]  # fmt: skip
    assert order == sorted(order)


def test_an_address_opens_the_editor_with_its_drawing(kept, address):
    page = kept  # the last test: nothing is left of its sweep
    page.goto(f"{address}?tab=guidance&dial=drawn&drawn=0:0.1+0.5:1+1:0.2&scales=2,x&steps=7")
    page.get_by_text("Not used from the address: Scale 2 is 'x'").wait_for()
    values = (
        "[...document.querySelectorAll('.guidance-drawer .knot')].map((knot) => knot.getAttribute('aria-valuenow')).join()"
    )
    page.locator(".guidance-drawer").wait_for()
    page.wait_for_function(f"{values} === '0.1,1,0.2'")
    assert page.get_by_label("Guidance scales w").first.input_value() == ", ".join(map(str, SCALES))
    assert page.locator(".dial-interval").is_hidden()
