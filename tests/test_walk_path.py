"""The path of a walk: where its frames lie, in which order they are made, and what lies at each place."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from explorer import Request
from explorer.diffusion import slerp
from explorer.limits import latent_shape
from explorer.records import Conditioning
from explorer.walk import Station, Walk, check, order, origin, places, span, station_places
from explorer.walk_paths import between, circle, flat, noises, sphere

CAT, PIZZA, RED = Station("cat", 1), Station("pizza", 0), Station("red star", 4)
SHAPE = (1, 4, 8, 8)


def walk_of(model, kind="stations", stations=(CAT, PIZZA, RED), **given):
    given = {"frames": 8, "request": Request(steps=3)} | given
    return check(Walk(kind=kind, stations=stations, **given), model)


def angle(a, b):
    a, b = a.double().flatten(), b.double().flatten()
    return math.degrees(math.acos(float(a @ b / a.norm() / b.norm())))


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("frames", [1, 2, 3, 8, 9, 24, 120])
def test_order_has_every_frame_once_and_shows_the_whole_path_early(frames, closed):
    found = order(frames, closed)
    assert sorted(found) == list(range(frames))
    if frames < 8:
        return
    count = frames if closed else frames - 1
    early = found[: 1 if closed else 2]
    assert early == ([0] if closed else [0, frames - 1])
    assert found[len(early)] == count // 2
    quarters = found[len(early) + 1 : len(early) + 3]
    assert all(abs(frame - count * share) <= 1 for frame, share in zip(quarters, (0.25, 0.75), strict=True))
    for made in (5, 9, 17):  # as halves of halves: no gap is more than about twice another
        gaps = [b - a for a, b in pairwise(sorted([*found[:made], *([frames] if closed else [])]))]
        if made < frames:
            assert max(gaps) <= 2 * min(gaps) + 2


@pytest.mark.parametrize("frames", [8, 9, 10, 24, 50, 120])
@pytest.mark.parametrize("count", range(2, 9))
def test_every_station_has_a_frame_and_the_last_is_the_last(tiny_model, frames, count):
    walk = walk_of(tiny_model, stations=tuple(Station("cat", seed) for seed in range(count)), frames=frames)
    found = places(walk)
    assert len(found) == frames
    assert (found[0], found[-1]) == (0.0, 1.0)
    assert all(b > a for a, b in pairwise(found))
    assert set(station_places(walk)) <= set(found)
    for i, place in enumerate(station_places(walk)):  # and there it is that station's noise, whatever the rounding
        request, here = origin(tiny_model, walk, place)
        assert torch.equal(here.noise, noises(SHAPE, walk.stations[i].seed)[0])
        assert request.seed == walk.stations[i].seed
    if (frames - 1) % (count - 1) == 0:
        assert found == pytest.approx([i / (frames - 1) for i in range(frames)])


@pytest.mark.parametrize("kind", ["circle", "sphere"])
@pytest.mark.parametrize("frames", [8, 12, 30])
def test_a_closed_path_ends_one_frame_before_its_beginning(tiny_model, kind, frames):
    stations = (CAT, PIZZA) if kind == "circle" else (CAT,)
    walk = walk_of(tiny_model, kind, stations, frames=frames)
    found = places(walk)
    assert len(found) == frames
    if kind == "sphere" or frames % 4 == 0:
        assert found == pytest.approx([i / frames for i in range(frames)])
    assert set(station_places(walk)) == ({0.0, 0.25} if kind == "circle" else set())
    assert kind == "sphere" or {0.0, 0.25, 0.5, 0.75} <= set(found)
    after, first = origin(tiny_model, walk, 1.0)[1], origin(tiny_model, walk, 0.0)[1]
    assert torch.equal(after.noise, first.noise)
    steps = [angle(origin(tiny_model, walk, a)[1].noise, origin(tiny_model, walk, b)[1].noise)
             for a, b in pairwise([*found, 1.0])]  # fmt: skip
    assert max(steps) <= 1.6 * min(steps)  # the last step, back to the first frame, is one like the others


def test_a_station_is_its_own_noise_and_the_very_conditioning_of_its_prompt(tiny_model):
    walk = walk_of(tiny_model)
    for place, station in zip((0.0, 0.5, 1.0), walk.stations, strict=True):
        request, here = origin(tiny_model, walk, place)
        assert torch.equal(here.noise, noises(SHAPE, station.seed)[0])
        assert here.conditioning is tiny_model.encode_prompt(station.prompt)
        assert request == replace(walk.request, prompt=station.prompt, seed=station.seed)
    _, middle = origin(tiny_model, walk, 0.25)
    assert torch.equal(middle.noise, slerp(noises(SHAPE, 1)[0], noises(SHAPE, 0)[0], 0.5))


def test_what_does_not_move_stays_the_first_stations(tiny_model):
    for place in (0.0, 0.3, 0.5, 1.0):
        request, prompts = origin(tiny_model, walk_of(tiny_model, moves="prompt"), place)
        assert torch.equal(prompts.noise, noises(SHAPE, CAT.seed)[0])
        assert request.seed == CAT.seed
        request, seeds = origin(tiny_model, walk_of(tiny_model, moves="noise"), place)
        assert seeds.conditioning is tiny_model.encode_prompt("cat")
        assert request.prompt == "cat"
    assert prompts.conditioning is tiny_model.encode_prompt("red star")
    assert torch.equal(seeds.noise, noises(SHAPE, RED.seed)[0])


@pytest.mark.parametrize("path", ["slerp", "lerp"])
def test_a_circle_passes_both_seeds_and_their_opposites(tiny_model, path):
    walk = walk_of(tiny_model, "circle", (Station("cat", 0), Station("never read", 1)), noise_path=path)
    a, b = noises(SHAPE, 0)[0], noises(SHAPE, 1)[0]
    for place, corner in zip((0.0, 0.25, 0.5, 0.75, 1.0), (a, b, -a, -b, a), strict=True):
        request, here = origin(tiny_model, walk, place)
        assert torch.equal(here.noise, corner)
        assert here.conditioning is tiny_model.encode_prompt("cat")
        assert request.prompt == "cat"
    assert origin(tiny_model, walk, 0.25)[0].seed == 1
    for place in (0.1, 0.4, 0.6, 0.95):
        t = math.tau * place
        turned = math.cos(t) * a + math.sin(t) * b
        assert torch.allclose(circle(a, b, place, "slerp"), turned, atol=1e-5)
    assert torch.allclose(circle(a, b, 0.375, "lerp"), (b - a) / 2, atol=1e-6)


@pytest.mark.parametrize("degrees", [1.0, 20.0, 90.0])
def test_a_sphere_is_at_one_angle_from_its_centre_and_keeps_the_norm(tiny_model, degrees):
    walk = walk_of(tiny_model, "sphere", (CAT,), angle=degrees)
    centre, u, v = noises(SHAPE, CAT.seed, 3)
    for place in places(walk):
        noise = origin(tiny_model, walk, place)[1].noise
        assert noise.dtype == torch.float32
        assert angle(centre, noise) == pytest.approx(degrees, abs=1e-3)
        assert float(noise.norm()) == pytest.approx(float(centre.norm()), rel=1e-5)
    quarter, three = (sphere([centre, u, v], 90.0, place) for place in (0.0, 0.25))
    assert angle(quarter, three) == pytest.approx(90, abs=1e-3)
    assert origin(tiny_model, walk, 0.0)[1].conditioning is tiny_model.encode_prompt("cat")


@pytest.mark.parametrize(("sampler", "steps", "strength", "k"), [("DDIM", 10, 0.6, 4), ("DDIM", 10, 1, 0),
                         ("DDIM", 4, 0.05, 3), ("Heun", 4, 0.6, 2), ("PNDM", 8, 0.5, 5)])  # fmt: skip
def test_pictures_begin_where_the_strength_leaves_that_share(tiny_model, sampler, steps, strength, k):
    request = Request(steps=steps, sampler=sampler)
    walk = walk_of(tiny_model, "pictures", (CAT,), request=request, strength=strength)
    first, made = span(tiny_model, walk)
    assert first == k
    assert made == {"Heun": 7 - k, "PNDM": 9 - k + 1}.get(sampler, steps - k)  # PNDM warms up where it begins
    both = tuple(torch.randn(latent_shape(walk.request, tiny_model)) for _ in range(2))
    for place, end in ((0.0, both[0]), (1.0, both[1])):
        _, here = origin(tiny_model, walk, place, both)
        assert torch.equal(here.start[0], end)
        assert here.start[1] == k
        assert torch.equal(here.noise, noises(SHAPE, CAT.seed)[0])
    assert torch.equal(origin(tiny_model, walk, 0.5, both)[1].start[0], slerp(*both, 0.5))
    straight = origin(tiny_model, replace(walk, noise_path="lerp"), 0.5, both)[1].start[0]
    assert torch.allclose(straight, (both[0] + both[1]) / 2, atol=1e-6)


def test_conditionings_are_lerped_or_slerped_as_a_whole():
    draw = torch.Generator().manual_seed(0)
    a, b = (
        Conditioning(
            {"hidden": torch.randn(1, 5, 7, generator=draw), "pooled": 9 * torch.randn(1, 3, generator=draw).half()}
        )
        for _ in range(2)
    )
    for path in ("slerp", "lerp"):
        assert between(a, b, 0, path) is a
        assert between(a, b, 1, path) is b
        assert between(a, a, 0.3, path) is a
        made = between(a, b, 0.3, path)
        assert {name: (t.shape, t.dtype) for name, t in made.tensors.items()} == {
            name: (t.shape, t.dtype) for name, t in a.tensors.items()
        }
    whole = slerp(flat(a), flat(b), 0.3)
    assert torch.allclose(flat(between(a, b, 0.3, "slerp")), whole, atol=1e-2)
    assert torch.equal(between(a, b, 0.3, "slerp").tensors["hidden"].flatten(), whole[:35])
    alone = slerp(a.tensors["hidden"].flatten(), b.tensors["hidden"].flatten(), 0.3)
    assert not torch.allclose(whole[:35], alone, atol=1e-2)
    assert torch.allclose(flat(between(a, b, 0.3, "lerp")), 0.7 * flat(a) + 0.3 * flat(b), atol=1e-2)
