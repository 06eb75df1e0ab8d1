"""A model's files are checked before anything is built: no code of it runs, nothing is unpickled, nothing huge is taken."""

import gc
import json
import os
import shutil
import time

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from explorer import Request, load_model, run
from explorer.models import EMBEDDED, MODELS, checks, room
from explorer.records import SourceError

UNET = "unet/diffusion_pytorch_model"
INDEX = f"{UNET}.safetensors.index.json"


@pytest.fixture
def folder(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "model")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder, **settings) -> str:
    """The one sentence, and soon, with which a folder is refused."""
    began = time.monotonic()
    with pytest.raises(SourceError) as refusal:
        load_model(folder, "cpu", **settings)
    assert time.monotonic() - began < 20  # a network of a billion layers takes a week
    sentence = str(refusal.value)
    assert "\n" not in sentence
    assert sentence.startswith("The model 'model' ")
    assert sentence.endswith(".")
    assert str(folder.parent) not in sentence
    return sentence


def shard(folder, count=3):
    """Splits the U-Net's weights as save_pretrained() does where they are big."""
    model = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
    (folder / f"{UNET}.safetensors").unlink()
    model.save_pretrained(folder / "unet", max_shard_size=f"{model.num_parameters() * 4 // count // 1000 + 9}KB")


def header(path, change):
    """Rewrites the header of a safetensors file, with what follows it."""
    data = path.read_bytes()
    length = 8 + int.from_bytes(data[:8], "little")
    said = json.loads(data[8:length])
    change(said)
    text = json.dumps(said).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[length:])


def component(part, *value):
    return lambda f: edit(f / "model_index.json", **{part: [*value]})


def config(part, **changes):
    return lambda f: edit(f / part / ("scheduler_config.json" if part == "scheduler" else "config.json"), **changes)


def weights(change):
    return lambda f: header(f / f"{UNET}.safetensors", change)


def lose_a_shard(f):
    shard(f)
    sorted((f / "unet").glob("*-of-*"))[1].unlink()


def cut_a_shard(f):
    shard(f)
    path = sorted((f / "unet").glob("*-of-*"))[1]
    os.truncate(path, path.stat().st_size - 1)


def a_pipe(name):
    return lambda f: ((f / name).unlink(), os.mkfifo(f / name))


def index_names(name):
    """The index of shards names another file beside them."""

    def act(f):
        shard(f)
        said = json.loads((f / INDEX).read_text())
        edit(f / INDEX, weight_map=dict.fromkeys(said["weight_map"], name))
        (f / "unet" / name).write_bytes(b"\x80\x04")

    return act


def leave_an_index(f):
    """One of shards that aren't there, beside the whole file: diffusers would follow it."""
    (f / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"x": "diffusion_pytorch_model.bin"}}))


def halve(f):
    """Half precision, with an index of its own, which diffusers would follow."""
    (f / f"{UNET}.safetensors").rename(f / f"{UNET}.fp16.safetensors")
    said = {"metadata": {}, "weight_map": {"x": "diffusion_pytorch_model.bin"}}
    (f / f"{UNET}.safetensors.index.fp16.json").write_text(json.dumps(said))


def nest(f):
    """The text encoder's config as one of CLIP as a whole has it."""
    path = f / "text_encoder/config.json"
    inner = json.loads(path.read_text()) | {"num_hidden_layers": 10**12}
    path.write_text(json.dumps({"model_type": "clip", "text_config": inner}))


OWN_CODE = "which this project never runs"
BROKEN = f"has a broken {UNET}.safetensors, cut off or not safetensors; fetch or save it again."
REFUSALS = {
    "pickle only": (
        lambda f: (f / f"{UNET}.safetensors").rename(f / f"{UNET}.bin"),
        "has the weights of its unet only as pickle, which can run code and is never opened; safetensors are needed.",
    ),
    "a network of its own": (component("unet", "my_unet", "MyUNet"), f"code of its own for its 'unet', {OWN_CODE}"),
    "a scheduler of its own": (component("scheduler", "pipe.py", "X"), f"code of its own for its 'scheduler', {OWN_CODE}"),
    "an odd component": (component("vae", "diffusers"), f"code of its own for its 'vae', {OWN_CODE}"),
    "a pipeline of its own": (
        lambda f: edit(f / "model_index.json", _class_name=["pipe", "Mine"]), f"brings a pipeline of its own, {OWN_CODE}",
    ),
    "auto_map": (config("text_encoder", auto_map={"AutoModel": "x.Y"}), f"text_encoder/config.json (auto_map), {OWN_CODE}"),
    "code for attention": (
        config("text_encoder", attn_implementation="owner/kernel"),
        f"text_encoder/config.json (attn_implementation), {OWN_CODE}",
    ),
    "code within": (config("vae", x={"auto_map": {}}), f"vae/config.json (auto_map), {OWN_CODE}"),
    "quantized": (config("unet", quantization_config={"quant_method": "bitsandbytes"}), "has a quantized unet"),
    "an index to pickle": (index_names("diffusion_pytorch_model.bin"), f"has an {INDEX} that names other files than its"),
    "an index without names": (lambda f: (shard(f), (f / INDEX).write_text("{}")), f"has an {INDEX} that names other"),
    "an index of nothing": (leave_an_index, "lacks 1 of the 1 weight files of its unet"),
    "an index of half precision": (halve, "has no safetensors weights of its unet"),
    "words without end, within": (nest, "has a text_encoder config with 1e+12 layers"),
    "a scale of nothing": (config("vae", scaling_factor=0), "can't decode what it encodes; fetch or save it again."),
    "a scale of words": (config("vae", scaling_factor=["x"]), "can't decode what it encodes; fetch or save it again."),
    "another network": (component("unet", "diffusers", "FluxTransformer2DModel"), "this project reads UNet2DCondition"),
    "another network's config": (config("vae", _class_name="VQModel"), "has a 'VQModel' as its vae, not the AutoencoderKL"),
    "a shard missing": (lose_a_shard, "lacks 1 of the 3 weight files of its unet"),
    "a shard cut off": (cut_a_shard, "-00002-of-00003.safetensors, cut off or not safetensors"),
    "cut by a byte": (lambda f: os.truncate(f / f"{UNET}.safetensors", 230_000), BROKEN),
    "too long": (lambda f: os.truncate(f / f"{UNET}.safetensors", 300_000), BROKEN),
    "empty": (lambda f: os.truncate(f / f"{UNET}.safetensors", 0), BROKEN),
    "a header without end": (lambda f: (f / f"{UNET}.safetensors").write_bytes(b"\xff" * 99), BROKEN),
    "a header that lies": (weights(lambda h: h["conv_in.weight"].update(shape=[2**40, 4, 3, 3])), BROKEN),
    "negative shapes": (weights(lambda h: h["conv_in.weight"].update(shape=[-8, -4, 3, 3])), BROKEN),
    "weights that overlap": (weights(lambda h: h["conv_in.weight"].update(data_offsets=[0, 1152])), BROKEN),
    "a kind of number that is none": (weights(lambda h: h["conv_in.weight"].update(dtype="X9")), BROKEN),
    "a header of lists": (weights(lambda h: h.update({"conv_in.weight": []})), BROKEN),
    "layers without end": (config("unet", layers_per_block=10**9), "has a unet config with 2e+09 layers"),
    "more layers than there are numbers": (config("unet", layers_per_block=[10**400]), "with 1e+99 layers"),
    "words without end": (config("text_encoder", num_hidden_layers=10**12), "has a text_encoder config with 1e+12 layers"),
    "a size without end": (config("unet", sample_size=10**9), "has a unet config with the sample_size 1000000000"),
    "channels without end": (config("unet", block_out_channels=[10**6, 10**6]), "weights of another architecture"),
    "a vocabulary without end": (config("text_encoder", vocab_size=10**12), "weights of another architecture"),
    "numbers that no shape has": (config("unet", block_out_channels=[10**30, 8]), "config that no UNet2DConditionModel"),
    "steps without end": (config("scheduler", num_train_timesteps=10**12), "'1000000000000' training timesteps; from 1 to"),
    "levels too few": (config("scheduler", trained_betas=[0.1] * 5), "has a noise schedule of 5 levels for 1000 timesteps"),
    "no levels": (config("scheduler", trained_betas=[]), "has a noise schedule of 0 levels for 1000 timesteps"),
    "levels that rise": (config("scheduler", beta_end=5.0), "alpha_bar must fall from below 1 toward 0"),
    "no noise at all": (config("scheduler", beta_start=0.0, beta_end=0.0), "alpha_bar must fall from below 1 toward 0"),
    "a schedule that is none": (config("scheduler", beta_schedule="x"), "config that none can be built from (NotImpl"),
    "a truth for a number": (config("scheduler", num_train_timesteps=True), "has 'True' training timesteps"),
    "another architecture": (config("unet", cross_attention_dim=32), "weights of another architecture for its unet: 8 of"),
    "a config without end": (
        lambda f: (f / "vae/config.json").write_text('{"x": "' + "x" * 10**6 + '"}'), "of 1000009 bytes",
    ),
    "a config too deep": (lambda f: (f / "vae/config.json").write_text('{"x":' * 10**5), "no readable vae/config.json"),
    "an index too deep": (lambda f: (f / "model_index.json").write_text("[" * 10**5), "no readable model_index.json"),
    "a pipe for a config": (a_pipe("unet/config.json"), "has no unet; fetch or save it again."),
    "a pipe for the index": (a_pipe("model_index.json"), "has no readable model_index.json; give one in diffusers layout"),
    "a pipe for weights": (a_pipe(f"{UNET}.safetensors"), "has no safetensors weights of its unet"),
}  # fmt: skip


@pytest.mark.parametrize("how", REFUSALS)
def test_what_is_refused(folder, how):
    act, words = REFUSALS[how]
    act(folder)
    assert words in refused(folder)


def test_what_is_read_all_the_same(folder, tiny_folder, tmp_path):
    """Shards, half precision, links to elsewhere as in the Hub's cache, what nobody reads, more words than configs have."""
    expected = load_model(tiny_folder).weights
    shard(folder)
    component("safety_checker", "stable_diffusion", "StableDiffusionSafetyChecker")(folder)
    component("requires_safety_checker", None, True)(folder)
    (folder / "tokenizer/vocab.json").write_text(json.dumps({f"word{i}": i for i in range(100_000)}))
    assert load_model(folder).weights == expected
    linked = tmp_path / "linked"
    for path in tiny_folder.rglob("*.*"):
        (linked / path.relative_to(tiny_folder)).parent.mkdir(parents=True, exist_ok=True)
        (linked / path.relative_to(tiny_folder)).symlink_to(path)
    assert load_model(linked).weights == expected
    half = {name: tensor.half() for name, tensor in load_file(linked / f"{UNET}.safetensors").items()}
    (linked / f"{UNET}.safetensors").unlink()
    save_file(half, linked / f"{UNET}.safetensors", {"format": "pt"})
    assert load_model(linked).dtype == torch.float32


def test_every_model_that_comes_along_is_sound():
    """The embedded one is not checked at each start; here it is."""
    from explorer.models import files

    checks.folder(EMBEDDED, "emoji-ldm", files.index(EMBEDDED, "emoji-ldm", MODELS), torch.device("cpu"), None)


def test_a_model_too_big_for_the_memory(folder):
    """A whole and sane model of 400 GB, in a file that takes no disk: refused by its header, with both numbers."""
    edit(folder / "unet/config.json", block_out_channels=[65536, 65536])
    config = json.loads((folder / "unet/config.json").read_text())
    with torch.device("meta"):
        tensors = UNet2DConditionModel.from_config(config).state_dict()
    said, end = {}, 0
    for name, tensor in tensors.items():
        said[name] = {"dtype": "F32", "shape": [*tensor.shape], "data_offsets": [end, end := end + 4 * tensor.numel()]}
    text = json.dumps(said).encode()
    path = folder / f"{UNET}.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)
    before = room.free_ram()
    with pytest.raises(room.NoRoom) as refusal:
        load_model(folder, "cpu")
    assert refusal.value.needed == pytest.approx(end, rel=0.01)
    assert refusal.value.free == pytest.approx(before, rel=0.2)
    needed, free = refusal.value.needed / 1e9, refusal.value.free / 1e9
    assert f"needs {needed:.1f} GB of memory, and {free:.1f} GB are free" in str(refusal.value)
    with pytest.raises(room.NoRoom) as half:
        load_model(folder, "cpu", "bfloat16")
    assert half.value.needed == pytest.approx(refusal.value.needed / 2, rel=0.01)


@pytest.mark.parametrize(
    "spend", [lambda: torch.empty(2**55), lambda: bytearray(2**60)], ids=["torch", "Python"]
)  # fmt: skip
def test_memory_that_runs_out_while_loading(folder, monkeypatch, spend, tiny_model):
    def greedy(*_):
        held = torch.zeros(1000), spend()
        return held

    monkeypatch.setitem(MODELS, "StableDiffusionPipeline", greedy)
    assert refused(folder) == "The model 'model' doesn't fit into memory; free some, or give a smaller one."
    assert run(tiny_model, Request(steps=1)).latents.shape == (1, 4, 8, 8)


def test_a_failed_load_keeps_nothing(folder):
    """While its error is still at hand, no network of it is."""

    def networks():
        gc.collect()
        return sum(type(thing) is UNet2DConditionModel for thing in gc.get_objects())

    (folder / "explorer.json").write_text('{"sampler": "x"}')  # read after the networks
    before = networks()
    with pytest.raises(SourceError, match=r"explorer\.json that can't be used") as refusal:
        load_model(folder)
    assert refusal.value.__traceback__ is not None
    assert networks() == before
    assert torch.zeros(1).device.type == "cpu"  # nor do new tensors lack a storage


def test_stopping_a_folder(tiny_folder):
    def stop(stage, *_):
        if stage == "reading":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_model(tiny_folder, progress=stop)
