"""The curves of a schedule: β, ᾱ and the SNR against closed forms, as attributes that the page's plotly.js knows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from explorer.figures import FLOOR, curves
from explorer.noising import SCHEDULES, alphas_cumprod, snr_db, stage


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [10, 1000])
def test_the_three_curves(name, steps):
    values = alphas_cumprod(name, steps)
    beta, bar, db = curves([(name, values)], 0.3).data
    for trace in (beta, bar, db):
        assert list(trace.x) == list(range(1, steps + 1))
    np.testing.assert_allclose(np.cumprod(1 - np.array(beta.y)), values, rtol=0.05, atol=1e-4)
    np.testing.assert_allclose(bar.y, values, rtol=1e-4)
    np.testing.assert_allclose(db.y, (10 * np.log10(0.3 * values / (1 - values))).clip(FLOOR, 60), rtol=1e-4, atol=1e-3)


def test_a_second_schedule_is_dashed_and_may_be_shorter():
    figure = curves([("linear", alphas_cumprod("linear", 50)), ("cosine", alphas_cumprod("cosine", 20))], 1)
    assert [trace.name for trace in figure.data] == ["linear"] * 3 + ["cosine"] * 3
    assert {trace.line.dash for trace in figure.data[3:]} == {"dash"}
    assert figure.layout.xaxis.range == (0, 50)
    assert figure.layout.annotations[2].text == "SNR of the pixels in dB, dashed: cosine"


def test_the_stages_lines_cross_the_curve_where_the_rail_changes():
    values, variance = alphas_cumprod("linear", 1000), 0.05
    figure = curves([("linear", values)], variance)
    lines = sorted(shape.y0 for shape in figure.layout.shapes)
    assert lines == [-15, 0, 15]
    under = np.array(figure.data[2].y) < 0
    assert [stage(float(db)) for db in snr_db(values, variance)[under.argmax() - 1 :][:2]] == ["little", "moderate"]
    assert (np.array(curves([("linear", values)], 0).data[2].y) == FLOOR).all()  # a flat picture's


def test_on_a_narrow_screen_the_curves_are_stacked():
    wide, narrow = (curves([("linear", alphas_cumprod("linear", 100))], 1, stacked=stacked) for stacked in (False, True))
    domains = [[layout[axis].domain for axis in ("xaxis", "xaxis2", "xaxis3")] for layout in (wide.layout, narrow.layout)]
    assert len(set(domains[0])) == 3
    assert set(domains[1]) == {(0, 1)}
    assert narrow.layout.height > 2 * wide.layout.height
    assert [trace.y for trace in narrow.data] == [trace.y for trace in wide.data]


@pytest.mark.parametrize("stacked", [False, True])
def test_modes_and_ranges_are_set_by_hand(stacked):
    layout = json.loads(curves([("linear", alphas_cumprod("linear", 100))], 1, stacked=stacked).to_json())["layout"]
    for axis in ("xaxis", "xaxis2", "xaxis3", "yaxis", "yaxis2", "yaxis3"):
        assert layout[axis]["type"] == "linear"
        assert layout[axis]["autorange"] is False
        assert len(layout[axis]["range"]) == 2
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)"
