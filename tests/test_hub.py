"""Models by name: what is fetched from the Hub, of which commit, and every way in which it goes wrong, in one sentence."""

import errno
import os
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from hub_stand_in import HubStandIn, files_of
from safetensors.torch import load as read
from safetensors.torch import save
from tiny import preview, xl_parts, xl_pipeline

from explorer import Request, load_model, run
from explorer.models import hub, room
from explorer.models.wires import in_plain_words
from explorer.records import SourceError

ID = "owner/tiny"
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def served(tiny_folder, monkeypatch):
    """A stand-in for the Hub with the tiny model. It is on this machine: a ban of the network doesn't concern it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("explorer.models.latent.fit_preview", lambda _: preview())  # of the same VAE, and the slowest part
    with HubStandIn() as stand_in:
        stand_in.commit = stand_in.add(ID, files_of(tiny_folder))
        yield stand_in


@pytest.fixture
def load(served, tmp_path):
    """Loads from the stand-in into a cache of the test's own."""
    return lambda source=ID, **settings: load_model(source, "cpu", hub=served.hub(tmp_path / "cache"), **settings)


def refused(load, tmp_path, source=ID, **settings) -> str:
    """The one sentence with which it is refused: no path, no address, no line break."""
    with pytest.raises(SourceError) as refusal:
        load(source, **settings)
    sentence = str(refusal.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert not [word for word in (str(tmp_path), "127.0.0.1", "Traceback", "blobs") if word in sentence]
    return sentence


def brighter(tiny_folder) -> dict[str, bytes]:
    """The tiny model's files with another U-Net of the same shapes."""
    data = files_of(tiny_folder)
    length = 8 + int.from_bytes(data[UNET][:8], "little")
    return data | {UNET: data[UNET][:length] + bytes(len(data[UNET]) - length)}


def test_an_id(served, load, tmp_path, tiny_folder):
    junk = ("README.md", "unet/model.py", "unet/diffusion_pytorch_model.bin", "safety_checker/model.safetensors",
            "unet/diffusion_pytorch_model.fp16.safetensors", "unet/deep/config.json", "unet/config.json.bak")  # fmt: skip
    served.add(ID, files_of(tiny_folder) | dict.fromkeys(junk, b"x" * 99))
    told = []
    model = load(progress=lambda *news: told.append(news))
    assert model.name == ID
    assert torch.equal(run(model, Request(steps=2)).latents, run(load_model(tiny_folder), Request(steps=2)).latents)
    assert {name for name in served.fetched() if not name.endswith("ranged")} == set(files_of(tiny_folder))
    stages = [*dict.fromkeys(stage for stage, _, _ in told)]
    assert stages == [*hub.STAGES]
    total = sum(len(data) for data in files_of(tiny_folder).values())
    counts = [(done, size) for stage, done, size in told if stage == "fetching"]
    assert counts[0] == (0, total)
    assert counts[-1] == (total, total)
    assert all(a <= b for a, b in pairwise(counts))


def test_a_branch_a_tag_and_a_commit(served, load, tiny_folder):
    other = served.add(ID, brighter(tiny_folder), ref="feat/bright")
    served.refs[ID]["v1.0"] = served.commit
    seen = {revision: load(f"{ID}@{revision}") for revision in ("feat/bright", "v1.0", other, served.commit)}
    assert [model.name for model in seen.values()] == [f"{ID}@{revision}" for revision in seen]
    assert seen["feat/bright"].weights == seen[other].weights != seen["v1.0"].weights == seen[served.commit].weights


def test_all_files_are_of_the_commit_that_was_listed(served, load, tiny_folder):
    """The branch moves on while the answer with the listing is under way."""
    served.mishap("api/models", act=lambda: served.add(ID, brighter(tiny_folder)))
    model = load()
    assert served.refs[ID]["main"] != served.commit
    resolved = {line.split("/resolve/")[1].split("/")[0] for line in served.asked if "/resolve/" in line}
    assert resolved == {served.commit}
    assert model.weights == load_model(tiny_folder).weights


def test_the_cache_is_used_and_does_without_the_hub(served, load, tmp_path, monkeypatch):
    first = load()
    served.asked.clear()
    assert load().weights == first.weights
    assert served.asked == [f"GET /api/models/{ID}"]
    served.mishap("api/models", status=503)
    assert load().weights == first.weights
    served.close()
    assert load().weights == load(f"{ID}@{served.commit}").weights == first.weights
    sentence = refused(load, tmp_path, f"{ID}@v2")
    assert sentence == (
        f"The model '{ID}@v2' can't be fetched: the Hub can't be reached, and the cache has no copy; "
        "check the network, or give a folder."
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert load().weights == first.weights
    assert "can't be reached" in refused(load, tmp_path, "owner/other")


def test_a_half_fetched_model_is_not_taken_for_a_whole_one(served, load, tmp_path):
    served.mishap(UNET, status=403)
    refused(load, tmp_path)
    served.close()
    assert "can't be reached" in refused(load, tmp_path)


def test_stopping_and_going_on(served, load):
    class Enough(Exception):
        pass

    def stop(stage, done, total):
        if stage == "fetching" and done > 0.5 * total:
            raise Enough

    with pytest.raises(Enough):
        load(progress=stop)
    before = served.fetched("safetensors")
    assert before == ["text_encoder/model.safetensors", UNET]
    served.asked.clear()
    assert load().name == ID
    assert served.fetched("safetensors") == [UNET, "vae/diffusion_pytorch_model.safetensors"]  # the first was complete


def test_a_cached_file_that_was_cut_off_is_fetched_again(served, load, tmp_path):
    weights = load().weights
    (blob,) = (path.resolve() for path in (tmp_path / "cache").rglob("snapshots/*/unet/*.safetensors"))
    os.truncate(blob, 1000)
    served.asked.clear()
    assert load().weights == weights
    assert [name for name in served.fetched() if name.endswith("safetensors")] == [UNET]
    os.truncate(blob, 1000)
    served.close()
    assert "has a broken unet/diffusion_pytorch_model.safetensors, cut off" in refused(load, tmp_path)


REFUSALS = {
    "missing": (lambda s: s.refs.clear(), "is not on the Hub, or is private: check its name, or log in"),
    "private": (lambda s: s.mishap("api/models", status=401, code="RepoNotFound"), "is not on the Hub, or is private"),
    "gated": (lambda s: s.mishap("resolve", status=403, code="GatedRepo"), "is gated: accept its terms"),
    "gated at once": (lambda s: s.mishap("api/models", status=401, code="GatedRepo"), "is gated: accept its terms"),
    "a token that is none": (lambda s: s.mishap("api/models", status=401), "the Hub refuses access; log in"),
    "forbidden": (lambda s: s.mishap("api/models", status=403), "the Hub refuses access; log in"),
    "asked too often": (lambda s: s.mishap("api/models", status=429), "the Hub was asked too often; wait some minutes"),
    "a fault of the Hub": (lambda s: s.mishap("api/models", status=500), "a fault of its own (500); try again later"),
    "a Hub that takes its time": (lambda s: s.mishap("api/models", wait=2.5), "the Hub can't be reached"),
    "another page": (lambda s: s.mishap("api/models", body=lambda _: b"<html>Log in"), "the Hub can't be reached"),
    "a file vanishes": (lambda s: s.mishap("vae/config", status=404, code="EntryNotFound"), "lacks a file"),
    "weights that are forbidden": (lambda s: s.mishap("safetensors", status=403), "the Hub refuses access; log in"),
    "a body too short": (lambda s: s.mishap("vae/.*safe", body=lambda b: b[:5000]), "arrived incomplete; try again"),
    "a body too long": (lambda s: s.mishap("vae/.*safe", body=lambda b: b * 9), "more of vae/diffusion_pytorch_model"),
    "another file": (lambda s: s.sizes.update({"vae/config.json": 700}), "gave another vae/config.json"),
    "a lying listing": (lambda s: s.sizes.update({UNET: 10**15}), "needs 1000000.0 GB of disk, and "),
    "a listing of huge texts": (lambda s: s.sizes.update({"vae/config.json": 2 * 10**6}), "a vae/config.json of 2000000"),
    "no layout": (lambda s: s.add(ID, {"model.safetensors": b""}), "has no model_index.json; give one in diffusers"),
}  # fmt: skip


@pytest.mark.parametrize("how", REFUSALS)
def test_what_the_hub_refuses(served, load, tmp_path, tiny_model, how):
    before = run(tiny_model, Request(steps=1)).latents
    act, words = REFUSALS[how]
    act(served)
    sentence = refused(load, tmp_path)
    assert words in sentence
    assert ID in sentence
    assert torch.equal(run(tiny_model, Request(steps=1)).latents, before)
    assert not [*(tmp_path / "cache").rglob("*.incomplete")]


def test_no_such_revision(served, load, tmp_path):
    said = refused(load, tmp_path, f"{ID}@nightly")
    assert said == f"The model '{ID}@nightly' has no such revision; give a branch, a tag or a commit of it."


def test_a_connection_that_ends(served, load, tmp_path):
    """The client tries again from where it was, and then the Hub is gone."""
    gone = {"act": lambda: served.mishap("vae/.*safetensors", status=502)}
    served.mishap("vae/.*safetensors", method="GET", whole=True, cut=500, **gone)
    assert "a fault of its own (502)" in refused(load, tmp_path)
    assert len(served.fetched("vae/diffusion_pytorch_model.safetensors")) == 2  # and once more
    served.mishap("vae/.*safetensors", method="GET", cut=500)
    assert "the connection to the Hub broke off; try again" in refused(load, tmp_path)


def test_what_does_not_fit_is_refused_before_its_weights_come(served, load, tmp_path, tiny_folder):
    """By the headers of its weights, which are fetched alone."""
    data = files_of(tiny_folder)
    wrong = data["unet/config.json"].replace(b"\n    8,\n    16\n", b"\n    8,\n    24\n")
    assert wrong != data["unet/config.json"]
    served.add(ID, data | {"unet/config.json": wrong})
    assert "weights of another architecture for its unet" in refused(load, tmp_path)
    assert all(name.endswith("ranged") for name in served.fetched() if "safetensors" in name)
    edm = data["scheduler/scheduler_config.json"].replace(b"DDIMScheduler", b"EDMEulerScheduler")
    served.add(ID, data | {"scheduler/scheduler_config.json": edm})
    assert "was made for 'EDMEulerScheduler'" in refused(load, tmp_path)
    assert all(name.endswith("ranged") for name in served.fetched() if "safetensors" in name)
    served.add(ID, data | {"model_index.json": data["model_index.json"].replace(b"StableDiffusionP", b"FluxP")})
    assert "is a 'FluxPipeline'; this project can run StableDiffusionPipeline" in refused(load, tmp_path)


def test_half_precision_where_there_is_nothing_else(served, load, tiny_folder):
    data = files_of(tiny_folder)
    for name in (UNET, "text_encoder/model.safetensors"):
        data[name.replace(".safetensors", ".fp16.safetensors")] = data.pop(name)
    served.add(ID, data)
    assert load().weights == load_model(tiny_folder).weights


def test_half_precision_is_fetched_where_the_model_is_loaded_so(served, load, tiny_folder):
    data, half = files_of(tiny_folder), UNET.replace(".safetensors", ".fp16.safetensors")
    data[half] = save({name: tensor.half() for name, tensor in read(data[UNET]).items()})
    served.add(ID, data)
    model = load(dtype="float16")
    assert half in served.fetched("safetensors")
    assert UNET not in served.fetched("safetensors")
    assert model.weights == load_model(tiny_folder, "cpu", "float16").weights
    load()  # in float32 the plain ones are worth their bytes
    assert UNET in served.fetched("safetensors")


def test_the_other_families(served, load, tmp_path):
    """SDXL's seven parts, and a model of pixels that has all of it at its root, as the oldest have."""
    xl_pipeline(xl_parts()).save_pretrained(tmp_path / "xl")
    served.add("owner/xl", files_of(tmp_path / "xl"))
    assert load("owner/xl").weights == load_model(tmp_path / "xl").weights
    assert {"text_encoder_2/model.safetensors", "tokenizer_2/tokenizer.json"} <= {*served.fetched()}
    unet = UNet2DModel(sample_size=8, block_out_channels=(8,), norm_num_groups=4, layers_per_block=1, add_attention=False,
                       down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",))  # fmt: skip
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / "pixels")
    flat = {name.split("/")[-1]: data for name, data in files_of(tmp_path / "pixels").items()}
    flat["diffusion_pytorch_model.fp16.safetensors"] = flat.pop("diffusion_pytorch_model.safetensors")
    served.add("owner/pixels", flat | {"diffusion_pytorch_model.bin": b"x", "README.md": b"x"})
    assert load("owner/pixels").weights == load_model(tmp_path / "pixels").weights
    names = {line.rpartition("/")[2] for line in served.asked if "owner/pixels/resolve" in line and "ranged" not in line}
    assert names == {*flat}


def test_a_full_disk():
    """The device that is always full says it in the system's own words."""
    with (
        pytest.raises(room.NoRoom, match=r"^The model 'owner/tiny' can't be fetched: the disk is full; [^\n]*\.$") as full,
        in_plain_words(ID),
    ):
        Path("/dev/full").write_text("x")
    assert full.value.disk
    with pytest.raises(SourceError, match="can't be kept: the cache can't be written"), in_plain_words(ID):
        raise OSError(errno.EROFS, "Read-only file system", "/some/where")
