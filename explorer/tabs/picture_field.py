"""A picture that a person chooses: examples to click, or a file of their own; used by the tabs that begin with one."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder, is_in_or_equal
from PIL import Image

from explorer.intake import BYTES
from explorer.records import RequestError

HERE = Path(__file__).parent
FOLDER = Path(__file__).parents[2] / "assets" / "examples"
EXAMPLES = {  # file in assets/examples: what it is called
    "house": "a house", "cat": "a cat", "tangerine": "a tangerine", "star": "a star", "night": "a night sky",
    "chart": "a test chart",
}  # fmt: skip
THUMBNAIL = 56  # pixels
NAME = 60  # characters of a file's name that are shown


def examples(label: str, elem_id: str) -> gr.HTML:
    """Thumbnails to click; its value is the name of the chosen one, or empty for a picture of one's own."""
    buttons = "".join(
        f'<button type="button" data-name="{name}" aria-pressed="false" aria-label="{escape(label)}"'
        f' title="{escape(label)}"><img src="{_thumbnail(name)}" width="{THUMBNAIL}" height="{THUMBNAIL}" alt=""></button>'
        for name, label in EXAMPLES.items()
    )
    return gr.HTML(
        next(iter(EXAMPLES)),
        label="Picture",
        html_template=f'<div class="forward-examples" role="group" aria-label="{escape(label)}">{buttons}</div>',
        js_on_load=(HERE / "examples.js").read_text("utf-8"),
        apply_default_css=False,
        padding=False,
        elem_id=elem_id,
    )


def own(elem_id: str) -> gr.Image:
    """A field for a picture of one's own: upload, paste or webcam.

    Without Gradio's own check of types, whose answer to a wrong one is a traceback instead of a sentence.
    """
    picture = gr.Image(
        label="Or a picture of your own", sources=["upload", "clipboard", "webcam"], type="filepath", height=132,
        elem_id=elem_id, buttons=[],
    )  # fmt: skip
    described = picture.api_info()
    picture.api_info = lambda: described  # type: ignore[method-assign]
    picture.data_model = None  # type: ignore[assignment]
    return picture


def example(text: str) -> str:
    """The example that an address names.

    Raises:
        RequestError: there is none of that name.
    """
    if text == "":
        raise RequestError("An address can't hold a picture of one's own.")
    if text not in EXAMPLES:
        raise RequestError(f"example is {text[:40]!r}; it must be one of {', '.join(EXAMPLES)}.")
    return text


def read(picture: Any) -> tuple[str, bytes]:
    """A file that was uploaded: its name, and its bytes up to the limit.

    Raises:
        RequestError: it is no file, or none that was uploaded.
    """
    path = picture.get("path") if isinstance(picture, dict) else None
    if not isinstance(path, str) or "\0" in path:
        raise RequestError("picture is not a file; upload one, or leave it empty for the example.")
    if not is_in_or_equal(path, get_upload_folder()) or not Path(path).is_file():
        raise RequestError("picture is not a file that was uploaded here; upload it first.")
    with Path(path).open("rb") as file:
        data = file.read(BYTES + 1)
    name = picture.get("orig_name")
    return (name if isinstance(name, str) and name else "your picture")[:NAME], data


def opened() -> gr.HTML:
    """Nothing to see: asks for the first picture when the tab is first on the screen."""
    return gr.HTML(
        "",
        js_on_load='requestAnimationFrame(() => trigger("click"));',
        elem_classes="forward-first",
        apply_default_css=False,
        padding=False,
    )


def _thumbnail(name: str) -> str:
    side, buffer = 2 * THUMBNAIL, io.BytesIO()
    Image.open(FOLDER / f"{name}.png").convert("RGB").resize((side, side), Image.Resampling.LANCZOS).save(buffer, "WEBP")
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
