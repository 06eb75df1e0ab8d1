"""Measures the embedded model and writes EVALUATION.md and a contact sheet into its folder.

    python -m training.evaluate --model assets/models/emoji-ldm

What is asked was fixed before the final training, and its seeds are used for nothing else. The numbers are what the run
prints; a bar that isn't reached is named so.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, mse_loss

from explorer import Request, denoise_batch, load_model
from explorer.models.files import OWN
from explorer.records import Model
from training import classifier, report
from training.concepts import Concept, concepts
from training.data import COLOURS, Scenes, compose, held_out, held_out_pair, load_glyphs, sheet, single
from training.loop import FOLDER, parsed

SEED = 20_260_901  # of the questions and of the pictures; used for nothing else
COUNTS = {"seen": 240, "held-out colour": 240, "two concepts": 160, "held-out pair": 80, "keyword": 240}
GUIDANCES, GUIDED = (1.0, 3.0, 5.0, 8.0), 80  # further scales, and how many seen captions are drawn at each
DEFAULT = Request()  # the app's sampler, steps and guidance
COMPOSITIONS, NOVEL, ROW, EDGE = 512, 48, 16, 6
SCENES = 60_000  # training pictures among which those of a concept are looked for
JUDGE = {"steps": 3000, "batch": 64, "seed": 7}
BARS = {
    "VAE PSNR": 28.0, "judge": 0.95, "seen": 0.90, "held-out colour": 0.75, "keyword": 0.70, "two concepts": 0.50,
    "background, seen": 0.95, "background, held out": 0.85,
}  # fmt: skip


@dataclass
class Question:
    """A prompt, what its picture should show, and what came of it."""

    kind: str
    prompt: str
    wanted: tuple[int, ...]  # concepts of the table, left to right
    colour: str
    seed: int
    guidance: float = DEFAULT.guidance  # type: ignore[assignment]
    picture: Tensor | None = None  # (3, 128, 128) in 0 … 1
    ranks: list[int] = field(default_factory=list)  # of each wanted concept in the judge's order, 0 is best
    confidence: float = 0.0  # the judge's probability of what was wanted, the least of them
    background: str = ""

    @property
    def right(self) -> bool:
        """Every wanted concept comes first."""
        return all(rank == 0 for rank in self.ranks)


def questions(table: Sequence[Concept]) -> list[Question]:
    """What is asked, in a fixed order."""
    random = Random(SEED)
    asked: list[Question] = []
    colours = [colour for colour in COLOURS if colour != "white"]

    def ask(kind: str, prompt: str, wanted: tuple[int, ...], colour: str, guidance: float | None = None) -> None:
        asked.append(Question(kind, prompt, wanted, colour, SEED + len(asked), guidance or float(DEFAULT.guidance)))  # type: ignore[arg-type]

    def one(held: bool) -> tuple[int, str]:
        while True:
            i, colour = random.randrange(len(table)), random.choice(colours)
            if held_out(table[i], colour) == held:
                return i, colour

    for n in range(COUNTS["seen"]):
        i, colour = (random.randrange(len(table)), "white") if n % 3 == 0 else one(held=False)
        ask("seen", table[i].name if colour == "white" else f"{table[i].name} on {colour}", (i,), colour)
    for _ in range(COUNTS["held-out colour"]):
        i, colour = one(held=True)
        ask("held-out colour", f"{table[i].name} on {colour}", (i,), colour)
    for kind, held in (("two concepts", False), ("held-out pair", True)):
        while sum(q.kind == kind for q in asked) < COUNTS[kind]:
            i, j = random.sample(range(len(table)), 2)
            if held_out_pair(table[i], table[j]) == held:
                ask(kind, f"{table[i].name} and {table[j].name}", (i, j), "white")
    sole = [(i, word) for i, c in enumerate(table) for word in c.keywords if sum(word in d.keywords for d in table) == 1]
    for i, word in random.sample(sole, min(len(sole), COUNTS["keyword"])):
        ask("keyword", word, (i,), "white")
    for guidance in GUIDANCES:
        for q in [q for q in asked if q.kind == "seen"][:GUIDED]:
            ask(f"guidance {guidance:g}", q.prompt, q.wanted, q.colour, guidance)
    return asked


def draw(model: Model, asked: Sequence[Question]) -> None:
    """Draws all pictures with the app's defaults, a few rows at a time."""
    for start in range(0, len(asked), ROW):
        row = asked[start : start + ROW]
        requests = [Request(prompt=q.prompt, seed=q.seed, guidance=q.guidance) for q in row]
        *_, last = denoise_batch(model, requests)
        for q, step in zip(row, last, strict=True):
            q.picture = model.decode(step.latents)[0]
        print(f"{start + len(row)} of {len(asked)} pictures", end="\r", flush=True)


def judge(judged: classifier.Classifier, asked: Sequence[Question]) -> None:
    """Fills in ranks and backgrounds."""
    for q in asked:
        picture = q.picture[None]  # type: ignore[index]
        windows = classifier.halves(picture) if len(q.wanted) == 2 else (classifier.whole(picture),)
        with torch.inference_mode():
            beliefs = [judged(window)[0].softmax(0) for window in windows]
        q.ranks = [int((belief > belief[wanted]).sum()) for belief, wanted in zip(beliefs, q.wanted, strict=True)]
        q.confidence = min(float(belief[wanted]) for belief, wanted in zip(beliefs, q.wanted, strict=True))
        q.background = background(picture[0])


def background(picture: Tensor) -> str:
    """The named colour that is nearest to the median of a picture's border."""
    border = torch.cat([picture[:, :EDGE].flatten(1), picture[:, -EDGE:].flatten(1), picture[:, :, :EDGE].flatten(1),
                        picture[:, :, -EDGE:].flatten(1)], dim=1)  # fmt: skip
    median = border.median(dim=1).values * 255
    return min(COLOURS, key=lambda name: float((median - torch.tensor(COLOURS[name])).square().sum()))


def real(
    table: Sequence[Concept], glyphs: NDArray[np.uint8], judged: classifier.Classifier, model: Model
) -> dict[str, float]:
    """The judge and the autoencoder on real compositions that nothing was trained on."""
    random = Random(SEED + 1)
    held = [(i, c) for i, concept in enumerate(table) for c in COLOURS if held_out(concept, c)]
    taken = random.sample(held, min(len(held), COMPOSITIONS))
    pictures = classifier.to_tensor([compose(single(i, colour, random), glyphs) for i, colour in taken])
    with torch.inference_mode():
        found = judged(classifier.whole(pictures)).argmax(1)
    right = (found == torch.tensor([i for i, _ in taken])).float().mean().item()
    psnr, ssim = zip(*(_fidelity(model, row) for row in pictures.split(1)), strict=True)
    return {"judge": right, "VAE PSNR": sum(psnr) / len(psnr), "VAE SSIM": sum(ssim) / len(ssim)}


def _fidelity(model: Model, picture: Tensor) -> tuple[float, float]:
    from skimage.metrics import structural_similarity

    again = model.decode(model.encode(picture * 2 - 1))
    a, b = picture[0].movedim(0, -1).numpy(), again[0].movedim(0, -1).numpy()
    return decibels(again, picture), float(structural_similarity(a, b, channel_axis=-1, data_range=1.0))


def decibels(a: Tensor, b: Tensor) -> float:
    """PSNR of pictures in 0 … 1."""
    return float(-10 * torch.log10(mse_loss(a, b)))


def novelty(
    table: Sequence[Concept], glyphs: NDArray[np.uint8], model: Model, asked: Sequence[Question]
) -> dict[str, float]:
    """How near generated pictures come to training pictures, against how far two seeds lie apart (RMSE at 32×32)."""
    scenes = Scenes(table, 1)

    def small(pictures: Tensor) -> Tensor:
        return avg_pool2d(pictures, 4).flatten(1)

    wanted = [q for q in asked if q.kind == "seen"][:NOVEL]
    alike = [replace_seed(q, 1) for q in wanted]
    draw(model, alike)
    first = small(torch.stack([q.picture for q in wanted]))  # type: ignore[misc]
    second = small(torch.stack([q.picture for q in alike]))  # type: ignore[misc]
    # Among the training pictures only those of the same concept can be near.
    near, real_near = [], []
    for q, mine in zip(wanted, first, strict=True):
        own = [s for s in (scenes[i] for i in range(SCENES)) if s.concepts == q.wanted][:64]
        training = small(classifier.to_tensor([compose(s, glyphs) for s in own]))
        near.append(_rmse(training, mine).min().item())
        other = small(classifier.to_tensor([compose(single(q.wanted[0], q.colour, Random(q.seed)), glyphs)]))[0]
        real_near.append(_rmse(training, other).min().item())
    return {
        "to the nearest training picture": sum(near) / len(near),
        "of a new composition to the nearest training picture": sum(real_near) / len(real_near),
        "between two seeds": _rmse(first, second).mean().item(),
    }


def replace_seed(q: Question, shift: int) -> Question:
    """The same question with another seed."""
    return Question(q.kind, q.prompt, q.wanted, q.colour, q.seed + 1_000_000 * shift, q.guidance)


def ready(model: Model, judged: classifier.Classifier, asked: Sequence[Question]) -> list[str]:
    """The prompts that the app offers: of those that came out right, the ones that do so from its own seed too."""
    surest = sorted((q for q in asked if q.kind in report.READY and q.right and q.background == q.colour),
                    key=lambda q: -q.confidence)  # fmt: skip
    again = []
    for kind, count in report.READY.items():
        again += [replace(q, seed=model.abilities.seed) for q in surest if q.kind == kind][: 3 * count]
    draw(model, again)
    judge(judged, again)
    return report.ready_prompts(again)


def offer(folder: Path, prompts: list[str]) -> None:
    """Writes them where the app finds them, beside what the folder says already."""
    file = folder / OWN
    told = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    told |= {"prompts": prompts} if prompts else {}
    file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _rmse(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().mean(dim=1).sqrt()


def costs(model: Model, folder: Path, pictures: Sequence[Tensor], cores: int) -> dict[str, float]:
    """Seconds of a 20-step run with CFG, peak memory, and the tiny decoder against the full one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(cores)
    times = []
    for seed in range(5):
        start = time.perf_counter()
        *_, last = denoise_batch(model, [Request(prompt="house on blue", seed=seed)])
        model.decode(last[0].latents)
        times.append(time.perf_counter() - start)
    tiny = AutoencoderTiny.from_pretrained(folder / "tiny_vae", torch_dtype=torch.float32)
    latents = [model.encode(picture[None] * 2 - 1) for picture in pictures]
    with torch.inference_mode():
        full, full_ms = _timed(lambda x: model.decode(x), latents)
        fast, fast_ms = _timed(lambda x: (tiny.decode(x).sample / 2 + 0.5).clamp(0, 1), latents)
    torch.set_num_threads(threads)
    return {
        "run s": sorted(times)[len(times) // 2],
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "tiny PSNR": sum(decibels(a, b) for a, b in zip(fast, full, strict=True)) / len(full),
        "tiny ms": fast_ms,
        "full ms": full_ms,
    }


def _timed(decode, latents: Sequence[Tensor]) -> tuple[list[Tensor], float]:
    decode(latents[0])
    start = time.perf_counter()
    decoded = [decode(x) for x in latents]
    return decoded, (time.perf_counter() - start) / len(latents) * 1000


def main() -> None:
    """Draws, judges, measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the judge's checkpoint lies (%(default)s)")
    parser.add_argument("--all", action="store_true", help="all concepts; the everyday ones otherwise")
    parser.add_argument("--note", default="", help="what would reach the bars that are missed, for the report")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parsed(parser)
    table = concepts(not arguments.all)
    glyphs = load_glyphs(table, arguments.folder)
    judged = classifier.train(table, glyphs, arguments.folder / "judge.pt", device=arguments.device, **JUDGE).cpu()
    model = load_model(arguments.model, device=arguments.device)
    asked = questions(table)
    draw(model, asked)
    judge(judged, asked)
    pictures = [q.picture for q in asked if q.picture is not None]
    spent = costs(load_model(arguments.model, device="cpu"), arguments.model, pictures[:16], arguments.threads or 2)
    results = report.Results(
        table, asked, real(table, glyphs, judged, model), novelty(table, glyphs, model, asked), spent, BARS, arguments.note
    )
    (arguments.model / "EVALUATION.md").write_text(report.write(results), encoding="utf-8")
    offer(arguments.model, ready(model, judged, asked))
    shown = [q for kind in ("seen", "held-out colour", "keyword", "two concepts") for q in asked if q.kind == kind][::13][
        :64
    ]
    drawn = [(q.picture.movedim(0, -1).numpy() * 255).round().astype("uint8") for q in shown if q.picture is not None]
    sheet(drawn, [q.prompt for q in shown]).save(arguments.model / "sheet.png", optimize=True)
    print(report.write(results))


if __name__ == "__main__":
    main()
