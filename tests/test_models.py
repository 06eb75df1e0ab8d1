"""Loading models: the embedded one, folders, Hub ids; and every way in which it can fail, in one sentence."""

import json
import shutil

import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file

from explorer import Request, load_model, run
from explorer.models import EMBEDDED
from explorer.records import SourceError
from training import tiny


def test_the_embedded_model(embedded_model):
    assert embedded_model.name == "emoji-ldm"
    assert embedded_model.default_size == (128, 128)
    assert (embedded_model.latent_channels, embedded_model.latent_scale) == (4, 8)
    assert embedded_model.dtype == torch.float32
    assert embedded_model.prediction_type in ("epsilon", "v_prediction", "sample")
    picture = embedded_model.decode(run(embedded_model, Request(prompt="pizza", steps=2)).latents)
    assert picture.shape == (1, 3, 128, 128)
    assert 0 <= float(picture.min()) < float(picture.max()) <= 1


def test_no_file_is_too_big_for_a_space():
    files = [file for file in EMBEDDED.rglob("*") if file.is_file()]
    assert files
    assert max(file.stat().st_size for file in files) < 10_000_000
    assert {file.suffix for file in files} <= {".json", ".safetensors", ".md", ".png"}


def test_a_folder(tiny_folder):
    model = load_model(tiny_folder)
    assert model.name == "tiny"
    assert run(model, Request(prompt="cat", steps=2)).latents.shape == (1, 4, 8, 8)
    assert load_model(str(tiny_folder), "cpu", "bfloat16").dtype == torch.bfloat16


def test_half_precision_runs_and_is_close(tiny_folder):
    request = Request(prompt="cat", steps=4, guidance=2.0)
    exact = run(load_model(tiny_folder), request).latents
    half = run(load_model(tiny_folder, dtype=torch.bfloat16), request)
    assert half.latents.dtype == torch.float32  # the state stays exact; the network doesn't
    assert half.capsule["dtype"] == "bfloat16"
    assert float((half.latents - exact).abs().mean()) < 0.05 * float(exact.abs().mean())


def test_encode_and_decode_have_the_protocols_shapes(tiny_model):
    latents = tiny_model.encode(torch.zeros(2, 3, 64, 96))
    assert latents.shape == (2, 4, 8, 12)
    picture = tiny_model.decode(latents)
    assert picture.shape == (2, 3, 64, 96)
    assert picture.dtype == torch.float32


def test_the_preview_is_the_least_squares_fit(embedded_model):
    """Against the true decoding of latents that it was not fitted to, it beats every constant colour."""
    ramp = torch.linspace(-1, 1, 128)
    pictures = torch.stack([ramp.expand(128, 128), ramp[:, None].expand(128, 128), -ramp.expand(128, 128)])[None]
    latents = embedded_model.encode(torch.cat([pictures, pictures.flip(1) * 0.7]))
    truth = torch.nn.functional.avg_pool2d(embedded_model.decode(latents), 8)
    matrix, offset = torch.tensor(embedded_model.preview.matrix), torch.tensor(embedded_model.preview.offset)
    guess = torch.einsum("rc,bchw->brhw", matrix, latents) + offset[:, None, None]
    constant = truth.mean(dim=(2, 3), keepdim=True)
    assert float(((guess - truth) ** 2).mean()) < 0.25 * float(((constant - truth) ** 2).mean())


def test_the_posterior_is_diffusers_own(tiny_model):
    picture = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = tiny_model.posterior(picture)
    with torch.inference_mode():
        theirs = tiny_model.vae.encode(picture).latent_dist
    assert torch.equal(mean, tiny_model.encode(picture))
    assert torch.equal(std, theirs.std * 0.5)  # the fixture's scaling factor
    assert bool((std > 0).all())
    generator = torch.Generator().manual_seed(1)
    eps = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(mean + std * eps, theirs.sample(generator) * 0.5)


@pytest.fixture
def with_tiny(tiny_folder, tmp_path):
    """The tiny pipeline's folder with a tiny decoder in it, as training writes it."""
    folder = broken(tiny_folder, tmp_path, "model")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        tiny.write(tiny.build(), folder / "tiny_vae")
    return folder


def test_a_tiny_decoder_beside_the_parts(with_tiny, tiny_folder):
    model, plain = load_model(with_tiny), load_model(tiny_folder)
    latents = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(2))
    picture = model.decode_tiny(latents)
    theirs = AutoencoderTiny.from_pretrained(with_tiny / "tiny_vae", torch_dtype=torch.float32)
    with torch.inference_mode():
        expected = (theirs.decode(latents).sample / 2 + 0.5).clamp(0, 1)
    assert picture.shape == (2, 3, 64, 96)
    assert picture.dtype == torch.float32
    torch.testing.assert_close(picture, expected)
    assert float(picture.std()) > 0.01
    assert plain.decode_tiny(latents) is None
    assert model.weights == plain.weights  # a run doesn't depend on how it is shown


TINY_BREAKS = {
    "no weights": lambda f: (f / "diffusion_pytorch_model.safetensors").unlink(),
    "no config": lambda f: (f / "config.json").unlink(),
    "truncated": lambda f: _truncate(f / "diffusion_pytorch_model.safetensors"),
    "a weight missing": lambda f: _lose(f / "diffusion_pytorch_model.safetensors", "decoder.layers.0.weight"),
    "pickle only": lambda f: (f / "diffusion_pytorch_model.safetensors").rename(f / "diffusion_pytorch_model.bin"),
    "weights that are not finite": lambda f: _spoil(f / "diffusion_pytorch_model.safetensors"),
    "another class": lambda f: edit(f / "config.json", _class_name="AutoencoderKL", latent_channels=[4]),
    "other channels": lambda f: tiny_of(f, latent_channels=16),
    "other scale": lambda f: tiny_of(f, blocks=3),
}


def _spoil(path):
    save_file({key: tensor * float("nan") for key, tensor in load_file(path).items()}, path, {"format": "pt"})


def tiny_of(folder, blocks=4, **settings):
    kinds = {"encoder_block_out_channels": (4,) * blocks, "decoder_block_out_channels": (4,) * blocks}
    counts = {"num_encoder_blocks": (1,) * blocks, "num_decoder_blocks": (1,) * blocks}
    AutoencoderTiny(**kinds, **counts, **settings).save_pretrained(folder)


@pytest.mark.parametrize("how", TINY_BREAKS)
def test_broken_tiny_decoders(with_tiny, tmp_path, how):
    TINY_BREAKS[how](with_tiny / "tiny_vae")
    with pytest.raises(SourceError, match=r"^The model 'model' .*tiny_vae.* remove it\.$") as refusal:
        load_model(with_tiny)
    assert "\n" not in str(refusal.value)
    assert str(tmp_path) not in str(refusal.value)


def broken(tiny_folder, tmp_path, name):
    folder = tmp_path / name
    shutil.copytree(tiny_folder, folder)
    return folder


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


BREAKS = {
    "no index": lambda f: (f / "model_index.json").unlink(),
    "index not JSON": lambda f: (f / "model_index.json").write_text("{"),
    "index a list": lambda f: (f / "model_index.json").write_text("[]"),
    "another pipeline": lambda f: edit(f / "model_index.json", _class_name="FluxPipeline"),
    "a class that is a list": lambda f: edit(f / "model_index.json", _class_name=["StableDiffusionPipeline"]),
    "no unet": lambda f: shutil.rmtree(f / "unet"),
    "no tokenizer": lambda f: shutil.rmtree(f / "tokenizer"),
    "empty tokenizer": lambda f: [file.unlink() for file in (f / "tokenizer").iterdir()],
    "no scheduler": lambda f: shutil.rmtree(f / "scheduler"),
    "truncated weights": lambda f: _truncate(f / "unet" / "diffusion_pytorch_model.safetensors"),
    "weights of zeros": lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(bytes(5000)),
    "pickle only": lambda f: (f / "unet" / "diffusion_pytorch_model.safetensors").rename(
        f / "unet" / "diffusion_pytorch_model.bin"
    ),
    "other shapes": lambda f: edit(f / "unet" / "config.json", block_out_channels=[16, 32]),
    "config not JSON": lambda f: (f / "text_encoder" / "config.json").write_text("no"),
    "scheduler a list": lambda f: (f / "scheduler" / "scheduler_config.json").write_text("[]"),
    "defaults a number": lambda f: edit(f / "scheduler" / "scheduler_config.json", _use_default_values=5),
    "no sample size": lambda f: edit(f / "unet" / "config.json", sample_size=None),
    "flow prediction": lambda f: edit(f / "scheduler" / "scheduler_config.json", prediction_type="flow_prediction"),
    "no prediction": lambda f: edit(f / "scheduler" / "scheduler_config.json", prediction_type=None),
    "betas of text": lambda f: edit(f / "scheduler" / "scheduler_config.json", beta_start="low"),
    "betas of NaN": lambda f: edit(f / "scheduler" / "scheduler_config.json", beta_end=float("nan")),
    "class labels": lambda f: edit(f / "unet" / "config.json", class_embed_type="timestep"),
    "long prompts": lambda f: edit(f / "tokenizer" / "tokenizer_config.json", model_max_length=77),
    "endless prompts": lambda f: edit(f / "tokenizer" / "tokenizer_config.json", model_max_length=10**30),
    "a weight of the U-Net missing": lambda f: _lose(f / "unet" / "diffusion_pytorch_model.safetensors", "conv_out.weight"),
    "embeddings missing": lambda f: _lose(f / "text_encoder" / "model.safetensors", "token_embedding"),
    "inpainting": lambda f: edit(f / "vae" / "config.json", latent_channels=9),
}


def _lose(path, name):
    tensors = load_file(path)
    kept = {key: tensor for key, tensor in tensors.items() if name not in key}
    assert len(kept) < len(tensors)
    save_file(kept, path, {"format": "pt"})


def _truncate(path):
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize("how", BREAKS)
def test_broken_folders(tiny_folder, tmp_path, how):
    folder = broken(tiny_folder, tmp_path, "model")
    BREAKS[how](folder)
    with pytest.raises(SourceError) as refusal:
        load_model(folder)
    message = str(refusal.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert "'model'" in message
    assert str(tmp_path) not in message


@pytest.mark.parametrize(
    "source",
    [
        "no/such/folder",
        "../x",
        "a b/c",
        "https://example.org/x",
        "",
        "owner/name@x;rm",
        "~nosuchuser/x y",
        "x" * 5000,
        "a\0b",
    ],
)
def test_sources_that_are_neither_folder_nor_id(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"neither a folder nor a Hub id|has no readable model_index"):
        load_model(source)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"device": "tpu9"}, "device is 'tpu9'; give 'cpu', 'cuda' or 'cuda:1'."),
        ({"device": "meta"}, "device is 'meta'; give 'cpu' or 'cuda'."),
        ({"device": "cuda:97"}, "CUDA devices are here; give 'cpu'."),
        ({"dtype": "int8"}, "dtype is 'int8'; give 'auto', 'float32', 'float16' or 'bfloat16'."),
        ({"dtype": "load"}, "dtype is 'load'; give"),
    ],
)
def test_devices_and_dtypes(settings, sentence):
    with pytest.raises(SourceError) as refusal:
        load_model(**settings)
    assert sentence in str(refusal.value)


def test_a_missing_embedded_model(monkeypatch, tmp_path):
    monkeypatch.setattr("explorer.models.EMBEDDED", tmp_path / "emoji-ldm")
    with pytest.raises(SourceError, match=r"'emoji-ldm' has no readable model_index.json; reinstall the project."):
        load_model()


def test_what_of_a_prompt_is_not_read(tiny_model, embedded_model):
    assert tiny_model.unread("") == tiny_model.unread("red cat") == ""
    fits, over = "cat " * 14, "cat " * 14 + "red  STAR, ünd mehr"
    assert tiny_model.unread(fits) == ""
    assert tiny_model.unread(over) == "red  STAR, ünd mehr"  # as it was written, not as the tokenizer sees it
    read, unread = over[: -len("red  STAR, ünd mehr")], tiny_model.unread(over)
    assert read + unread == over
    assert torch.equal(tiny_model.encode_prompt(over).tensors["hidden"], tiny_model.encode_prompt(read).tensors["hidden"])
    long = "a pizza on a blue background, " * 9
    assert long.endswith(embedded_model.unread(long))
    assert 0 < len(embedded_model.unread(long)) < len(long)


def test_the_parts_have_the_real_shapes(embedded_model):
    tokenizer, text_encoder, unet, vae = embedded_model.parts()
    assert tokenizer.gives == text_encoder.takes == (32,)
    assert text_encoder.gives == embedded_model.encode_prompt("pizza").tensors["hidden"].shape[1:]
    latents = run(embedded_model, Request(steps=1)).latents
    assert unet.takes == unet.gives == vae.takes == latents.shape[1:]
    assert vae.gives == embedded_model.decode(latents).shape[1:]
    assert unet.parameters == sum(p.numel() for p in embedded_model.unet.parameters()) > vae.parameters > 0


def test_auto_is_what_was_found_fastest_but_the_embedded_model_stays_exact(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, remembered = load_model(tiny_folder, "cpu", "auto"), (tmp_path / "diffuscope" / "cpu.json").read_text()
    assert first.dtype in (torch.float32, torch.bfloat16)
    way = json.loads(remembered).popitem()[1]
    (tmp_path / "diffuscope" / "cpu.json").write_text(remembered.replace(way, "bfloat16, channels last"))
    second = load_model(tiny_folder, "cpu", "auto")
    assert (second.dtype, second.rounding) == (torch.bfloat16, "channels last")
    assert load_model(None, "cpu", "auto").dtype == torch.float32
