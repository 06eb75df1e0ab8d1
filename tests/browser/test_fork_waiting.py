"""While the stage is busy, or waits for another's run: nothing begins beside it, and each thing says what it waits for."""

from __future__ import annotations

import pytest
from actions import PLAYER, press_run, run_to_the_end, set_number, wait_for, wait_for_painted
from branching import ROOT, STAGE, fork, names, rewind, whole

RUNNING = "'running' in document.querySelector('.experiment').dataset"


@pytest.fixture
def branched(page):
    """The page with a run of eight steps and two branches of it."""
    page.locator(".controls textarea").first.fill("pizza")
    run_to_the_end(page, 8)
    rewind(page, 5)
    fork(page, ".player", 8, 2)
    rewind(page, 6, f"{STAGE} .scrub")
    fork(page, STAGE, 8, 3)
    return page


@pytest.fixture
def other(open_page, address, slow):
    """The page of somebody else, whose long run has the model."""
    page = open_page(address)
    set_number(page, "Steps", 100)
    slow(0.2)
    press_run(page)
    wait_for_painted(page, 2)
    yield page
    if page.evaluate(RUNNING):
        cancel(page)


def cancel(page) -> None:
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_function(f"() => !({RUNNING})")


def asked(page) -> list[str]:
    """The requests of the page from now on that the queue is given."""
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url) if "/queue/join" in request.url else None)
    return seen


def enter(page) -> None:
    page.locator(".controls textarea").first.press("Enter")
    page.wait_for_timeout(300)


def test_enter_in_the_prompt_begins_no_run_while_a_branch_is_made(page, slow):
    run_to_the_end(page, 20)
    slow(0.3)
    shown = page.evaluate(f"{PLAYER}.dataset.run")
    rewind(page, 3)
    seen = asked(page)
    page.locator(".player .fork").click()
    page.wait_for_function(f"() => {ROOT}.painted.length > 6")
    enter(page)
    for place in (".player", STAGE):
        assert page.locator(f"{place} .fork").get_attribute("aria-disabled") == "true"
    page.locator(f"{STAGE} .fork").click(force=True)
    page.locator(f"{STAGE} .node").first.click(force=True)
    assert len(seen) == 1
    slow(0)
    whole(page, 20, 2)
    assert page.locator(f"{STAGE} .fork").get_attribute("aria-disabled") == "false"
    assert page.evaluate(f"{PLAYER}.dataset.run") == shown
    set_number(page, "Steps", 2)
    enter(page)  # and now it does
    page.wait_for_function(f"run => {PLAYER}.dataset.run !== run", arg=shown)
    assert len(seen) == 2


def test_what_the_tree_brings_back_waits_and_can_be_cancelled(branched, other):
    page, seen, before = branched, asked(branched), names(branched)
    for name in ("unchanged at step 5", "“pizza” · seed 3"):
        if name.startswith("“"):
            page.evaluate(f"{PLAYER}.dataset.run = 'another'")  # else it is there without a request
            page.get_by_role("button", name="2 branches").click()
        page.get_by_role("button", name=name).click()
        assert page.locator(f"{STAGE} .doing").text_content() == "Waiting for the model"
        assert not page.get_by_role("button", name="Run", exact=True).is_visible()
        count = len(seen)
        enter(page)
        assert page.evaluate(RUNNING)
        cancel(page)
        assert len(seen) == count
        assert page.locator(STAGE).is_visible()
        assert page.locator(f"{STAGE} .doing").text_content() == ""
    assert page.locator(f"{STAGE} .node[aria-disabled=true]").count() == 0
    assert names(page) == before

    page.get_by_role("button", name="unchanged at step 5").click()
    cancel(other)
    page.wait_for_function(f"() => {ROOT}.querySelector('[aria-current]').textContent === 'unchanged at step 5'")
    whole(page, 8, 3)


def test_a_run_takes_the_stage_from_a_branch_at_once(branched, other):
    page = branched
    press_run(page)
    assert page.locator(".player").is_visible()
    assert page.locator(".player .status").text_content() == "Waiting for the first step"
    assert page.get_by_role("button", name="Cancel").is_visible()
    cancel(page)
    page.get_by_role("button", name="2 branches").click()
    assert page.locator(STAGE).is_visible()


def test_saving_says_that_it_waits_for_the_model(branched, other):
    page = branched
    with page.expect_download():
        page.get_by_role("button", name="Save picture").click()
        page.wait_for_function(f"() => {ROOT}.querySelector('.doing').textContent === 'Waiting for the model'")
        assert page.locator(".player .status").text_content() == "Waiting for the model"
        cancel(other)
    page.wait_for_function(f"() => {ROOT}.querySelector('.doing').textContent === ''")
    assert "evaluations in" in page.locator(".player .status").text_content()


def test_a_branch_that_is_gone_is_grey_from_then_on(branched):
    page = branched
    page.evaluate(
        f"""() => {{ const line = [["root", "a run"], ["gone", "a branch"], ["here", "one of it"]];
                     const detail = {{ branch: {{ run: "here", begins: 2, line }}, n: 9, at: ["here", 2] }};
                     {ROOT}.dispatchEvent(new CustomEvent("begun", {{ detail }})); }}"""
    )
    node = page.get_by_role("button", name="a branch", exact=True)
    for name in ("a branch", "a run"):
        page.get_by_role("button", name=name, exact=True).click()
        page.locator(".toast-body").first.wait_for()
        page.wait_for_function(f"() => !({RUNNING})")
        page.locator(".toast-close").first.click()
        page.locator(".toast-body").first.wait_for(state="detached")
    assert page.locator(f"{STAGE} .node[aria-disabled=true]").all_text_contents() == ["a run", "a branch"]
    assert node.get_attribute("title") == "No longer kept here"
    seen = asked(page)
    node.click(force=True)
    page.wait_for_timeout(200)
    assert seen == []
    wait_for(page, "done")
