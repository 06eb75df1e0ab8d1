"""What the Guidance tab's folds show in the browser: the dial that is turned live, the planes of a negative prompt, and the
grid of seeds and scales with its curve.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from explorer.player import compare, signal

HERE = Path(__file__).parent
CSS = HERE / "guidance_live.css"  # given to launch()
DIAL = ("colour.js", "large.js", "words.js", "guidance_live.js")
GRID = ("colour.js", "large.js", "words.js", "guidance_live_grid.js")
# A comparison with two planes more, which are known before its script lays the empty lanes: after lanes.js.
DIRECTIONS = (*compare.SCRIPTS[:4], "guidance_live_planes.js", *compare.SCRIPTS[4:])

Asked = Callable[[Any], Mapping[str, Any]]


def dial(
    elem_id: str, value: Mapping[str, Any], *, live: Asked, span: tuple[float, float], first: float, steps: int,
    meanings: Mapping[str, Sequence[Sequence[Any]]], stage: str,
) -> gr.HTML:  # fmt: skip
    """The dial, not yet turned. Its value is what else the runs are made of, a form's values by name.

    Args:
        elem_id: its id in the page.
        value: the form's values at the beginning.
        live: {"page", "turn", "guidance", …value} → the next step of that turn's run, or {"error": sentence}; it may be
            called by anybody with anything.
        span: the scales that the dial spans.
        first: where it stands at the beginning.
        steps: of each run.
        meanings: for runs "without" and "with" a negative prompt, rows of (lowest scale, name, sentence), rising.
        stage: elem_id of the sweep above; the dial begins at the scale of its chosen cell.
    """

    def live_(wanted: Any = None) -> dict[str, Any]:
        return dict(live(wanted))

    live_.__name__ = "live"
    return gr.HTML(
        dict(value),
        elem_id=elem_id,
        html_template=(HERE / "guidance_live.html").read_text("utf-8"),
        js_on_load=_joined(DIAL),
        apply_default_css=False,
        padding=False,
        server_functions=[live_],
        span=list(span),
        first=first,
        steps=steps,
        meanings={key: [list(row) for row in rows] for key, rows in meanings.items()},
        stage=stage,
    )


def grid(elem_id: str, name: str, hint: str, *, seed: int, seeds: int, scales: str) -> gr.HTML:
    """Seeds down, scales across, empty. Its value is a record of `explorer.tabs.guidance_diversity`, or the form's shape.

    Args:
        elem_id: its id in the page.
        name: what it is called for a screen reader.
        hint: what the first run will show, in one sentence.
        seed, seeds, scales: the rows (the first seed, and how many) and columns whose places are kept before the first run;
            {"form": [seed, seeds, scales]} as its value changes them.
    """
    return gr.HTML(
        {"form": [seed, seeds, scales]},
        elem_id=elem_id,
        html_template=(HERE / "guidance_live_grid.html").read_text("utf-8"),
        js_on_load=_joined(GRID),
        apply_default_css=False,
        padding=False,
        name=name,
        hint=hint,
    )


def tell(elem_id: str, name: str) -> str:
    """The `js` of a listener that tells a grid "run", "cancel" or "end", in the browser, before any request."""
    return signal(elem_id, name, "seeds-scales")


def _joined(names: Sequence[str]) -> str:
    return "\n".join((HERE / name).read_text("utf-8") for name in names)
