"""What the page says of runs and branches: what a person or a file wrote stays text, and two lanes are told apart."""

from __future__ import annotations

from actions import choose, run_to_the_end, set_number, wait_for, wait_for_frame
from test_files import LINE, open_trace, save
from test_fork_page import ROOT, STAGE, fork, names, rewind

from explorer import Request, run, trace

HOSTILE = "</b><img src=x onerror=pwned=1><script>pwned=1</script>\"'&amp;"


def harmless(page) -> bool:
    return page.evaluate("typeof pwned") == "undefined" and page.locator("img[src=x]").count() == 0


def test_a_hostile_prompt_is_only_read_in_the_line_and_in_the_tree(page, tiny_model, tmp_path):
    trace.save(run(tiny_model, Request(prompt=HOSTILE, steps=5, seed=8)), tmp_path / "theirs.safetensors")
    open_trace(page, tmp_path / "theirs.safetensors")
    wait_for_frame(page, 5)
    wait_for(page, "done")
    page.wait_for_function(f"document.querySelector('{LINE}').innerText.includes('Opened trace')")
    assert f"Opened trace: prompt “{HOSTILE[:60]}”, seed 8" in page.locator(LINE).inner_text()
    rewind(page, 2)
    page.locator(".controls textarea").first.fill(HOSTILE + " once more")
    set_number(page, "Steps", 5)
    fork(page, ".player", 5, 2)
    cut = f"“{HOSTILE[:30]}…”"
    assert names(page)[0] == f"{cut} · seed 8"
    assert f"prompt → {cut}" in names(page)[1]
    assert cut in page.locator(f"{STAGE} .name b").nth(1).inner_text()
    assert harmless(page)


def test_a_branch_on_another_grid_says_one_place_everywhere_and_saves_each_pane_under_its_own_name(page, tmp_path):
    run_to_the_end(page, 8)
    rewind(page, 3)
    set_number(page, "Steps", 13)
    choose(page, "Sampler", "Euler")
    page.locator(".player .fork").click()
    page.wait_for_function(
        f"() => {ROOT}.dataset.phase === 'done' && {ROOT}.dataset.frame === {ROOT}.querySelector('.scrub').max"
    )
    difference = page.locator(f"{STAGE} .lane").nth(2).locator("[data-plane=dx0]")
    assert difference.locator("figcaption").inner_text().split() == ["Δx0", "last", "predictions"]
    end = int(page.locator(f"{STAGE} .scrub").get_attribute("max"))
    assert end != 13
    rewind(page, end - 1, f"{STAGE} .scrub")
    assert page.locator(f"{STAGE} .place").inner_text() == "step 12 of 13"
    assert page.locator(f"{STAGE} .said").inner_text().startswith("At step 12 of 13 ")
    assert page.locator(f"{STAGE} .scrub").get_attribute("aria-valuetext") == "step 12 of 13"
    theirs, ours = (page.locator(f"{STAGE} .lane").nth(lane) for lane in (0, 1))
    assert ours.locator("[data-plane=x_t] canvas").get_attribute("aria-label").endswith(": latents at step 12")
    saved = []
    for lane in (theirs, ours):
        lane.locator("[data-plane=x_t] .enlarge").click()
        with page.expect_download() as download:
            page.locator(f"{STAGE} dialog.large .save").click()
        saved.append(download.value.suggested_filename)
        page.keyboard.press("Escape")
    step = theirs.locator(".name span").inner_text().split()[1]
    assert saved == [f"diffuscope-origin-x_t-step-{step}.png", "diffuscope-branch-x_t-step-12.png"]
    kept = save(page, "Save page", tmp_path)
    assert "-branch-from-" in kept.name
    html = kept.read_text("utf-8")
    assert "It goes back to" in html
    assert "DDIM → Euler" in html
