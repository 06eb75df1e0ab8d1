"""What a person does with branches on the page; used by the browser tests."""

from __future__ import annotations

STAGE = "#reverse-branches .compare"
ROOT = f"document.querySelector('{STAGE}')"


def rewind(page, step: int, player: str = ".player .timeline") -> None:
    page.locator(player).evaluate("(s, i) => { s.value = i; s.dispatchEvent(new Event('input')); }", step)
    page.wait_for_function(
        "([s, i]) => document.querySelector(s).closest('section').dataset.frame == i", arg=[player, step]
    )


def fork(page, place: str, frame: int, nodes: int) -> None:
    """Presses the button that forks and waits until all of the branch is painted and Run is back."""
    page.locator(f"{place} .fork").click()
    whole(page, frame, nodes)


def whole(page, frame: int, nodes: int) -> None:
    page.wait_for_function(
        f"""([i, n]) => {ROOT}.dataset.phase === 'done' && {ROOT}.dataset.frame == i
                        && {ROOT}.querySelectorAll('.node').length === n
                        && !('running' in document.querySelector('.experiment').dataset)""",
        arg=[frame, nodes],
    )


def names(page) -> list[str]:
    return page.locator(f"{STAGE} .node").all_text_contents()
