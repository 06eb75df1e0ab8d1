"""What the evaluation measures beside the judge's answers: the judge and the autoencoder on real pictures, memory, cost."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random
from statistics import mean, median

import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from torch import Tensor
from torch.nn.functional import avg_pool2d, mse_loss

from explorer import Request, denoise_batch, load_model
from explorer.records import Model
from training import classifier, diffusion
from training.concepts import Concept
from training.data import COLOURS, Scene, Scenes, compose, held_out, held_out_pair, pair, single
from training.questions import SEED, Question

COMPOSITIONS = 512  # real pictures of combinations that nothing was trained on
SCENES = diffusion.BANK  # pictures that the U-Net was trained on
RUNS = 5  # of which the median is told
MB, GB = 10**6, 10**9

Glyphs = NDArray


def real(table: Sequence[Concept], glyphs: Glyphs, judged: classifier.Classifier, model: Model) -> dict[str, float]:
    """The judge and the autoencoder on real compositions that neither was trained on."""
    random = Random(SEED + 1)
    held = [(i, c) for i, concept in enumerate(table) for c in COLOURS if held_out(concept, c)]
    ones = [single(i, colour, random) for i, colour in random.sample(held, min(len(held), COMPOSITIONS))]
    twos = []
    while len(twos) < COMPOSITIONS:
        i, j = random.sample(range(len(table)), 2)
        if held_out_pair(table[i], table[j]):
            twos.append(pair(i, j, "white", random))
    mixed, scenes = [], Scenes(table, SEED + 1)
    while len(mixed) < COMPOSITIONS:  # as training draws them: sizes, places, gradients, pairs
        if scenes.held_out(scene := scenes.draw(random)):
            mixed.append(scene)
    psnr, ssim = zip(*(_fidelity(model, row) for row in _pictures(mixed, glyphs).split(1)), strict=True)
    halves = classifier.halves(_pictures(twos, glyphs))
    both = [_named(judged, window) == torch.tensor([s.concepts[k] for s in twos]) for k, window in enumerate(halves)]
    alone = _named(judged, classifier.whole(_pictures(ones, glyphs))) == torch.tensor([s.concepts[0] for s in ones])
    return {
        "judge": alone.float().mean().item(),
        "judge, two concepts": (both[0] & both[1]).float().mean().item(),
        "VAE PSNR": mean(psnr),
        "VAE SSIM": mean(ssim),
    }


def _pictures(scenes: Sequence[Scene], glyphs: Glyphs) -> Tensor:
    return classifier.to_tensor([compose(scene, glyphs) for scene in scenes])


@torch.inference_mode()
def _named(judged: classifier.Classifier, windows: Tensor) -> Tensor:
    return judged(windows).argmax(1)


def _fidelity(model: Model, picture: Tensor) -> tuple[float, float]:
    again = model.decode(model.encode(picture * 2 - 1))
    a, b = picture[0].movedim(0, -1).numpy(), again[0].movedim(0, -1).numpy()
    return decibels(again, picture), float(structural_similarity(a, b, channel_axis=-1, data_range=1.0))


def decibels(a: Tensor, b: Tensor) -> float:
    """PSNR of pictures in 0 … 1."""
    return float(-10 * torch.log10(mse_loss(a, b)))


def trained(table: Sequence[Concept]) -> list[Scene]:
    """What the U-Net was trained on."""
    endless = Scenes(table, diffusion.SCENES)
    return [endless[i] for i in range(SCENES)]


def small(scenes: Sequence[Scene], glyphs: Glyphs) -> Tensor:
    """Their pictures at 32×32, a row each, in 0 … 1."""
    return torch.cat([_small(_pictures(scenes[i : i + 256], glyphs)) for i in range(0, len(scenes), 256)])


def novelty(bank: Tensor, glyphs: Glyphs, wanted: Sequence[Question], again: Sequence[Question]) -> dict[str, float]:
    """How near pictures of one concept are to the training pictures, and to another seed's picture of the same prompt.

    Root mean square differences at 32×32 pixels, medians. What a new composition of the right glyph has tells how near one
    comes by drawing the glyph, wherever it stands.

    Args:
        bank: the training pictures, from `small`.
        glyphs: pictures of the concepts.
        wanted: questions with pictures.
        again: the same with other seeds.
    """
    ours, others = (_small(torch.stack([q.picture for q in qs])) for qs in (wanted, again))  # type: ignore[misc]
    real_ones = small([single(q.wanted[0], q.colour, Random(q.seed)) for q in wanted], glyphs)
    near, composed = _nearest(ours, bank), _nearest(real_ones, bank)
    seeds = (ours - others).square().mean(1).sqrt()
    return {
        "to the nearest training picture": median(near.tolist()),
        "of a new composition of the same glyph to the nearest training picture": median(composed.tolist()),
        "between two seeds": median(seeds.tolist()),
        "nearer to a training picture than to its own prompt's other seed": (near < seeds).float().mean().item(),
    }


def trained_pairs(scenes: Sequence[Scene], asked: Sequence[Question]) -> int:
    """How many of these questions' pairs the training pictures have, in either order."""
    shown = {frozenset(scene.concepts) for scene in scenes}
    return sum(frozenset(q.wanted) in shown for q in asked)


def trained_grounds(scenes: Sequence[Scene], asked: Sequence[Question]) -> int:
    """For how many of these questions of one concept the training pictures have it on that background."""
    shown = {(*scene.concepts, scene.colour) for scene in scenes}
    return sum((*q.wanted, q.colour) in shown for q in asked)


def _small(pictures: Tensor) -> Tensor:
    return avg_pool2d(pictures, 4).flatten(1)


def _nearest(pictures: Tensor, bank: Tensor) -> Tensor:
    return torch.cdist(pictures, bank).amin(1) / pictures.shape[1] ** 0.5


def costs(folder: Path, model: Model, pictures: Sequence[Tensor], cores: int) -> dict[str, float]:
    """A run in a process of its own, the tiny decoder against the full one, and the sizes of the weights' files."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        seconds, peak = pool.submit(run_alone, folder, cores).result()
    threads = torch.get_num_threads()
    torch.set_num_threads(cores)
    tiny = AutoencoderTiny.from_pretrained(folder / "tiny_vae", torch_dtype=torch.float32)
    latents = [model.encode(picture[None] * 2 - 1) for picture in pictures]
    with torch.inference_mode():
        full, full_ms = _timed(model.decode, latents)
        fast, fast_ms = _timed(lambda x: (tiny.decode(x).sample / 2 + 0.5).clamp(0, 1), latents)
    torch.set_num_threads(threads)
    sizes = [file.stat().st_size / MB for file in folder.rglob("*.safetensors")]
    return {
        "cores": cores, "run s": seconds, "peak GB": peak, "weights MB": sum(sizes), "largest file MB": max(sizes),
        "tiny PSNR": mean(decibels(a, b) for a, b in zip(fast, full, strict=True)), "tiny ms": fast_ms, "full ms": full_ms,
    }  # fmt: skip


def run_alone(folder: Path, cores: int) -> tuple[float, float]:
    """Median seconds of a run with the app's defaults, decoded, and the process's peak resident memory in GB."""
    torch.set_num_threads(cores)
    model, times = load_model(folder, "cpu"), []
    for seed in range(RUNS):
        start = time.perf_counter()
        *_, last = denoise_batch(model, [Request(prompt="house on blue", seed=seed)])
        model.decode(last[0].latents)
        times.append(time.perf_counter() - start)
    return median(times), peak() / GB


def peak() -> int:
    """This process's largest resident memory, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage begins at what the process that started this one had
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024  # type: ignore[index]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _timed(decode: Callable[[Tensor], Tensor], latents: Sequence[Tensor]) -> tuple[list[Tensor], float]:
    decode(latents[0])
    start = time.perf_counter()
    decoded = [decode(x) for x in latents]
    return decoded, (time.perf_counter() - start) / len(latents) * 1000
