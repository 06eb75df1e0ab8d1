"""Distilling a tiny decoder for an autoencoder in diffusers layout, at toy size: from the command to a model's folder."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from explorer.models.tiny import load
from training import autoencoder, data, loop, tiny
from training.concepts import concepts

TABLE = concepts(everyday=True)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A folder with glyphs that need no font, a toy autoencoder in `vae`, and toy channels."""
    random = np.random.default_rng(0)
    glyphs = np.zeros((len(TABLE), 128, 136, 4), np.uint8)
    glyphs[:, 20:108, 24:112, :3] = random.integers(0, 255, (len(TABLE), 1, 1, 3))
    glyphs[:, 20:108, 24:112, 3] = 255
    np.savez_compressed(tmp_path / data.GLYPHS, names=np.array([c.name for c in TABLE]), glyphs=glyphs)
    monkeypatch.setattr(autoencoder, "CHANNELS", (8, 8, 16, 16))
    monkeypatch.setattr(tiny, "CHANNELS", (16, 16, 16, 16))
    torch.manual_seed(0)
    vae = autoencoder.build()
    vae.register_to_config(scaling_factor=0.25)
    vae.save_pretrained(tmp_path / "vae")
    return tmp_path


def test_from_a_folder_to_a_folder(toy, monkeypatch, capsys):
    words = [
        "tiny",
        "--vae",
        toy / "vae",
        "--to",
        toy / "model" / "tiny_vae",
        "--folder",
        toy,
        "--steps",
        "3",
        "--batch",
        "3",
    ]
    monkeypatch.setattr("sys.argv", [*map(str, words), "--device", "cpu", "--threads", "1"])
    monkeypatch.setattr(tiny, "MEASURED", 3)
    tiny.main()
    written = load(toy / "model", "toy", channels=4, scale=8)
    assert written.dtype == torch.float32
    assert written.config.scaling_factor == 1.0
    state = torch.load(toy / "tiny.pt", weights_only=True)["model"]
    assert all(torch.equal(value.half().float(), written.state_dict()[name]) for name, value in state.items())
    said = capsys.readouterr().out
    assert said.startswith("PSNR ")
    assert said.endswith(" dB to the full decoder on other pictures\n")


def test_composed_latents_are_encodings_and_never_repeat(toy):
    vae = AutoencoderKL.from_pretrained(toy / "vae").eval()
    arguments = SimpleNamespace(all=False, folder=toy, batch=2, device="cpu")
    latents, scale = tiny.composed(arguments, vae, seed=5)
    first, second = latents(0), latents(1)
    assert scale == 0.25
    assert torch.equal(first, latents(0))
    assert not torch.equal(first, second)
    scenes, glyphs = data.Scenes(TABLE, 5), data.load_glyphs(TABLE, toy)
    pictures = data.signed([data.compose(scenes[i], glyphs) for i in (2, 3)])
    with torch.no_grad(), loop.autocast("cpu"):
        mean = vae.encode(pictures).latent_dist.mode()
    assert torch.equal(second, mean.float())


def test_the_noise_is_at_most_what_was_asked_for():
    noise = tiny.noised(torch.zeros(64, 4, 16, 16), 0.5, torch.Generator().manual_seed(0))
    levels = noise.flatten(1).std(dim=1)
    assert 0 < float(levels.min()) < 0.1
    assert 0.4 < float(levels.max()) < 0.53
    assert float(noise.mean().abs()) < 0.01
