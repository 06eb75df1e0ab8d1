"""Edits of a latent against closed forms and scipy, and everything that must be refused."""

import json
import math
import time

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from explorer import edits
from explorer.edits import OPS, apply, checked, words
from explorer.records import RequestError

SHAPE = (4, 16, 12)  # C, h, w: not square, so that x and y can't be mixed up
GIVEN = {
    "mute": {"op": "mute", "channel": 1},
    "scale": {"op": "scale", "channel": None, "factor": -1.5},
    "shift": {"op": "shift", "channel": 3, "amount": 0.25},
    "swap": {"op": "swap", "a": 0, "b": 3},
    "blur": {"op": "blur", "channel": None, "sigma": 1.5},
    "sharpen": {"op": "sharpen", "channel": 2, "amount": 0.5},
    "noise": {"op": "noise", "channel": 2, "amount": 0.5, "seed": 7},
    "paint": {"op": "paint", "channel": 0, "value": 3, "radius": 1.5, "cells": [[0, 0], [11, 15]]},
    "roll": {"op": "roll", "dx": -3, "dy": 2},
    "flip": {"op": "flip", "axis": "horizontal"},
}
SAID = {
    "mute": "channel 1 muted",
    "scale": "all channels scaled by −1.5",
    "shift": "channel 3 shifted by 0.25",
    "swap": "channels 0 and 3 swapped",
    "blur": "all channels blurred, sigma 1.5",
    "sharpen": "channel 2 sharpened by 0.5",
    "noise": "channel 2 noised by 0.5, seed 7",
    "paint": "channel 0 painted 3 along 2 cells, 3 wide (radius 1.5)",
    "roll": "rolled 3 left, 2 down",
    "flip": "flipped left to right",
}


@pytest.fixture
def x():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


def done(latents, *given):
    return apply(latents, checked(list(given), tuple(latents.shape)))


def edit(op, **changed):
    return GIVEN[op] | changed


def wave(size, k):
    """The k-th cosine of a mirrored signal (DCT-II), which every symmetric filter only scales."""
    return torch.cos(math.pi * k * (torch.arange(size, dtype=torch.float64) + 0.5) / size)


def transfer(size, k, sigma):
    offsets = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    return float((kernel / kernel.sum() * np.cos(np.pi * k * offsets / size)).sum())


def test_every_op_has_a_case_here():
    assert set(OPS) == set(GIVEN) == set(SAID)
    assert all(op.says.endswith(".") and op.name == name for name, op in OPS.items())


@pytest.mark.parametrize("op", OPS)
def test_an_edit_is_pure_deterministic_and_plain_json(op, x):
    before, given = x.clone(), json.loads(json.dumps(GIVEN[op]))
    plain = checked([given], SHAPE)
    first, second = apply(x, plain), apply(x, plain)
    assert torch.equal(x, before)
    assert torch.equal(first, second)
    assert given == GIVEN[op]
    assert not torch.equal(first, x)
    assert (first.shape, first.dtype) == (x.shape, torch.float32)
    assert first.data_ptr() != x.data_ptr()
    assert checked(json.loads(json.dumps(plain)), SHAPE) == plain == (GIVEN[op],)
    assert words(plain[0]) == SAID[op]


@pytest.mark.parametrize("op", [name for name, op in OPS.items() if "channel" in op.parameters])
def test_all_channels_at_once_is_each_in_turn(op, x):
    together, in_turn = done(x, edit(op, channel=None)), done(x, *(edit(op, channel=c) for c in range(4)))
    torch.testing.assert_close(together, in_turn, rtol=0, atol=1e-6)
    alone = done(x, edit(op, channel=2))
    assert torch.equal(alone[[0, 1, 3]], x[[0, 1, 3]])
    torch.testing.assert_close(alone[2], together[2], rtol=0, atol=1e-6)


def test_nothing_done_is_a_copy(x):
    same = apply(x, checked([], SHAPE))
    assert torch.equal(same, x)
    assert same.data_ptr() != x.data_ptr()


def test_mute_scale_and_shift_are_exact(x):
    assert torch.equal(done(x, edit("mute", channel=2))[2], torch.zeros(16, 12))
    assert torch.equal(done(x, edit("scale", channel=2, factor=-1.7))[2], x[2] * -1.7)
    assert torch.equal(done(x, edit("shift", channel=2, amount=0.3))[2], x[2] + 0.3)
    assert torch.equal(done(x, edit("scale", channel=None, factor=1), edit("shift", channel=None, amount=0)), x)


def test_swap_undoes_itself(x):
    once = done(x, edit("swap", a=0, b=3))
    assert torch.equal(once, x[[3, 1, 2, 0]])
    assert torch.equal(done(once, edit("swap", a=0, b=3)), x)
    assert torch.equal(done(x, edit("swap", a=2, b=2)), x)


@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.0, 2.5, 4.0])
def test_blur_is_scipys_and_keeps_the_mean(sigma, x):
    blurred = done(x, edit("blur", sigma=sigma))
    theirs = gaussian_filter(x.double().numpy(), sigma, mode="reflect", axes=(1, 2))
    np.testing.assert_allclose(blurred.numpy(), theirs, atol=2e-6)
    torch.testing.assert_close(blurred.mean((1, 2)), x.mean((1, 2)), rtol=0, atol=1e-6)
    if sigma > 0.125:  # below it the kernel is one cell
        assert (blurred.var((1, 2)) < x.var((1, 2))).all()


@pytest.mark.parametrize("sigma", [0.7, 4.0])
def test_blur_and_sharpen_scale_a_wave_by_the_kernels_transfer(sigma):
    rows, columns = wave(16, 3), wave(12, 2)
    plane = (rows[:, None] * columns)[None]
    gain = transfer(16, 3, sigma) * transfer(12, 2, sigma)
    blurred = done(plane.float(), edit("blur", sigma=sigma))
    torch.testing.assert_close(blurred.double(), gain * plane, rtol=0, atol=2e-6)
    gain = 1 + 2.5 * (1 - transfer(16, 3, 1) * transfer(12, 2, 1))
    sharp = done(plane.float(), edit("sharpen", channel=None, amount=2.5))
    torch.testing.assert_close(sharp.double(), gain * plane, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 1, 1), (4, 1, 7), (4, 2, 3)])
def test_blur_of_tiny_latents_mirrors_more_than_once(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    theirs = gaussian_filter(x.double().numpy(), 4, mode="reflect", axes=(1, 2))
    np.testing.assert_allclose(done(x, edit("blur", sigma=4)).numpy(), theirs, atol=2e-6)


def test_blur_of_sigma_0_and_sharpening_a_constant_change_nothing(x):
    assert torch.equal(done(x, edit("blur", sigma=0)), x)
    assert torch.equal(done(x, edit("sharpen", amount=0)), x)
    flat = torch.full(SHAPE, 1.7)
    torch.testing.assert_close(done(flat, edit("sharpen", channel=None, amount=4)), flat, rtol=0, atol=1e-5)
    assert (done(x, edit("sharpen", channel=None, amount=1)).var((1, 2)) > x.var((1, 2))).all()


def test_noise_is_seeded_white_and_of_its_amount():
    flat = torch.zeros(4, 128, 128)
    eps = done(flat, edit("noise", channel=None, amount=1, seed=3))
    same = torch.randn(4, 128, 128, generator=torch.Generator().manual_seed(3))
    assert torch.equal(eps, same)
    assert abs(float(eps.std()) - 1) < 0.01
    assert abs(float(eps.mean())) < 0.02
    assert torch.equal(done(flat, edit("noise", channel=None, amount=0.25, seed=3)), 0.25 * eps)
    assert not torch.equal(done(flat, edit("noise", channel=None, amount=1, seed=4)), eps)
    assert torch.equal(done(flat, edit("noise", channel=None, amount=0)), flat)


@pytest.mark.parametrize("radius", [0, 0.99, 1, 1.5, 2, 5.3, 8])
def test_paint_sets_exactly_the_cells_within_the_radius(radius, x):
    cells = [[0, 0], [11, 15], [4, 7], [4, 7]]
    painted = done(x, edit("paint", value=-2.5, radius=radius, cells=cells))
    under = torch.tensor(
        [[any((i - cx) ** 2 + (j - cy) ** 2 <= radius**2 for cx, cy in cells) for i in range(12)] for j in range(16)]
    )
    assert torch.equal(painted[0], torch.where(under, torch.tensor(-2.5), x[0]))
    assert torch.equal(painted[1:], x[1:])


def test_roll_moves_right_and_down_and_wraps(x):
    moved = done(x, edit("roll", dx=3, dy=1))
    assert torch.equal(moved[:, 1:, 3:], x[:, :-1, :-3])
    assert torch.equal(moved[:, 0, :3], x[:, -1, -3:])
    assert torch.equal(done(moved, edit("roll", dx=-3, dy=-1)), x)
    assert torch.equal(done(x, edit("roll", dx=12, dy=-16)), x)


@pytest.mark.parametrize(("axis", "where"), [("horizontal", (slice(None), -1, 0)), ("vertical", (slice(None), 0, -1))])
def test_flip_twice_is_nothing(axis, where, x):
    once = done(x, edit("flip", axis=axis))
    assert torch.equal(once[where], x[:, -1, -1])
    assert torch.equal(done(once, edit("flip", axis=axis)), x)


def test_order_matters(x):
    mute, shift = edit("mute", channel=0), edit("shift", channel=0, amount=1)
    assert torch.equal(done(x, mute, shift)[0], torch.ones(16, 12))
    assert torch.equal(done(x, shift, mute)[0], torch.zeros(16, 12))
    both = (edit("swap", a=0, b=1), edit("mute", channel=0))
    assert torch.equal(done(x, *both), done(done(x, both[0]), both[1]))


def test_values_that_run_away_are_refused_by_the_edit_that_does_it():
    x, larger, smaller = torch.full(SHAPE, 3.0), edit("scale", factor=4), edit("scale", factor=0.25)
    said = r"^edit 6 \(scale\) brings values beyond ±1000; scale, shift or sharpen by less\.$"
    for more in (0, 250):  # 3 · 4⁵ = 3072, or not finite at all
        with pytest.raises(RequestError, match=said):
            done(x, edit("flip"), *[larger] * (5 + more))
    assert torch.equal(done(x, *[larger] * 5, *[smaller] * 5), x)  # in between it may


def test_words_for_one_cell_and_the_other_directions():
    assert words(edit("paint", cells=[[1, 1]], channel=None)) == "all channels painted 3 along 1 cell, 3 wide (radius 1.5)"
    assert words(edit("roll", dx=1, dy=-4)) == "rolled 1 right, 4 up"
    assert [words(edit("roll", dx=dx, dy=dy)) for dx, dy in ((2, 0), (0, -1), (0, 0))] == [
        "rolled 2 right", "rolled 1 up", "rolled 0 right",
    ]  # fmt: skip
    assert words(edit("flip", axis="vertical")) == "flipped top to bottom"


NOT_A_NUMBER = [True, math.nan, math.inf, "1", None, [1], {"x": 1}, 10**400, 1j]
BAD = [
    (None, "edits is None; a list of at most 256 edits is needed."),
    ("mute", "edits is 'mute'; a list"),
    ({"op": "mute", "channel": 0}, "edits is a dict; a list"),
    ([{}] * 257, "edits has 257 edits; the limit is 256."),
    ([None], "edit 1 is None; an object with an op is needed."),
    ([GIVEN["mute"], ["mute", 1]], "edit 2 is a list; an object"),
    ([[[[[]]]]], "edit 1 is a list; an object"),
    ([{}], "edit 1: op is None; it must be one of mute, scale,"),
    ([{"op": "erase"}], "edit 1: op is 'erase'; it must be one of"),
    ([{"op": ["mute"]}], "edit 1: op is a list; it must be one of"),
    ([{"op": "x" * 10**6}], "edit 1: op is 'xxx"),
    ([{"op": "mute"}], "edit 1 (mute) has no channel; it needs channel."),
    ([edit("mute", factor=2)], "edit 1 (mute) has the field 'factor'; it takes channel only."),
    ([edit("mute") | {3: 4}], "edit 1 (mute) has the field 3; it takes channel only."),
    ([edit("mute", channel=4)], "edit 1 (mute): channel is 4; it must be from 0 to 3."),
    ([edit("mute", channel=-1)], "edit 1 (mute): channel is -1; it must be from 0 to 3."),
    ([edit("mute", channel=0.5)], "edit 1 (mute): channel is 0.5; a whole number from 0 to 3 is needed."),
    ([edit("swap", a=None)], "edit 1 (swap): a is None; a whole number from 0 to 3 is needed."),
    ([edit("noise", seed=2**32)], "edit 1 (noise): seed is 4294967296; it must be from 0 to 4294967295."),
    ([edit("noise", seed=0.5)], "edit 1 (noise): seed is 0.5; a whole number"),
    ([edit("roll", dx=257)], "edit 1 (roll): dx is 257; it must be from -256 to 256."),
    ([edit("flip", axis="x")], "edit 1 (flip): axis is 'x'; it must be horizontal or vertical."),
    ([edit("flip", axis=["horizontal"])], "edit 1 (flip): axis is a list; it must be horizontal or vertical."),
    ([edit("paint", cells="12")], "edit 1 (paint): cells is '12'; a list of 1 to 2048 cells [x, y] is needed."),
    ([edit("paint", cells={"x": 1})], "edit 1 (paint): cells is a dict; a list"),
    ([edit("paint", cells=[])], "edit 1 (paint): cells has 0 cells; it must have 1 to 2048."),
    ([edit("paint", cells=[[0, 0]] * 2049)], "edit 1 (paint): cells has 2049 cells; it must have 1 to 2048."),
    ([edit("paint", cells=[[0, 0], [1]])], "edit 1 (paint): cells[1] is a list; a cell is [x, y], two whole numbers."),
    ([edit("paint", cells=["00"])], "edit 1 (paint): cells[0] is '00'; a cell is [x, y]"),
    ([edit("paint", cells=[{"x": 0, "y": 0}])], "edit 1 (paint): cells[0] is a dict; a cell is [x, y]"),
    ([edit("paint", cells=[[12, 0]])], "edit 1 (paint): cells[0] x is 12; it must be from 0 to 11."),
    ([edit("paint", cells=[[0, 16]])], "edit 1 (paint): cells[0] y is 16; it must be from 0 to 15."),
    ([edit("paint", cells=[[-1, 0]])], "edit 1 (paint): cells[0] x is -1; it must be from 0 to 11."),
    ([edit("paint", cells=[[0, -1]])], "edit 1 (paint): cells[0] y is -1; it must be from 0 to 15."),
    ([edit("paint", cells=[[True, 0]])], "edit 1 (paint): cells[0] x is True; a whole number"),
    ([edit("paint", cells=[[0, [0]]])], "edit 1 (paint): cells[0] y is a list; a whole number"),
    ([edit("paint", cells=[[0, 0]] * 2048)] * 9, "edits has 18432 painted cells; the limit is 16384."),
]  # fmt: skip
BAD += [
    ([edit(op, **{key: value})], f"edit 1 ({op}): {key} is ")
    for op, row in OPS.items()
    for key, parameter in row.parameters.items()
    if parameter.kind != "cells"
    for value in NOT_A_NUMBER
    if not (value is None and parameter.kind == "channel or all") and not (value == "1" and parameter.kind == "choice")
]
BAD += [
    ([edit(op, **{key: end})], f"edit 1 ({op}): {key} is {end:g}; it must be from {parameter.low:g} to {parameter.high:g}.")
    for op, row in OPS.items()
    for key, parameter in row.parameters.items()
    if parameter.kind == "number"
    for end in (parameter.low - 0.01, parameter.high + 0.01)
]


@pytest.mark.parametrize(("given", "sentence"), BAD)
def test_bad_edits_are_refused_in_one_sentence(given, sentence):
    begun = time.thread_time()
    with pytest.raises(RequestError) as error:
        checked(given, SHAPE)
    assert time.thread_time() - begun < 0.5
    said = str(error.value)
    assert said.startswith(sentence)
    assert said[-1] == "."
    assert "\n" not in said
    assert len(said) < 200


def test_limits_themselves_are_allowed(x):
    ends = [
        edit(op, **{key: end})
        for op, row in OPS.items()
        for key, parameter in row.parameters.items()
        if parameter.kind in ("number", "whole")
        for end in (parameter.low, parameter.high)
    ]
    assert all(torch.isfinite(done(x, one)).all() for one in ends)
    full = [edit("paint", cells=[[i % 12, i % 16] for i in range(2048)])] * 8 + [edit("flip")] * 248
    assert len(checked(full, SHAPE)) == edits.LIMITS["edits"]
    assert checked([edit("mute", channel=3.0)], SHAPE) == (edit("mute", channel=3),)


def test_64_edits_are_done_in_time():
    shape = (4, 16, 16)
    ops = [op for op in OPS if op != "scale"]  # seven of it would run away
    one = [GIVEN[op] | ({"cells": [[3, 4], [5, 6]]} if op == "paint" else {}) for op in ops]
    given = checked(one * 7 + [GIVEN["flip"]], shape)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert len(given) == 64
    took = []
    for _ in range(20):
        begun = time.thread_time()
        apply(x, given)
        took.append(time.thread_time() - begun)
    assert min(took) < 0.008  # of its own thread: some 1 ms where nothing else runs; the stage has 150
