"""Runs through the worker of ZeroGPU, a process of its own: the same bits, and all that is kept stays in the server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from gradio_client import Client
from serving import serve
from tiny import as_model, tiny_parts
from zero import FORK, Spaces

import app
from explorer import Request, engine, run
from explorer.frames import data_uri
from explorer.records import Conditioning, RequestError
from explorer.sessions import Sessions
from explorer.tabs.common import told
from explorer.tabs.decoding import decoder
from explorer.tabs.gpu import LEAST, MOST, decodings, denoise, denoise_batch, duration, on_gpu, pack, predict, unpack
from training.tiny import build

REQUEST = Request(prompt="pizza", steps=6, seed=5, sampler="DPM++ 2M SDE", noise_scale=0.7)
SERVER = os.getpid()


class Elsewhere:
    """A Model that can't be pickled, and that refuses to compute in the server."""

    def __init__(self, model, pause: float = 0.0) -> None:
        self._model, self._pause = model, pause
        self.predictions = FORK.Value("i", 0)  # counted in the worker, read in the server

    def __reduce__(self):
        raise AssertionError("a model was pickled")

    def __getattr__(self, name):
        if name in ("encode", "decode", "posterior", "decode_tiny", "encode_prompt"):
            assert os.getpid() != SERVER, f"{name} in the server"
        return getattr(self._model, name)

    def predict(self, latents, t, conditioning):
        assert os.getpid() != SERVER, "predict in the server"
        self.predictions.value += 1
        time.sleep(self._pause)
        return self._model.predict(latents, t, conditioning)


@pytest.fixture
def spaces(monkeypatch):
    stand_in = Spaces()
    monkeypatch.setitem(sys.modules, "spaces", stand_in)
    yield stand_in
    stand_in.close()


@pytest.fixture
def remote(spaces, tiny_model):
    return on_gpu(Elsewhere(tiny_model))


def denoise_last(model, request):
    return list(denoise(model, request))[-1].latents


def assert_same(mine, theirs) -> None:
    """Two Steps, bit for bit, terms and all."""
    for field in fields(mine):
        a, b = getattr(mine, field.name), getattr(theirs, field.name)
        if isinstance(b, torch.Tensor):
            assert torch.equal(a, b), field.name
            assert a.dtype == b.dtype
        elif field.name == "forms":
            assert {form: [t[:2] for t in terms] for form, terms in a.items()} == {
                form: [t[:2] for t in terms] for form, terms in b.items()
            }
            assert all(torch.equal(t.tensor, u.tensor) for form in b for t, u in zip(a[form], b[form], strict=True))
        else:
            assert a == b, field.name


@pytest.mark.parametrize("sampler", ["DPM++ 2M SDE", "Heun", "PNDM"])
def test_a_run_through_the_worker_is_the_same_bit_for_bit(remote, spaces, tiny_model, sampler):
    request = replace(REQUEST, sampler=sampler, noise_scale=0.7 if sampler == "DPM++ 2M SDE" else 1.0)
    mine, theirs = list(denoise(remote, request)), list(engine.denoise(tiny_model, request))
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert_same(a, b)
    assert [worker.process.pid == SERVER for worker in spaces.workers] == [False]


def test_a_fork_and_a_picture_cross_too(remote, tiny_model):
    origin = run(tiny_model, REQUEST)
    for start in ((origin, 3), (origin.latents, torch.ones_like(origin.latents), 2)):
        mine = list(denoise(remote, REQUEST, start))
        for a, b in zip(mine, engine.denoise(tiny_model, REQUEST, start), strict=True):
            assert_same(a, b)
    again = list(denoise(remote, REQUEST, (origin, 3)))
    for a, b in zip(again, origin.steps[3:], strict=True):  # nothing changed: the same tail
        assert torch.equal(a.latents, b.latents)


def test_several_at_once_and_decodings_cross_by_one_worker(remote, spaces, tiny_model):
    requests = [REQUEST, replace(REQUEST, guidance=1.0)]
    batch = list(denoise_batch(remote, requests))
    for mine, theirs in zip(batch, engine.denoise_batch(tiny_model, requests), strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert_same(a, b)
    latents = batch[-1][0].latents
    picture = remote.decode(latents)
    assert torch.equal(picture, tiny_model.decode(latents))
    assert torch.equal(remote.encode(picture * 2 - 1), tiny_model.encode(picture * 2 - 1))
    assert len(spaces.workers) == 1


def test_posteriors_and_tiny_decodings_cross_too(spaces, tiny_model):
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model = as_model(tiny_parts())
    model.tiny_vae = build().eval()
    with_tiny = on_gpu(Elsewhere(model))
    for mine, theirs in zip(with_tiny.posterior(picture), model.posterior(picture), strict=True):
        assert torch.equal(mine, theirs)
    latents = model.encode(picture)
    assert torch.equal(with_tiny.decode_tiny(latents), model.decode_tiny(latents))
    calls = len(spaces.seconds)
    rows = decodings(with_tiny, latents[0])
    assert len(spaces.seconds) == calls + 1  # all of them, and their repetitions, in one turn
    assert [row["name"] for row in rows] == ["linear preview", "tiny decoder", "full VAE"]
    for mine, theirs in zip(rows, decodings(model, latents[0]), strict=True):
        assert torch.equal(mine["picture"], theirs["picture"])
        assert mine["psnr"] == theirs["psnr"]
    without = on_gpu(Elsewhere(tiny_model))
    calls = len(spaces.seconds)
    assert without.decode_tiny(latents) is without.decode_tiny(latents) is None
    assert len(spaces.seconds) == calls + 1  # once it is known, the device isn't asked for nothing


def test_a_prediction_of_several_levels_crosses_too(remote, tiny_model):
    latents, t = torch.randn(3, 4, 8, 8), torch.tensor([900, 500, 20])
    mine, plain = (predict(model, latents, t, "pizza") for model in (remote, tiny_model))
    assert torch.equal(mine, plain)
    assert torch.equal(plain, tiny_model.predict(latents, t, Conditioning.batch([tiny_model.encode_prompt("pizza")] * 3)))


def test_what_is_wrong_is_told_as_without_the_worker(remote, tiny_model):
    for call in (lambda: denoise(remote, replace(REQUEST, steps=0)), lambda: denoise_batch(remote, [])):
        with pytest.raises(RequestError):  # at the call, as the engine does
            call()
    with pytest.raises(RequestError) as plain:
        list(engine.denoise(tiny_model, REQUEST, (run(tiny_model, REQUEST), 99)))
    with pytest.raises(RequestError) as crossed:
        list(denoise(remote, REQUEST, (run(tiny_model, REQUEST), 99)))
    assert str(crossed.value) == str(plain.value)


def test_a_run_that_is_left_stops_the_worker_which_then_serves_the_next(spaces, tiny_model):
    model = Elsewhere(tiny_model, pause=0.01)
    remote = on_gpu(model)
    steps = denoise(remote, replace(REQUEST, sampler="DDIM", noise_scale=1.0, steps=999))
    assert next(steps).index == 0
    steps.close()
    assert 0 < model.predictions.value < 300
    assert len(list(denoise(remote, REQUEST))) == 7
    assert len(spaces.workers) == 1


def test_each_call_asks_for_the_seconds_that_it_may_take(remote, spaces, tiny_model):
    latents = denoise_last(remote, REQUEST)
    list(denoise_batch(remote, [REQUEST, replace(REQUEST, guidance=1.0)]))
    remote.decode(latents)
    steps = denoise(remote, replace(REQUEST, sampler="DDIM", noise_scale=1.0, steps=999))
    next(steps)
    steps.close()
    one, two, decoding, long = spaces.seconds
    assert LEAST == decoding < one < two < long == MOST
    assert duration([replace(REQUEST, width=1024, height=1024)]) > duration([replace(REQUEST, width=512, height=512)])


def test_half_precision_crosses_in_one_piece():
    value = torch.randn(2, 3, 4).to(torch.bfloat16)
    mine = unpack(pack([value, value.mT, value.sum()]))
    for a, b in zip(mine, [value, value.mT, value.sum()], strict=True):
        assert a.dtype == torch.bfloat16
        assert torch.equal(a, b)


def test_kept_steps_hold_no_file_open(remote):
    list(denoise(remote, REQUEST))
    before = len(os.listdir("/proc/self/fd"))
    kept = list(denoise(remote, replace(REQUEST, steps=40)))
    assert len(kept) == 41
    assert len(os.listdir("/proc/self/fd")) - before < 10


def test_a_whole_trajectory_can_be_packed(tiny_model):
    origin = run(tiny_model, REQUEST)
    mine = unpack(pack(origin))
    assert (mine.request, mine.capsule) == (origin.request, origin.capsule)
    for a, b in zip(mine.steps, origin.steps, strict=True):
        assert_same(a, b)
    term = next(term for term in mine.steps[2].terms if term.name == "x0")
    assert term.tensor is mine.steps[2].x0  # what was one tensor still is
    mine.steps[0].latents.zero_()  # and a consumer may change it
    assert origin.steps[0].latents.any()


def test_without_zerogpu_nothing_is_between(tiny_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "spaces", None)  # not installed
    assert on_gpu(tiny_model) is tiny_model
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=lambda task, duration: task))  # installed, elsewhere
    assert on_gpu(tiny_model) is tiny_model


def test_the_page_computes_in_the_worker_and_keeps_in_the_server(spaces, tiny_model, monkeypatch):
    sessions = Sessions()
    monkeypatch.setattr("explorer.tabs.Sessions", lambda: sessions)
    _ = tiny_model.preview  # fitted before the page is built, as ZeroGPU's stand-in for CUDA allows
    with serve(app.create_app(Elsewhere(tiny_model))) as url:
        client = Client(url, download_files=False, analytics_enabled=False, verbose=False)
        job = client.submit(prompt="pizza", seed=5, steps=6, guidance=3.0, api_name="/reverse")
        job.result(timeout=120)
        records = job.outputs()
        compared = client.submit(prompt="pizza", steps=4, change="sampler", other_sampler="Heun", api_name="/compare")
        assert compared.result(timeout=120)["i"] == 7
        kept = sessions.find(records[0]["run"])
        answer = decoder(on_gpu(Elsewhere(tiny_model)), sessions)(records[0]["run"], 2)
    plain = run(tiny_model, Request(prompt="pizza", seed=5, steps=6, guidance=3.0, karras=False))
    assert [r["i"] for r in records] == list(range(7))
    assert records[-1]["picture"] == data_uri(tiny_model.decode(plain.latents))
    for a, b in zip(kept.steps, plain.steps, strict=True):
        assert_same(a, b)
    assert answer == {"picture": data_uri(tiny_model.decode(plain.steps[2].x0))}


def test_spaces_is_imported_before_torch(tmp_path):
    """It stands in for CUDA on ZeroGPU, and can't once CUDA was looked at."""
    (tmp_path / "spaces.py").write_text("import sys; print('torch' in sys.modules, 'gradio' in sys.modules, flush=True)")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DIFFUSCOPE_")}
    done = subprocess.run(
        [sys.executable, "app.py", "--model", "no such folder"], cwd=Path(app.__file__).parent, timeout=120,
        env=environment | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "False False\n")


def test_what_spaces_says_of_itself_reaches_the_page():
    @told
    def handler():
        raise gr.Error("You have used up your share of GPU time.")
        yield

    with pytest.raises(gr.Error, match="share of GPU time"):
        list(handler())


def test_what_spaces_says_of_itself_is_said_at_the_step_too(tiny_model):
    class Spent:
        def __getattr__(self, name):
            return getattr(tiny_model, name)

        def decode(self, latents):
            raise gr.Error('You have used up your share of GPU time. <a href="https://example.org">Log in</a>')

    sessions = Sessions()
    sessions.put("ann", "r", run(tiny_model, REQUEST))
    assert decoder(Spent(), sessions)("r", 2) == {"error": "You have used up your share of GPU time. Log in"}
