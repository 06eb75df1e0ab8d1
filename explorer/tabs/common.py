"""What the tabs share: errors told to the person, frames at a useful rate, prompts to click."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
import torch

from explorer.player import inert
from explorer.records import DiffuscopeError, Model

HERE = Path(__file__).parent
FRAMES_PER_SECOND = 30  # the message queue has no back-pressure, and nobody sees more
REPLAYED = 120  # a second, of Steps that are kept: nobody waits for a long run, and nobody's queue is filled by one
# Listeners that run the model: one at a time, and raw values, since the engine's own sentence is the only refusal.
RUNS: dict[str, Any] = {
    "preprocess": False, "show_progress": "hidden", "concurrency_limit": 1, "concurrency_id": "model",
    "trigger_mode": "once",
}  # fmt: skip

# Pixels: of the form, of a prompt's button without its letters and of each letter, and of what shows the others.
WIDTH = 320
BUTTON = (28, 6.6)
OTHERS = 56

T = TypeVar("T")
Handler = Callable[..., Iterator[Any]]


def slug(text: str) -> str:
    """The words of a text for a file's name: ASCII letters and digits, with hyphens between."""
    return "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in text).split())


def told(handler: Handler) -> Handler:
    """Maps errors of a streaming handler to one sentence on the page and in the API; the last result stays."""

    @wraps(handler)
    def wrapper(*args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            yield from handler(*args, **kwargs)
        except DiffuscopeError as error:
            raise _sentence(str(error)) from None
        except gr.Error:  # a sentence already: of ZeroGPU, on a Space
            raise
        except torch.cuda.OutOfMemoryError:
            raise _sentence("The device's memory is full; try a smaller size, or wait for other runs.") from None
        except Exception:
            logging.getLogger(__name__).exception("A run failed")
            raise _sentence("The run failed inside the app; the server's log says why.") from None

    return wrapper


def once(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Errors told as in a stream, and one answer, which is sent once."""
    stream = told(lambda *args, **kwargs: iter([handler(*args, **kwargs)]))

    @wraps(handler)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return next(iter(stream(*args, **kwargs)))

    return wrapper


def _sentence(message: str) -> gr.Error:
    # The page shows the message as HTML, and it may quote what was typed.
    return gr.Error(escape(message, quote=False), duration=12, print_exception=False)


def noun(model: Model) -> str:
    """What a model's states are called: "latents", or "pixels" where they are the picture itself."""
    return "latents" if model.abilities.latent else "pixels"


def session(request: gr.Request | None) -> str:
    """The id of the page or client that asks; empty where it has none."""
    return (request.session_hash if request else None) or ""


def paced(items: Iterable[T], per_second: float = FRAMES_PER_SECOND) -> Generator[T]:
    """The items as they are made, but no faster than this."""
    due = time.monotonic()
    for item in items:
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due, time.monotonic() - 1 / per_second) + 1 / per_second
        yield item


def prompts(texts: Sequence[str], target: gr.Textbox, rows: int = 4) -> gr.HTML:
    """Prompts to click: each fills `target`, in the browser alone. What needs more rows is folded away."""
    seen = fitting(texts, rows)
    at = [" hidden" * (i >= seen) for i in range(len(texts))]
    buttons = "".join(f'<button type="button"{no}>{inert(text)}</button>' for no, text in zip(at, texts, strict=True))
    if rest := len(texts) - seen:
        buttons += f'<button type="button" class="others" aria-label="Show {rest} other prompts">+ {rest}</button>'
    component = gr.HTML(
        html_template=f'<div class="prompts" role="group" aria-label="Prompts to try">{buttons}</div>',
        js_on_load=(HERE / "prompts.js").read_text("utf-8"),
        apply_default_css=False,
        padding=False,
    )
    component.click(fn=None, js="(prompt) => prompt", inputs=component, outputs=target)
    return component


def fitting(texts: Sequence[str], rows: int) -> int:
    """How many of these prompts fit into rows as wide as the form, with room left to say that there are others."""
    row, used = 0, 0.0
    for i, text in enumerate(texts):
        width = BUTTON[0] + BUTTON[1] * len(text)
        if used and used + width > WIDTH - (OTHERS if row == rows - 1 and i < len(texts) - 1 else 0):
            row, used = row + 1, 0.0
        if row == rows:
            return i
        used += width
    return len(texts)
