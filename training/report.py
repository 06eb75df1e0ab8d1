"""What the evaluation found, in words: EVALUATION.md, and the prompts that the app offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.concepts import Concept

if TYPE_CHECKING:
    from training.evaluate import Question

OFFERED = 24  # prompts to click
READY = {"two concepts": 4, "held-out colour": 4, "seen": OFFERED}  # at most, of each kind
TOP = 5


@dataclass(frozen=True)
class Results:
    """Everything that was measured."""

    table: Sequence[Concept]
    asked: Sequence[Question]
    real: dict[str, float]
    novelty: dict[str, float]
    costs: dict[str, float]
    bars: dict[str, float]
    note: str = ""  # what would reach the bars that were missed


def write(results: Results) -> str:
    """The report."""
    asked, costs, novelty = results.asked, results.costs, results.novelty
    kinds = list(dict.fromkeys(q.kind for q in asked))
    backgrounds = {"background, seen": "seen", "background, held out": "held-out colour"}
    measured = (
        results.real
        | {kind: _share(q.right for q in _of(asked, kind)) for kind in kinds}
        | {name: _share(q.background == q.colour for q in _of(asked, kind)) for name, kind in backgrounds.items()}
    )
    missed = [name for name, bar in results.bars.items() if measured[name] < bar]
    lines = [
        "# Evaluation of emoji-ldm",
        "",
        f"{len(asked)} pictures of {len(results.table)} concepts, by `python -m training.evaluate`; sampler, steps",
        "and guidance are the app's defaults unless said otherwise. The questions and seeds were fixed in code before the",
        "final training. A small network, trained on the glyphs only, names the concept; a two-concept picture counts when",
        "both halves show what the prompt says, in its order.",
        "",
        "## Bars",
        "",
        "| what | measured | bar | |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {_number(name, measured[name])} | ≥ {_number(name, bar)} | {'**missed**' * (name in missed)} |"
            for name, bar in results.bars.items()
        ),
        "",
        f"Not reached: {', '.join(missed)}. {results.note}".strip() if missed else "Every bar is reached.",
        "",
        "## Concepts",
        "",
        "| asked | pictures | first | among five | background right |",
        "| --- | --- | --- | --- | --- |",
        *(_row(kind, _of(asked, kind)) for kind in kinds),
        "",
        "## Autoencoder",
        "",
        f"PSNR {results.real['VAE PSNR']:.2f} dB and SSIM {results.real['VAE SSIM']:.3f} on held-out compositions. The "
        f"tiny decoder is {costs['tiny PSNR']:.1f} dB from the full one and takes {costs['tiny ms']:.1f} ms instead of "
        f"{costs['full ms']:.1f} ms.",
        "",
        "## How much is memory",
        "",
        "Root mean square difference at 32×32 pixels, pictures in 0 … 1:",
        "",
        *(f"- {name}: {value:.3f}" for name, value in novelty.items()),
        "",
        "The model draws its training glyphs, in places and on backgrounds of its own: that is what it is for. What is new "
        "is the combination, not the drawing.",
        "",
        "## Cost",
        "",
        f"{costs['run s']:.2f} s for a run of 20 steps with guidance, decoded, on 2 CPU cores; peak memory of the whole "
        f"evaluation {costs['peak GB']:.1f} GB.",
        "",
        "![sheet](sheet.png)",
        "",
    ]
    return "\n".join(lines)


def _row(kind: str, asked: Sequence[Question]) -> str:
    first, five = _share(q.right for q in asked), _share(all(rank < TOP for rank in q.ranks) for q in asked)
    ground = _share(q.background == q.colour for q in asked)
    return f"| {kind} | {len(asked)} | {first:.1%} | {five:.1%} | {ground:.1%} |"


def _number(name: str, value: float) -> str:
    return f"{value:.2f} dB" if "PSNR" in name else f"{value:.1%}"


def _of(asked: Sequence[Question], kind: str) -> list[Question]:
    return [q for q in asked if q.kind == kind]


def _share(truths: Iterable[bool]) -> float:
    values = list(truths)
    return sum(values) / max(1, len(values))


def ready_prompts(asked: Sequence[Question]) -> list[str]:
    """The prompts of the pictures that the judge is surest of: each concept once, colours by turns, kinds mixed."""
    chosen: list[Question] = []
    for kind, most in READY.items():
        good = sorted((q for q in _of(asked, kind) if q.right and q.background == q.colour), key=lambda q: -q.confidence)
        before = len(chosen)
        for q in (q for allowed in _rounds(good) for q in allowed):
            fresh = not any(set(q.wanted) & set(old.wanted) for old in chosen)
            if fresh and len(chosen) < min(before + most, OFFERED):
                chosen.append(q)
    # Each kind's at even distances: wherever the list is cut, it has some of every kind.
    kinds = [_of(chosen, kind) for kind in READY]
    spread = [((i + 0.5) / len(mine), q.prompt) for mine in kinds for i, q in enumerate(mine)]
    return [prompt for _, prompt in sorted(spread, key=lambda pair: pair[0])]


def _rounds(good: Sequence[Question]) -> Iterable[list[Question]]:
    """The best of every colour, then the second best of every colour, and so on."""
    colours: dict[str, list[Question]] = {}
    for q in good:
        colours.setdefault(q.colour, []).append(q)
    depth: Callable[[int], list[Question]] = lambda n: [mine[n] for mine in colours.values() if n < len(mine)]  # noqa: E731
    return (depth(n) for n in range(max(map(len, colours.values()), default=0)))
