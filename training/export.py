"""Writes the trained parts in diffusers layout, float16, no file above 10 MB.

python -m training.export --to checkpoints/emoji-ldm
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from training import autoencoder, text, tiny
from training.diffusion import NOISE, TextToImage, read_bank
from training.loop import FOLDER

SHARD = "9MB"
DEFAULTS = {"sampler": "DDIM", "steps": 20, "scale": 4.0}  # where the page's form begins


def export(folder: Path, to: Path) -> None:
    """Reads the three checkpoints in `folder` and writes the model folder `to`; EMA weights, inference's scheduler.

    Raises:
        FileNotFoundError: a stage has not been trained yet.
    """
    words = text.tokenizer()
    model = TextToImage(words)
    average = torch.load(folder / "diffusion.pt", map_location="cpu", weights_only=True)["average"]
    model.load_state_dict({k.removeprefix("module."): v for k, v in average.items() if k.startswith("module.")})
    vae = autoencoder.load(folder)
    vae.register_to_config(scaling_factor=read_bank(folder)[1])
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=model.text_encoder, tokenizer=words, unet=model.unet,
        scheduler=DDIMScheduler(**NOISE, set_alpha_to_one=False), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.to(dtype=torch.float16).save_pretrained(to, max_shard_size=SHARD)
    small = tiny.build()
    small.load_state_dict(torch.load(folder / "tiny.pt", map_location="cpu", weights_only=True)["model"])
    tiny.write(small, to / "tiny_vae")
    (to / "explorer.json").write_text(json.dumps(DEFAULTS, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where checkpoints lie (%(default)s)")
    parser.add_argument("--to", type=Path, required=True)
    arguments = parser.parse_args()
    export(arguments.folder, arguments.to)
    total = sum(file.stat().st_size for file in arguments.to.rglob("*.safetensors"))
    print(f"{arguments.to}: {total / 1e6:.1f} MB of weights")


if __name__ == "__main__":
    main()
