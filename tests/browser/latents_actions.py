"""What a person does on the Latents tab, and what its canvases show; used by the browser tests."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
from forward_actions import png

__all__ = ["STAGE", "act", "canvas", "edits", "mute", "opened", "paint", "png", "upload"]

STAGE = "document.querySelector('.latents')"


def opened(page):
    """The tab with its first picture on the stage."""
    page.get_by_role("tab", name="Latents", exact=True).click()
    page.wait_for_function(f"{STAGE}?.painted > 0")
    return page


def act(page, does: Callable[[], object]) -> None:
    """Does something, and waits until the newest edits are painted."""
    before = page.evaluate(f"{STAGE}.painted")
    does()
    page.wait_for_function(
        f"n => {STAGE}.painted > n && JSON.stringify({STAGE}.state.edits) === ({STAGE}.edits() || '[]')", arg=before
    )


def edits(page) -> list:
    return json.loads(page.evaluate(f"{STAGE}.edits()") or "[]")


def mute(page, channel: int) -> None:
    """Presses the eye of a channel, counted from 0."""
    act(page, page.get_by_role("button", name=f"Mute channel {channel}", exact=True).click)


def paint(page, channel: int, start: tuple[float, float], end: tuple[float, float]) -> None:
    """One stroke on a channel's heatmap, counted from 0, between two places as shares of its width and height."""
    box = page.locator(".latents .heat").nth(channel).bounding_box()

    def place(at):
        return box["x"] + at[0] * box["width"], box["y"] + at[1] * box["height"]

    def stroke():
        page.mouse.move(*place(start))
        page.mouse.down()
        page.mouse.move(*place(end), steps=6)
        page.mouse.up()

    act(page, stroke)


def canvas(page, pane: str) -> np.ndarray:
    """(H, W, 3) of a picture's canvas, or of "channel 0" …"""
    where = f'.channel[data-channel="{int(pane[8:])}"]' if pane.startswith("channel ") else f'.pane[data-pane="{pane}"]'
    height, width, values = page.evaluate(
        """where => { const c = document.querySelector(`.latents ${where} canvas`);
            return [c.height, c.width, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]; }""",
        where,
    )
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def upload(page, name: str, content: bytes) -> None:
    page.locator("#latents-picture input[type=file]").set_input_files(
        {"name": name, "mimeType": "image/png", "buffer": content}
    )
