"""Even pace: the closed form on a path whose speed is known, and real films whose neighbours end up alike."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest

from explorer import Request
from explorer.pace import even, paced, variation
from explorer.records import RequestError
from explorer.walk import Station, Walk, check, places

CAT, PIZZA = Station("cat", 1), Station("pizza", 0)


def test_variation_is_deviation_over_mean():
    assert variation([2.0, 2.0, 2.0]) == 0
    assert variation([1.0, 3.0]) == 0.5
    assert variation([0.0, 0.0]) == 0


def test_places_follow_the_inverse_of_a_known_path():
    """Of a path whose length up to p is p², the place of an equal share s is sqrt(s)."""
    known = [i / 119 for i in range(120)]
    found = even(known, [b**2 - a**2 for a, b in pairwise(known)], 24)
    assert (found[0], found[-1]) == (0.0, 1.0)
    assert found == pytest.approx([math.sqrt(i / 23) for i in range(24)], abs=0.02)
    after = [b**2 - a**2 for a, b in pairwise(found)]
    assert variation(after) < 0.05 * variation([b**2 - a**2 for a, b in pairwise([i / 23 for i in range(24)])])


def test_an_even_path_stays_as_it_is():
    known = [i / 9 for i in range(10)]
    assert even(known, [0.7] * 9, 10) == pytest.approx(known)
    assert even(known, [0.0] * 9, 10) == pytest.approx(known)  # nothing changes anywhere
    assert even([i / 10 for i in range(10)], [0.7] * 10, 10, closed=True) == pytest.approx([i / 10 for i in range(10)])


def test_a_closed_path_keeps_its_beginning_and_closes():
    known, distances = [i / 8 for i in range(8)], [1, 1, 1, 1, 1, 1, 1, 9.0]  # the way back to the first is the longest
    found = even(known, distances, 16, closed=True)
    assert found[0] == 0
    assert all(b > a for a, b in pairwise(found))
    assert found[-1] < 1
    assert sum(place > 7 / 8 for place in found) == 8  # more than half the length is there
    assert found[7] == pytest.approx(7 / 8)


def test_stretches_without_change_are_passed_in_one_step():
    known = [i / 9 for i in range(10)]
    found = even(known, [0, 0, 0, 0, 5.0, 0, 0, 0, 0], 10)
    assert (found[0], found[-1]) == (0.0, 1.0)
    assert all(4 / 9 <= place <= 5 / 9 for place in found[1:-1])
    assert all(b > a for a, b in pairwise(found))


def test_places_rise_however_often_they_are_placed_around_a_jump():
    """Each round comes nearer to the jump by the number of frames; eight of them would be beyond what a float can tell."""
    found, jump = tuple(i / 119 for i in range(120)), 0.37123
    for _ in range(8):
        found = even(found, [10.0 * (a <= jump < b) + 0.01 * (b - a) for a, b in pairwise(found)], 120)
        assert all(b > a for a, b in pairwise(found))
    assert (found[0], found[-1]) == (0.0, 1.0)
    assert found[1] == pytest.approx(jump, abs=1e-5)
    assert even(found, [1.0] * 119, Fraction(8)) == even(found, [1.0] * 119, 8.0)


FILMS = {
    "stations": {"stations": (CAT, PIZZA, Station("red star", 4))},
    "prompt": {"stations": (CAT, Station("house", 1)), "moves": "prompt"},
    "circle": {"kind": "circle", "stations": (CAT, PIZZA)},
}


def halves(model, walk):
    """Films until the variation is half of what it was, and looks at each film's curve."""
    walk = check(walk, model)
    curves = {}
    for turn in paced(model, walk, rounds=6, batch=8):
        assert len(turn.places) == walk.frames
        assert (turn.places[0], walk.closed or turn.places[-1]) == (0, True if walk.closed else 1)
        if turn.curve is not None:
            assert turn.batch.evaluation == turn.batch.evaluations
            curves[turn.round] = turn.curve
    assert [*curves] == list(range(len(curves)))
    assert {len(curve) for curve in curves.values()} == {walk.frames - (not walk.closed)}
    assert all(b > a for a, b in pairwise(turn.places))
    enough = [variation(curve) <= 0.5 * variation(curves[0]) for curve in curves.values()]
    assert enough == [False] * (len(curves) - 1) + [True]  # and no film is made after it
    return variation(curves[0])


@pytest.mark.parametrize("name", FILMS)
def test_the_variation_at_least_halves(tiny_model, name):
    assert halves(tiny_model, Walk(frames=8, request=Request(steps=2), **FILMS[name])) > 0.02


def test_the_variation_of_a_film_of_the_embedded_model_at_least_halves(embedded_model):
    walk = Walk(frames=8, request=Request(steps=2, guidance=1.0), **FILMS["stations"])
    assert halves(embedded_model, walk) > 0.1  # there was something to do


@pytest.mark.parametrize(("share", "rounds"), [(1.0, {0}), (0.0, {0, 1, 2})])
def test_films_are_made_until_one_is_even_enough(tiny_model, share, rounds):
    walk = check(Walk(frames=8, stations=(CAT, PIZZA), request=Request(steps=1)), tiny_model)
    made = [turn for turn in paced(tiny_model, walk, rounds=2, share=share) if turn.curve is not None]
    assert {turn.round for turn in made} == rounds
    assert made[0].places == places(walk)
    for one, following in pairwise(made):
        assert following.places == even(one.places, one.curve, 8)


def test_closed_early_it_stops(counted):
    made = paced(counted, Walk(frames=8, stations=(CAT, PIZZA), request=Request(steps=2)))
    next(made)
    made.close()
    assert len(counted.rows) == 1


KNOWN = [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((KNOWN, [1.0], 8), "distances has 1 values; it takes 2 to 2."),
        ((KNOWN, [1.0, 1.0], 8, True), "distances has 2 values; it takes 3 to 3."),
        ((KNOWN, [1.0, None], 8), "distances[1] is None; a number from 0"),
        ((KNOWN, [1.0, math.nan], 8), "distances[1] is nan; it must be from 0"),
        ((KNOWN, [-1.0, 1.0], 8), "distances[0] is -1.0; it must be from 0"),
        ((KNOWN, [1.0, True], 8), "distances[1] is True; a number"),
        ((KNOWN, "ab", 8), "distances is a str; a list"),
        (([0.0, 0.5, 0.5], [1.0, 1.0], 8), "places must be at least two, each larger than the one before."),
        (([0.5], [], 8), "places must be at least two"),
        (([0.0, 1.5], [1.0], 8), "places[1] is 1.5; it must be from 0 to 1."),
        ((KNOWN, [1.0, 1.0], 7), "frames is 7; it must be from 8 to 120."),
        ((KNOWN, [1.0, 1.0], "8"), "frames is '8'; a whole number"),
        (([0.1, 0.5], [1.0, 1.0], 8, True), "places go from 0.1 to 0.5; a closed path's go from 0 to less than 1."),
        ((KNOWN, [1.0, 1.0, 1.0], 8, True), "places go from 0 to 1; a closed path's go from 0 to less than 1."),
    ],
)
def test_what_cannot_be_placed(arguments, sentence):
    with pytest.raises(RequestError) as refusal:
        even(*arguments)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"rounds": 0}, "rounds is 0; it must be from 1 to 8."),
        ({"rounds": None}, "rounds is None; a whole number"),
        ({"share": 1.5}, "share is 1.5; it must be from 0 to 1."),
        ({"batch": 17}, "batch is 17; it must be from 1 to 16."),
        ({"walk": None}, "A Walk is needed, not None."),
    ],
)
def test_refused_at_the_call(tiny_model, given, sentence):
    walk = Walk(frames=8, stations=(CAT, PIZZA), request=Request(steps=2))
    with pytest.raises(RequestError) as refusal:
        paced(tiny_model, **{"walk": walk} | given)
    assert sentence in str(refusal.value)
