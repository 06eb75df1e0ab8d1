"""Decoding one step on demand: the same picture as the engine's own x0, once; what is asked wrongly gets one sentence."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from explorer import Request, run
from explorer.frames import data_uri
from explorer.sessions import Sessions
from explorer.tabs import decoding
from explorer.tabs.decoding import BUSY, GONE, NOTHING, decoder

REQUEST = Request(prompt="pizza", steps=4, seed=5)


class Watched:
    """A Model that counts, and may hold up, its decodings."""

    def __init__(self, model) -> None:
        self._model, self.decodings, self.predictions = model, 0, 0
        self.gate = threading.Event()
        self.gate.set()

    def __getattr__(self, name):
        return getattr(self._model, name)

    def predict(self, *args):
        self.predictions += 1
        return self._model.predict(*args)

    def decode(self, latents):
        self.gate.wait(20)
        self.decodings += 1
        return self._model.decode(latents)


@pytest.fixture
def watched(tiny_model):
    return Watched(tiny_model)


@pytest.fixture(scope="module")
def trajectory(tiny_model):
    return run(tiny_model, REQUEST)


def test_a_kept_run_is_decoded_once_a_step(watched, trajectory, tiny_model):
    sessions = Sessions()
    sessions.put("ann", "r", trajectory)
    decode = decoder(watched, sessions)
    for index in (0, 2, 3, 2, 0):
        assert decode("r", index) == {"picture": data_uri(tiny_model.decode(trajectory.steps[index].x0))}
    assert watched.decodings == 3
    assert watched.predictions == 0


def test_a_run_that_is_gone_is_made_again_once(watched, trajectory, tiny_model):
    sessions = Sessions()
    sessions.note("ann", "r", REQUEST)
    decode = decoder(watched, sessions)
    for index in (2, 1, 2):
        assert decode("r", index) == {"picture": data_uri(tiny_model.decode(trajectory.steps[index].x0))}
    assert watched.predictions == 4  # its four evaluations, for all looks
    sessions.drop("ann")
    assert decode("r", 0) == {"error": GONE}


def test_what_is_asked_wrongly_gets_one_sentence(watched, trajectory):
    sessions = Sessions()
    sessions.put("ann", "r", trajectory)
    sessions.note("ann", "noted", REQUEST)
    decode = decoder(watched, sessions)
    for run_id in (None, 7, [], {}, "nobody's"):
        assert decode(run_id, 0) == {"error": GONE}
    for index in (4, 5, -1, 10**30, None, "1", 1.0, True, [0]):
        assert decode("r", index) == decode("noted", index) == {"error": NOTHING}, index
    assert watched.predictions == watched.decodings == 0


def test_the_cache_is_bounded(watched, trajectory):
    sessions = Sessions()
    sessions.put("ann", "r", trajectory)
    one = len(decoder(watched, sessions)("r", 0)["picture"])
    decode = decoder(watched, sessions, cache_bytes=int(2.5 * one))
    before = watched.decodings
    for index in (0, 1, 0, 2, 0, 1):  # 1 was used least recently when 2 came
        decode("r", index)
    assert watched.decodings - before == 4


def test_a_crowd_is_sent_away_and_one_decoding_serves_those_who_wait(watched, trajectory):
    sessions = Sessions()
    sessions.put("ann", "r", trajectory)
    decode, answers = decoder(watched, sessions), []
    watched.gate.clear()
    threads = [threading.Thread(target=lambda: answers.append(decode("r", 1))) for _ in range(decoding.WAITING)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        if (refused := decode("r", 10**6)) == {"error": BUSY}:
            break
        threading.Event().wait(0.01)
    assert refused == {"error": BUSY}
    watched.gate.set()
    for thread in threads:
        thread.join(20)
    assert watched.decodings == 1
    assert len({answer["picture"] for answer in answers}) == 1


def test_a_failure_inside_is_one_sentence(trajectory, watched, caplog):
    sessions = Sessions()
    sessions.put("ann", "r", trajectory)
    watched._model = None
    assert decoder(watched, sessions)("r", 0) == {"error": decoding.FAILED}
    assert "Traceback" in caplog.text


def test_a_long_run_is_not_made_again_for_one_step(watched):
    sessions = Sessions()
    sessions.note("ann", "r", replace(REQUEST, steps=900, width=512, height=512))
    assert "too long to be made again" in decoder(watched, sessions)("r", 2)["error"]
    assert watched.predictions == 0
