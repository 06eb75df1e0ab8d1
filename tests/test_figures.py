"""The curves of a schedule: β, ᾱ and the SNR against closed forms, as attributes that the page's plotly.js knows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from explorer.figures import FLOOR, curves
from explorer.noising import SCHEDULES, alphas_cumprod


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [10, 1000])
def test_the_three_curves(name, steps):
    values = alphas_cumprod(name, steps)
    beta, bar, db = curves([(name, values)]).data
    for trace in (beta, bar, db):
        assert list(trace.x) == list(range(1, steps + 1))
    np.testing.assert_allclose(np.cumprod(1 - np.array(beta.y)), values, rtol=0.05, atol=1e-4)
    np.testing.assert_allclose(bar.y, values, rtol=1e-4)
    np.testing.assert_allclose(db.y, np.maximum(10 * np.log10(values / (1 - values)), FLOOR), rtol=1e-4, atol=1e-3)


def test_a_second_schedule_is_dashed_and_may_be_shorter():
    figure = curves([("linear", alphas_cumprod("linear", 50)), ("cosine", alphas_cumprod("cosine", 20))])
    assert [trace.name for trace in figure.data] == ["linear"] * 3 + ["cosine"] * 3
    assert {trace.line.dash for trace in figure.data[3:]} == {"dash"}
    assert figure.layout.xaxis.range == (0, 50)
    assert figure.layout.annotations[2].text == "ᾱ / (1 − ᾱ) in dB, dashed: cosine"


def test_modes_and_ranges_are_set_by_hand():
    layout = json.loads(curves([("linear", alphas_cumprod("linear", 100))]).to_json())["layout"]
    for axis in ("xaxis", "xaxis2", "xaxis3", "yaxis", "yaxis2", "yaxis3"):
        assert layout[axis]["type"] == "linear"
        assert layout[axis]["autorange"] is False
        assert len(layout[axis]["range"]) == 2
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)"
