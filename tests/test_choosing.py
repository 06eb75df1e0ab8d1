"""What may be written for a model of the Hub, and which of its files are read."""

import re

import pytest

from explorer import load_model
from explorer.models import files, hub
from explorer.records import SourceError


@pytest.mark.parametrize(
    "text",
    ["owner", "a/b/c", "owner/../x", "-o/n", "o/-n", "o/.n", "o/n.", "o/a..b", "o/a--b", "o/n.git", "o/n@", "o/n@-x",
     "o/n@a..b", "o/n@/x", "o/n@x/", "o/n@a//b", "o/n@refs/pr/1", "o/n@.x", "o/n@x/.y", "o/n@x.lock", "o/n@a@b",
     "o/n@a b", "ö/n", "o/n\n", "o/n@main\n", "o/n@" + "x" * 200, "x" * 97 + "/n", "o/n@x."],
)  # fmt: skip
def test_what_is_no_id(text):
    assert hub.parse(text) is None


def test_what_is_an_id():
    for text in ("o/n", "stabilityai/sd-turbo", "a_b/C.d-e_f", "o/n@main", "o/n@v1.0", "o/n@feat/x_1", "o/n@" + "a" * 40):
        assert hub.parse(text).name == text


def test_what_is_allowed(tmp_path, tiny_folder):
    nobody = hub.Hub("http://127.0.0.1:9", tmp_path / "cache")
    allowed = hub.allowed(["owner/tiny", " owner/tiny@v1.0 ", str(tiny_folder)])
    assert [*allowed.sources] == ["owner/tiny", "owner/tiny@v1.0", "tiny"]
    assert load_model("tiny", allowed=allowed, hub=nobody).name == "tiny"
    for source in ("owner/tiny", "owner/tiny@v1.0"):
        with pytest.raises(SourceError, match=f"^The model '{source}' can't be fetched: the Hub can't be reached"):
            load_model(source, allowed=allowed, hub=nobody)
    for source in ("owner/other", "owner/tiny@main", "owner/tiny@v1.0 ", str(tiny_folder), "../tiny", "TINY", ""):
        with pytest.raises(SourceError) as refusal:
            load_model(source, allowed=allowed, hub=nobody)
        names = "owner/tiny, owner/tiny@v1.0, tiny"
        assert str(refusal.value) == f"The model {source[:80]!r} is not among those offered here: {names}."
    with pytest.raises(SourceError, match="offered here: only the embedded one"):
        load_model("owner/tiny", allowed=hub.Allowed(), hub=nobody)


def test_what_can_not_be_allowed(tmp_path, tiny_folder):
    with pytest.raises(
        SourceError, match=r"^The allowed model 'a b' is neither a folder nor a Hub id like 'owner/name'\.$"
    ):
        hub.allowed(["owner/name", "a b"])
    (tmp_path / "tiny").mkdir()
    with pytest.raises(SourceError, match=r"^Two of the allowed models are called 'tiny'; rename one folder\.$"):
        hub.allowed([str(tiny_folder), str(tmp_path / "tiny")])
    assert [*hub.allowed(["o/n", "o/n"]).sources] == ["o/n"]


def test_which_files_are_read():
    """Of SDXL both text encoders; of the oldest pixel models what lies at their root; shards instead of one file."""
    network, words = ("config.json", "model.safetensors", "pytorch_model.bin"), ("vocab.json", "merges.txt", "x.py")
    listing = {f"{part}/{file}": 9 for part in ("text_encoder", "text_encoder_2") for file in network}
    listing |= {f"{part}/{file}": 9 for part in ("tokenizer", "tokenizer_2") for file in words}
    listing |= {"scheduler/scheduler_config.json": 9, "unet/config.json": 9, "model_index.json": 9}
    shards = [f"unet/diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    listing |= dict.fromkeys([*shards, "unet/diffusion_pytorch_model.safetensors.index.json"], 9)
    parts = {"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection",
             "tokenizer": "CLIPTokenizer", "tokenizer_2": "CLIPTokenizer", "scheduler": "EulerDiscreteScheduler",
             "unet": "UNet2DConditionModel"}  # fmt: skip
    assert {*files.choose(listing, parts, "x").all} == {name for name in listing if not re.search(r"\.(bin|py)$", name)}
    root = dict.fromkeys(["model_index.json", "config.json", "scheduler_config.json", "diffusion_pytorch_model.bin"], 9)
    pixels = {"unet": "UNet2DModel", "scheduler": "DDPMScheduler"}
    with pytest.raises(SourceError, match="only as pickle"):
        files.choose(root, pixels, "x")
    root["diffusion_pytorch_model.safetensors"] = 9
    assert {*root} - {*files.choose(root, pixels, "x").all} == {"diffusion_pytorch_model.bin"}
