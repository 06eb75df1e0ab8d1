"""Latents as files: there and back in every kind, and broken files, each refused at once in one sentence."""

import io
import json
import pickle
import time

import numpy as np
import pytest
import torch
from broken_latents import BEGIN, BROKEN, NUMBERS, SHAPE, SOUND, SOUND_NPY, npy, numpy_file
from safetensors.torch import load, save

from explorer import latent_files, run, trace
from explorer.latent_files import read, to_npy, to_safetensors
from explorer.records import Request, RequestError


@pytest.fixture
def x():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


def test_there_and_back_and_read_by_others(x):
    facts = {"model": "tiny", "prompt": 'кот "🐈" \\ \' {[' + "🐈" * 5000}
    there = to_safetensors(x, facts)
    assert torch.equal(read(there, SHAPE), x)
    assert torch.equal(load(there)["latents"], x)
    assert json.loads(there[8 : 8 + int.from_bytes(there[:8], "little")])["__metadata__"] == facts
    assert torch.equal(read(to_npy(x), SHAPE), x)
    np.testing.assert_array_equal(np.load(io.BytesIO(to_npy(x)), allow_pickle=False), x.numpy())


def test_of_any_layout_the_numbers_are_those_that_are_seen(x):
    for seen in (
        x.transpose(1, 2).contiguous().transpose(1, 2),
        x[:, :, ::2].repeat_interleave(2, 2),
        x.expand(2, *SHAPE)[1],
    ):
        assert torch.equal(read(to_npy(seen), SHAPE), seen)
        assert torch.equal(read(to_safetensors(seen, {}), SHAPE), seen)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [SHAPE, (1, *SHAPE)])
def test_every_float_of_safetensors(dtype, shape, x):
    held = x.to(dtype).reshape(shape)
    latents = read(save({"any name": held}), SHAPE)
    assert (latents.dtype, tuple(latents.shape)) == (torch.float32, SHAPE)
    assert torch.equal(latents, held.reshape(SHAPE).float())


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_float_and_order_of_npy(dtype, order, x):
    array = np.array(x.numpy(), dtype, order=order)
    latents = read(numpy_file(array), SHAPE)
    assert latents.dtype == torch.float32
    assert latents.is_contiguous()
    np.testing.assert_array_equal(latents.numpy(), array.astype("<f4"))
    np.testing.assert_array_equal(read(numpy_file(np.asarray(array[None], order=order)), SHAPE).numpy(), latents.numpy())


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_npy(version, x):
    file = io.BytesIO()
    np.lib.format.write_array(file, x.numpy(), version=version)
    assert torch.equal(read(file.getvalue(), SHAPE), x)


def test_other_ways_to_write_the_same_npy_header(x):
    numbers = x.numpy().tobytes()
    for header in (
        '{"shape":(4,8,6),"fortran_order":False,"descr":"<f4"}',
        "{'fortran_order': False, 'descr': '<f4', 'shape': (1, 4, 8, 6)}        \n",
        "{ 'descr' : '<f4' , 'fortran_order' : False , 'shape' : (4, 8, 6,) , } \n",
    ):
        assert torch.equal(read(npy(header, numbers), SHAPE), x)


def test_one_named_latents_among_others(x):
    both = save({"a": torch.zeros(3, dtype=torch.int8), "latents": x, "z": torch.ones(2, 2)})
    assert torch.equal(read(both, SHAPE), x)


def test_what_is_read_is_its_own(x):
    data = to_safetensors(x, {})
    read(data, SHAPE).zero_()
    assert torch.equal(read(data, SHAPE), x)


def test_a_trace_is_no_latent_but_what_diffusers_saves_is(tiny_model, tmp_path):
    trajectory = run(tiny_model, Request(prompt="cat", steps=2))
    shape = tuple(trajectory.latents.shape[1:])
    assert torch.equal(read(save({"latents": trajectory.latents}), shape), trajectory.latents[0])
    trace.save(trajectory, tmp_path / "run.safetensors")
    with pytest.raises(RequestError, match=r"^The file's latents have the shape 3 × 4 × 8 × 8; it must be 4 × 8 × 8\.$"):
        read((tmp_path / "run.safetensors").read_bytes(), shape)


def test_facts_that_would_not_be_read_again_are_refused(x):
    with pytest.raises(RequestError, match=r"^The latent's facts are too long for a header of 65536 bytes; leave some out"):
        to_safetensors(x, {"prompt": "🐈" * 2**14})


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_at_once_in_one_sentence(name):
    data, sentence = BROKEN[name]
    begun = time.thread_time()
    with pytest.raises(RequestError) as error:
        read(data, SHAPE)
    assert time.thread_time() - begun < 0.5
    said = str(error.value)
    assert said.startswith(sentence)
    assert said[-1] == "."
    assert "\n" not in said
    assert len(said) < 200


def test_nothing_was_unpickled():
    for name in ("a pickle", "npy: objects"):
        with pytest.raises(RequestError):
            read(BROKEN[name][0], SHAPE)
    assert not hasattr(latent_files, "MARK")
    pickle.loads(BROKEN["a pickle"][0])  # the trap does spring
    assert latent_files.MARK == 1
    del latent_files.MARK


@pytest.mark.parametrize("data", [SOUND, SOUND_NPY], ids=["safetensors", "npy"])
def test_any_one_byte_wrong_is_read_or_refused_but_never_raises_else(data):
    """Every byte of the header, to five others: a file is a latent of this shape or a sentence."""
    header = BEGIN if data is SOUND else len(data) - len(NUMBERS)
    refused = 0
    for i in range(header):
        for value in {0, 0xFF, ord("9"), ord('"'), data[i] ^ 1} - {data[i]}:
            changed = data[:i] + bytes([value]) + data[i + 1 :]
            try:
                assert read(changed, SHAPE).shape == SHAPE
            except RequestError:
                refused += 1
    assert refused > header


@pytest.mark.parametrize("data", [SOUND, SOUND_NPY], ids=["safetensors", "npy"])
def test_a_file_cut_anywhere_is_refused(data):
    for end in range(0, len(data), 7):
        with pytest.raises(RequestError):
            read(data[:end], SHAPE)
