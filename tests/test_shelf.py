"""The shelf: the model used longest ago is put away, never one in use, its memory is back, and it comes again."""

from __future__ import annotations

import copy
import gc
import sys
import threading
import weakref
from functools import partial
from pathlib import Path

import pytest
import torch
from menus import KINDS, tiny_folders
from tiny import as_model, networks, preview, tiny_parts

from explorer import Request, run
from explorer.models import load, room
from explorer.models.shelf import EMBEDDED, Shelf, nbytes, resolved
from explorer.records import SourceError
from explorer.tabs import gpu

REQUEST = Request(prompt="pizza", steps=6, seed=5, sampler="DPM++ 2M SDE")
MIB = 2**20


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[str]:
    return [str(folder) for folder in tiny_folders(tmp_path_factory.mktemp("shelf"), ("a", "b", "c"))]


def fresh(source: str):
    """One of the three folders' models with weights of its own, without the time that reading takes."""
    name = Path(source).name
    model = as_model(tiny_parts(KINDS["abc".index(name)]) | copy.deepcopy(networks()), name)
    model.preview = preview()
    return model


@pytest.fixture(autouse=True, scope="module")
def quick_collections():
    """What is there before these tests need not be looked at in each of their many collections."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Loads:
    """A loader for the CPU that counts; `during` is called while it loads."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self.during = lambda source, progress: None

    def __call__(self, source, progress):
        self.sources.append(source)
        self.during(source, progress)
        known = Path(source).name in ("a", "b", "c") and (Path(source) / "unet").is_dir()
        return fresh(source) if known else load(source, "cpu", progress=progress)


@pytest.fixture
def loads():
    return Loads()


@pytest.fixture(scope="module")
def size(folders) -> int:
    return nbytes(fresh(folders[0]))


def get(shelf, source):
    with shelf.ask(source) as loading:
        return loading.result()


def loaded(shelf) -> list[str]:
    return [row.name for row in shelf.rows() if row.loaded]


def test_the_one_used_longest_ago_is_put_away_and_comes_back(folders, loads, size):
    shelf = Shelf(loads, 2 * size)
    a, b, c = (get(shelf, folder) for folder in folders)
    assert loaded(shelf) == ["c", "b"]
    assert [row.nbytes for row in shelf.rows()] == [size] * 3
    prompt = a.encode_prompt("a cat").tensors["hidden"]  # read again
    assert loads.sources == [*folders, folders[0]]
    assert loaded(shelf) == ["a", "c"]
    assert torch.equal(prompt, fresh(folders[0]).encode_prompt("a cat").tensors["hidden"])
    get(shelf, folders[0])  # is here
    assert len(loads.sources) == 4
    assert (b.prediction_type, c.prediction_type) == ("v_prediction", "sample")


def test_what_it_is_stays_known_without_its_weights(folders, loads, size):
    shelf = Shelf(loads, size)
    model, other = get(shelf, folders[0]), fresh(folders[0])
    get(shelf, folders[1])
    count = len(loads.sources)
    for fact in ("name", "device", "dtype", "weights", "prediction_type", "latent_channels", "latent_scale",
                 "default_size", "scheduler_config", "abilities", "preview", "pipeline"):  # fmt: skip
        assert getattr(model, fact) == getattr(other, fact), fact
    assert model.parts() == other.parts()
    assert model.unread("a cat " * 12) == other.unread("a cat " * 12) != ""
    assert len(loads.sources) == count
    assert not any(isinstance(value, torch.nn.Module | torch.Tensor) for value in vars(model).values())


def test_a_run_is_the_same_while_others_come_and_go(folders, loads, size):
    whole = run(fresh(folders[0]), REQUEST).latents
    shelf = Shelf(loads, 2 * size)
    steps = gpu.denoise(get(shelf, folders[0]), REQUEST)
    last = next(steps)
    for folder in (*folders[1:], folders[1], folders[2]):
        get(shelf, folder)
        last = next(steps)
        assert "a" in loaded(shelf)
        assert len(loaded(shelf)) == 2
    last = [last, *steps][-1]
    assert torch.equal(last.latents, whole)
    assert loads.sources.count(folders[0]) == 1
    get(shelf, folders[1]), get(shelf, folders[2])
    assert "a" not in loaded(shelf)  # now it may go


@pytest.mark.parametrize("end", [lambda steps: steps.close(), list], ids=["left early", "at its end"])
def test_where_all_are_in_use_there_is_one_sentence(folders, loads, size, end):
    shelf = Shelf(loads, int(1.5 * size))
    steps = gpu.denoise(get(shelf, folders[0]), REQUEST)
    next(steps)
    with pytest.raises(SourceError) as error:
        get(shelf, folders[1])
    assert str(error.value) == (
        "There is no room for the model 'b' beside those that are in use; try again when their runs are over."
    )
    assert loaded(shelf) == ["a"]
    end(steps)
    get(shelf, folders[1])
    assert loaded(shelf) == ["b"]


def test_a_run_that_fails_lets_go_too(folders, loads, size):
    shelf = Shelf(loads, size)
    model = get(shelf, folders[0])
    with shelf.held(folders[0]) as concrete:
        predict = concrete.predict
        concrete.predict = lambda *_: 1 / 0
    del concrete
    with pytest.raises(ZeroDivisionError):
        list(gpu.denoise(model, REQUEST))
    with shelf.held(folders[0]) as concrete:
        concrete.predict = predict
    del concrete, predict
    get(shelf, folders[1])
    assert loaded(shelf) == ["b"]


def test_a_model_beyond_the_budget_is_refused(folders, loads, size):
    shelf = Shelf(loads, size // 2)
    with pytest.raises(room.NoRoom, match=r"^The model 'a' needs .* and models may have .* here; give a smaller one\.$"):
        get(shelf, folders[0])
    assert shelf.rows() == []


def test_the_embedded_one_always_stays(folders, size, tiny_model):
    shelf = Shelf(Loads(), size)
    shelf.put(EMBEDDED, tiny_model)
    with pytest.raises(room.NoRoom):
        get(shelf, folders[0])
    assert loaded(shelf) == ["tiny"]


def test_two_who_ask_for_the_same_get_the_same(folders, loads, size):
    shelf, go = Shelf(loads, 3 * size), threading.Event()
    loads.during = lambda source, progress: go.wait(20)
    first, second = shelf.ask(folders[0]), shelf.ask(folders[0])
    first.close()  # and one may leave
    assert not second.wait(0.05)
    go.set()
    model = second.result()
    second.close()
    assert loads.sources == [folders[0]]
    with shelf.held(folders[0]) as one, model.held() as same:
        assert one is same


def test_loading_stops_when_nobody_wants_it_and_the_next_has_its_turn(folders, loads, size):
    shelf, began = Shelf(loads, 3 * size), threading.Event()

    def slow(source, progress):
        while source == folders[0]:
            progress("fetching", 1, 2)
            began.set()

    loads.during = slow
    with shelf.ask(folders[0]) as loading:
        assert began.wait(20)
        other = shelf.ask(folders[1])
        assert (loading.told, other.told) == (("fetching", 1, 2), ("waiting", 0, 0))
    assert other.result().name == "b"
    assert loading.wait(20)
    assert loaded(shelf) == ["b"]


def test_a_failed_load_leaves_all_as_it_was(folders, loads, size, tmp_path):
    shelf = Shelf(loads, size)
    model = get(shelf, folders[0])
    (tmp_path / "model_index.json").write_text("{")
    for wrong in (str(tmp_path), "no such folder", "\0"):
        with pytest.raises(SourceError):
            get(shelf, wrong)
    assert loaded(shelf) == ["a"]
    assert torch.equal(run(model, REQUEST).latents, run(fresh(folders[0]), REQUEST).latents)
    assert loads.sources.count(folders[0]) == 1


def test_others_are_put_away_for_one_that_finds_no_memory_but_not_for_the_disk(folders, loads, size, monkeypatch):
    shelf, needed = Shelf(loads, 9 * size), 5 * 10**9
    get(shelf, folders[0])
    monkeypatch.setattr(room, "free_memory", lambda device: 10**9)

    def full(source, progress):
        if source == folders[1] and "a" in loaded(shelf):
            raise room.NoRoom("No room.", needed, 10**9)

    loads.during = full
    get(shelf, folders[1])
    assert loaded(shelf) == ["b"]
    needed = 10**8  # which there is in memory
    loads.during = lambda source, progress: (_ for _ in ()).throw(room.NoRoom("No room.", needed, 10, disk=True))
    with pytest.raises(room.NoRoom):
        get(shelf, folders[2])
    assert loaded(shelf) == ["b"]


def test_a_folder_with_other_weights_now_is_told(folders, size, tmp_path, loads):
    (folder,) = tiny_folders(tmp_path, ("changing",))
    shelf = Shelf(loads, size)
    model = get(shelf, str(folder))
    get(shelf, folders[0])
    from safetensors.torch import load_file, save_file

    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    with pytest.raises(SourceError, match="has changed since this page was made; load it again"):
        model.encode_prompt("a cat")
    assert get(shelf, str(folder)).encode_prompt("a cat") is not None  # as asked


def test_sources_have_one_name(folders, tmp_path):
    assert resolved(f" {folders[0]}/../a ") == folders[0]
    assert resolved("owner/name@main") == "owner/name@main"
    assert resolved("") == resolved(str(Path(__file__).parents[1] / "assets" / "models" / "emoji-ldm")) == EMBEDDED
    assert resolved("a\0b") == "a\0b"


def rss() -> float:
    """MiB of this process in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / MIB


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_twenty_switches_give_all_memory_back(folders, size):
    ballast = 16 * MIB  # in pieces that malloc keeps for itself

    def heavy(source, progress):
        model = fresh(source)
        for i in range(16):
            model.unet.register_buffer(f"ballast_{i}", torch.ones(ballast // 16, dtype=torch.uint8))
        refs.append([weakref.ref(one) for one in (model, model.unet, model.vae, model.readers[0].encoder)])
        return model

    refs: list = []
    shelf = Shelf(heavy, size + ballast)
    models = [get(shelf, folder) for folder in folders]
    before = rss()
    for i in range(20):
        steps = gpu.denoise(models[i % 3], Request(prompt="pizza", steps=2))
        assert len(list(steps)) == 3
    assert len(refs) == 23
    gc.collect()
    assert [any(ref() is not None for ref in one) for one in refs] == [False] * 22 + [True]
    assert rss() - before < 64  # 320 MiB were loaded
    assert loaded(shelf) == [models[19 % 3].name]


def test_the_seam_holds_the_model_for_whatever_computes(folders, loads, size):
    shelf = Shelf(loads, size)
    model = get(shelf, folders[0])
    latents = torch.zeros(1, 4, 8, 8)
    seen = []
    with shelf.held(folders[0]) as concrete:
        decode, predict = concrete.decode, concrete.predict
        place = partial(lambda: shelf._places[folders[0]].pins)
        concrete.decode = lambda given: seen.append(place()) or decode(given)
        concrete.predict = lambda *given: seen.append(place()) or predict(*given)
    gpu.predict(model, latents, torch.tensor([10.0]), "a cat")
    gpu.decodings(model, latents[0])
    model.decode(latents)
    assert set(seen[:-1]) == {2}  # by the seam, and by the call itself
    assert seen[-1] == 1
    assert place() == 0
