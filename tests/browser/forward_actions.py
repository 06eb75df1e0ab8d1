"""What a person does on the Forward tab, and what its canvases show; used by the browser tests."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

STAGE = "document.querySelector('.forward')"


def opened(page):
    page.get_by_role("tab", name="Forward", exact=True).click()
    page.wait_for_function(f"{STAGE}?.dataset.phase === 'ready' && {STAGE}.dataset.frame >= 0")
    return page


def seek(page, t: int) -> None:
    page.evaluate(f"t => {STAGE}.dispatchEvent(new CustomEvent('seek', {{detail: t}}))", t)
    page.wait_for_function(f"t => {STAGE}.dataset.frame == t", arg=t)


def choose(page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def data(page, name: str) -> str:
    return page.locator(".forward").get_attribute(f"data-{name}")


def canvas(page, row: str, pane: str = "x_t") -> np.ndarray:
    """(H, W, 3) of a pane's canvas."""
    height, width, values = page.evaluate(
        """([row, pane]) => { const c = document.querySelector(`.row[data-row="${row}"] .pane[data-pane="${pane}"] canvas`);
            return [c.height, c.width, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]; }""",
        [row, pane],
    )
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def upload(page, name: str, content: bytes) -> None:
    page.locator("#forward-picture input[type=file]").set_input_files(
        {"name": name, "mimeType": "image/png", "buffer": content}
    )


def png(width: int, height: int) -> bytes:
    y, x = np.mgrid[0:height, 0:width]
    buffer = io.BytesIO()
    Image.fromarray(np.stack([x % 256, y % 256, (x + y) % 256], -1).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
