"""Pictures that people bring: the odd ones are converted with a word, the bad ones refused in one sentence."""

import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from explorer import intake
from explorer.intake import bring
from explorer.records import RequestError

SIZE = (64, 64)
GRADIENT = np.linspace(0, 255, 96 * 64 * 3).reshape(64, 96, 3).astype(np.uint8)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int, data: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    """A PNG whose header promises a size, whatever its data."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_common_formats(kind):
    brought = bring(saved(Image.fromarray(GRADIENT), kind), SIZE)
    assert brought.picture.shape == (1, 3, 64, 64)
    assert brought.original == (96, 64)
    assert brought.notes == ("cropped from 96×64 to 64×64",)
    expected = torch.from_numpy(GRADIENT[:, 16:80]).permute(2, 0, 1)[None] / 255
    torch.testing.assert_close(brought.picture, expected, rtol=0, atol=0 if kind in ("PNG", "BMP", "TIFF") else 0.1)


def test_a_picture_of_the_right_size_is_left_as_it_is():
    assert bring(saved(Image.new("RGB", SIZE, "red"), "PNG"), SIZE).notes == ()


def test_scaling_is_said():
    assert bring(saved(Image.new("RGB", (200, 200), "red"), "PNG"), SIZE).notes == ("reduced to 64×64",)
    assert bring(saved(Image.new("RGB", (20, 20), "red"), "PNG"), SIZE).notes == ("enlarged to 64×64",)


def test_alpha_lies_on_white():
    half = Image.new("RGBA", SIZE, (255, 0, 0, 0))
    half.paste((0, 0, 255, 255), (0, 0, 32, 64))
    brought = bring(saved(half, "PNG"), SIZE)
    assert brought.notes == ("laid on white where it was transparent",)
    assert brought.picture[0, :, 0, 0].tolist() == [0, 0, 1]
    assert brought.picture[0, :, 0, 63].tolist() == [1, 1, 1]


def test_a_palette_with_alpha_lies_on_white():
    palette = Image.new("P", SIZE, 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.paste(1, (0, 0, 32, 64))
    brought = bring(saved(palette, "PNG", transparency=0), SIZE)
    assert "laid on white where it was transparent" in brought.notes
    assert brought.picture[0, :, 0, 0].tolist() == [0, 1, 0]
    assert brought.picture[0, :, 0, 63].tolist() == [1, 1, 1]


def test_opaque_alpha_needs_no_word():
    assert bring(saved(Image.new("RGBA", SIZE, "blue"), "PNG"), SIZE).notes == ()


def test_cmyk():
    brought = bring(saved(Image.new("CMYK", SIZE, (0, 255, 255, 0)), "JPEG", quality=100), SIZE)
    assert brought.notes == ("converted from CMYK",)
    torch.testing.assert_close(brought.picture[0, :, 5, 5], torch.tensor([1.0, 0, 0]), rtol=0, atol=0.05)


def test_16_bit_is_scaled_and_not_cut():
    deep = Image.fromarray(np.full((64, 64), 32768, np.uint16))
    brought = bring(saved(deep, "PNG"), SIZE)
    assert brought.notes == ("scaled from 16 bit",)
    torch.testing.assert_close(brought.picture, torch.full((1, 3, 64, 64), 0.5), rtol=0, atol=0.003)


def png(colour: int, channels: int, depth: int = 16) -> bytes:
    """A PNG of `channels` samples of `depth` bits, 64 × 64, of a level of 3/4, opaque: Pillow can't write them."""
    samples = [0xC000 if depth == 16 else 0xC0] * channels
    if colour in (4, 6):
        samples[-1] = 2**depth - 1
    row = b"\0" + struct.pack(f">{channels}{'H' if depth == 16 else 'B'}", *samples) * 64
    return png_header(64, 64, zlib.compress(row * 64), depth, colour)


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_in_colour_or_with_alpha_is_said_too(colour, channels):
    brought = bring(png(colour, channels), SIZE)
    assert brought.notes == ("scaled from 16 bit",)
    torch.testing.assert_close(brought.picture, torch.full((1, 3, 64, 64), 0.75), rtol=0, atol=0.005)
    assert bring(png(colour, channels, 8), SIZE).notes == ()


def tiff(values: np.ndarray) -> bytes:
    return saved(Image.fromarray(values), "TIFF")


RISING = np.linspace(0, 1, 64 * 64).reshape(64, 64)


@pytest.mark.parametrize(
    ("values", "top", "notes"),
    [
        ((RISING * 65535).astype(np.uint16), 1, ("scaled from 16 bit",)),
        ((RISING * 2e9).astype(np.int32), 1, ("scaled from 32 bit by its largest value, 2000000000",)),
        ((RISING * 900).astype(np.int32), 1, ("scaled from 32 bit by its largest value, 900",)),
        (RISING.astype(np.float32), 1, ("scaled from floating point",)),
        ((RISING / 4).astype(np.float32), 0.25, ("scaled from floating point",)),  # a dark picture stays dark
        ((RISING * 4).astype(np.float32), 1, ("scaled from floating point by its largest value, 4",)),
    ],
)
def test_deep_grey_is_scaled_by_what_it_is(values, top, notes):
    brought = bring(tiff(values), SIZE)
    assert brought.notes == notes
    assert brought.picture[0, 0, -1, -1].item() == pytest.approx(top, abs=0.005)
    assert brought.picture[0, 0, 32, 0].item() == pytest.approx(top / 2, abs=0.005)


def test_what_is_no_number_is_said_and_a_picture_of_nothing_else_refused():
    odd = RISING.astype(np.float32)
    odd[:2] = np.nan
    odd[2, :5] = np.inf
    brought = bring(tiff(odd), SIZE)
    assert brought.notes == ("scaled from floating point", "133 values that are no numbers as black")
    assert (brought.picture[0, :, :2] == 0).all()
    assert brought.picture[0, 0, -1, -1] == 1
    for value in (np.nan, np.inf):
        with pytest.raises(RequestError, match="all NaN or infinite"):
            bring(tiff(np.full((64, 64), value, np.float32)), SIZE)
    with pytest.raises(RequestError, match=r"all below 0, from -1 to -0\.5"):
        bring(tiff((RISING / 2 - 1).astype(np.float32)), SIZE)
    assert "values below 0 as black" in bring(tiff((RISING - 0.5).astype(np.float32)), SIZE).notes


@pytest.mark.parametrize(
    ("original", "picture"),
    [
        ("16 bit", np.full((3000, 6000), 32768, np.uint16)),
        ("with alpha", np.full((3000, 6000, 4), 128, np.uint8)),
    ],
    ids=["16 bit", "with alpha"],
)
def test_a_large_picture_is_converted_a_few_rows_at_a_time(original, picture, monkeypatch):
    """No band is larger than it has to be, and none is of what is cropped away."""
    bands, taken = [], intake._bands
    monkeypatch.setattr(intake, "_bands", lambda image: (bands.append(one[1].size) or one for one in taken(image)))
    brought = bring(saved(Image.fromarray(picture), "PNG", compress_level=1), SIZE)
    assert "cropped from 6000×3000 to 3000×3000" in brought.notes
    assert set(bands) == {(3000, intake.BAND), (3000, 3000 % intake.BAND)}


@pytest.mark.parametrize(("orientation", "corner"), [(3, (63, 63)), (6, (0, 63)), (8, (63, 0))])
def test_exif_turns_it(orientation, corner):
    image = Image.new("RGB", SIZE, "black")
    image.paste("white", (0, 0, 8, 8))  # at the stored top left
    exif = Image.Exif()
    exif[0x0112] = orientation
    brought = bring(saved(image, "JPEG", exif=exif, quality=100), SIZE)
    assert brought.notes == ("turned as its EXIF says",)
    row, column = corner
    assert brought.picture[0, :, row, column].mean() > 0.9
    assert brought.picture[0, :, 0, 0].mean() < 0.1


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_every_format_is_turned_once(kind):
    image = Image.new("RGB", SIZE, "black")
    image.paste("white", (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 3
    brought = bring(saved(image, kind, exif=exif), SIZE)
    assert brought.notes == ("turned as its EXIF says",)
    assert brought.picture[0, :, 63, 63].mean() > 0.9


@pytest.mark.parametrize("orientation", ["upside down", -1, 99, 2**40, (1, 2)])
def test_an_odd_orientation_is_none(orientation, monkeypatch):
    picture = Image.new("RGB", SIZE, "red")
    monkeypatch.setattr(Image.Image, "getexif", lambda self: {0x0112: orientation})
    assert bring(saved(picture, "PNG"), SIZE).notes == ()


def test_of_an_animation_the_first_frame():
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "green", "blue")]
    for kind in ("GIF", "WEBP"):
        brought = bring(saved(frames[0], kind, save_all=True, append_images=frames[1:]), SIZE)
        assert brought.notes == ("the first of 3 frames",)
        assert brought.picture[0, 0].mean() > 0.9


def test_gray_and_bilevel():
    assert bring(saved(Image.new("L", SIZE, 128), "PNG"), SIZE).picture.mean().item() == pytest.approx(128 / 255)
    assert bring(saved(Image.new("1", SIZE, 1), "PNG"), SIZE).picture.mean().item() == 1


WHOLE = saved(Image.fromarray(GRADIENT).resize((300, 300)), "PNG")
BAD = {
    "zero bytes": (b"", "no bytes"),
    "truncated PNG": (WHOLE[: len(WHOLE) // 2], "broken or cut short"),
    "truncated JPEG": (saved(Image.fromarray(GRADIENT).resize((300, 300)), "JPEG")[:900], "broken or cut short"),
    "text": (b"hello, I am no picture at all" * 20, "not a picture; give PNG"),
    "noise": (bytes(range(256)) * 40, "not a picture"),
    "magic only": (b"\x89PNG\r\n\x1a\n", "not a picture"),
    "60000 x 60000": (png_header(60_000, 60_000), "over 100 million pixels"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "an EPS drawing; give PNG"),
    "SVG": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "an SVG drawing"),
    "PDF": (b"%PDF-1.4 ...", "a PDF"),
    "12000 x 12000": (png_header(12_000, 12_000, zlib.compress(b"\0" * 12_000_000)), "12000 pixels wide"),
    "6000 x 8000": (png_header(6_000, 8_000, zlib.compress(b"\0" * 1_000_000)), "48 million; the limit is 32."),
    "20000 x 1": (saved(Image.new("RGB", (20_000, 1)), "PNG"), "20000 pixels wide"),
    "1 x 1": (saved(Image.new("RGB", (1, 1)), "PNG"), "1 pixels wide; it must be from 8 to 8192."),
    "100 x 7": (saved(Image.new("RGB", (100, 7)), "PNG"), "7 pixels high"),
    "a promise of pixels": (png_header(64, 64, b""), "broken or cut short"),
    "broken GIF": (saved(Image.new("P", SIZE), "GIF")[:30], "broken"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_are_one_sentence_at_once(name):
    data, message = BAD[name]
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(RequestError) as caught:
        bring(data, SIZE)
    spent, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "/" not in str(caught.value)
    assert spent < 0.5
    assert peak < 50e6


def test_too_many_bytes():
    with pytest.raises(RequestError, match="21 MB; the limit is 20 MB"):
        bring(b"\0" * 21_000_000, SIZE)


@pytest.mark.parametrize(
    ("original", "fitted", "notes"),
    [
        ((300, 200), (200, 200), ("cropped from 300×200 to 200×200",)),
        ((1600, 1200), (512, 512), ("cropped from 1600×1200 to 1200×1200", "reduced to 512×512")),
        ((512, 512), (512, 512), ()),
        ((20, 20), (64, 64), ("enlarged to 64×64",)),
    ],
)
def test_a_larger_picture_may_stay_large(original, fitted, notes):
    brought = bring(saved(Image.new("RGB", original, "red"), "PNG"), SIZE, most=512)
    assert brought.picture.shape == (1, 3, fitted[1], fitted[0])
    assert brought.notes == notes


def test_what_stays_large_keeps_the_models_shape_and_never_gets_smaller():
    large = bring(saved(Image.new("RGB", (900, 900), "red"), "PNG"), (96, 64), most=480)
    assert large.picture.shape == (1, 3, 320, 480)
    small = bring(saved(Image.new("RGB", (900, 900), "red"), "PNG"), (640, 640), most=512)
    assert small.picture.shape == (1, 3, 640, 640)
