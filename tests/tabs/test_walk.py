"""The Walk endpoint: its films are the engine's own runs, what is wrong is one sentence, and what is kept is bounded."""

from __future__ import annotations

import base64
import html
import io
import json

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from explorer import Request, run
from explorer.records import RequestError
from explorer.tabs.walk import filming, runner
from explorer.tabs.walk_again import ALONE, EMPTY, NONE, evening, other, otherwise
from explorer.tabs.walk_form import asked, checked, parse, proposed
from explorer.tabs.walk_runs import GONE, UNMADE, Made, Walks, steps
from explorer.tabs.walk_words import changes, posts
from explorer.walk import Station, order, places

ANN = gr.Request(session_hash="ann")
PIZZA = "pizza @ 5\nred house @ 7"
FORM = {"stations": PIZZA, "frames": 8, "steps": 3}


@pytest.fixture(scope="module")
def walked(tiny_model):
    """A whole film of eight frames, one run at a time: its records, and where it is kept."""
    walks = Walks()
    return list(runner(tiny_model, walks)(**FORM, batch=1, request=ANN)), walks


def picture(record) -> np.ndarray:
    data = base64.b64decode(record["picture"].removeprefix("data:image/png;base64,"))
    return np.array(Image.open(io.BytesIO(data)))


def frames(records) -> dict[int, dict]:
    return {record["frame"]: record for record in records if "frame" in record}


def test_a_film_begins_with_its_path_and_has_every_frame_once(walked):
    records, walks = walked
    first = records[0]
    assert (first["n"], first["closed"], first["evaluations"], first["shape"]) == (8, False, 3, [4, 8, 8])
    assert [one["place"] for one in first["stations"]] == [0, 1]
    assert first["places"] == pytest.approx([i / 7 for i in range(8)], abs=1e-6)
    assert {len(first["tracks"][name]) for name in ("norm", "other_norm", "angle", "cosine")} == {8}
    assert min(first["tracks"]["other_norm"]) < 0.8 < min(first["tracks"]["norm"])  # lerp dips, slerp does not
    assert [record["frame"] for record in records if "frame" in record] == order(8)
    shown = [(record["evaluation"], *record["planes"]) for record in records if "planes" in record]
    assert shown == [(k, str(i)) for i in order(8) for k in range(3)]
    assert "0 of 8 frames are there; 1 more at step 1 of 3" in [record.get("doing") for record in records]
    assert json.loads(json.dumps(records)) == records
    pairs = {pair[0]: pair[1:] for record in records for pair in record.get("pairs", [])}
    assert sorted(pairs) == list(range(7))
    made = walks.get(first["run"])
    ends = [made.latents[i] for i in range(8)]
    for i, (apart, unlike) in pairs.items():
        assert apart == pytest.approx(float((ends[i + 1] - ends[i]).square().mean().sqrt()), abs=1e-4)
        assert 0 <= unlike <= 2


def test_the_stations_frames_are_their_plain_runs(walked, tiny_model):
    records, walks = walked
    made = walks.get(records[0]["run"])
    for i, station in ((0, Station("pizza", 5)), (7, Station("red house", 7))):
        plain = run(tiny_model, Request(prompt=station.prompt, seed=station.seed, steps=3))
        assert torch.equal(made.latents[i], plain.latents)
        pixels = tiny_model.decode(plain.latents)[0].permute(1, 2, 0).mul(255).round().numpy().astype(np.uint8)
        np.testing.assert_array_equal(picture(frames(records)[i]), pixels)
        for kept, step in zip(made.x0[i], plain.steps, strict=False):
            assert torch.equal(kept, step.x0[0].half())


def test_a_frames_own_run_is_what_the_page_asks_for(walked, tiny_model):
    records, walks = walked
    ask, name = steps(tiny_model, walks), records[0]["run"]
    answer = ask([name, 3])
    made = walks.get(name)
    got = [np.frombuffer(base64.b64decode(text), "<f2").reshape(4, 8, 8) for text in answer["planes"]]
    np.testing.assert_array_equal(got, torch.stack(made.x0[3]).numpy())
    for wanted in (None, 7, "r", [], [name[:-1], 0], [["r"], 0], {"run": name}, ["r" * 10**6, 0]):
        assert ask(wanted) == {"error": GONE}
    for frame in (-1, 8, 10**30, 1.5, "1", None, True, [1], float("nan")):
        assert set(ask([name, frame])) == {"error"}
        assert "frame" in ask([name, frame])["error"]


def test_a_cancelled_film_keeps_the_frames_made_so_far(tiny_model):
    walks = Walks()
    stream = runner(tiny_model, walks)(**FORM, request=ANN)
    got = []
    for record in stream:
        got.append(record)
        if len(frames(got)) == 5:
            break
    stream.close()
    made = walks.get(got[0]["run"])
    assert sorted(made.pictures) == sorted(frames(got)) == sorted(order(8)[:5])
    ask = steps(tiny_model, walks)
    assert len(ask([made.run, order(8)[4]])["planes"]) == 3
    assert ask([made.run, order(8)[5]]) == {"error": UNMADE}
    with pytest.raises(gr.Error, match="Only 5 of 8 frames are there"):
        list(evening(tiny_model, walks, filming)(made.run, ANN))


def test_a_circle_closes(tiny_model):
    records = list(runner(tiny_model, Walks())("pizza @ 0\npizza @ 7", kind="circle", frames=8, steps=2, request=ANN))
    assert records[0]["closed"]
    assert [(one["place"], one["label"]) for one in records[0]["stations"]] == [
        (0, "seed 0"), (0.25, "seed 7"), (0.5, "−seed 0"), (0.75, "−seed 7"),
    ]  # fmt: skip
    assert sorted(pair[0] for record in records for pair in record.get("pairs", [])) == list(range(8))
    assert records[0]["places"][-1] == 0.875


def test_every_station_has_a_frame_of_its_own(tiny_model):
    stream = runner(tiny_model, Walks())("pizza @ 0\nstar @ 1\nhouse @ 2\ncat @ 3", frames=13, steps=1, request=ANN)
    first = next(stream)
    stream.close()
    assert {one["place"] for one in first["stations"]} <= set(first["places"])  # to the last bit: thirds, too


def test_a_walk_between_pictures_ends_in_them(tiny_model):
    walks = Walks()
    options = {"kind": "pictures", "first": "cat", "second": "star", "frames": 8, "steps": 10, "strength": 0.1}
    records = list(runner(tiny_model, walks)("pizza @ 1", **options, request=ANN))
    assert [one["label"] for one in records[0]["stations"]] == ["a cat", "a star"]
    assert records[0]["tracks"]["of"] == "latents"
    assert records[0]["evaluations"] == 1
    made = walks.get(records[0]["run"])
    for i, source in ((0, made.sources[0]), (7, made.sources[1])):  # one step of ten changes little
        other_end = made.sources[1 if i == 0 else 0]
        assert (made.latents[i] - source).norm() < (made.latents[i] - other_end).norm()
    for wrong in ({"first": "dog"}, {"second": None}, {"picture": "cat.png"}):
        with pytest.raises(gr.Error, match=r"first is 'dog'|second is None|The picture to start from: .*not a file"):
            list(runner(tiny_model, walks)("pizza @ 1", **options | wrong, request=ANN))


def test_even_pace_is_more_even_and_remembers_how_it_was(walked, tiny_model):
    records, walks = walked
    before = walks.get(records[0]["run"])
    again = list(evening(tiny_model, walks, filming)(before.run, ANN))
    openings = [record for record in again if "n" in record]
    assert {tuple(record["before"]) for record in openings} == {tuple(round(one, 5) for one in before.curve())}
    assert openings[-1]["places"] != records[0]["places"]
    assert openings[-1]["places"][0] == 0
    assert openings[-1]["places"][-1] == 1
    after = walks.get(openings[-1]["run"])
    spread = [np.std(made.curve()) / np.mean(made.curve()) for made in (before, after)]
    assert spread[1] < spread[0]
    assert f"vary by {spread[1]:.0%} of their mean; before, by {spread[0]:.0%}" in again[-1]["summary"]
    assert torch.allclose(after.latents[0], before.latents[0], atol=1e-3)  # the ends stay


def test_the_other_path_is_shown_beside(walked, tiny_model):
    records, walks = walked
    first = walks.get(records[0]["run"])
    beside = list(other(tiny_model, walks, filming)(first.run, ANN))
    assert (beside[0]["beside"], beside[0]["name"]) == (first.run, "The walk by lerp")
    second = walks.get(beside[0]["run"])
    assert second.walk.noise_path == "lerp"
    assert list(second.tracks.norm) == list(first.tracks.other_norm)
    between = [float((first.latents[i] - second.latents[i]).square().mean().sqrt()) for i in range(8)]
    assert f"frame {int(np.argmax(between)) + 1}, by {max(between):.2f}" in beside[-1]["summary"]


def test_a_film_that_is_even_or_empty_is_not_made_again(walked, tiny_model):
    made, walks = walked[1].get(walked[0][0]["run"]), Walks()
    even, same, bare = (Made(made.walk, made.places, evaluations=3) for _ in range(3))
    for film, apart in ((even, 0.3), (same, 1e-6), (bare, None)):
        film.x0 = made.x0
        if apart is not None:
            film.pictures, film.latents = made.pictures, made.latents
            film.apart = {i: (apart * (1 + i / 1000), 0.0) for i in range(7)}
        walks.put("ann", film)
    for handler, film, sentence in (
        (evening, even, "is even already"), (evening, same, "one and the same"), (evening, bare, "Only 0 of 8 frames"),
        (other, bare, EMPTY),
    ):  # fmt: skip
        with pytest.raises(gr.Error, match=sentence):
            list(handler(tiny_model, walks, filming)(film.run, ANN))
    assert "but for rounding" in changes(same)


def test_what_has_no_other_path_and_no_film_is_told(tiny_model):
    for handler in (evening, other):
        for wanted, sentence in (("", NONE), (None, NONE), ("gone", GONE), (7, GONE)):
            with pytest.raises(gr.Error) as told:
                list(handler(tiny_model, Walks(), filming)(wanted, ANN))
            assert told.value.message == sentence
    sphere = asked(tiny_model, stations="pizza @ 5", kind="sphere", **REST)
    with pytest.raises(RequestError) as refused:
        otherwise(sphere)
    assert str(refused.value) == ALONE
    prompts = asked(tiny_model, stations="pizza @ 5\nstar @ 5", kind="stations", **REST)
    assert (otherwise(prompts).prompt_path, otherwise(prompts).noise_path) == ("lerp", "slerp")


REST = {"steps": 2, "guidance": 4.0, "sampler": "DDIM", "negative_prompt": "", "frames": 8}
WRONG = [
    ({"stations": "pizza"}, "Station 1 is 'pizza'; write a prompt, an @ and a seed"),
    ({"stations": "pizza @ 5\nstar @ far"}, "The seed of station 2 is 'far'"),
    ({"stations": "pizza @ -1\nstar @ 2"}, "The seed of station 1 is -1"),
    ({"stations": "pizza @ 5"}, "stations has 1; a walk of kind stations takes 2 to 8"),
    ({"stations": "\n".join(f"star @ {i}" for i in range(9))}, "stations has 9"),
    ({"stations": "pizza @ 5\npizza @ 5"}, "or every frame is the same"),
    ({"stations": "pizza @ 5\npizza @ 5", "kind": "circle"}, "a circle needs two different seeds"),
    ({"stations": None}, "stations must be a text"),
    ({"stations": "x" * 5001}, "stations must be a text of at most 5000 characters"),
    ({"kind": "spiral"}, "kind is 'spiral'"),
    ({"kind": ["circle"]}, "kind is a list"),
    ({"moves": "all"}, "moves is 'all'"),
    ({"noise_path": "arc"}, "noise_path is 'arc'"),
    ({"frames": 7}, "frames is 7; it must be from 8 to 120"),
    ({"frames": float("nan")}, "frames is nan"),
    ({"steps": 0}, "steps is 0"),
    ({"steps": "3"}, "steps is '3'"),
    ({"guidance": 31}, "guidance is 31"),
    ({"sampler": "DDPM"}, "injects noise"),
    ({"angle": 0}, "angle is 0"),
    ({"strength": 2}, "strength is 2"),
    ({"batch": 17}, "batch is 17"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "sentence"), WRONG)
def test_a_wrong_value_is_one_sentence_and_nothing_runs(tiny_model, change, sentence):
    walks = Walks()
    with pytest.raises(gr.Error) as told:
        next(runner(tiny_model, walks)(**{**FORM, **change}, request=ANN))
    assert sentence in html.unescape(told.value.message)
    assert "\n" not in told.value.message


def test_an_address_gives_what_it_can(tiny_model):
    values, notes = checked(
        {"stations": PIZZA, "kind": "circle", "frames": "9", "steps": "x", "sampler": "DDPM", "batch": "4"}
    )
    assert values == {"stations": PIZZA, "kind": "circle", "frames": 9, "batch": 4}
    assert len(notes) == 2
    assert parse(" @ 0\n\na @ b @ 3 ") == (Station("", 0), Station("a @ b", 3))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 24])
def test_the_stations_to_click_are_the_examples(count):
    examples = [f"thing {i}" for i in range(count)]
    stations = {name: parse(text) for name, text in proposed(examples).items()}
    assert all(2 <= len(found) <= 4 for found in stations.values())
    assert len({*stations.values()}) == len(stations) == {0: 2, 1: 1, 2: 2, 3: 2, 4: 4, 24: 4}[count]
    assert {station.prompt for found in stations.values() for station in found} <= {*(examples or [""])}
    assert len({station.seed for station in next(iter(stations.values()))}) > 1


def test_films_are_kept_by_session_and_in_bounds(walked, tiny_model):
    made = walked[1].get(walked[0][0]["run"])
    size = made.nbytes()
    held = sum(
        one.nbytes for one in (*made.pictures.values(), *made.latents.values(), *(x for f in made.x0.values() for x in f))
    )
    assert held == size
    walks = Walks(2 * size, 3 * size)
    films = [Made(made.walk, made.places, x0=made.x0, evaluations=made.evaluations) for _ in range(4)]
    for one, session in zip(films, ("ann", "ann", "ann", "bob"), strict=True):
        walks.put(session, one)
    assert [walks.get(one.run) is one for one in films] == [False, True, True, True]
    walks.drop("ann")
    assert [walks.get(one.run) is one for one in films] == [False, False, False, True]
    walks.put("ann", films[0])  # its page is closed
    assert walks.get(films[0].run) is None
    walks.open("ann")
    walks.put("ann", films[0])
    assert walks.get(films[0].run) is films[0]


def test_words_of_a_film(walked, tiny_model):
    made = walked[1].get(walked[0][0]["run"])
    curve = made.curve()
    most = int(np.argmax(curve))
    assert f"between frames {most + 1} and {most + 2}, {max(curve) / np.mean(curve):.1f} times" in changes(made)
    same_seed = asked(tiny_model, stations="pizza @ 5\nstar @ 5", kind="stations", **REST)
    assert [one["label"] for one in posts(same_seed)] == ["pizza", "star"]
    long = asked(tiny_model, stations=f"{'a pizza ' * 9} @ 5\nstar @ 6", kind="stations", **REST)
    assert posts(long)[0]["label"] == "a pizza a pizza a pizza a p… · seed 5"
    assert places(long)[0] == 0
