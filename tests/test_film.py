"""Films as files: decoded again each has exactly its pictures, in order, at its speed, and says what made it."""

from __future__ import annotations

import io
import sys
import weakref

import numpy as np
import pytest
from PIL import Image

from explorer import film, film_writers
from explorer.film import FORMATS, encode, encoding, route, settings
from explorer.film_writers import doubling, even, lengths, strip_columns
from explorer.records import RequestError

MADE = {
    "prompt": "“chat” avec un été — 猫 🐈 'single' \"double\" \\ back\nsecond line",
    "seed": 7, "guidance": 4.5, "path": "slerp", "empty": "", "closed": True,
}  # fmt: skip
PSNR = {"gif": 34.0, "webp": np.inf, "mp4": 36.0, "png": np.inf}  # dB, of the whole film to its pictures


def picture(i: int, n: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A soft disc that moves over a gradient: no picture of a film is another."""
    y, x = np.mgrid[0:height, 0:width]
    disc = 1 / (1 + np.exp((np.hypot(x - width * (i + 0.5) / n, y - height / 2) - height / 4) / 2))
    base = np.stack([x / width * 200, y / height * 160, np.full(x.shape, 90 + 60 * i / n)], -1)
    return (base * (1 - disc[..., None]) + np.array([250, 200, 40]) * disc[..., None]).round().astype(np.uint8)


def a_film(n: int = 7, height: int = 48, width: int = 64) -> list[np.ndarray]:
    return [picture(i, n, height, width) for i in range(n)]


def decoded(data: bytes, format: str, size: tuple[int, int], count: int) -> list[np.ndarray]:
    """The pictures in a file, at their own size (height, width)."""
    height, width = size
    if format == "mp4":
        import av
        from av.video.reformatter import ColorRange, Colorspace

        wide = {"format": "rgb24", "src_colorspace": Colorspace.ITU709, "dst_color_range": ColorRange.JPEG}
        every = doubling(width, height)
        with av.open(io.BytesIO(data)) as container:
            found = [frame.reformat(**wide).to_ndarray() for frame in container.decode(video=0)]
        assert {one.shape[:2] for one in found} == {(even(height * every), even(width * every))}
        return [one[: height * every : every, : width * every : every] for one in found]
    image = Image.open(io.BytesIO(data))
    if format == "png":
        whole, columns = np.asarray(image), strip_columns(count, width)
        assert whole.shape == (-(-count // columns) * height, columns * width, 3)
        at = [(k // columns * height, k % columns * width) for k in range(count)]
        return [whole[y : y + height, x : x + width] for y, x in at]
    found = []
    for k in range(image.n_frames):
        image.seek(k)
        found.append(np.asarray(image.convert("RGB")))
    return found


def durations(data: bytes, format: str) -> list[float]:
    """Seconds that each picture is shown."""
    if format == "mp4":
        import av

        with av.open(io.BytesIO(data)) as container:
            return [float(p.duration * p.time_base) for p in container.demux(video=0) if p.size]
    image, found = Image.open(io.BytesIO(data)), []
    for k in range(image.n_frames):
        image.seek(k)
        image.load()
        found.append(image.info["duration"] / 1000)
    return found


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((np.asarray(a, float) - b) ** 2)
    return float(np.inf if error == 0 else 10 * np.log10(255**2 / error))


@pytest.mark.parametrize("back", [False, True], ids=["there", "there and back"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_file_has_its_pictures_in_order_and_what_made_it(format, back):
    frames = a_film()
    order = route(len(frames), back)
    assert len(order) == (12 if back else 7)
    data = encode(frames, format, 24, back, True, MADE)
    found = decoded(data, format, (48, 64), len(order))
    assert len(found) == len(order)
    assert [min(range(7), key=lambda i: -psnr(frames[i], one)) for one in found] == order
    assert psnr(np.stack(found), np.stack([frames[i] for i in order])) >= PSNR[format]
    assert settings(data) == MADE
    assert [type(value) for value in settings(data).values()] == [type(value) for value in MADE.values()]
    assert encode(frames, format, 24, back, True, MADE) == data  # the same film is the same file


def test_a_route_shows_each_end_once():
    assert route(4, True) == [0, 1, 2, 3, 2, 1]
    assert [route(n, True) for n in (1, 2, 3)] == [[0], [0, 1], [0, 1, 2, 1]]
    assert [route(n, False) for n in (1, 3)] == [[0], [0, 1, 2]]


@pytest.mark.parametrize("fps", [1, 7, 24, 50, 60])
@pytest.mark.parametrize("format", ["gif", "mp4", "webp"])
def test_pictures_are_shown_for_as_long_as_was_asked(format, fps):
    if fps > FORMATS[format].fps[1]:
        with pytest.raises(RequestError, match=r"^fps is 60; a GIF shows at most 50 pictures a second\.$"):
            encode(a_film(2, 8, 8), format, fps, False, True, {})
        return
    found = durations(encode(a_film(8, 8, 8), format, fps, False, True, {}), format)
    unit = {"gif": 0.01, "webp": 0.001, "mp4": 1e-4}[format]
    assert len(found) == 8
    assert max(abs(one - 1 / fps) for one in found) <= unit
    assert np.abs(np.cumsum(found) - np.arange(1, 9) / fps).max() <= unit / 2 + 1e-9  # and the error does not grow


def test_lengths_never_run_away():
    assert lengths(6, 24, 100) == [4, 4, 4, 5, 4, 4]
    assert sum(lengths(120, 50, 100)) == 240
    assert min(lengths(200, 50, 100)) == 2


@pytest.mark.parametrize("loop", [True, False])
def test_a_film_begins_again_where_it_was_asked_to(loop):
    gif, webp = (Image.open(io.BytesIO(encode(a_film(3), name, 10, False, loop, {}))) for name in ("gif", "webp"))
    assert gif.info.get("loop") == (0 if loop else None)  # 0 is without end; a GIF without a word plays once
    assert webp.info["loop"] == (0 if loop else 1)


@pytest.mark.parametrize("format", FORMATS)
def test_pictures_that_are_equal_all_stay(format):
    frames = [np.full((16, 16, 3), value, np.uint8) for value in (10, 10, 10, 240, 240, 10)]
    data = encode(frames, format, 10, False, True, {})
    found = decoded(data, format, (16, 16), 6)
    assert [round(one.mean() / 10) for one in found] == [1, 1, 1, 24, 24, 1]
    if format != "png":
        assert len(durations(data, format)) == 6


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (33, 17), (513, 515)])
@pytest.mark.parametrize("format", FORMATS)
def test_any_size_can_be_written(format, size):
    frames = a_film(2, *size)
    found = decoded(encode(frames, format, 5, False, True, {}), format, size, 2)
    assert [one.shape for one in found] == [frames[0].shape] * 2
    assert psnr(np.stack(found), np.stack(frames)) >= min(PSNR[format], 36.0)


@pytest.mark.parametrize("format", FORMATS)
def test_a_large_picture(format):
    frames = [np.kron(picture(0, 2, 64, 64), np.ones((16, 16, 1), np.uint8))]
    found = decoded(encode(frames, format, 5, False, True, {}), format, (1024, 1024), 1)
    assert psnr(found[0], frames[0]) >= min(PSNR[format], 36.0)


def test_an_mp4_is_what_browsers_play():
    import av

    data = encode(a_film(), "mp4", 24, False, True, {})
    assert data.find(b"moov") < data.find(b"mdat")  # the index first
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.average_rate, stream.frames) == (24, 7)
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1)  # BT.709, 16 to 235


def test_flat_colours_stay_what_they_are():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (250, 180, 20)]
    frames = [np.full((32, 32, 3), colour, np.uint8) for colour in colours]
    for format, off in (("gif", 0), ("png", 0), ("webp", 0), ("mp4", 3)):
        found = decoded(encode(frames, format, 5, False, True, {}), format, (32, 32), len(frames))
        assert np.abs(np.stack(found).astype(int) - np.stack(frames)).max() <= off, format


def test_a_gif_does_not_flicker_where_pixels_rest():
    still = picture(0, 2)
    frames = [still.copy() for _ in range(4)]
    for i, frame in enumerate(frames):
        frame[:8, :8] = 60 * i
    found = np.stack(decoded(encode(frames, "gif", 5, False, True, {}), "gif", (48, 64), 4)).astype(int)
    assert np.abs(np.diff(found[:, 8:], axis=0)).mean() < 2  # of 255


def test_a_strip_has_rows_where_it_is_too_wide(monkeypatch):
    monkeypatch.setattr(film_writers, "STRIP", 200)
    frames = a_film(8)
    image = Image.open(io.BytesIO(encode(frames, "png", 5, False, True, MADE)))
    assert image.size == (192, 144)
    found = decoded(encode(frames, "png", 5, False, True, {}), "png", (48, 64), 8)
    assert all((a == b).all() for a, b in zip(found, frames, strict=True))
    assert (np.asarray(image)[96:, 128:] == 255).all()  # no picture there
    assert settings(encode(frames, "png", 5, True, True, MADE)) == MADE


class Lazy:
    """120 pictures that are made when they are asked for, and how many are alive at most."""

    def __init__(self, count: int, side: int) -> None:
        self.count, self.side, self.alive, self.most = count, side, 0, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> np.ndarray:
        if not 0 <= i < self.count:
            raise IndexError(i)
        made = np.full((self.side, self.side, 3), i, np.uint8)
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(made, self._gone)
        return made

    def _gone(self) -> None:
        self.alive -= 1


@pytest.mark.parametrize("format", FORMATS)
def test_a_long_film_is_never_held_whole(format):
    frames = Lazy(120, 32)
    data = encode(frames, format, 24, True, True, {})
    assert frames.most <= 2
    assert len(decoded(data, format, (32, 32), 238)) == 238


@pytest.mark.parametrize("format", FORMATS)
def test_writing_says_how_far_it_is_and_can_be_left(format):
    frames = a_film(5, 16, 16)
    steps = encoding(frames, format, 5, False, True, {})
    assert next(steps) == (1, 5)
    steps.close()
    assert [*encoding(frames, format, 5, False, True, {})] == [(i, 5) for i in range(1, 6)]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"frames": []}, r"^frames is empty; a film needs at least one picture that is finished\.$"),
        ({"frames": [np.zeros((4, 4, 3))]}, r"^frames\[0\] is float64 \(4, 4, 3\); .*uint8"),
        ({"frames": [np.full((4, 4, 3), np.nan, np.float32)]}, r"^frames\[0\] is float32 .*uint8"),
        ({"frames": [np.zeros((4, 4), np.uint8)]}, r"^frames\[0\] is uint8 \(4, 4\); .*\(height, width, 3\)"),
        ({"frames": [np.zeros((0, 4, 3), np.uint8)]}, r"^frames\[0\] has 4 x 0 pixels; .*1 to 2048"),
        ({"frames": [np.zeros((1, 2049, 3), np.uint8)]}, r"^frames\[0\] has 2049 x 1 pixels; .*1 to 2048"),
        ({"frames": ["a picture"]}, r"^frames\[0\] is 'a picture'; .*uint8"),
        ({"frames": [np.zeros((4, k, 3), np.uint8) for k in (4, 5)]}, r"^frames\[1\] has 5 x 4 .*first 4 x 4\.$"),
        ({"frames": [np.zeros((1024, 1024, 3), np.uint8)] * 65}, r"^frames are 65 x 1024 x 1024 = .* limit is 67108864\.$"),
        ({"fps": 0}, r"^fps is 0; it must be from 1 to 60\.$"),
        ({"fps": 61}, r"^fps is 61; it must be from 1 to 60\.$"),
        ({"fps": float("nan")}, r"^fps is nan; a whole number from 1 to 60 is needed\.$"),
        ({"fps": "24"}, r"^fps is '24'; a whole number"),
        ({"fps": True}, r"^fps is True; a whole number"),
        ({"fps": 12.5}, r"^fps is 12\.5; a whole number"),
        ({"format": "avi"}, r"^format is 'avi'; it must be one of gif, mp4, webp, png\.$"),
        ({"format": None}, r"^format is None; it must be one of"),
        ({"format": ["gif"]}, r"^format is a list; it must be one of"),
        ({"back_and_forth": "yes"}, r"^back_and_forth is 'yes'; it must be True or False\.$"),
        ({"loop": None}, r"^loop is None; it must be True or False\.$"),
        ({"settings": {"guidance": float("nan")}}, r"^settings\['guidance'\] is nan; it must be finite\.$"),
        ({"settings": {"seeds": [1, 2]}}, r"^settings\['seeds'\] is a list; a text or a number is needed\.$"),
        ({"settings": {"prompt": "x" * 2**18}}, r"^settings have 2621\d\d characters; the limit is 262144\.$"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_one_sentence(change, sentence):
    good = {"frames": a_film(2, 4, 4), "format": "gif", "fps": 8, "back_and_forth": False, "loop": True, "settings": {}}
    with pytest.raises(RequestError, match=sentence):
        encoding(**good | change)


@pytest.mark.parametrize("format", FORMATS)
def test_settings_may_be_long_and_odd(format):
    made = {"stations": "\n".join(f"“été” {i} \udc80 @ {i}" for i in range(3000)), "": "\0\x1a;"}
    assert settings(encode(a_film(1, 8, 8), format, 8, False, True, made)) == made


@pytest.mark.parametrize("start", ["", "GIF89a", "\x89PNG\r\n\x1a\n", "RIFF\4\0\0\0WEBP", "\0\0\0\x18ftypisom", "text"])
@pytest.mark.parametrize("more", [0, 50])
def test_a_file_of_another_kind_has_no_settings(start, more):
    with pytest.raises(RequestError, match=rf"^{film.STRANGE}$"):
        settings(start.encode("latin-1") + bytes(more))


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_a_picture_of_another_program_has_none(format):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, format, comment=b"[1]")
    with pytest.raises(RequestError, match=rf"^{film.STRANGE}$"):
        settings(buffer.getvalue())


def test_without_the_encoder_all_other_formats_are_written(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(RequestError, match=r"^MP4 needs the package av, which is not installed here; take GIF or WebP\.$"):
        encode(a_film(2, 4, 4), "mp4", 8, False, True, {})
    assert all(encode(a_film(2, 4, 4), format, 8, False, True, {}) for format in ("gif", "webp", "png"))
