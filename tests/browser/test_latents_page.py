"""The Latents tab in a browser: encode → mute → undo → paint → denoise from here; a file, a bad one; keys; the address."""

from __future__ import annotations

import base64
import json
from urllib.parse import urlencode

import numpy as np
import pytest
from actions import PLAYER, press_run, wait_for
from latents_actions import STAGE, act, canvas, edits, mute, opened, paint, png, upload
from test_player_access import violations

from explorer.noising import own


@pytest.fixture
def latents(open_page, address):
    """The tab with its first picture on the stage, in a page of its own."""
    return opened(open_page(address))


def test_mute_undo_paint_and_denoise_from_here(latents):
    page, plain, channel = latents, canvas(latents, "decoded"), canvas(latents, "channel 1")
    assert len(np.unique(plain)) > 20
    mute(page, 1)
    muted = canvas(page, "decoded")
    assert (muted != plain).any()
    assert len(np.unique(canvas(page, "channel 1").reshape(-1, 3), axis=0)) == 1
    page.get_by_text("channel 1 muted").wait_for()
    act(page, lambda: page.keyboard.press("Control+z"))
    np.testing.assert_array_equal(canvas(page, "decoded"), plain)
    np.testing.assert_array_equal(canvas(page, "channel 1"), channel)
    act(page, lambda: page.keyboard.press("Control+Shift+z"))
    np.testing.assert_array_equal(canvas(page, "decoded"), muted)

    paint(page, 0, (0.06, 0.56), (0.94, 0.56))
    stroke, last = edits(page)
    assert last == {"op": "mute", "channel": 1}  # stays muted, whatever is done after it
    assert (stroke["op"], stroke["channel"], sorted(stroke["cells"])) == ("paint", 0, [[x, 4] for x in range(8)])
    assert (canvas(page, "decoded") != muted).any()
    act(page, page.get_by_role("button", name="Undo", exact=True).click)  # one stroke is one step
    np.testing.assert_array_equal(canvas(page, "decoded"), muted)

    page.locator("#latents-go").click()
    wait_for(page, "done")
    assert page.get_by_role("tab", name="Reverse").get_attribute("aria-selected") == "true"
    page.wait_for_function(f"{PLAYER}.painted.at(-1) === 20")  # a moment after the last record
    assert page.evaluate(f"{PLAYER}.painted[0]") == 15  # of 20: three quarters of the way, the picture survives
    page.locator(".player .status:visible", has_text="5 evaluations in").wait_for()
    assert page.locator("#reverse-run").is_visible()


def test_a_file_a_bad_file_and_the_last_run(open_page, address):
    page = opened(open_page(f"{address}?tab=reverse&steps=3&width=96"))
    first = page.evaluate(f"{STAGE}.dataset.key")
    mute(page, 0)
    upload(page, "<b class=evil>mine.png", png(150, 100))
    page.wait_for_function(f"key => {STAGE}.state.key !== key", arg=first)
    page.get_by_text("cropped from 150×100").wait_for()
    assert page.locator(".evil").count() == 0
    assert edits(page) == []  # another picture begins anew
    mine, shown = page.evaluate(f"{STAGE}.dataset.key"), canvas(page, "original")

    upload(page, "bad.png", b"nothing of a picture")
    page.get_by_text("The file is not a picture").wait_for()
    assert page.evaluate(f"{STAGE}.dataset.key") == mine
    np.testing.assert_array_equal(canvas(page, "original"), shown)

    page.get_by_role("tab", name="Reverse", exact=True).click()
    press_run(page)
    wait_for(page, "done")
    page.get_by_role("tab", name="Latents", exact=True).click()
    page.get_by_text("Noised to step k of 3").wait_for()
    page.locator("#latents-last").click()
    page.wait_for_function(f"key => {STAGE}.state.key !== key", arg=mine)
    assert "seed 3" in page.evaluate(f"{STAGE}.state.name")
    assert page.get_by_role("button", name="spread", exact=True).is_disabled()  # the end of a run has no posterior
    np.testing.assert_array_equal(canvas(page, "original"), canvas(page, "decoded"))
    assert page.locator(".latents .fidelity").inner_text() == "None: both are the decoding."
    assert canvas(page, "decoded").shape == (64, 96, 3)
    heat = page.locator(".latents .heat").first.bounding_box()
    assert heat["width"] == pytest.approx(1.5 * heat["height"], rel=0.02)  # no square is made of it
    paint(page, 0, (0.95, 0.07), (0.95, 0.07))
    assert edits(page)[0]["cells"] == [[11, 0]]
    page.wait_for_function("!document.querySelector('#latents-examples [aria-pressed=true]')")


def test_tools_by_keys_and_what_an_address_holds(open_page, address):
    made = '[{"op":"mute","channel":3}]'
    page = opened(open_page(f"{address}?{urlencode({'tab': 'latents', 'example': 'cat', 'edits': made})}"))
    page.wait_for_function(f"{STAGE}.state.name === 'a cat' && {STAGE}.edits() === '{made}'")

    page.get_by_role("button", name="Channel 0", exact=True).last.click()
    slider = page.get_by_role("slider", name="Shift", exact=True)
    slider.focus()
    for _ in range(4):  # one after another they are one step
        act(page, lambda: page.keyboard.press("ArrowRight"))
    assert edits(page)[:-1] == [{"op": "shift", "channel": 0, "amount": 0.2}]
    act(page, lambda: page.keyboard.press("Control+z"))
    assert edits(page)[:-1] == []
    assert slider.input_value() == "0"

    page.get_by_role("application", name="Channel 1").focus()
    for key in ("ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    act(page, lambda: page.keyboard.press("Space"))
    assert edits(page)[0]["cells"] == [[5, 5]]
    page.wait_for_function("new URL(location).searchParams.get('edits').includes('paint')")
    act(page, page.get_by_role("button", name="channel 3 muted").click)  # one of them is left out
    assert [edit["op"] for edit in edits(page)] == ["paint"]
    assert page.evaluate("document.activeElement.textContent").startswith("channel 1 painted")  # the keys go on there
    act(page, page.get_by_role("button", name="Reset", exact=True).click)
    page.wait_for_function("new URL(location).searchParams.get('edits') === ''")
    undo = page.get_by_role("button", name="Undo", exact=True)
    undo.focus()
    while undo.is_enabled():
        act(page, lambda: page.keyboard.press("Enter"))
    act(page, lambda: page.keyboard.press("Control+y"))  # heard though the button that was pressed has gone grey

    page.get_by_role("button", name="spread", exact=True).click()
    assert page.locator(".latents .grid .low").text_content() == "0"
    spread = np.frombuffer(base64.b64decode(page.evaluate(f"{STAGE}.state.spread")), "<f2").reshape(4, -1).astype(float)
    said = page.locator(".latents .channel").nth(2).locator("dd").all_text_contents()
    wanted = [getattr(spread[2], name)() for name in ("mean", "std", "min", "max")]
    np.testing.assert_allclose([float(number) for number in said], wanted, atol=6e-5)


def test_a_stroke_that_is_undone_half_way_and_a_server_that_does_not_answer(latents):
    page, asked = latents, "**/component_server/**"
    mute(page, 1)
    box = page.locator(".latents .heat").first.bounding_box()

    def move(share):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)

    move(0.1)
    page.mouse.down()
    move(0.4)
    page.keyboard.press("Control+z")
    act(page, lambda: move(0.9))
    page.mouse.up()
    assert [edit["op"] for edit in edits(page)] == ["paint", "mute"]  # the stroke goes on, and takes nothing else away
    act(page, page.get_by_role("button", name="Undo", exact=True).click)

    before = canvas(page, "channel 0")
    silent = []
    page.route(asked, lambda route: (silent.append(1), route.fulfill(status=200, body="")))
    move(0.1)
    page.mouse.down()
    page.mouse.up()
    page.get_by_text("The server did not answer").wait_for()
    assert silent
    assert [edit["op"] for edit in edits(page)] == ["mute"]
    np.testing.assert_array_equal(canvas(page, "channel 0"), before)
    page.unroute(asked)
    busy = []

    def crowded(route):
        busy.append(1)
        route.fulfill(json={"error": "The model is busy.", "busy": True}) if len(busy) < 3 else route.continue_()

    page.route(asked, crowded)
    mute(page, 2)  # asked again until it is heard
    assert len(busy) == 3
    assert [edit["channel"] for edit in edits(page)] == [1, 2]
    assert page.locator(".latents .status").text_content() == ""


def test_what_can_not_be_made_is_told_and_taken_back(latents):
    mute(latents, 0)
    before = canvas(latents, "decoded")
    latents.evaluate(f"""{STAGE}.dispatchEvent(new CustomEvent("edits", {{ detail: '[{{"op":"mute","channel":9}}]' }}))""")
    latents.get_by_text("edit 1 (mute): channel is 9").wait_for()
    assert edits(latents) == [{"op": "mute", "channel": 0}]
    np.testing.assert_array_equal(canvas(latents, "decoded"), before)


def test_a_muted_channel_stays_muted_and_its_readouts_are_those_of_the_edited_latents(latents):
    page, eye = latents, latents.get_by_role("button", name="Mute channel 2", exact=True)
    before = page.locator(".latents .carries").all_text_contents()
    mute(page, 2)
    noise = page.get_by_role("slider", name="Noise", exact=True)
    act(page, lambda: noise.fill("2"))
    assert [edit["op"] for edit in edits(page)] == ["noise", "mute"]
    assert eye.get_attribute("aria-pressed") == "true"
    assert len(np.unique(canvas(page, "channel 2").reshape(-1, 3), axis=0)) == 1
    after = page.locator(".latents .carries").all_text_contents()
    assert after[2] == "is the same everywhere"
    assert after[0] != before[0]
    given = [{"op": "mute", "channel": 2}, {"op": "noise", "channel": None, "amount": 1, "seed": 1}]
    send = f"""text => {STAGE}.dispatchEvent(new CustomEvent("edits", {{ detail: text }}))"""
    act(page, lambda: page.evaluate(send, json.dumps(given, separators=(",", ":"))))
    assert eye.get_attribute("aria-pressed") == "false"  # a list from elsewhere is taken as it is: noise fills the channel


def test_how_much_noise_there_will_be_follows_the_step(latents, tiny_model):
    at, note = latents.locator("#latents-noised input[type=number]"), latents.locator(".latents-tab .note")
    alphas = own(tiny_model.scheduler_config)
    for k in (4, 15):  # leading spacing: timestep 50 · (19 − k) + 1 of 1000
        at.fill(str(k))
        at.press("Tab")
        noise = round(100 * (1 - alphas[50 * (19 - k) + 1]))
        note.get_by_text(f"Noised to step {k}, about {noise}% of").wait_for()


def test_the_desktop_needs_no_scrolling(latents):
    for place in (".latents .compression", ".latents .result .frame", ".latents .tools", ".latents .done", "#latents-go"):
        box = latents.locator(place).bounding_box()
        assert box["x"] + box["width"] <= 1440, place
        assert box["y"] + box["height"] <= 900, place
    mute(latents, 2)
    assert violations(latents) == []


def test_a_phone_shows_the_stage_first_and_nothing_overflows(open_page, address):
    page = opened(open_page(f"{address}?__theme=dark", 390, 844))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    places = (".latents .result", ".latents .channels", ".latents .tools", "#latents-picture", "#latents-go")
    tops = [page.locator(one).bounding_box()["y"] for one in places]
    assert tops == sorted(tops)
    assert violations(page) == []
