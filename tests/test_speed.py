"""What is warmed comes in between runs, never in one; what was measured is remembered; nothing outlives its model."""

import gc
import json
import threading
import time
import weakref
from copy import deepcopy

import pytest
import torch
from tiny import as_model, tiny_parts
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.runs import Nothing
from explorer import Request, denoise, engine, load_model, run
from explorer.models import measured
from explorer.models.graphs import plain
from explorer.models.speed import OFTEN, SHAPES, Kernels
from explorer.records import SourceError
from explorer.samplers import SAMPLERS

REQUEST = Request(prompt="pizza", steps=6, seed=5, guidance=3.0)
SOON = 60  # seconds, for a thread that has next to nothing to do


def otherwise(unet, inputs, pool):
    """Stands for kernels that round otherwise, and shows."""
    call = plain(unet)
    return lambda *given: call(*given).to(torch.bfloat16).float()


def broken(unet, inputs, pool):
    raise RuntimeError("no compiler here")


def with_stages(*stages):
    model = as_model(tiny_parts())
    model.kernels = Kernels(model.unet, stages)
    return model


def latents(model, request=REQUEST):
    return run(model, request).latents


@pytest.fixture
def gate():
    """An event on which stages wait; open at the end, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


def behind(gate, stage):
    def waiting(*given):
        assert gate.wait(SOON)
        return stage(*given)

    return waiting


def test_on_a_cpu_all_stays_eager_and_as_it_was(tiny_model):
    assert tiny_model.kernels.stages == ()
    assert tiny_model.steady() is tiny_model
    sample, t, hidden = torch.randn(2, 4, 8, 8), torch.tensor([7, 7]), torch.randn(2, 16, 16)
    with torch.inference_mode():
        expected = tiny_model.unet(sample, t, encoder_hidden_states=hidden, return_dict=False)[0]
        assert torch.equal(tiny_model.kernels(sample, t, encoder_hidden_states=hidden), expected)


def test_a_run_ends_with_the_kernels_that_it_began_with(tiny_model, gate):
    model, undisturbed = with_stages(behind(gate, otherwise)), run(tiny_model, REQUEST)
    steps = denoise(model, REQUEST)
    seen = [next(steps) for _ in range(OFTEN + 1)]
    gate.set()
    assert model.kernels.wait(SOON)
    assert model.kernels.ready() == 1  # in the middle of the run
    seen += steps
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(seen, undisturbed.steps, strict=True))
    after = latents(model)
    assert not torch.equal(after, undisturbed.latents)
    assert torch.equal(latents(model), after)
    torch.testing.assert_close(after, undisturbed.latents, atol=0.1, rtol=0.1)


def test_a_compiled_unet_takes_over_and_goes_with_its_model(tiny_model):
    """Compiled by Dynamo, and run by its "eager" backend, which needs no compiler."""
    parts = tiny_parts()
    parts["unet"] = deepcopy(parts["unet"])
    model, calls = as_model(parts), []

    def dynamo(unet, inputs, pool):
        call = plain(torch.compile(unet, backend="eager", dynamic=False))
        call(*inputs)
        return lambda *given: calls.append(1) or call(*given)

    model.kernels = Kernels(model.unet, [dynamo])
    expected = latents(tiny_model)
    assert torch.equal(latents(model), expected)
    assert model.kernels.wait(SOON * 3)
    assert torch.equal(latents(model), expected)
    assert len(calls) == REQUEST.steps
    unet = weakref.ref(model.unet)
    del model, parts
    gc.collect()
    assert unet() is None


def test_a_model_that_is_given_up_is_not_kept_by_its_warming():
    parts = tiny_parts()
    parts["unet"] = deepcopy(parts["unet"])
    model = as_model(parts)
    model.kernels = Kernels(model.unet, [otherwise])
    with Kernels.turn:  # another model is being warmed
        latents(model)
        job, unet = model.kernels._job, weakref.ref(model.unet)
        assert job.is_alive()
        del model, parts
        gc.collect()
        assert unet() is None
    job.join(SOON)
    assert not job.is_alive()


def test_what_fails_leaves_what_was_there(tiny_model):
    asked = []
    model = with_stages(lambda *given: asked.append(1) or broken(*given))
    for _ in range(3):
        assert torch.equal(latents(model), latents(tiny_model))
        assert model.kernels.wait(SOON)
    assert asked == [1]  # and is not tried again
    second = with_stages(otherwise, broken)
    latents(second)
    assert second.kernels.wait(SOON)
    assert second.kernels.ready() == 1
    assert not torch.equal(latents(second), latents(tiny_model))


def test_stages_follow_one_another(tiny_model, gate):
    model = with_stages(otherwise, behind(gate, lambda unet, *_: plain(unet)))
    latents(model)
    until = time.monotonic() + SOON
    while not model.kernels.ready() and time.monotonic() < until:
        time.sleep(0.01)
    assert not torch.equal(latents(model), latents(tiny_model))
    gate.set()
    assert model.kernels.wait(SOON)
    assert torch.equal(latents(model), latents(tiny_model))


def test_other_shapes_are_left_alone_and_not_all_are_kept(tiny_model):
    made = []
    model = with_stages(lambda unet, inputs, pool: made.append([*inputs[0].shape]) or otherwise(unet, inputs, pool))
    latents(model)
    assert model.kernels.wait(SOON)
    wide = Request(prompt="cat", steps=OFTEN - 1, width=128, height=64)
    for _ in range(2):
        assert torch.equal(latents(model, wide), latents(tiny_model, wide))
        assert model.kernels.wait(SOON)
    assert made == [[2, 4, 8, 8], [2, 4, 8, 16]]
    kernels = model.kernels
    for i in range(SHAPES + 3):
        kernels.put((((i,), torch.float32),), plain(model.unet), 0)
    assert kernels.ready() == SHAPES
    kernels.forget()
    assert kernels.ready() == 0


def test_a_stage_has_inputs_of_its_own_and_what_was_forgotten_meanwhile_is_not_taken(gate):
    given = []
    model = with_stages(behind(gate, lambda unet, inputs, pool: given.append(inputs) or otherwise(unet, inputs, pool)))
    sample, told = torch.randn(1, 4, 8, 8), {"encoder_hidden_states": torch.randn(1, 16, 16), "added_cond_kwargs": None}
    for _ in range(OFTEN):
        model.kernels(sample, torch.tensor([3]), **told)
    model.kernels.forget()
    gate.set()
    assert model.kernels.wait(SOON)
    assert model.kernels.ready() == 0
    (own, _, copies), before = given[0], sample.clone()
    own.zero_()
    copies["encoder_hidden_states"].zero_()
    assert torch.equal(sample, before)
    assert float(told["encoder_hidden_states"].abs().sum()) > 0


class Elsewhere:
    """A model on torch's "meta" device: as on CUDA nothing there can be looked at, which raises, and copies are seen."""

    device = torch.device("meta")

    def __init__(self, model):
        self._model = model

    def __getattr__(self, name):
        return getattr(self._model, name)

    def predict(self, latents, t, conditioning):
        assert {latents.device.type, t.device.type} == {"meta"}
        return torch.empty_like(latents)


class Uploads(TorchDispatchMode):
    """Counts copies from the CPU to that device: each waits for the device, since none is from pinned memory."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in ("to", "_to_copy", "copy_"):
            self.count += args[0].device.type == "cpu" and made.device.type == "meta"
        return made


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_step_meets_the_device_only_to_bring_noise(tiny_model, monkeypatch, sampler):
    """Nothing is fetched from it, and only diffusers' own draws go there; but UniPC solves its equations on it."""
    monkeypatch.setattr(engine, "Outbox", Nothing)
    request = Request(prompt="cat", steps=8, sampler=sampler, guidance=3.0, guidance_rescale=0.5)
    steps = engine.denoise(Elsewhere(tiny_model), request)
    next(steps), next(steps)
    with Uploads() as uploads:
        rest = len([*steps])
    draws = rest - 1 if SAMPLERS[sampler].stochastic == "always" else 0
    assert uploads.count <= draws or sampler == "UniPC"


class Clock:
    """Time that passes only where it is said how much, so that these tests don't depend on the machine."""

    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(measured, "time", Clock())
    return measured.time


class Timed:
    """A model whose predictions take a time of their own by that clock, and may be wrong."""

    def __init__(self, model, clock, seconds, sign=1.0, last=1.0):
        self._model, self._clock, self._seconds, self._sign, self._last = model, clock, seconds, sign, last

    def __getattr__(self, name):
        return getattr(self._model, name)

    def lay_out_last(self):
        self._seconds *= self._last

    def predict(self, *given):
        self._clock.now += self._seconds
        return self._sign * self._model.predict(*given)


def test_the_fastest_is_clearly_faster_and_right(tiny_model, clock):
    slow, quick, quicker = (Timed(tiny_model, clock, seconds) for seconds in (1.0, 0.5, 0.4))
    assert measured.fastest([slow, quick, quicker]) == 2
    assert measured.fastest([slow, quicker, quick]) == 1
    assert measured.fastest([quick, slow]) == 0
    assert measured.fastest([slow, Timed(tiny_model, clock, 0.95)]) == 0  # hardly
    wrong = Timed(tiny_model, clock, 0.1, sign=-1.0)
    assert measured.fastest([slow, quick, wrong]) == 1


def test_channels_last_is_as_close_as_its_dtype(tiny_folder, tiny_model):
    model, request = load_model(tiny_folder, "cpu", "bfloat16"), Request(prompt="cat", steps=4, guidance=2.0)
    assert (model.rounding, tiny_model.rounding) == ("", "")
    model.lay_out_last()
    assert model.rounding == "channels last"
    assert model.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    exact, last = run(tiny_model, request).latents, run(model, request).latents
    assert last.is_contiguous()
    assert 0 < float((last - exact).abs().mean()) < 0.05 * float(exact.abs().mean())


def test_measuring_ends_in_time(tiny_model, clock):
    slow = Timed(tiny_model, clock, 30.0)
    measured.fastest([slow, slow])
    assert clock.now == 4 * 30.0  # two rounds of both


@pytest.fixture(scope="module")
def dtypes(tiny_folder):
    return {dtype: load_model(tiny_folder, "cpu", dtype) for dtype in (torch.float32, torch.bfloat16)}


@pytest.fixture
def loads(dtypes, clock):
    """Gives the tiny model in a dtype, slow in one of them, and notes which were asked for."""

    def load(dtype):
        load.dtypes.append(dtype)
        return Timed(dtypes[dtype], clock, 2.0 if dtype == load.slow else 1.0, last=load.last)

    load.dtypes, load.slow, load.last = [], torch.float32, 1.1
    return load


def test_what_was_measured_is_remembered(loads, tiny_folder, tmp_path):
    file, half = tmp_path / "deep" / "cpu.json", torch.bfloat16
    assert measured.suited(loads, tiny_folder, file).dtype == half
    assert loads.dtypes == [torch.float32, half, half]
    assert [*json.loads(file.read_text()).values()] == ["bfloat16"]
    assert [path.name for path in file.parent.iterdir()] == ["cpu.json"]
    loads.slow = half  # not asked again
    assert measured.suited(loads, tiny_folder, file).dtype == half
    assert loads.dtypes[3:] == [half]
    (key,) = json.loads(file.read_text())
    file.write_text(json.dumps({key.replace("torch", "older torch"): "bfloat16"}))
    assert measured.suited(loads, tiny_folder, file).dtype == torch.float32  # measured anew
    assert sorted(json.loads(file.read_text()).values()) == ["bfloat16", "float32"]


def test_the_layout_is_remembered_too(loads, tiny_folder, tmp_path):
    file, loads.last = tmp_path / "cpu.json", 0.5
    for _ in range(2):
        assert measured.suited(loads, tiny_folder, file)._seconds == 0.5
    assert [*json.loads(file.read_text()).values()] == ["bfloat16, channels last"]
    assert len(loads.dtypes) == 4


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff", b"[" * 99999, b'{"a": {}}', "own"])
def test_a_broken_memory_is_measured_again(loads, tiny_folder, tmp_path, content):
    file = tmp_path / "cpu.json"
    if content == "own":  # its own key, with a dtype that is none
        content = json.dumps({measured._key(tiny_folder): "float8"}).encode()
    file.write_bytes(content)
    assert measured.suited(loads, tiny_folder, file).dtype == torch.bfloat16
    assert "bfloat16" in json.loads(file.read_text()).values()


def test_a_folder_that_cannot_be_written_costs_a_measurement(loads, tiny_folder, tmp_path):
    (tmp_path / "file").write_text("no folder")
    for _ in range(2):
        assert measured.suited(loads, tiny_folder, tmp_path / "file" / "cpu.json").dtype == torch.bfloat16
    assert len(loads.dtypes) == 6


def test_no_room_for_both_is_float32_and_not_remembered(loads, tiny_folder, tmp_path):
    def load(dtype):
        if dtype == torch.bfloat16:
            raise SourceError("There is no room.")
        return loads(dtype)

    file = tmp_path / "cpu.json"
    assert measured.suited(load, tiny_folder, file).dtype == torch.float32
    assert not file.exists()


def test_where_it_is_remembered(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert measured.remembering() == tmp_path / "diffuscope" / "cpu.json"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert measured.remembering() == tmp_path / ".cache" / "diffuscope" / "cpu.json"


@pytest.mark.parametrize(
    ("files", "share"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 9),
        ({"cpu.max": "nonsense"}, 9),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 9),
        ({}, 9),
    ],
)
def test_no_more_threads_than_a_container_may_use(monkeypatch, tmp_path, files, share):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 9)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert measured.cores(tmp_path) == share
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    assert measured.cores(tmp_path) == 9


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
class TestCuda:
    """Graphs; needs a GPU."""

    @pytest.fixture(scope="class")
    def cuda(self):
        return load_model(device="cuda")

    def test_a_recorded_graph_rounds_as_its_eager_kernels(self, cuda):
        request = Request(prompt="pizza", steps=8, seed=3)
        cuda.kernels.forget()
        eager = latents(cuda, request)
        assert cuda.kernels.wait(60)
        assert cuda.kernels.ready() == 1
        replayed = latents(cuda, request)
        torch.testing.assert_close(replayed, eager, atol=0.02, rtol=0.02)
        assert torch.equal(replayed, eager)  # what the promise to repeat runs exactly stands on
        other = latents(cuda, Request(prompt="cat", steps=8, seed=4))  # other inputs of the same shapes
        assert not torch.equal(other, replayed)
        assert torch.equal(latents(cuda, request), replayed)

    def test_weights_are_channels_last_and_outputs_contiguous(self, cuda):
        assert cuda.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
        output = cuda.predict(torch.randn(2, 4, 16, 16, device="cuda"), torch.tensor([3, 3], device="cuda"), self.two(cuda))
        assert output.is_contiguous()
        assert output.dtype == torch.float32

    @staticmethod
    def two(model):
        prompt = model.encode_prompt("cat")
        return type(prompt).batch([prompt, prompt])

    @pytest.mark.parametrize("sampler", ["DDIM", "Euler", "Heun", "PNDM", "DPM++ 2M"])
    def test_no_host_sync_while_it_is_replayed(self, cuda, sampler):
        request = Request(prompt="cat", steps=6, sampler=sampler)
        latents(cuda, request)
        assert cuda.kernels.wait(60)
        steps = denoise(cuda, request)
        next(steps)
        torch.cuda.set_sync_debug_mode("error")
        try:
            assert len([*steps]) >= 6
        finally:
            torch.cuda.set_sync_debug_mode("default")

    def test_two_threads_replay_one_graph(self, cuda):
        requests = [Request(prompt=prompt, steps=12, seed=seed) for seed, prompt in enumerate(["cat", "pizza"])]
        latents(cuda, requests[0])
        assert cuda.kernels.wait(60)
        alone, together = [latents(cuda, one) for one in requests], [None, None]

        def work(i):
            with torch.cuda.stream(torch.cuda.Stream()):
                together[i] = latents(cuda, requests[i])

        threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
        [thread.start() for thread in threads]
        [thread.join(60) for thread in threads]
        assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))

    def test_memory_is_given_back_with_the_model(self):
        def once():
            model = load_model(device="cuda")
            latents(model)
            assert model.kernels.wait(60)
            latents(model)
            unet = weakref.ref(model.unet)
            del model
            gc.collect()
            torch.cuda.empty_cache()
            assert unet() is None
            return torch.cuda.memory_reserved()

        first, *later = [once() for _ in range(6)]
        assert max(later) <= first + 2**26
