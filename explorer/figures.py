"""A schedule as a Plotly figure. The page colours it by its own palette (forward.css), and lays the cursor over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explorer.noising import STAGES, Values, betas, snr_db

HEIGHT = 220  # pixels, side by side
STACKED = 190  # pixels of each, one above the other
FLOOR = -60.0  # dB: what is below can't be told from it
SPAN = (FLOOR, 60.0)
TITLES = (
    "β<sub>t</sub>: noise added at this step", "ᾱ<sub>t</sub> = ∏ (1 − β): power left of x<sub>0</sub>",
    "SNR of the pixels in dB",
)  # fmt: skip


def curves(schedules: Sequence[tuple[str, Values]], variance: float, *, stacked: bool = False) -> go.Figure:
    """β, ᾱ and the measured SNR over t = 1 … T.

    Args:
        schedules: one or two of (name, ᾱ_1 … ᾱ_T); the second one is dashed. Of equal T, or drawn up to its own.
        variance: of the picture's values, −1 … 1; a flat picture's SNR is drawn along the floor.
        stacked: one above the other, for a narrow screen, instead of side by side.
    """
    dashed = f", dashed: {schedules[1][0]}" if len(schedules) > 1 else ""
    places = [(i, 1) if stacked else (1, i) for i in (1, 2, 3)]
    figure = make_subplots(
        rows=3 if stacked else 1, cols=1 if stacked else 3, subplot_titles=(*TITLES[:2], TITLES[2] + dashed),
        **({"vertical_spacing": 0.13} if stacked else {"horizontal_spacing": 0.07}),
    )  # fmt: skip
    steps = max(len(values) for _, values in schedules)
    for turn, (name, values) in enumerate(schedules):
        t = range(1, len(values) + 1)
        for (row, col), y in zip(places, (betas(values), values, snr_db(values, variance).clip(*SPAN)), strict=True):
            figure.add_trace(_line(name, t, y, dashed=turn == 1), row=row, col=col)
    for floor, _ in STAGES[:-1]:
        figure.add_hline(y=floor, line={"width": 1, "dash": "dot", "color": "#8a8a8a"}, row=places[2][0], col=places[2][1])
    # Modes and ranges are set by hand: the page's plotly.js is a major version behind the one that writes this.
    figure.update_xaxes(
        type="linear", autorange=False, range=[0, steps], tickmode="auto", nticks=5, showgrid=False, zeroline=False,
        ticks="outside", fixedrange=True, title={"text": "t", "standoff": 4},
    )  # fmt: skip
    figure.update_yaxes(type="linear", tickmode="auto", nticks=5, zeroline=False, fixedrange=True)
    largest = max(float(betas(values).max()) for _, values in schedules)
    for (row, col), span in zip(places, ([0, largest * 1.05], [0, 1.05], list(SPAN)), strict=True):
        figure.update_yaxes(autorange=False, range=span, row=row, col=col)
    figure.update_layout(
        height=3 * STACKED if stacked else HEIGHT, margin={"l": 40, "r": 18, "t": 28, "b": 36}, showlegend=False,
        hovermode="x unified", paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 12, "color": "#7a7a7a"}, dragmode=False,
    )  # fmt: skip
    figure.update_annotations(font={"size": 12})
    return figure


def _line(name: str, t: Sequence[int], y: Values, dashed: bool) -> Any:
    return go.Scatter(
        x=list(t), y=[float(f"{value:.5g}") for value in y], mode="lines", name=name,
        line={"width": 2, "dash": "dash" if dashed else "solid"}, hovertemplate="%{y:.4g}",
    )  # fmt: skip
