"""Contact sheets and GIFs: they open, have what was asked, and show the picture first and noise last."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from explorer.captions import short
from explorer.forward import Noising, Source
from explorer.forward_schedule import KNOTS, schedule
from explorer.noising import snr_db
from explorer.records import RequestError
from explorer.sheets import CELL, FRAMES, GAP, SIDE, captions, gif, places, sheet, title, variances


def a_state(model, steps=10, side=64) -> Noising:
    pixels = torch.full((3, side, side), 255, dtype=torch.uint8)
    latents = model.encode(torch.ones(1, 3, 64, 64))[0]
    made = Source("wite — “page”", (), pixels, pixels[:, :64, :64], latents)
    return Noising(made, 3, schedule("linear", steps, True, KNOTS, model))


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def columns(image: Image.Image, width: int, row: int = 0, rows: int = 2) -> list[np.ndarray]:
    """A row's pictures, found by where the sheet says that they are."""
    pixels = np.asarray(image.convert("RGB"), float)
    cell, line = max(width, 84), 16
    count = (image.width - SIDE) // (cell + GAP)
    top = image.height - GAP - (rows - row) * (line + width + GAP) + line
    return [pixels[top : top + width, SIDE + i * (cell + GAP) :][:, :width] for i in range(count)]


@pytest.mark.parametrize("count", [2, 5, 11])
def test_a_sheet_has_its_columns_from_the_picture_to_noise(tiny_model, count):
    image = opened(sheet(a_state(tiny_model), tiny_model.preview, count))
    assert image.format == "PNG"
    found = columns(image, 64)
    assert len(found) == count
    assert (found[0] == 255).all()
    spreads = [one.std() for one in found]
    assert spreads == sorted(spreads)
    assert found[-1].mean() == pytest.approx(127, abs=5)  # noise, cut at both ends
    said = json.loads(image.text["diffuscope"])
    assert (said["schedule"], said["steps"], said["seed"], len(said["t"])) == ("linear", 10, 3, count)
    assert said["rows"] == ["pixels", "latents"]


def test_a_third_row_is_the_latents_decoded(tiny_model):
    state, asked = a_state(tiny_model), []

    def decode(latents):
        asked.append(len(latents))
        return tiny_model.decode(latents)

    image = opened(sheet(state, tiny_model.preview, 6, decode))
    assert json.loads(image.text["diffuscope"])["rows"] == ["pixels", "latents", "decoded"]
    assert (sum(asked), max(asked)) == (6, 4)  # a few at a time
    for t, found in zip(places(10, 6), columns(image, 64, 2, 3), strict=True):
        wanted = tiny_model.decode(state.latents(t)[None])[0].permute(1, 2, 0).mul(255).numpy()
        assert np.abs(found - wanted.clip(0, 255)).max() < 3  # decoded in one batch and another
    assert (columns(image, 64, 0, 3)[0] == 255).all()


def test_captions_have_the_measured_snr_of_their_row(tiny_model):
    pixels = torch.arange(64, dtype=torch.uint8).repeat(3, 64, 1) * 4
    latents = 2 * torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(1))
    state = Noising(Source("x", (), pixels, pixels, latents), 3, schedule("linear", 10, True, KNOTS, tiny_model))
    wanted = [(pixels / 127.5 - 1).var(correction=0).item(), latents.var(correction=0).item()]
    assert variances(state) == pytest.approx(wanted)
    bar = state.schedule.alpha_bar(3)
    assert captions(state, 3, variances(state)) == [f"SNR {snr_db(bar, variance):.1f} dB" for variance in wanted]
    assert captions(state, 0, variances(state)) == ["no noise"] * 2
    assert captions(state, 3, [0.0]) == ["flat: SNR 0"]


def test_at_ten_steps_eleven_columns_are_every_state(tiny_model):
    assert places(10, 11) == list(range(11))
    assert places(10, 20) == list(range(11))
    assert places(1000, 3) == [0, 500, 1000]


@pytest.mark.parametrize("count", [1, 21, 2.5, "11", None, True, float("nan")])
def test_columns_out_of_range_are_one_sentence(tiny_model, count):
    with pytest.raises(RequestError, match=r"^columns is .*2 to 20"):
        sheet(a_state(tiny_model), tiny_model.preview, count)


def test_the_largest_sheet_is_bounded(tiny_model):
    image = opened(sheet(a_state(tiny_model, 1000, 512), tiny_model.preview, 20))
    assert image.width == SIDE + 20 * (CELL + GAP)


def test_a_gif_dissolves(tiny_model):
    image = opened(gif(a_state(tiny_model, 100), tiny_model.preview))
    assert (image.format, image.n_frames, image.info["loop"]) == ("GIF", FRAMES, 0)
    spread = []
    for frame in (0, FRAMES // 2, FRAMES - 1):
        image.seek(frame)
        spread.append(np.asarray(image.convert("RGB"), float)[GAP : GAP + 64, GAP : GAP + 64].std())
    assert spread[0] == 0 < spread[1] < spread[2]
    small = opened(gif(a_state(tiny_model), tiny_model.preview))
    assert small.n_frames == 11  # no more than there are states
    lines = np.asarray(small.convert("L"))[2 * GAP + 64 :, GAP:-GAP].min(axis=1) < 128
    assert (np.diff(lines.astype(int)) == 1).sum() >= 3 - lines[0]  # what it is, t, and what the panes are
    assert (np.asarray(small.convert("L"))[2 * GAP + 64 :, -GAP:] > 200).all()  # and none of it is cut off


def test_words_are_what_the_font_has(tiny_model):
    state = a_state(tiny_model)
    assert title(state) == "wite ? ?page?: linear schedule, T = 10, seed 3"
    assert captions(state, 10, [1.0]) == ["SNR -43.9 dB"]


def test_a_caption_of_any_length_is_cut_at_once_and_written_plainly():
    font = ImageFont.load_default(14)
    words = short("a cat “−5” × 🐈 " * 400, 300, font)
    assert words.startswith('a cat "-5" x ? a cat')
    assert words.endswith("...")
    assert font.getlength(words) <= 300 < font.getlength(words[:-3] + "a cat...")
    assert short("a cat", 300, font) == "a cat"
