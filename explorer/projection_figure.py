"""A projection of runs as a Plotly figure: x_t and x0 as two paths each, in two dimensions or three."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from explorer.projection import AXES, Projection, Values
from explorer.records import RequestError

HEIGHT = {2: 420, 3: 480}  # pixels
# From the first step to the last, each in the hue of its quantity, and seen on white and on black alike.
RAMPS = {"x_t": ("#b59bff", "#8a63f5", "#6d35ee"), "x0": ("#58c47f", "#2c9a57", "#1d7a42")}
SIGNS = {"x_t": "x<sub>t</sub>", "x0": "x<sub>0</sub>"}
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "circle-open")  # of the runs; all of them are known in 3-D too
INK = "#7a7a7a"
GRID = "rgba(128,128,128,0.22)"
GRID_3D = "#8a8a8a"  # WebGL draws a transparent one white
BOX = 1.2  # the longest side of the 3-D box
SHORTEST = 0.6  # of it: a flat box hides its third axis
EYE = {"x": 1.1, "y": -1.5, "z": 0.8}
ROOM = 0.06  # around the points, of their spread


def figure(projection: Projection, names: Sequence[str], dimensions: int = 2) -> go.Figure:
    """The paths of all runs in the first two or three common axes, each point coloured by its step.

    Args:
        projection: of one or more runs.
        names: what to call each of them.
        dimensions: 2 or 3.

    Each point's customdata is (run, step, "x_t" or "x0"), with the run's place in the list and the Step's index.

    Raises:
        RequestError: another number of dimensions, or of names.
    """
    if dimensions not in (2, 3):
        raise RequestError(f"dimensions is {str(dimensions)[:40]}; it must be 2 or 3.")
    if len(names) != len(projection.paths):
        raise RequestError(f"names has {len(names)} names for {len(projection.paths)} runs; one each is needed.")
    drawn = go.Figure()
    for run, (path, name) in enumerate(zip(projection.paths, names, strict=True)):
        for quantity, points, steps in (("x_t", path.x_t, path.x_t_steps), ("x0", path.x0, path.x0_steps)):
            if len(points):
                drawn.add_trace(_line(run, _plain(name), quantity, points[:, :dimensions], steps, path.x_t_steps[-1]))
    titles = [_title(axis, share) for axis, share in enumerate(projection.explained_variance_ratio, 1)]
    spans = _spans(projection)
    drawn.update_layout(
        height=HEIGHT[dimensions], margin={"l": 56, "r": 12, "t": 12, "b": 48}, hovermode="closest", showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom",
                "title": {"text": "pale: first step, deep: last", "side": "top"}},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", font={"size": 12, "color": INK}, dragmode="pan",
    )  # fmt: skip
    # Modes and ranges are set by hand: the page's plotly.js is a major version behind the one that writes this.
    axes = [
        {
            "type": "linear", "autorange": False, "range": span, "tickmode": "auto", "nticks": 6, "title": {"text": title},
            "showgrid": True, "gridcolor": GRID, "zeroline": False, "linecolor": INK, "color": INK,
        }
        for span, title in zip(spans, titles, strict=True)
    ]  # fmt: skip
    if dimensions == 2:
        drawn.update_layout(xaxis=axes[0], yaxis={**axes[1], "scaleanchor": "x", "scaleratio": 1})
        return drawn
    widths = np.array([high - low for low, high in spans])
    sides = BOX * np.maximum(widths / widths.max(), SHORTEST)
    solid = {"showbackground": False, "gridcolor": GRID_3D, "gridwidth": 1, "nticks": 4, "showspikes": False}
    scene = {f"{letter}axis": {**axis, **solid} for letter, axis in zip("xyz", axes, strict=True)}
    for axis, title in zip(scene.values(), titles, strict=True):
        axis["title"] = {"text": title.replace(" of the variance", ""), "font": {"size": 12}}
    drawn.update_layout(
        scene={**scene, "aspectmode": "manual", "aspectratio": dict(zip("xyz", sides.tolist(), strict=True)),
               "dragmode": "orbit", "camera": {"eye": EYE, "center": {"x": 0, "y": 0, "z": -0.1}}},
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
    )  # fmt: skip
    return drawn


def _line(run: int, name: str, quantity: str, points: Values, steps: Sequence[int], last: int) -> Any:
    """One path; its line is the quantity's middle colour, x0's dotted."""
    ramp, solid = RAMPS[quantity], points.shape[1] == 3
    letters = dict(zip("xyz", ([float(f"{v:.5g}") for v in column] for column in points.T), strict=False))
    marker = {
        "size": 4 if solid else 7, "symbol": SYMBOLS[run % len(SYMBOLS)], "color": list(steps), "cmin": 0,
        "cmax": max(last, 1), "showscale": False, "line": {"width": 0},
        "colorscale": [[0.0, ramp[0]], [0.5, ramp[1]], [1.0, ramp[2]]],
    }  # fmt: skip
    hover = f"{SIGNS[quantity]} at step %{{customdata[1]}} of {last}<extra>{name}</extra>"
    return (go.Scatter3d if solid else go.Scatter)(
        **letters, mode="lines+markers", name=f"{SIGNS[quantity]}, {name}", marker=marker,
        line={"width": 3 if solid else 1.5, "color": ramp[1], "dash": "solid" if quantity == "x_t" else "dot"},
        customdata=[[run, step, quantity] for step in steps], hovertemplate=hover,
    )  # fmt: skip


def _title(axis: int, share: float) -> str:
    percent = 100 * share
    said = f"{percent:.0f}" if percent >= 9.95 else f"{percent:.1f}"
    return f"PC {axis}, {said}% of the variance"


def _spans(projection: Projection) -> list[list[float]]:
    """The range of each axis; one without spread gets a little."""
    points = np.concatenate([part for path in projection.paths for part in (path.x_t, path.x0)])
    low, high = points.min(axis=0), points.max(axis=0)
    widest = float((high - low).max()) or 1.0
    room = np.maximum(ROOM * (high - low), 0.02 * widest)
    return [[float(low[i] - room[i]), float(high[i] + room[i])] for i in range(AXES)]


def _plain(name: str) -> str:
    """A name as Plotly shows it: without markup, and not endless."""
    short = name if len(name) <= 40 else name[:38].rstrip() + " …"
    return short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "% {")
