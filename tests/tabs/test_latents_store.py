"""What is held is bounded and forgotten with its session; touch holds for anything that anybody sends."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from explorer import edits
from explorer.intake import Brought
from explorer.latents import Held, fidelity, from_picture
from explorer.pictures import to_image
from explorer.sessions import Sessions
from explorer.tabs.latents_asking import FAILED
from explorer.tabs.latents_store import GONE, Shelf, nbytes, record, toucher


def held(model, seed=1) -> Held:
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    return from_picture("a picture", Brought(picture, ("cropped",), (64, 64)), model)


@pytest.fixture
def shelved(tiny_model):
    shelf = Shelf()
    given = held(tiny_model)
    return shelf.put("ann", given), given, toucher(tiny_model, shelf), tiny_model


def numbers(plane: str, shape) -> np.ndarray:
    return np.frombuffer(base64.b64decode(plane), "<f2").astype(np.float32).reshape(shape)


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


EDITS = [{"op": "mute", "channel": 1}, {"op": "scale", "channel": None, "factor": 1.5}]


def test_touch_answers_with_what_the_decoder_makes_of_the_edited_latents(shelved):
    key, given, touch, model = shelved
    answer = touch([key, EDITS])
    wanted = edits.apply(given.mean, edits.checked(EDITS, (4, 8, 8)))
    np.testing.assert_allclose(numbers(answer["planes"], (4, 8, 8)), wanted, atol=2e-3, rtol=1e-3)
    picture = model.decode(wanted[None])
    assert (pixels(answer["picture"]) == np.asarray(to_image(picture))).all()
    assert answer["fidelity"] == fidelity(given.picture, picture[0])
    assert answer["words"] == [edits.words(edit) for edit in edits.checked(EDITS, (4, 8, 8))]
    assert answer["facts"][1]["std"] == 0
    assert (answer["key"], answer["edits"]) == (key, EDITS)
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert touch([key, json.dumps(EDITS)])["planes"] == answer["planes"]


def test_a_record_holds_the_latents_before_and_after_and_what_each_channel_carries(shelved):
    key, given, touch, model = shelved
    plain, edited = record(key, given, (), model), record(key, given, edits.checked(EDITS, (4, 8, 8)), model)
    assert plain["base"] == plain["planes"] == edited["base"] != edited["planes"]
    assert edited["carries"] == plain["facts"] == plain["carries"]
    assert (plain["shape"], plain["notes"], plain["compression"]["ratio"]) == ([4, 8, 8], ["cropped"], 48)
    np.testing.assert_allclose(numbers(plain["spread"], (4, 8, 8)), given.std, rtol=1e-3)
    assert {name: edited[name] for name in ("planes", "picture", "facts", "words")} == {
        name: touch([key, EDITS])[name] for name in ("planes", "picture", "facts", "words")
    }


STRANGE = [None, 7, "key", [], ["key"], {"key": "edits"}, True, [["key"], []], [None, []], ["nobody's", []],
           ["k" * 10**6, []], [{}, 1], ["nobody's", [], []]]  # fmt: skip
BAD = ["no list", "[", "[" * 100_000, 7, {"op": "mute"}, [7], [{"op": "explode"}], [{"op": "mute", "channel": 4}],
       [{"op": "scale", "channel": 0, "factor": float("nan")}], [EDITS[0]] * 257, "x" * 1_000_001,
       [{"op": "scale", "channel": None, "factor": 4}] * 20]  # fmt: skip


def test_what_is_asked_wrongly_gets_one_sentence(shelved, caplog):
    key, _, touch, _ = shelved
    for wanted in STRANGE:
        assert touch(wanted) == {"error": GONE}
    assert touch() == {"error": GONE}
    for wrong in BAD:
        (message,) = touch([key, wrong]).values()
        assert message.endswith(".")
        assert "\n" not in message
        assert len(message) < 250
    assert caplog.text == ""
    assert "error" not in touch([key, None])


def test_a_failure_inside_is_one_sentence(shelved, caplog):
    shelf = Shelf()
    key = shelf.put("ann", shelved[1])

    class Broken:
        def __getattr__(self, name):
            raise ArithmeticError(name)

    assert toucher(Broken(), shelf)([key, []]) == {"error": FAILED}
    assert "ArithmeticError" in caplog.text


def test_the_oldest_of_a_session_go_first(tiny_model):
    given = held(tiny_model)
    size = nbytes(given)
    assert size == 4 * (3 * 64 * 64 + 2 * 4 * 8 * 8)
    shelf = Shelf(session_bytes=2 * size, total_bytes=5 * size)
    a, b, c = (shelf.put("ann", given) for _ in range(3))
    assert [shelf.get(key) is None for key in (a, b, c)] == [True, False, False]
    shelf.get(b)
    d = shelf.put("ann", given)
    assert [shelf.get(key) is None for key in (b, c, d)] == [False, True, False]
    others = [shelf.put(f"other {number}", given) for number in range(10)]
    assert sum(shelf.get(key) is not None for key in others) == 5
    assert shelf.get(d) is None
    small = Shelf(session_bytes=1, total_bytes=1)
    assert small.get(small.put("ann", given)) is given


def test_a_closed_page_is_forgotten(tiny_model):
    sessions, shelf, given = Sessions(), Shelf(), held(tiny_model)
    sessions.on_drop(shelf.drop)
    a, b = shelf.put("ann", given), shelf.put("bob", given)
    assert (shelf.owns("ann", a), shelf.owns("bob", a), shelf.owns("ann", ["x"])) == (True, False, False)
    sessions.drop("ann")
    assert shelf.get(a) is None
    assert shelf.get(b) is given
    assert shelf.get(shelf.put("ann", given)) is None  # it was encoded when its page was gone
    shelf.open("ann")
    assert shelf.get(shelf.put("ann", given)) is given  # a connection that broke and came back
