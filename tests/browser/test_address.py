"""The address holds the state: opening one restores it, changing a control writes it, and what is wrong is said."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from actions import PLAYER, choose, number, painted, requests_during, set_number, wait_for, wait_for_frame

RESTORED = "'restored' in document.documentElement.dataset"
EVERY = {
    "tab": "reverse", "prompt": "a red cat & <b>, 50% “é”", "seed": "77", "steps": "6", "guidance": "2.5",
    "sampler": "DDPM", "negative_prompt": "blue", "guidance_rescale": "0.25", "eta": "0", "noise_scale": "0.5",
    "spacing": "trailing", "karras": "false", "width": "32", "height": "64",
    "change": "steps", "other_prompt": "a star", "other_sampler": "Heun", "other_steps": "12", "other_guidance": "7.5",
    "picture_prompt": "a house", "begin_at": "0.5",
}  # fmt: skip


def state(page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query, keep_blank_values=True).items()}


def at(address: str, **values: str) -> str:
    return f"{address}?{urlencode(values)}"


def restored(page):
    page.wait_for_function(RESTORED)
    return page


def test_an_untouched_page_has_a_plain_address(page, address):
    assert restored(page).url == address


def test_every_control_is_written_and_restored(open_page, address):
    page = restored(open_page(at(address, **EVERY)))
    assert page.locator(".html-container .link-notes").inner_text() == ""
    assert page.get_by_label("Prompt", exact=True).input_value() == EVERY["prompt"]
    page.get_by_role("button", name="More").click()
    assert page.locator(".controls textarea").nth(1).input_value() == "blue"
    for label in ("Seed", "Steps", "Guidance", "Guidance rescale", "Noise scale", "Width", "Height"):
        assert float(number(page, label).input_value()) == float(EVERY[label.lower().replace(" ", "_")])
    assert page.get_by_role("combobox", name="Sampler").input_value() == "DDPM"
    page.get_by_role("button", name="A / B").click()
    assert page.get_by_role("radio", name="steps").is_checked()
    in_fold = page.locator(".fold input[type='number']:visible")
    assert float(in_fold.first.input_value()) == 12
    page.get_by_role("button", name="Predicted against true").click()
    assert page.get_by_label("The picture is of").input_value() == "a house"
    assert float(in_fold.last.input_value()) == 0.5
    set_number(page, "Seed", 78)
    page.wait_for_function("new URL(location).searchParams.get('seed') === '78'")
    assert state(page) == EVERY | {"seed": "78"}


def test_changes_write_the_address_without_a_request_or_an_entry_in_the_history(page):
    restored(page)
    entries = page.evaluate("history.length")

    def act():
        set_number(page, "Seed", 12345)
        page.wait_for_function("new URL(location).searchParams.get('seed') === '12345'")

    assert requests_during(page, act) == []
    choose(page, "Sampler", "Euler a")
    page.wait_for_function("new URL(location).searchParams.get('sampler') === 'Euler a'")
    assert page.evaluate("history.length") == entries
    assert state(page)["tab"] == "reverse"
    page.reload()
    page.wait_for_selector(".player .frame canvas")
    restored(page)
    assert page.get_by_role("combobox", name="Sampler").input_value() == "Euler a"


def test_run_1_runs_at_once_with_the_addresses_values(open_page, address, model):
    before = model.predictions
    page = open_page(at(address, steps="5", seed="4", run="1"))
    page.wait_for_function(f"!({PLAYER}.dataset.run ?? 'recorded').startsWith('recorded')")
    wait_for(page, "done")
    wait_for_frame(page, 5)
    assert painted(page) == [0, 1, 2, 3, 4, 5]
    assert model.predictions == before + 5
    set_number(page, "Seed", 5)
    page.wait_for_function("new URL(location).searchParams.get('seed') === '5'")
    assert "run" not in state(page)


def test_run_1_waits_for_a_tab_that_is_built_when_it_is_opened(page, address):
    page.goto(at(address, tab="forward", steps="10", run="1"))
    page.wait_for_function("document.querySelector('.forward')?.painted?.includes(10)")
    page.goto(at(address, tab="guidance", scales="1, 3", steps="2", run="1"))
    page.wait_for_function("document.querySelector('.guidance-tab .compare')?.dataset.phase === 'done'")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"steps": "many"}, "steps is 'many'; a whole number from 1 to 100 is needed."),
        ({"sampler": "<img src=x>"}, "sampler is '<img src=x>'; it must be one of"),
        ({"tab": "nowhere"}, "tab is 'nowhere'; it must be one of"),
        ({"run": "yes"}, "run is 'yes'; it must be 0 or 1."),
    ],
)
def test_a_bad_value_is_the_default_and_is_told_in_one_line(open_page, address, values, sentence):
    page = restored(open_page(at(address, **values, seed="9")))
    assert sentence in page.locator(".html-container .link-notes").inner_text()
    assert page.get_by_label("Seed", exact=True).input_value() == "9"
    assert number(page, "Steps").input_value() == "20"
    assert page.get_by_role("combobox", name="Sampler").input_value() == "DDIM"
