"""The contact sheet of frame and step: chosen evenly, drawn where it says, bounded, and saying what made it."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from explorer import film
from explorer.film_sheet import CELL, COUNTS, GAP, LINE, SIDE, Row, evenly, sheet
from explorer.records import Preview, RequestError

PREVIEW = Preview(matrix=((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)), offset=(0.0, 0.0, 0.5))
MADE = {"stations": '“chat” — 猫 @ 3\n"pizza" @ 7', "guidance": 4.5, "kind": "stations"}


def rows(frames: int, steps: int, side: int = 128) -> list[Row]:
    """Frame i at evaluation k is flat: red says i, green says k; its picture is all blue but for i."""
    made = []
    for i in range(frames):
        x0 = [torch.stack([torch.full((4, 4), i / 200), torch.full((4, 4), k / 200)]).half() for k in range(steps)]
        picture = torch.zeros(3, side, side, dtype=torch.uint8)
        picture[0], picture[2] = i, 255
        made.append(Row(f"frame {i + 1}", f"place {i}", x0, picture))
    return made


def drawn(made: list[Row], steps: int, **options) -> Image.Image:
    timesteps = [981 - 50 * k for k in range(steps)]
    data = finished(sheet(made, timesteps, PREVIEW, "a walk — “title”", MADE, **options))
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def finished(drawing) -> bytes:
    while True:
        try:
            next(drawing)
        except StopIteration as end:
            return end.value


def cells(image: Image.Image, size: int, down: int, across: int) -> np.ndarray:
    """The middle of every cell, (down, across, 3)."""
    pixels, cell = np.asarray(image.convert("RGB")).astype(int), max(size, CELL[0])
    top = 2 * GAP + 3 * LINE
    y, x = (np.arange(n) * (step + GAP) + size // 2 for n, step in ((down, size), (across, cell)))
    return pixels[top + y[:, None], SIDE + x]


@pytest.mark.parametrize(("frames", "steps"), [(1, 1), (2, 3), (8, 8), (9, 20), (120, 50)])
def test_each_cell_is_the_frame_and_step_that_it_stands_for(frames, steps):
    image = drawn(rows(frames, steps), steps)
    down, across = evenly(frames, 8), evenly(steps, 8)
    assert image.size == (SIDE + (len(across) + 1) * (128 + GAP), 2 * GAP + 3 * LINE + len(down) * (128 + GAP))
    found = cells(image, 128, len(down), len(across) + 1)
    wanted = np.array([[[i / 200 * 255, k / 200 * 255, 127.5] for k in across] + [[i, 0, 255]] for i in down])
    assert np.abs(found - wanted).max() <= 1
    said = json.loads(image.text["diffuscope"])
    assert said == MADE | {"rows": down, "columns": across}


def test_places_are_chosen_evenly_with_both_ends():
    assert evenly(5, 8) == [0, 1, 2, 3, 4]
    assert evenly(120, 3) == [0, 60, 119]
    for count in range(2, 121):
        for most in range(2, 13):
            found = evenly(count, most)
            assert found[0] == 0
            assert found[-1] == count - 1
            gaps = np.diff(found)
            assert gaps.min() >= 1
            assert gaps.max() - gaps.min() <= 1
            assert len(found) == min(count, most)


def test_predictions_can_be_decoded(tiny_model):
    generator = torch.Generator().manual_seed(1)
    x0 = [torch.randn(4, 8, 8, generator=generator) for _ in range(6)]
    picture = tiny_model.decode(x0[-1][None])[0]
    asked = []

    def decode(latents):
        asked.append(len(latents))
        return tiny_model.decode(latents)

    side = picture.shape[-1]
    row = Row("frame 1", "", x0, picture.mul(255).round().byte())
    data = finished(sheet([row], [0.0] * 6, tiny_model.preview, "", {}, (2, 6), decode))
    assert asked == [4, 2]
    size = CELL[0]
    pixels = np.asarray(Image.open(io.BytesIO(data))).astype(float)
    top = 2 * GAP + 3 * LINE
    for column in range(6):
        found = pixels[top : top + size, SIDE + column * (size + GAP) :][:, :size]
        one = Image.fromarray(tiny_model.decode(x0[column][None])[0].permute(1, 2, 0).mul(255).round().byte().numpy())
        assert side < size
        assert np.abs(found - np.asarray(one.resize((size, size), Image.Resampling.LANCZOS))).max() <= 3


@pytest.mark.parametrize("side", [1, 32, 512, 1024])
def test_the_largest_sheet_is_bounded_and_the_smallest_has_room(side):
    image = drawn(rows(1, 1, side), 1, most=(2, 2))
    size = min(max(side, CELL[0]), CELL[1])
    assert image.size == (SIDE + 2 * (size + GAP), 2 * GAP + 3 * LINE + size + GAP)


def test_captions_stay_in_their_room():
    row = rows(1, 2)[0]._replace(name="frame " * 40, note="a prompt without end " * 240)
    image = np.asarray(drawn([row], 2).convert("L"))
    top = 2 * GAP + 3 * LINE
    assert image[top:, : GAP - 1].min() == 255
    assert image[top:, SIDE - GAP : SIDE].min() == 255
    assert image[top:, GAP : SIDE - GAP].min() < 128  # and are there
    assert image[: GAP + LINE].min() < 128


def test_drawing_says_how_far_it_is_and_can_be_left():
    drawing = sheet(rows(3, 2), [9.0, 1.0], PREVIEW, "", {})
    assert [next(drawing), next(drawing)] == [(0, 3), (1, 3)]
    drawing.close()


def test_a_sheet_says_what_made_it_as_a_film_does():
    data = finished(sheet(rows(2, 2), [9.0, 1.0], PREVIEW, "", MADE))
    assert film.settings(data) == MADE | {"rows": [0, 1], "columns": [0, 1]}


@pytest.mark.parametrize("most", [(1, 8), (8, 13), (8, float("nan")), ("8", 8), (True, 8), (2.5, 8)])
def test_counts_out_of_range_are_one_sentence(most):
    with pytest.raises(RequestError, match=rf"^(rows|columns) is .*{COUNTS[0]} to {COUNTS[1]}"):
        sheet(rows(1, 1), [1.0], PREVIEW, "", {}, most)


def test_no_frame_is_one_sentence():
    with pytest.raises(
        RequestError, match=r"^frames is empty; a contact sheet needs at least one frame that is finished\.$"
    ):
        sheet([], [1.0], PREVIEW, "", {})
