"""The common axes of runs against scikit-learn's PCA, and the figure's numbers and modes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from explorer import Request, run
from explorer.projection import RUNS, fit, project
from explorer.projection_figure import RAMPS, figure
from explorer.records import RequestError, Step

KINDS = {"DDIM": {}, "Euler": {}, "DPM++ 2M SDE": {"seed": 3}}


@pytest.fixture(scope="module")
def runs(tiny_model):
    """A variance-preserving one, a variance-exploding one and a stochastic one, of different lengths."""
    return [
        run(tiny_model, Request(prompt="red cat", sampler=sampler, steps=5 + 2 * i, **changes))
        for i, (sampler, changes) in enumerate(KINDS.items())
    ]


def cloud(trajectories) -> np.ndarray:
    """All points, gathered another way than the module does it: x_t in VP form, then x0, run by run."""
    rows = []
    for trajectory in trajectories:
        for step in trajectory.steps:
            rows.append(step.latents / (step.alpha**2 + step.sigma**2) ** 0.5)
        rows += [step.x0 for step in trajectory.steps[:-1]]
    return torch.stack(rows).double().flatten(1).numpy()


def mine(projection) -> np.ndarray:
    return np.concatenate([part for path in projection.paths for part in (path.x_t, path.x0)])


@pytest.mark.parametrize("chosen", [[0], [1], [0, 1], [2, 0, 1]])
def test_scores_and_variance_are_scikit_learns(runs, chosen):
    picked = [runs[i] for i in chosen]
    points = cloud(picked)
    theirs = PCA(n_components=3, svd_solver="full").fit(points)
    got = project(picked)
    np.testing.assert_allclose(got.explained_variance_ratio, theirs.explained_variance_ratio_, atol=1e-6)
    expected = theirs.transform(points)
    signs = np.sign((expected * mine(got)).sum(axis=0))
    np.testing.assert_allclose(mine(got) * signs, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(got.components @ got.components.T, np.eye(3), atol=1e-9)
    assert [len(path.x_t) for path in got.paths] == [len(trajectory.steps) for trajectory in picked]
    assert [len(path.x0) for path in got.paths] == [len(trajectory.steps) - 1 for trajectory in picked]


def test_a_run_with_itself_gives_one_path_twice(runs):
    got = project([runs[0], runs[0]])
    np.testing.assert_array_equal(got.paths[0].x_t, got.paths[1].x_t)
    np.testing.assert_allclose(got.explained_variance_ratio, project([runs[0]]).explained_variance_ratio, atol=1e-9)


def test_signs_are_the_same_every_time(runs):
    once, again = project(runs), project([replace(trajectory) for trajectory in runs])
    np.testing.assert_array_equal(mine(once), mine(again))
    for component in once.components:
        assert component[np.abs(component).argmax()] > 0


def test_as_many_axes_as_the_points_span(tiny_model):
    short = run(tiny_model, Request(prompt="cat", steps=1))  # two states and one x0: a triangle
    got = project([short])
    assert (got.paths[0].x_t.shape, got.paths[0].x0.shape) == ((2, 3), (1, 3))
    assert got.explained_variance_ratio[:2].sum() == pytest.approx(1)
    assert got.explained_variance_ratio[2] == 0
    assert not got.components[2].any()
    distance = np.linalg.norm(got.paths[0].x_t[0] - got.paths[0].x_t[1])
    assert distance == pytest.approx(np.linalg.norm(cloud([short])[0] - cloud([short])[1]))  # nothing is lost
    lone = replace(short, steps=short.steps[-1:])  # a single state: a point
    alone = project([lone])
    assert alone.paths[0].x_t.tolist() == [[0, 0, 0]]
    assert alone.paths[0].x0.shape == (0, 3)
    assert alone.explained_variance_ratio.tolist() == [0, 0, 0]
    for projection in (got, alone):
        for dimensions in (2, 3):
            assert "NaN" not in figure(projection, ["short"], dimensions).to_json()


def test_axes_of_points_that_are_known():
    t = np.linspace(-1, 1, 9)
    points = np.stack([4 * t, 0 * t, 3 * t, t**2], axis=1)  # a parabola: length along (4, 0, 3) / 5, bent along the last
    mean, components, ratio = fit(points)
    np.testing.assert_allclose(mean, [0, 0, 0, (t**2).mean()], atol=1e-12)
    np.testing.assert_allclose(components[0], [0.8, 0, 0.6, 0], atol=1e-9)
    np.testing.assert_allclose(components[1], [0, 0, 0, 1], atol=1e-9)
    wide, bent = 25 * t.var(), (t**2).var()
    np.testing.assert_allclose(ratio, [wide / (wide + bent), bent / (wide + bent), 0], atol=1e-12)


def test_what_cannot_be_projected(tiny_model, runs):
    other = run(tiny_model, Request(prompt="cat", steps=2, width=96, height=64))
    first, *rest = runs[0].steps
    bad = replace(runs[0], steps=(replace(first, latents=first.latents * float("nan")), *rest))
    refusals = {
        "runs is empty; choose at least one run to project.": [],
        "run 2 has latents of 4×8×12, the first run of 4×8×8; a projection needs one shape.": [runs[0], other],
        f"runs has {RUNS + 1} runs; the limit of one projection is {RUNS}.": [runs[0]] * (RUNS + 1),
        "run 2 has no steps; at least one is needed.": [runs[0], replace(runs[0], steps=())],
        "runs has latents that are not finite; only finite ones can be projected.": [bad],
    }
    for sentence, given in refusals.items():
        with pytest.raises(RequestError) as refusal:
            project(given)
        assert str(refusal.value) == sentence


def test_too_much_at_once_is_refused_before_it_is_computed(runs):
    step = Step(index=0, timestep=0.0, alpha=1.0, sigma=0.0, latents=torch.zeros(1, 4, 128, 128))
    steps = tuple(replace(step, index=i) for i in range(600))
    with pytest.raises(RequestError, match=r"^The runs have 600 states of 65536 numbers, too many .* choose fewer\.$"):
        project([replace(runs[0], steps=steps)])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_figure_has_both_paths_of_every_run(runs, dimensions):
    projection = project(runs[:2])
    drawn = figure(projection, ["first", "<b>second</b>"], dimensions)
    assert [trace.name for trace in drawn.data] == [
        f"{sign}, {name}" for name in ("first", "&lt;b&gt;second&lt;/b&gt;") for sign in ("x<sub>t</sub>", "x<sub>0</sub>")
    ]
    for trace, (run_index, quantity) in zip(drawn.data, [(0, "x_t"), (0, "x0"), (1, "x_t"), (1, "x0")], strict=True):
        path = projection.paths[run_index]
        points, steps = (path.x_t, path.x_t_steps) if quantity == "x_t" else (path.x0, path.x0_steps)
        assert [tuple(data) for data in trace.customdata] == [(run_index, step, quantity) for step in steps]
        assert list(trace.marker.color) == list(steps)
        shown = np.stack([trace.x, trace.y, trace.z][:dimensions] if dimensions == 3 else [trace.x, trace.y], axis=1)
        np.testing.assert_allclose(shown, points[:, :dimensions], rtol=1e-4, atol=1e-4)
        assert [colour for _, colour in trace.marker.colorscale] == list(RAMPS[quantity])


def test_the_axes_say_how_much_they_explain_and_hold_every_point(runs):
    projection = project(runs)
    for dimensions in (2, 3):
        layout = json.loads(figure(projection, ["a", "b", "c"], dimensions).to_json())["layout"]
        holder = layout if dimensions == 2 else layout["scene"]
        for i, letter in enumerate("xyz"[:dimensions]):
            axis, share = holder[f"{letter}axis"], projection.explained_variance_ratio[i]
            said = f"{100 * share:.0f}" if share > 0.0995 else f"{100 * share:.1f}"
            assert axis["title"]["text"] == f"PC {i + 1}, {said}%" + " of the variance" * (dimensions == 2)
            assert (axis["type"], axis["autorange"]) == ("linear", False)
            low, high = axis["range"]
            assert low < mine(projection)[:, i].min() < mine(projection)[:, i].max() < high
        assert layout["paper_bgcolor"] == "rgba(0,0,0,0)"
    flat = figure(projection, ["a", "b", "c"], 2).layout
    assert (flat.yaxis.scaleanchor, flat.yaxis.scaleratio) == ("x", 1)  # a distance is a distance in every direction


def luminance(colour: str) -> float:
    """Relative, WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_colours_are_told_from_white_and_from_black():
    for ramp in RAMPS.values():
        for colour in ramp:
            assert 1.05 / (luminance(colour) + 0.05) > 2, colour
            assert (luminance(colour) + 0.05) / 0.05 > 3, colour


@pytest.mark.parametrize(("names", "dimensions"), [(["a"], 4), (["a"], "2"), (["a", "b"], 2), ([], 3)])
def test_figures_that_cannot_be(runs, names, dimensions):
    with pytest.raises(
        RequestError, match=r"^(dimensions is (4|2); it must be 2 or 3|names has [02] names for 1 runs; .*)\.$"
    ):
        figure(project(runs[:1]), names, dimensions)
