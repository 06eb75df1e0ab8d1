"""Run, cancel, refuse: a run paints every step in order, stops when told, and what is wrong is said in one sentence."""

from __future__ import annotations

import re
import threading

import pytest
from actions import (
    PLAYER,
    choose,
    number,
    painted,
    press_run,
    requests_during,
    run_to_the_end,
    set_number,
    wait_for,
    wait_for_frame,
    wait_for_painted,
)
from serving import serve

import app
from explorer.models.abilities import GENERAL
from explorer.samplers import SAMPLERS
from explorer.tabs import reverse
from explorer.tabs.common import fitting


def test_run_paints_every_step_in_order_and_ends_in_a_decoded_picture(page):
    run_to_the_end(page, 20)
    assert painted(page) == list(range(21))
    assert page.locator(".pane.is-picture img").is_visible()
    assert page.evaluate("document.querySelector('.pane.is-picture img').naturalWidth") == 64
    assert page.locator(".label").text_content().startswith("step 20 of 20 · t = 0 · α 1.000")


def test_run_answers_at_once(page):
    """Before any answer of the server, which is held back here: Cancel stands where Run was, and has the focus."""
    held: list = []
    page.route("**/queue/join*", lambda route: held.append(route))
    answered = page.evaluate(
        """() => { const run = document.querySelector('#reverse-run'), cancel = document.querySelector('#reverse-cancel');
                   const before = run.getBoundingClientRect();
                   run.focus(); run.click();
                   return new Promise(done => { const look = () => {
                     const after = cancel.getBoundingClientRect();
                     if (!after.width) return requestAnimationFrame(look);
                     done({ moved: Math.hypot(before.x - after.x, before.y - after.y),
                            resting: run.getBoundingClientRect().width, focused: document.activeElement === cancel }); };
                   look(); }); }"""
    )
    for route in held:
        route.continue_()
    page.unroute("**/queue/join*")
    wait_for(page, "done")
    assert answered["moved"] < 1
    assert answered["resting"] == 0
    assert answered["focused"]


def test_enter_in_the_prompt_runs(page):
    set_number(page, "Steps", 3)
    page.locator(".controls textarea").first.press("Enter")
    wait_for(page, "done")


def test_cancel_stops_within_a_step_and_the_next_run_starts(page, model, slow):
    slow(0.3)
    set_number(page, "Steps", 100)
    press_run(page)
    wait_for_painted(page, 4)
    before = model.predictions
    page.get_by_role("button", name="Cancel").click()
    wait_for(page, "stopped")
    stopped, seen = model.predictions, painted(page)
    assert stopped - before < 20  # the whole run would be nearly a hundred more
    slow(0)
    assert re.fullmatch(r"Stopped after \d+ of 100 evaluations", page.locator(".status").text_content())
    run_to_the_end(page, 3)
    assert painted(page) == [0, 1, 2, 3]
    assert model.predictions == stopped + 3  # nothing of the cancelled run went on meanwhile
    assert seen == list(range(len(seen)))


def test_closing_the_page_ends_its_run(open_page, address, model, slow):
    page = open_page(address)
    slow(0.1)
    set_number(page, "Steps", 100)
    press_run(page)
    wait_for_painted(page, 3)
    page.close()
    slow(0)
    other = open_page(address)
    run_to_the_end(other, 2)  # one run at a time: this one starts when the other has let go
    before = model.predictions
    run_to_the_end(other, 2)
    assert model.predictions == before + 2


def test_a_bad_value_is_told_in_one_sentence_and_the_last_frames_stay(page):
    run_to_the_end(page, 4)
    before = page.evaluate(f"{PLAYER}.painted.length")
    set_number(page, "Seed", "")
    press_run(page)
    toast = page.locator(".toast-body")
    toast.wait_for()
    wait_for(page, "done")
    assert "The seed is empty; type a whole number from 0 to 4294967295, or press Roll." in toast.inner_text()
    assert "Traceback" not in toast.inner_text()
    assert page.evaluate(f"{PLAYER}.painted.length") == before
    assert page.locator(".pane.is-picture img").is_visible()
    set_number(page, "Seed", 4)
    run_to_the_end(page, 2)
    assert painted(page) == [0, 1, 2]


def test_a_second_run_takes_the_place_of_the_first(page):
    run_to_the_end(page, 9)
    run_to_the_end(page, 4)
    assert painted(page) == [0, 1, 2, 3, 4]
    assert page.locator(".timeline").get_attribute("max") == "4"


@pytest.mark.parametrize(("sampler", "steps"), [("Heun", 4), ("PNDM", 4)])
def test_samplers_with_other_numbers_of_evaluations(page, sampler, steps):
    choose(page, "Sampler", sampler)
    set_number(page, "Steps", steps)
    evaluations = SAMPLERS[sampler].evaluations(steps)
    page.wait_for_function(
        "text => document.querySelector('.prose.sampler-note').innerText.includes(text)",
        arg=f"{steps} steps: {evaluations} evaluations.",
    )
    press_run(page)
    wait_for(page, "done")
    wait_for_frame(page, evaluations)
    assert painted(page) == list(range(evaluations + 1))


def test_guidance_1_says_that_there_is_one_call(page):
    assert "one conditional call" not in page.locator(".prose.guidance-note").inner_text()
    set_number(page, "Guidance", 1)
    page.wait_for_function("document.querySelector('.prose.guidance-note').innerText.includes('one conditional call')")
    assert "negative prompt and rescale are ignored" in page.locator(".prose.guidance-note").inner_text()


def test_what_a_sampler_does_not_take_is_switched_off(page):
    page.get_by_role("button", name="More").click()
    eta = number(page, "Eta")
    assert eta.is_enabled()
    eta.fill("0.5")
    eta.press("Tab")
    choose(page, "Sampler", "Euler")
    page.wait_for_function("field => field.disabled && field.value === '0'", arg=eta.element_handle())
    run_to_the_end(page, 2)


def test_prompts_and_the_dice_fill_the_form(page):
    seed = page.get_by_label("Seed", exact=True)
    before = seed.input_value()
    page.get_by_role("button", name=GENERAL[2]).click()
    page.wait_for_function("text => document.querySelector('.controls textarea').value === text", arg=GENERAL[2])
    page.locator(".controls textarea").first.fill("something else")
    page.get_by_role("button", name=GENERAL[2]).click()
    page.wait_for_function("text => document.querySelector('.controls textarea').value === text", arg=GENERAL[2])
    more = page.get_by_role("button", name="other prompts")
    seen = fitting(GENERAL, 4)
    assert more.inner_text() == f"+ {len(GENERAL) - seen}"
    assert not page.get_by_role("button", name=GENERAL[9]).is_visible()
    more.click()
    assert page.evaluate("document.activeElement.textContent") == GENERAL[seen]
    page.get_by_role("button", name=GENERAL[9]).click()
    page.wait_for_function("text => document.querySelector('.controls textarea').value === text", arg=GENERAL[9])
    assert more.count() == 0
    page.wait_for_timeout(300)  # the note under the prompt asks the server; the dice must not

    def roll():
        page.get_by_role("button", name="Roll").click()
        page.wait_for_function("old => document.querySelector('.seed-row input').value !== old", arg=before)

    assert requests_during(page, roll) == []


def test_the_words_that_are_cut_are_shown_for_both_prompts(page, tiny_model):
    long = "a " * 12 + "cat on a red house"
    page.get_by_role("button", name="More").click()
    for place in (0, 1):
        page.locator(".controls textarea").nth(place).fill(long)
        note = page.locator(".html-container .cut-note").nth(place)
        note.wait_for()
        assert note.inner_text() == f"Not read (the model takes 16 tokens): {tiny_model.unread(long).strip()}"
    run_to_the_end(page, 2)
    page.locator(".controls textarea").first.fill("")
    page.get_by_text("Empty: the run is unconditional, unless there is a negative prompt.").wait_for()
    run_to_the_end(page, 2)


def test_the_part_at_work_is_lit(open_page, tiny_model):
    model = Held(tiny_model)
    lit = "[...document.querySelectorAll('.diagram .is-lit')].map(p => p.dataset.part).join()"
    with serve(app.create_app(model)) as url:
        page = open_page(url)
        assert page.evaluate(lit) == ""
        set_number(page, "Steps", 3)
        model.held = {"encode_prompt", "predict", "decode"}
        press_run(page)
        for work, parts in (("encode_prompt", "tokenizer,text_encoder"), ("predict", None), ("decode", "vae")):
            assert model.reached[work].wait(20)
            if parts:
                page.wait_for_function(f"parts => {lit} === parts", arg=parts)
            model.held.discard(work)
            model.go[work].set()
            if work == "predict":
                continue
        wait_for(page, "done")
        assert page.evaluate(lit) == ""
        for part, words in (("unet", "nothing in it is recurrent"), ("vae", "scaling factor")):
            page.locator(f'.part[data-part="{part}"] summary').click()
            assert words in page.locator(f'.part[data-part="{part}"]').inner_text()


class Held:
    """A Model whose work waits at each kind of call until it is let go."""

    def __init__(self, model) -> None:
        self._model, self.held = model, set()
        self.reached = {name: threading.Event() for name in ("encode_prompt", "predict", "decode")}
        self.go = {name: threading.Event() for name in self.reached}

    def __getattr__(self, name):
        value = getattr(self._model, name)
        if name not in ("encode_prompt", "predict", "decode"):
            return value

        def call(*args):
            if name in self.held:
                self.reached[name].set()
                self.go[name].wait(20)
            return value(*args)

        return call


def test_frames_that_were_lost_on_the_way_are_asked_for(page, monkeypatch):
    """Of two records that come at once Gradio shows a component the last."""

    def lossy(*args, **kwargs):
        yield from (record for record in whole(*args, **kwargs) if record["i"] not in (0, 2, 3))

    whole = reverse.stream
    monkeypatch.setattr(reverse, "stream", lossy)
    run_to_the_end(page, 5)
    assert painted(page) == [1, 4, 5]
    page.wait_for_timeout(600)
    timeline = page.locator(".timeline").first
    timeline.press("Home")
    for i in range(6):
        wait_for_frame(page, i)
        timeline.press("ArrowRight")
    assert page.locator(".status").inner_text().startswith("5 evaluations in ")
    monkeypatch.undo()
    run_to_the_end(page, 3)
    assert requests_during(page, lambda: page.wait_for_timeout(600)) == []  # nothing was lost, nothing is asked
