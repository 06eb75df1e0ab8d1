"""The readings of a walk against closed forms: lerp's dip, angles covered, neighbours' distances."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from explorer import Request
from explorer.latents import fidelity
from explorer.walk import Station, Walk, check, places
from explorer.walk_paths import flat, noises
from explorer.walk_readings import angle, distances, rms, tracks

CAT, PIZZA = Station("cat", 1), Station("pizza", 0)


def walk_of(model, kind="stations", stations=(CAT, PIZZA), **given):
    return check(Walk(kind=kind, stations=stations, **{"frames": 9, "request": Request(steps=2)} | given), model)


def test_lerp_dips_where_slerp_keeps_the_norm(tiny_model):
    walk = walk_of(tiny_model)
    found = tracks(tiny_model, walk, places(walk))
    other = tracks(tiny_model, walk_of(tiny_model, noise_path="lerp"), places(walk))
    assert found.of == "noise"
    assert (found.norm, found.other_norm) == (other.other_norm, other.norm)
    a, b = (noises((1, 4, 8, 8), seed)[0].double().flatten() for seed in (1, 0))
    size = math.sqrt(256)
    for w, slerped, lerped in zip(places(walk), found.norm, found.other_norm, strict=True):
        assert slerped == pytest.approx(float((1 - w) * a.norm() + w * b.norm()) / size, rel=1e-5)
        squared = (1 - w) ** 2 * float(a @ a) + w**2 * float(b @ b) + 2 * w * (1 - w) * float(a @ b)
        assert lerped == pytest.approx(math.sqrt(squared) / size, rel=1e-5)
    assert min(found.other_norm) == found.other_norm[4]
    assert found.other_norm[4] == pytest.approx(math.sqrt(0.5), abs=0.06)  # 0.71 of it for orthogonal noises
    assert min(found.norm) == min(found.norm[0], found.norm[-1])


def test_the_angle_covered_adds_up_to_that_between_the_stations(tiny_model):
    a, b = (noises((1, 4, 8, 8), seed)[0] for seed in (1, 0))
    for path in ("slerp", "lerp"):  # both lie in the plane of a and b
        walk = walk_of(tiny_model, noise_path=path)
        found = tracks(tiny_model, walk, places(walk)).angle
        assert found[0] == 0
        assert found[-1] == pytest.approx(angle(a, b), rel=1e-4)
        assert all(y > x for x, y in pairwise(found))
    slerped = tracks(tiny_model, walk_of(tiny_model), places(walk_of(tiny_model))).angle
    assert [y - x for x, y in pairwise(slerped)] == pytest.approx([slerped[-1] / 8] * 8, rel=1e-3)


def test_a_circle_covers_all_but_its_last_step_of_360_degrees(tiny_model):
    walk = walk_of(tiny_model, "circle", frames=40)
    found = tracks(tiny_model, walk, (*places(walk), 1.0))
    assert found.angle[-1] == pytest.approx(360, abs=0.1)
    assert found.cosine == pytest.approx([1.0] * 41)  # the prompt stays
    square = tracks(tiny_model, walk_of(tiny_model, "circle", frames=40, noise_path="lerp"), (*places(walk), 1.0))
    assert square.angle[-1] == pytest.approx(360, abs=0.1)
    assert min(square.norm) == pytest.approx(math.sqrt(0.5), abs=0.06)


def test_a_sphere_has_one_norm_and_no_other_path(tiny_model):
    walk = walk_of(tiny_model, "sphere", (CAT,), angle=30.0, frames=60)
    found = tracks(tiny_model, walk, (*places(walk), 1.0))
    assert found.other_norm is None
    assert found.norm == pytest.approx([found.norm[0]] * 61, rel=1e-5)
    # each step's angle follows from the chord 2 sin(r) sin(pi / n) of the small circle
    chord = 2 * math.sin(math.radians(30)) * math.sin(math.pi / 60)
    assert found.angle[-1] == pytest.approx(60 * math.degrees(2 * math.asin(chord / 2)), rel=1e-4)


def test_cosines_are_of_the_whole_conditioning_with_the_first(tiny_model):
    walk = walk_of(tiny_model)
    found = tracks(tiny_model, walk, places(walk)).cosine
    a, b = (flat(tiny_model.encode_prompt(prompt)).double() for prompt in ("cat", "pizza"))
    assert found[0] == pytest.approx(1)
    assert found[-1] == pytest.approx(float(a @ b / a.norm() / b.norm()), rel=1e-6)
    assert all(y < x for x, y in pairwise(found))
    still = tracks(tiny_model, walk_of(tiny_model, moves="noise"), places(walk)).cosine
    assert still == pytest.approx([1.0] * 9)
    prompt = tracks(tiny_model, walk_of(tiny_model, moves="prompt"), places(walk))
    assert set(prompt.angle) == {0.0}
    assert prompt.cosine == pytest.approx(found)


def test_between_pictures_the_latents_are_read(tiny_model):
    walk = walk_of(tiny_model, "pictures", (CAT,))
    both = tuple(3 * noise for noise in noises((1, 4, 8, 8), 5, 2))
    found = tracks(tiny_model, walk, places(walk), both)
    assert found.of == "latents"
    assert found.norm[0] == pytest.approx(rms(both[0], torch.zeros(1)))
    assert found.angle[-1] == pytest.approx(angle(*both), rel=1e-4)


def test_nothing_is_denoised(counted):
    walk = walk_of(counted)
    tracks(counted, walk, places(walk))
    assert counted.rows == []


@pytest.mark.parametrize("degrees", [1e-5, 0.01, 1.0, 90.0, 179.999])
def test_angles_of_any_size(degrees):
    a, t = torch.tensor([3.0, 0.0], dtype=torch.float64), math.radians(degrees)
    assert angle(a, torch.tensor([math.cos(t), math.sin(t)], dtype=torch.float64)) == pytest.approx(degrees, rel=1e-6)
    assert angle(a, a * 0) == 0


def test_distances_between_neighbours():
    draw = torch.Generator().manual_seed(0)
    latents = [torch.full((1, 4, 2, 2), float(value)) for value in (0, 1, 3, 3)]
    pictures = [torch.rand(3, 16, 16, generator=draw).mul(255).byte() for _ in range(3)]
    pictures.append(pictures[2])
    found = distances(latents, pictures)
    assert [pair[0] for pair in found] == pytest.approx([1, 2, 0])
    assert found[2] == (0.0, pytest.approx(0, abs=1e-9))
    assert found[0][1] == pytest.approx(1 - fidelity(pictures[0] / 255, pictures[1] / 255)["ssim"], abs=1e-6)
    closed = distances(latents, [picture / 255 for picture in pictures], closed=True)
    assert np.allclose(closed[:3], found, atol=1e-6)
    assert closed[3][0] == pytest.approx(3)


def test_missing_frames_have_no_distance():
    one, picture = torch.zeros(1, 4, 2, 2), torch.zeros(3, 16, 16, dtype=torch.uint8)
    assert distances([one, None, one, one], [picture, None, picture, None], closed=True) == [None, None, None, None]
    found = distances([one, one, None], [picture, picture, None], closed=True)
    assert found == [(0.0, pytest.approx(0, abs=1e-9)), None, None]
