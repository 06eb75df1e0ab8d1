"""The film of a walk: at its stations the plain runs, bit for bit; made in order, a few together, and soon forgotten."""

import gc
import runpy
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from zero import Spaces

from explorer import Request, denoise_batch, run
from explorer.limits import latent_shape
from explorer.records import Conditioning, Origin, RequestError
from explorer.tabs import gpu
from explorer.walk import Station, Walk, check, order, origin, places, station_places
from explorer.walk_film import film
from explorer.walk_paths import noises

CAT, PIZZA, RED = Station("cat", 1), Station("pizza", 0), Station("red star", 4)


def walk_of(model, kind="stations", stations=(CAT, PIZZA, RED), **given):
    given = {"frames": 8, "request": Request(steps=3)} | given
    return check(Walk(kind=kind, stations=stations, **given), model)


def ends(model, walk, at, batch, pictures=None):
    """Last latents by frame."""
    found = {}
    for one in film(model, walk, at, pictures, batch):
        if one.evaluation == one.evaluations:
            found |= {frame: step.latents for frame, step in zip(one.frames, one.steps, strict=True)}
    return [found[i] for i in range(len(at))]


def plain(walk, place):
    """The Request of a station, written down by hand."""
    i = station_places(walk).index(place)
    prompt = walk.stations[0 if walk.moves == "noise" or walk.kind == "circle" else i].prompt
    seed = walk.stations[0 if walk.moves == "prompt" else i].seed
    return replace(walk.request, prompt=prompt, seed=seed)


WALKS = [
    ("stations", (CAT, PIZZA, RED), {}),
    ("stations", (CAT, PIZZA, Station("", 4)), {"moves": "prompt", "prompt_path": "lerp"}),
    ("stations", (CAT, PIZZA), {"moves": "noise", "noise_path": "lerp"}),
    ("circle", (Station("cat", 0), Station("unread", 3)), {}),
]


@pytest.mark.parametrize(("sampler", "guidance"), [("DDIM", 4.0), ("Heun", 1.0), ("UniPC", 4.0)])
@pytest.mark.parametrize(("kind", "stations", "given"), WALKS)
def test_a_stations_frame_is_its_plain_run_bit_for_bit(tiny_model, kind, stations, given, sampler, guidance):
    request = Request(steps=3, sampler=sampler, guidance=guidance, negative_prompt="blue", guidance_rescale=0.2)
    walk = walk_of(tiny_model, kind, stations, request=request, **given)
    at = station_places(walk)
    alone = [run(tiny_model, plain(walk, place)).latents for place in at]
    for mine, theirs in zip(ends(tiny_model, walk, at, 1), alone, strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(ends(tiny_model, walk, at, 4), alone, strict=True):
        assert float((mine - theirs).abs().max()) <= 1e-3 * max(1.0, float(theirs.abs().max()))


def test_a_film_of_the_embedded_model_reaches_its_last_station(embedded_model):
    walk, at = walk_of(embedded_model, stations=(CAT, PIZZA), request=Request(steps=1)), (0.0, 0.3, 0.7, 1.0)
    alone, together = ends(embedded_model, walk, at, 1), ends(embedded_model, walk, at, 4)
    assert torch.equal(alone[0], run(embedded_model, plain(walk, 0.0)).latents)
    assert torch.equal(alone[-1], run(embedded_model, plain(walk, 1.0)).latents)
    assert max(float((a - b).abs().max()) for a, b in zip(alone, together, strict=True)) <= 1e-3


@pytest.mark.parametrize("sampler", ["DDIM", "PNDM", "Heun"])
def test_between_pictures_the_ends_are_the_runs_from_them(tiny_model, sampler):
    request = Request(steps=4, sampler=sampler)
    walk = walk_of(tiny_model, "pictures", (CAT,), request=request, strength=0.5)
    draw = torch.Generator().manual_seed(0)
    both = tuple(torch.randn(latent_shape(walk.request, tiny_model), generator=draw) for _ in range(2))
    at = (0.0, 0.4, 1.0)
    made = ends(tiny_model, walk, at, 1, both)
    k = origin(tiny_model, walk, 0.0, both)[1].start[1]
    assert k == {"DDIM": 2, "PNDM": 3, "Heun": 2}[sampler]
    noise = noises(both[0].shape, CAT.seed)[0]
    for mine, picture in ((made[0], both[0]), (made[-1], both[1])):
        assert torch.equal(mine, run(tiny_model, walk.request, (picture, noise, k)).latents)
    for mine, theirs in zip(ends(tiny_model, walk, at, 3, both), made, strict=True):
        assert float((mine - theirs).abs().max()) <= 1e-3 * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("path", ["slerp", "lerp"])
def test_a_circle_closes_and_does_not_stand_still(tiny_model, path):
    walk = walk_of(tiny_model, "circle", (Station("cat", 0), Station("", 1)), noise_path=path)
    *frames, again = ends(tiny_model, walk, (*places(walk), 1.0), 1)
    assert torch.equal(again, frames[0])
    assert len({tuple(frame.flatten()[:8].tolist()) for frame in frames}) == 8


@pytest.mark.parametrize("batch", [1, 4, 3])
def test_batches_come_in_order_and_count_their_evaluations(tiny_model, batch):
    walk = walk_of(tiny_model)
    made = list(film(tiny_model, walk, places(walk), batch=batch))
    turns = [one.frames for one in made if one.evaluation == 0]
    assert [frame for frames in turns for frame in frames] == order(8)
    assert {len(frames) for frames in turns[:-1]} == {batch}
    for frames in turns:
        mine = [one for one in made if one.frames == frames]
        assert [one.evaluation for one in mine] == [0, 1, 2, 3]
        assert {one.evaluations for one in mine} == {3}
        assert all(len(one.steps) == len(frames) for one in mine)
        assert [one.steps[0].x0 is None for one in mine] == [False, False, False, True]
    closed = walk_of(tiny_model, "sphere", (CAT,), frames=9)
    turns = [one.frames for one in film(tiny_model, closed, places(closed)) if one.evaluation == 0]
    assert [frame for frames in turns for frame in frames] == order(9, closed=True)


def test_a_few_frames_can_be_made_by_themselves(tiny_model):
    walk = walk_of(tiny_model)
    whole = ends(tiny_model, walk, places(walk), 1)
    [alone] = ends(tiny_model, walk, places(walk)[3:4], 1)
    assert torch.equal(alone, whole[3])


def test_unused_steps_are_let_go(tiny_model):
    """However long the film: no more than the Steps of two evaluations live at once."""
    walk = walk_of(tiny_model, frames=12, request=Request(steps=4))
    alive: weakref.WeakSet = weakref.WeakSet()
    tensors: weakref.WeakSet = weakref.WeakSet()
    most = [0, 0]
    for one in film(tiny_model, walk, places(walk), batch=4):
        alive.update(one.steps)
        tensors.update(step.latents for step in one.steps)
        del one
        most = [max(most[0], len(alive)), max(most[1], len(tensors))]
    gc.collect()
    assert most[0] <= 8
    assert most[1] <= 8
    assert len(alive) == len(tensors) == 0


def test_closing_a_film_stops_its_runs_and_lets_them_go(counted):
    walk = walk_of(counted)
    made = film(counted, walk, places(walk))
    held = [weakref.ref(step) for step in next(made).steps]
    made.close()
    assert len(counted.rows) == 1
    gc.collect()
    assert [ref() for ref in held] == [None] * 4


def test_without_origins_a_batch_is_what_it_was(counted, tiny_model):
    requests = [Request(prompt="cat", steps=3, seed=seed, guidance=g) for seed, g in ((1, 3.0), (1, 5.0), (2, 1.0))]
    plain = list(denoise_batch(counted, requests))
    rows, counted.rows = counted.rows, []
    for origins in (None, [None] * 3, (Origin(), None, Origin())):
        for mine, theirs in zip(denoise_batch(counted, requests, origins), plain, strict=True):
            for a, b in zip(mine, theirs, strict=True):
                assert torch.equal(a.latents, b.latents)
                assert (a.x0 is None) == (b.x0 is None)
                assert a.x0 is None or torch.equal(a.x0, b.x0)
        assert counted.rows == rows  # equal inputs still share a row
        counted.rows = []


def test_rows_of_one_request_part_where_their_origins_do(tiny_model):
    """Nothing of the Request tells them apart: what is shared between rows must know of the Origin."""
    request = Request(prompt="cat", steps=3, seed=1)
    told = tiny_model.encode_prompt("blue house")
    noise = noises((1, 4, 8, 8), 5)[0]
    origins = [None, Origin(conditioning=told), Origin(noise=noise), Origin(noise=noise, conditioning=told)]
    *_, last = denoise_batch(tiny_model, [request] * 4, origins)
    for step, (prompt, seed) in zip(last, [("cat", 1), ("blue house", 1), ("cat", 5), ("blue house", 5)], strict=True):
        alone = run(tiny_model, replace(request, prompt=prompt, seed=seed)).latents
        assert float((step.latents - alone).abs().max()) <= 1e-3 * max(1.0, float(alone.abs().max()))


def test_an_origin_is_not_changed_by_its_run(tiny_model):
    noise = noises((1, 4, 8, 8), 5)[0]
    before, told = noise.clone(), Conditioning({"hidden": tiny_model.encode_prompt("red").tensors["hidden"].clone()})
    kept = told.tensors["hidden"].clone()
    list(denoise_batch(tiny_model, [Request(steps=2)], [Origin(noise=noise, conditioning=told, start=(noise, 1))]))
    assert torch.equal(noise, before)
    assert torch.equal(told.tensors["hidden"], kept)


def test_through_the_worker_a_film_is_the_same_and_asks_for_the_device_by_turns(monkeypatch, tiny_model):
    spaces = Spaces()
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    try:
        remote = gpu.on_gpu(tiny_model)
        walk = walk_of(tiny_model, frames=9)
        mine, theirs = list(gpu.film(remote, walk, places(walk))), list(film(tiny_model, walk, places(walk)))
        assert [one[:3] for one in mine] == [one[:3] for one in theirs]
        for a, b in zip(mine, theirs, strict=True):
            assert all(torch.equal(x.latents, y.latents) for x, y in zip(a.steps, b.steps, strict=True))
        assert spaces.seconds == [gpu.duration([walk.request] * count) for count in (4, 4, 1)]
        cancelled = gpu.film(remote, walk, places(walk))
        next(cancelled)
        cancelled.close()  # and its worker is there for the next
        assert gpu.tracks(remote, walk, places(walk)) == gpu.tracks(tiny_model, walk, places(walk))
        assert len(spaces.workers) == 1
        pictures = walk_of(tiny_model, "pictures", (CAT,))
        both = tuple(noises((1, 4, 8, 8), 7, 2))
        [*_, last] = gpu.film(remote, pictures, (1.0,), both)
        assert torch.equal(last.steps[0].latents, ends(tiny_model, pictures, (1.0,), 1, both)[0])
        asked = len(spaces.seconds)
        with pytest.raises(RequestError, match="frames is 3"):
            gpu.film(remote, replace(walk, frames=3), places(walk))
        with pytest.raises(RequestError, match="frames is 3"):
            gpu.tracks(remote, replace(walk, frames=3), places(walk))
        assert len(spaces.seconds) == asked
    finally:
        spaces.close()


def test_the_benchmark_runs(tiny_model):
    script = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "walk.py"))
    milliseconds = script["speed"](tiny_model, steps=1, pairs=1, warm=0)
    assert {batch: len(values) for batch, values in milliseconds.items()} == {1: 1, 4: 1, 8: 1}
    added = script["memory"](tiny_model, steps=1, frames=16)
    assert "16 frames in batches of 4" in script["report"](milliseconds, added, tiny_model, steps=1, frames=16)
