"""Every value of a walk that can't be walked is refused in one sentence, before anything is computed."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from explorer import Request, denoise_batch
from explorer.records import Conditioning, Origin, RequestError
from explorer.walk import Station, Walk, check, check_pictures, places
from explorer.walk_film import film
from explorer.walk_readings import tracks

TWO = (Station("cat", 1), Station("pizza", 0))
ONE = (Station("cat", 1),)
GOOD = Walk(stations=TWO, frames=8, request=Request(steps=2))

BAD = [
    ({"kind": "spiral"}, "kind is 'spiral'; it must be one of stations, circle, pictures, sphere."),
    ({"kind": None}, "kind is None; it must be one of"),
    ({"kind": ["circle"]}, "kind is a list; it must be one of"),
    ({"moves": "all"}, "moves is 'all'; it must be one of both, prompt, noise."),
    ({"moves": True}, "moves is True; it must be one of"),
    ({"noise_path": "line"}, "noise_path is 'line'; it must be one of slerp, lerp."),
    ({"prompt_path": 3}, "prompt_path is 3; it must be one of"),
    ({"frames": 7}, "frames is 7; it must be from 8 to 120."),
    ({"frames": 121}, "frames is 121; it must be from 8 to 120."),
    ({"frames": None}, "frames is None; a whole number from 8 to 120 is needed."),
    ({"frames": math.nan}, "frames is nan; a whole number"),
    ({"frames": "24"}, "frames is '24'; a whole number"),
    ({"frames": True}, "frames is True; a whole number"),
    ({"frames": [24]}, "frames is a list; a whole number"),
    ({"frames": 8.5}, "frames is 8.5; a whole number"),
    ({"angle": 0.5}, "angle is 0.5; it must be from 1 to 90."),
    ({"angle": math.nan}, "angle is nan; it must be from 1 to 90."),
    ({"angle": "20"}, "angle is '20'; a number from 1 to 90 is needed."),
    ({"strength": 0}, "strength is 0; it must be from 0.05 to 1."),
    ({"strength": None}, "strength is None; a number from 0.05 to 1 is needed."),
    ({"strength": False}, "strength is False; a number"),
    ({"stations": None}, "stations is None; a walk of kind stations takes 2 to 8."),
    ({"stations": "cat"}, "stations is 'cat'; a walk of kind stations takes 2 to 8."),
    ({"stations": range(10**30)}, "stations is a range; a walk of kind stations takes 2 to 8."),
    ({"stations": ONE}, "stations has 1; a walk of kind stations takes 2 to 8."),
    ({"stations": [Station("cat", i) for i in range(9)]}, "stations has 9; a walk of kind stations takes 2 to 8."),
    ({"stations": (*TWO, "cat")}, "stations[2] is 'cat'; a Station is needed."),
    ({"stations": (*TWO, None)}, "stations[2] is None; a Station is needed."),
    ({"stations": (TWO[0], Station("cat", -1))}, "stations[1].seed is -1; it must be from 0 to 4294967295."),
    ({"stations": (TWO[0], Station("cat", "7"))}, "stations[1].seed is '7'; a whole number"),
    ({"stations": (TWO[0], Station("cat", math.nan))}, "stations[1].seed is nan; a whole number"),
    ({"stations": (TWO[0], Station("cat", True))}, "stations[1].seed is True; a whole number"),
    ({"stations": (Station(None, 1), TWO[1])}, "stations[0].prompt is None; a text of at most 5000 characters is needed."),
    ({"stations": (Station("x" * 5001, 1), TWO[1])}, "stations[0].prompt has 5001 characters; the limit is 5000."),
    ({"stations": TWO[:1] * 2}, "moves is 'both', but all stations are one and the same; two must differ,"),
    ({"stations": (TWO[0], Station("cat", 5)), "moves": "prompt"}, "moves is 'prompt', but all stations have one prompt;"),
    ({"stations": (TWO[0], Station("red", 1)), "moves": "noise"}, "moves is 'noise', but all stations have one seed;"),
    ({"kind": "circle", "stations": ONE}, "stations has 1; a walk of kind circle takes 2."),
    ({"kind": "circle", "stations": (Station("a", 0), Station("cat", 0))},
     "stations[1].seed is 0 again; a circle needs two different seeds."),
    ({"kind": "sphere"}, "stations has 2; a walk of kind sphere takes 1."),
    ({"kind": "pictures"}, "stations has 2; a walk of kind pictures takes 1."),
    ({"request": None}, "request is None; a Request is needed."),
    ({"request": Request(steps=0)}, "steps is 0; it must be from 1 to 1000."),
    ({"request": Request(sampler="DDPM")}, "sampler is 'DDPM', which injects noise; a walk needs eta 0 and one of DDIM,"),
    ({"request": Request(sampler="Euler a")}, "sampler is 'Euler a', which injects noise;"),
    ({"request": Request(sampler="DPM++ 2M SDE")}, "sampler is 'DPM++ 2M SDE', which injects noise;"),
    ({"request": Request(sampler="LCM")}, "sampler is 'LCM', which injects noise;"),
    ({"request": Request(eta=0.2)}, "eta is 0.2, which injects noise; a walk needs eta 0"),
    ({"request": Request(steps=1000, spacing="leading")}, "off the grid 0 to 999; take 999."),
    ({"request": Request(steps=200, width=512, height=512), "frames": 120},
     "frames x steps x width x height is 120 x 200 x 512 x 512 = 6291456000; the limit is 1073741824."),
]  # fmt: skip


def refused(call):
    with pytest.raises(RequestError) as refusal:
        call()
    message = str(refusal.value)
    assert "\n" not in message
    assert len(message) < 300
    assert message.endswith(".")
    return message


@pytest.mark.parametrize(("given", "sentence"), BAD, ids=range(len(BAD)))
def test_refused_in_one_sentence_at_the_call(counted, given, sentence):
    walk = replace(GOOD, **given)
    assert sentence in refused(lambda: check(walk, counted))
    assert sentence in refused(lambda: film(counted, walk, (0.0, 1.0)))  # not only at the first Batch
    assert sentence in refused(lambda: tracks(counted, walk, (0.0, 1.0)))
    assert counted.rows == []


@pytest.mark.parametrize("value", [None, "walk", {"frames": 8}, 3, [GOOD]])
def test_only_a_walk_is_walked(tiny_model, value):
    assert "A Walk is needed, not " in refused(lambda: check(value, tiny_model))


@pytest.mark.parametrize(
    ("places", "batch", "sentence"),
    [
        ((), 4, "places has 0 values; it takes 1 to 120."),
        (None, 4, "places is a NoneType; a list of 1 to 120 numbers is needed."),
        ("01", 4, "places is a str; a list"),
        ((0.0,) * 121, 4, "places has 121 values;"),
        ((0.0, 1.5), 4, "places[1] is 1.5; it must be from 0 to 1."),
        ((0.0, math.nan), 4, "places[1] is nan; it must be from 0 to 1."),
        ((0.0, None), 4, "places[1] is None; a number from 0 to 1 is needed."),
        ((0.0, 1.0), 0, "batch is 0; it must be from 1 to 16."),
        ((0.0, 1.0), True, "batch is True; a whole number"),
        ((0.0, 1.0), "4", "batch is '4'; a whole number"),
    ],
)
def test_places_and_batch(tiny_model, places, batch, sentence):
    assert sentence in refused(lambda: film(tiny_model, GOOD, places, batch=batch))


def test_frames_made_together_and_more_places_than_frames_count_as_work_at_the_call(counted):
    """Not only once their batch begins, or in no limit at all."""
    large = replace(GOOD, request=Request(steps=40, width=512, height=512))
    film(counted, large, (0.0, 1.0), batch=8)  # only two are made together
    sentence = refused(lambda: film(counted, large, [i / 7 for i in range(8)], batch=8))
    assert sentence == "steps x width x height x batch is 40 x 512 x 512 x 8 = 83886080; the limit is 67108864."
    sentence = refused(lambda: film(counted, large, [i / 119 for i in range(120)], batch=1))
    assert sentence == "frames x steps x width x height is 120 x 40 x 512 x 512 = 1258291200; the limit is 1073741824."
    assert counted.rows == []


@pytest.mark.parametrize(
    ("pictures", "sentence"),
    [
        (None, "pictures is None; a walk between pictures needs the latents of two."),
        ((torch.zeros(1, 4, 8, 8),), "pictures has 1 values; it takes 2 to 2."),
        ("two", "pictures is a str;"),
        ((torch.zeros(1, 4, 8, 8), None), "pictures[1] is None; a tensor of shape (1, 4, 8, 8) is needed."),
        ((torch.zeros(4, 8, 8), torch.zeros(4, 8, 8)), "pictures[0] has shape (4, 8, 8); shape (1, 4, 8, 8) is needed."),
        ((torch.zeros(1, 4, 8, 8), torch.full((1, 4, 8, 8), math.nan)), "pictures[1] has values that are not finite;"),
    ],
)
def test_pictures(tiny_model, pictures, sentence):
    walk = replace(GOOD, kind="pictures", stations=ONE)
    assert sentence in refused(lambda: film(tiny_model, walk, (0.0, 1.0), pictures))
    assert sentence in refused(lambda: tracks(tiny_model, walk, (0.0, 1.0), pictures))
    assert check_pictures(GOOD, tiny_model, pictures) is None  # no other walk looks at them


def test_plain_values_come_out_and_a_checked_walk_stays(tiny_model):
    given = Walk(
        kind="circle", stations=[Station("cat", 0.0), Station("red", np.int64(7))], frames=12.0, angle=5,
        request=Request(prompt="not this", seed=99, steps=np.int64(3)),
    )  # fmt: skip
    walk = check(given, tiny_model)
    assert walk.stations == (Station("cat", 0), Station("red", 7))
    assert (walk.frames, type(walk.frames), walk.angle) == (12, int, 5.0)
    assert (walk.request.prompt, walk.request.seed, walk.request.width) == ("cat", 0, 64)
    assert check(walk, tiny_model) == walk
    assert hash(walk) == hash(check(given, tiny_model))
    assert len(places(walk)) == 12


NOISE = torch.zeros(1, 4, 8, 8)
HIDDEN = torch.zeros(1, 16, 16)
OWN = "; this model's prompts have hidden (1, 16, 16) torch.float32 on cpu."


def told(**tensors):
    return [Origin(conditioning=Conditioning(tensors)), None]


@pytest.mark.parametrize(
    ("origins", "sentence"),
    [
        ([], "origins is a list of 0; a list of 2 is needed, one per request."),
        (Origin(), "origins is a Origin; a list of 2 is needed"),
        ("ab", "origins is 'ab'; a list of 2 is needed"),
        ([None, NOISE], "origins[1] is a Tensor; an Origin or None is needed."),
        ([None, Origin(noise=NOISE[0])], "origins[1] noise has shape (4, 8, 8); shape (1, 4, 8, 8) is needed."),
        ([Origin(noise=3), None], "origins[0] noise is 3; a tensor of shape"),
        ([Origin(noise=NOISE / 0), None], "origins[0] noise has values that are not finite;"),
        ([Origin(conditioning=NOISE), None], "origins[0] conditioning is a Tensor; a Conditioning is needed."),
        ([Origin(conditioning=Conditioning(3)), None], "origins[0] conditioning has no tensors" + OWN),
        (told(hidden=NOISE), "origins[0] conditioning has hidden (1, 4, 8, 8) torch.float32 on cpu" + OWN),
        (told(hidden=HIDDEN.half()), "origins[0] conditioning has hidden (1, 16, 16) torch.float16 on cpu" + OWN),
        (told(hidden=HIDDEN.to("meta")), "origins[0] conditioning has hidden (1, 16, 16) torch.float32 on meta" + OWN),
        (told(other=HIDDEN), "origins[0] conditioning has other (1, 16, 16) torch.float32 on cpu" + OWN),
        (told(hidden=3), "origins[0] conditioning has hidden 3" + OWN),
        (told(), "origins[0] conditioning has no tensors" + OWN),
        (told(hidden=HIDDEN / 0), "origins[0] conditioning has values that are not finite; all must be."),
        ([Origin(start=NOISE), None], "origins[0] start is a Tensor; (latents, k) is needed."),
        ([Origin(start=(NOISE, 9)), None], "start k is 9; it must be from 0 to 2."),
        ([Origin(start=(NOISE[0], 1)), None], "start latents has shape (4, 8, 8);"),
        ([None, Origin(start=(NOISE, 1))],
         "origins[1] begins at evaluation 1 of 3, but the first at 0 of 3; a batch needs one beginning."),
    ],
)  # fmt: skip
def test_origins(tiny_model, origins, sentence):
    requests = [Request(steps=3), Request(steps=3, seed=1)]
    assert sentence in refused(lambda: denoise_batch(tiny_model, requests, origins))
