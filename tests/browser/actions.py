"""What a person does at the page, and what they see; used by the browser tests."""

from __future__ import annotations

PLAYER = "document.querySelector('.player')"


def set_number(page, label: str, value) -> None:
    """Types a value into the number field of the control with this label."""
    field = number(page, label)
    field.fill(str(value))
    field.press("Tab")


def number(page, label: str):
    """The number field of the control with this label, a slider's too."""
    return page.locator(f'.controls input[type="number"]:is([aria-label="{label}"], [aria-label$=" for {label}"])')


def choose(page, label: str, option: str) -> None:
    """Picks an option of a dropdown."""
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()


def press_run(page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()


def wait_for(page, phase: str) -> None:
    """Waits until the player is in a phase and all that arrived is painted, and Run is back."""
    page.wait_for_function(
        f"phase => {PLAYER}.dataset.phase === phase && !('running' in document.querySelector('.experiment').dataset)",
        arg=phase,
    )


def run_to_the_end(page, steps: int) -> None:
    set_number(page, "Steps", steps)
    press_run(page)
    wait_for(page, "done")
    wait_for_frame(page, steps)


def wait_for_frame(page, i: int) -> None:
    page.wait_for_function(f"i => {PLAYER}.dataset.frame == i", arg=i)


def wait_for_painted(page, frames: int) -> None:
    """Waits until a run of this page, not the recorded one, has so many frames on the screen."""
    page.wait_for_function(
        f"frames => !{PLAYER}.dataset.run.startsWith('recorded') && {PLAYER}.painted.length >= frames", arg=frames
    )


def painted(page) -> list[int]:
    return page.evaluate(f"{PLAYER}.painted")


def pixels(page, pane: str) -> list[int]:
    """The bytes of a pane's canvas, RGBA."""
    return page.evaluate(
        """name => { const c = document.querySelector(`.pane[data-pane="${name}"] canvas`);
                     return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }""",
        pane,
    )


def requests_during(page, act) -> list[str]:
    """The addresses asked for while something is done."""
    seen: list[str] = []
    listener = lambda request: seen.append(request.url)  # noqa: E731
    page.on("request", listener)
    act()
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.remove_listener("request", listener)
    return [url for url in seen if url.startswith("http")]
