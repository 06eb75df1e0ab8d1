"""Measures the embedded model and writes EVALUATION.md and a contact sheet into its folder, and the prompts that it offers.

    python -m training.evaluate --model assets/models/emoji-ldm --minutes 10
    python -m training.evaluate --model assets/models/emoji-ldm --resume
    python -m training.evaluate --model assets/models/emoji-ldm --again --note "What would reach the bars: ..."

The numbers are what the run prints; a bar that isn't reached is named so. The figures are taken before any prompt is
chosen. With --again the report is written once more from the figures of the last run, with another note.
"""

from __future__ import annotations

import argparse
import json
import math
import pickle
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch import Tensor

from explorer import Request, denoise_batch, load_model
from explorer.models.files import OWN
from explorer.records import Model
from training import classifier, measures, report
from training.concepts import concepts
from training.data import COLOURS, load_glyphs, sheet
from training.loop import FOLDER, Run, parsed
from training.questions import DEFAULT, Question, of, questions

NOVEL, ROW, EDGE = 48, 16, 6
JUDGE = {"steps": 3000, "batch": 64, "seed": 7}
BARS = {
    "VAE PSNR": 28.0, "judge": 0.95, "seen": 0.90, "held-out colour": 0.75, "keyword": 0.70, "two concepts": 0.50,
    "background, seen": 0.95, "background, held out": 0.85,
}  # fmt: skip
MOST = {"run s": 2.0, "weights MB": 60.0, "largest file MB": 10.0}
SHEET = ("seen", "held-out colour", "keyword", "two concepts")
OTHER_SEED = 1_000_000  # further on, for another picture of the same prompt
CANDIDATES = 60  # pictures, of which those that come out right may be offered as prompts
DRAWN, RESULTS = "drawn.pt", "evaluation.pkl"  # beside the checkpoints


class Drawn:
    """Where the pictures of a model ended, row by row, (B, 4, 16, 16) each; a checkpoint keeps them."""

    def __init__(self, model: Model, asked: Sequence[Question]) -> None:
        wanted = repr([(q.prompt, q.seed, q.guidance) for q in asked])
        self.key, self.rows = f"weights {model.weights}, questions {crc32(wanted.encode()):08x}", list[Tensor]()

    def state_dict(self) -> dict[str, Any]:
        """What is there so far, by which weights and for which questions."""
        return {"key": self.key, "rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes it up again.

        Raises:
            ValueError: other weights drew it, or for other questions.
        """
        if state["key"] != self.key:
            raise ValueError(
                "The pictures that are kept are of another model or of other questions; begin without --resume."
            )
        self.rows = [*state["rows"]]


def draw(model: Model, asked: Sequence[Question], file: Path, minutes: float = math.inf, resume: bool = False) -> bool:
    """Draws all pictures with the app's defaults, a few rows at a time.

    Args:
        model: what draws.
        asked: the questions that get their pictures.
        file: the checkpoint.
        minutes: stops after this long.
        resume: goes on from the checkpoint, if there is one.

    Returns:
        Whether it came to the end.

    Raises:
        ValueError: a picture has values that are no numbers, or the checkpoint's are not these.
    """
    drawn = Drawn(model, asked)
    run = Run(file, {"latents": drawn}, math.ceil(len(asked) / ROW), minutes)
    if resume and file.exists():
        run.resume()
    for i, _ in run:
        row = asked[i * ROW : (i + 1) * ROW]
        *_, last = denoise_batch(model, [Request(prompt=q.prompt, seed=q.seed, guidance=q.guidance) for q in row])
        drawn.rows.append(torch.cat([step.latents for step in last]))
    for q, latents in zip(asked, (latents for row in drawn.rows for latents in row), strict=False):
        q.picture = model.decode(latents[None])[0]
        if not q.picture.isfinite().all():
            raise ValueError(f"The picture of {q.prompt!r}, seed {q.seed}, has values that are no numbers.")
    return run.done == run.steps


def judge(judged: classifier.Classifier, asked: Sequence[Question]) -> None:
    """Fills in ranks and backgrounds, where anything was wanted."""
    for q in asked:
        if not q.wanted:
            continue
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


def ready(model: Model, judged: classifier.Classifier, asked: Sequence[Question], file: Path) -> list[str]:
    """The prompts that the app offers: of those that came out right, the ones that do so from its own seed too."""
    again = []
    for kind in report.READY:
        right = [q for q in of(asked, kind) if q.right and q.background == q.colour]
        surest = sorted(right, key=lambda q: -q.confidence)[:CANDIDATES]
        again += [replace(q, seed=model.abilities.seed) for q in surest]
    draw(model, again, file)
    judge(judged, again)
    return report.ready_prompts(again)


def offer(folder: Path, prompts: list[str]) -> None:
    """Writes them where the app finds them, beside what the folder says already."""
    file = folder / OWN
    told = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    told.pop("prompts", None)
    file.write_text(json.dumps(told | ({"prompts": prompts} if prompts else {}), indent=2) + "\n", encoding="utf-8")


def contact_sheet(asked: Sequence[Question], file: Path) -> None:
    """Some of every kind, 64 in all, and the words that no caption has."""
    shown = [q for kind in SHEET for q in of(asked, kind)][::13][:64]
    shown += [q for q in asked if not q.wanted]
    drawn = [(q.picture.movedim(0, -1).numpy() * 255).round().astype("uint8") for q in shown if q.picture is not None]
    sheet(drawn, [q.prompt for q in shown]).save(file, optimize=True)


def measure(arguments: argparse.Namespace) -> report.Results | None:
    """Draws and judges what is asked, measures the rest, and writes prompts and sheet; None if --minutes end before."""
    until = time.monotonic() + arguments.minutes * 60
    table = concepts(not arguments.all)
    glyphs = load_glyphs(table, arguments.folder)
    model = load_model(arguments.model, device=arguments.device)
    can = model.abilities
    if (can.sampler, can.steps, can.scale) != (DEFAULT.sampler, DEFAULT.steps, DEFAULT.guidance):
        raise ValueError("The folder's explorer.json and the app's Request() begin differently: which are the defaults?")
    judged = classifier.train(table, glyphs, arguments.folder, arguments.minutes, device=arguments.device, **JUDGE)
    if judged is None:
        return None
    judged = judged.cpu()
    asked = questions(table)
    again = [replace(q, seed=q.seed + OTHER_SEED) for kind in report.NOVEL for q in of(asked, kind)[:NOVEL]]
    file = arguments.folder / DRAWN
    if not draw(model, [*asked, *again], file, (until - time.monotonic()) / 60, arguments.resume):
        return None
    judge(judged, asked)
    scenes = measures.trained(table)
    bank = measures.small(scenes, glyphs)
    novelty = {kind: measures.novelty(bank, glyphs, of(asked, kind)[:NOVEL], of(again, kind)) for kind in report.NOVEL}
    real = measures.real(table, glyphs, judged, model)
    plain = load_model(arguments.model, device="cpu")
    pictures = [q.picture for q in asked[:16] if q.picture is not None]
    costs = measures.costs(arguments.model, plain, pictures, arguments.threads or 2)
    trained = {
        "pairs": measures.trained_pairs(scenes, of(asked, "two concepts")),
        "grounds": measures.trained_grounds(scenes, of(asked, "seen")),
    }
    prompts = ready(model, judged, asked, file.with_stem("candidates"))
    offer(arguments.model, prompts)
    contact_sheet(asked, arguments.model / "sheet.png")
    if len(prompts) < report.OFFERED:
        print(f"Only {len(prompts)} of {report.OFFERED} prompts to offer came out right.")
    return report.Results(table, [replace(q, picture=None) for q in asked], real, novelty, costs, trained, BARS, MOST)


def main() -> None:
    """Draws, judges, measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the judge and the figures lie (%(default)s)")
    parser.add_argument("--all", action="store_true", help="all concepts; the everyday ones otherwise")
    parser.add_argument("--note", default="", help="what would reach the bars that are missed, for the report")
    parser.add_argument("--again", action="store_true", help="only write the report of the last run's figures again")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this long, with a checkpoint")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves it to PyTorch")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parsed(parser)
    file = arguments.folder / RESULTS
    if not arguments.again:
        measured = measure(arguments)
        if measured is None:
            print("Time is over before the last picture; --resume goes on.")
            return
        file.write_bytes(pickle.dumps(measured))
    results = pickle.loads(file.read_bytes())
    written = report.write(results, arguments.note)
    (arguments.model / "EVALUATION.md").write_text(written, encoding="utf-8")
    print(written)


if __name__ == "__main__":
    main()
