"""A walk as files: what they are called, what they say, how far they are, and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from explorer import film
from explorer.records import Request, RequestError
from explorer.tabs.walk_export import NONE, _row, finished, named, settings, titled, written
from explorer.tabs.walk_runs import Made
from explorer.tabs.walk_words import posts
from explorer.walk import Station, Walk

MODEL = SimpleNamespace(name="a model")
REQUEST = Request(prompt="“chat” été", seed=3, steps=4, guidance=4.5, width=16, height=16)


def made(there: tuple[int, ...] = tuple(range(8)), **changes) -> Made:
    stations = (Station("“chat” été", 3), Station("a pizza / with “cheese”", 0))
    walk = Walk(stations=stations, frames=8, request=REQUEST)
    one = Made(Walk(**{**vars(walk), **changes}), tuple(i / 7 for i in range(8)), evaluations=4, timesteps=[9.0] * 4)
    for i in there:
        one.pictures[i] = torch.full((3, 16, 16), i, dtype=torch.uint8)
        one.x0[i] = [torch.zeros(4, 2, 2).half()] * 4
    return one


def test_a_file_is_called_after_what_it_shows():
    whole = made()
    assert named(whole, finished(whole)) == "diffuscope-walk-stations-chat-t-3-to-a-pizza-with-cheese-0-8-frames"
    part = made((6, 0, 3))
    assert finished(part) == [0, 3, 6]
    assert named(part, finished(part)).endswith("-3-of-8-frames")
    bare = made(kind="sphere", stations=(Station("猫", 3),))
    assert named(bare, finished(bare)) == "diffuscope-walk-sphere-3-8-frames"
    between = made(kind="pictures", stations=(Station("x", 3),))
    between.ends = ("House", "my/../cat.png")
    assert named(between, finished(between)) == "diffuscope-walk-pictures-House-to-my-cat-png-8-frames"


def test_settings_are_plain_and_of_the_frames_that_are_there():
    said = settings(MODEL, made((0, 7)), [0, 7])
    assert said["stations"] == "“chat” été @ 3\na pizza / with “cheese” @ 0"  # as the form takes them
    assert (said["frames"], said["frames_there"], said["places"]) == (8, 2, "0 1")
    assert (said["model"], said["walk"], said["moves"], said["steps"], said["guidance"]) == (
        "a model",
        "stations",
        "both",
        4,
        4.5,
    )
    assert all(value is None or isinstance(value, str | int | float) for value in said.values())
    assert settings(MODEL, made(kind="sphere", angle=30.0), [0])["angle"] == 30.0


def test_a_film_without_a_frame_is_one_sentence():
    with pytest.raises(RequestError, match=NONE):
        finished(made(()))


def test_rows_name_their_stations():
    one = made()
    marks = posts(one.walk, one.ends)
    assert _row(one, 0, marks).note == "“chat” été\nseed 3"
    assert _row(one, 7, marks).note.endswith("seed 0")
    assert _row(one, 2, marks)[:2] == ("frame 3 of 8", "at 0.286 of the path")
    assert titled(one).startswith("Stations: '“chat” été' @ 3 to ")


def test_a_file_is_given_whole_and_its_place_is_gone_after():
    one = made()
    frames = [one.pictures[i].permute(1, 2, 0).numpy() for i in finished(one)]
    writing = film.encoding(frames, "png", 12, False, True, settings(MODEL, one, finished(one)))
    for link, *others in written(writing, "film.png", "Writing picture", "8 pictures"):
        if isinstance(link, str):
            path, said = Path(link), others[0]
            assert film.settings(path.read_bytes())["frames"] == 8
    assert path.name == "film.png"
    assert not path.exists()  # Gradio has its copy by then
    assert said.startswith("film.png: 8 pictures, ")


def test_a_file_that_is_left_stops_its_writer():
    one = made()
    writing = film.encoding([one.pictures[0].permute(1, 2, 0).numpy()] * 8, "gif", 12, False, True, {})
    going = written(writing, "film.gif", "Writing picture", "")
    assert next(going)[1] == "Writing picture 2 of 8"
    going.close()
    assert [*writing] == []


def test_a_writer_that_fails_leaves_no_word_on_how_far_it_was():
    def failing():
        yield 1, 3
        raise OSError("no room")

    going = written(failing(), "film.gif", "Writing picture", "")
    assert next(going)[1] == "Writing picture 2 of 3"
    assert next(going)[1] == ""
    with pytest.raises(OSError, match="no room"):
        next(going)
