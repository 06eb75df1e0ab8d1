"""The Guidance tab: a sweep under one timeline, a cell under the microscope, w(t) drawn by hand, a cell in Reverse."""

from __future__ import annotations

import re

import numpy as np
import pytest
from actions import requests_during

from explorer import Request, limits, microscope, run
from explorer.dial import values
from explorer.schedule import schedule
from explorer.tabs import TABS

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
    phi.wait_for()
    page.wait_for_timeout(300)  # Gradio writes a field's own value once more just after it is there; no person is as fast
    negative.fill("red")
    negative.press("Tab")
    page.wait_for_function("location.search.includes('negative_prompt=red')")  # what was just opened is there for good
    phi.fill("0.7")
    phi.press("Tab")
    page.wait_for_function("location.search.includes('guidance_rescale=0.7')")
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
    told = page.locator(".microscope").inner_text()
    assert told.count("exactly 1") == 1  # why there is none is said once
    assert "not asked" not in told
    go_to(page, STEPS)  # and of the end too, whose maps are those of the step before
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
    line = page.locator(f"{STAGE} .formed")
    assert line.text_content() == "The form has changed; press Run to see it."
    press(page)
    assert line.text_content() == ""
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
    tops = {
        scale: [1 + share * (scale - 1) for share in shares] for scale in SCALES
    }  # no single number is true of such a cell
    assert labels(page) == [called(tops[scale]) for scale in SCALES]
    detail = page.locator(f"{STAGE} .lane .name span").nth(5).text_content()
    assert detail == f"for w = 12: {min(tops[12]):.3g} to {max(tops[12]):.3g}"
    dial(page, "constant")
    press(page)


def called(weights: list[float]) -> str:
    low, high = min(weights), max(weights)
    if low == high:
        return f"w = {low:g}"
    return f"w(t), peak {high:.3g}" if high - 1 >= 1 - low else f"w(t), low {low:.3g}".replace("-", "−")


def test_the_microscope_follows_the_pointer_and_returns(swept):
    page = swept
    choose(page, 4)
    go_to(page, 3)
    cells = page.locator(f"{STAGE} .lane .choose")
    cells.nth(1).hover()
    assert set(maps(page, 1, 3)) == {"eps_cond", "x0_cond", "x0"}
    assert page.locator(".lens-cell").text_content() == "w = 1"
    assert page.evaluate(f"{ROOT}.dataset.chosen") == "4"
    page.mouse.move(5, 5)
    maps(page, 4, 3)
    assert page.locator(".lens-cell").text_content() == "w = 8"
    assert page.locator(f"{STAGE} .is-hovered").count() == 0

    def wander():
        for k in (1, 4, 1):
            box = cells.nth(k).bounding_box()
            page.mouse.move(box["x"] + 20, box["y"] + 60)
            page.mouse.move(box["x"] + 120, box["y"] + 120, steps=10)
            maps(page, k, 3)
        page.keyboard.press("Tab")  # whoever goes on with the keys sees the cell that they act on
        maps(page, 4, 3)

    assert requests_during(page, wander) == []
    shown = page.evaluate(f"""async () => {{
        const seen = new Set(), cells = [...document.querySelectorAll('{STAGE} .lane .choose')];
        const name = () => seen.add(document.querySelector('.lens-cell').textContent);
        for (const k of [0, 1, 2, 5]) {{ // on the way, shorter than it takes to look
          cells[k].dispatchEvent(new PointerEvent('pointerover', {{ bubbles: true, pointerType: 'mouse' }}));
          await new Promise((done) => setTimeout(done, 20)); name(); }}
        document.querySelector('{STAGE} .lanes').dispatchEvent(new PointerEvent('pointerleave'));
        for (let n = 0; n < 8; n++) {{ await new Promise((done) => setTimeout(done, 20)); name(); }}
        return [...seen]; }}""")
    assert shown == ["w = 8"]


def test_a_form_that_differs_from_the_cells_says_so_until_it_does_not(swept):
    page, line = swept, swept.locator(f"{STAGE} .formed")
    place = f"[...{ROOT}.children, document.querySelector('#guidance-sheet')].map((one) => one.getBoundingClientRect().top)"
    before = page.evaluate(place)
    assert line.text_content() == ""

    def differ():
        fill(page, "Guidance scales w", "0, 4")
        page.wait_for_function("line => line.textContent === 'The form has changed; press Run to see it.'",
                               arg=line.element_handle())  # fmt: skip
        fill(page, "Guidance scales w", " ".join(map(str, SCALES)))  # the same ones, written otherwise
        page.wait_for_function("line => line.textContent === ''", arg=line.element_handle())

    assert [one for one in requests_during(page, differ) if "queue" in one] == []
    prompt = page.locator(".guidance-tab .controls textarea").first
    prompt.fill("red star")
    page.wait_for_function("line => line.textContent !== ''", arg=line.element_handle())
    assert page.evaluate(place) == before
    said = page.evaluate(f"""() => {{ // beside the longest that can stand before it
        const where = {ROOT}.querySelector('.where'), text = document.createRange(), kept = where.innerHTML;
        where.innerHTML = '<output class="place">evaluation 100 of 199</output><span class="doing">Stopped</span>';
        text.selectNodeContents(where);
        const right = text.getBoundingClientRect().right;
        where.innerHTML = kept;
        text.selectNodeContents({ROOT}.querySelector('.formed'));
        return [right, text.getBoundingClientRect().left]; }}""")
    assert said[0] + 8 <= said[1]
    prompt.fill("pizza")
    page.wait_for_function("line => line.textContent === ''", arg=line.element_handle())


def test_small_targets_are_large_enough_and_the_curve_is_not_flat(swept):
    page = swept
    choose(page, 5)
    go_to(page, 2)
    maps(page, 5, 2)
    for button in page.locator(f"{STAGE} .enlarge:visible").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 28
    assert re.fullmatch(r"\d+\.\d°", page.locator(f"{STAGE} .distances dd").nth(1).text_content())
    points = page.locator(f"{STAGE} .distances polyline").nth(1).get_attribute("points").split()
    heights = [float(point.split(",")[1]) for point in points]
    assert max(heights) - min(heights) > 10  # of 92


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


def test_a_walk_begins_in_the_chosen_cell(swept):
    page = swept
    page.get_by_role("tab", name="Guidance", exact=True).click()
    choose(page, 3)
    page.get_by_role("button", name="Open in Walk").click()
    page.wait_for_function(
        "document.querySelector('#walk-stations textarea, .stations-text textarea')?.value.includes('pizza @ 4')"
    )
    assert page.get_by_role("tab", name="Walk", exact=True).get_attribute("aria-selected") == "true"
    assert page.locator(".stations-text textarea").input_value() == "pizza @ 3\npizza @ 4"
    form = page.locator(".walk-tab .controls")
    assert form.get_by_label("number input for Guidance").input_value() == "5"
    assert form.get_by_label("number input for Steps").input_value() == str(STEPS)
    page.wait_for_function("document.activeElement.id === 'walk-run'")


def test_a_phone_has_the_cells_then_the_timeline_then_run(chromium, address):
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    page.goto(f"{address}?tab=guidance")
    page.wait_for_selector(f"{STAGE} .choose")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    lanes = [page.locator(f"{STAGE} .lane").nth(k).bounding_box() for k in range(4)]
    assert lanes[0]["y"] == lanes[1]["y"] == lanes[2]["y"] < lanes[3]["y"]
    for part in (".guidance-tab .scrub", "#guidance-run"):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 844, part  # in sight without scrolling
    assert page.get_by_text("one noise is pulled toward the prompt").is_visible()
    assert [tab.inner_text() for tab in page.locator("[role=tab]:visible").all()] == [tab.title for tab in TABS]
    page.get_by_role("button", name="Open in Latents").wait_for()  # where the row of tabs is too short for its tab as well
    line = page.locator(f"{STAGE} .dial svg").bounding_box()
    for label in (".dial-top", ".dial-bottom"):  # beside the lines, and not over the page's edge
        box = page.locator(f"{STAGE} {label}").bounding_box()
        assert line["x"] + line["width"] <= box["x"] < box["x"] + box["width"] <= 378, label
        assert line["y"] - 8 <= box["y"] <= line["y"] + line["height"], label
    assert page.locator(f"{STAGE} canvas:visible").count() == 0  # no picture before there is one
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    order = [page.locator(one).bounding_box()["y"] for one in
             (f"{STAGE} .lanes", f"{STAGE} .bar", "#guidance-run", ".guidance-tab .controls", ".microscope")]  # fmt: skip
    assert order == sorted(order)
    page.close()


def test_an_address_opens_the_editor_with_its_drawing(kept, address):
    page = kept  # the last test: nothing is left of its sweep
    page.goto(
        f"{address}?tab=guidance&dial=drawn&drawn=0:0.1+0.5:1+1:0.2&scales=2,x&steps=7&negative_prompt=red&away_from=hat&diversity_scales=0,2,5"
    )
    page.get_by_text("Not used from the address: Scale 2 is 'x'").wait_for()
    values = (
        "[...document.querySelectorAll('.guidance-drawer .knot')].map((knot) => knot.getAttribute('aria-valuenow')).join()"
    )
    page.locator(".guidance-drawer").wait_for()
    page.wait_for_function(f"{values} === '0.1,1,0.2'")
    assert page.get_by_label("Guidance scales w").first.input_value() == ", ".join(map(str, SCALES))
    assert page.locator(".dial-interval").is_hidden()
    for fold in ("Negative prompt: two directions", "Fidelity against diversity"):
        page.get_by_role("button", name=fold).click()
    page.wait_for_function(
        "[...document.querySelectorAll('.seeds-scales thead th')].some((one) => one.textContent === 'w = 5')"
    )
    assert page.get_by_role("textbox", name="Away from").input_value() == "hat"
    assert page.get_by_label("At the scales w").input_value() == "0, 2, 5"
