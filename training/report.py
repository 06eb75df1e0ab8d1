"""What the evaluation found, in words: EVALUATION.md, and the prompts that the app offers."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from training.concepts import Concept
from training.questions import DEFAULT, Question, of

OFFERED = 24  # prompts to click
READY = {"two concepts": 4, "held-out colour": 4, "seen": OFFERED}  # at most, of each kind
NOVEL = ("seen", "held-out colour")
TOP = 5


@dataclass(frozen=True)
class Results:
    """Everything that was measured."""

    table: Sequence[Concept]
    asked: Sequence[Question]
    real: Mapping[str, float]
    novelty: Mapping[str, Mapping[str, float]]  # by kind of question
    costs: Mapping[str, float]
    trained: Mapping[str, int]  # pairs of "two concepts" and grounds of "seen" that the training pictures have
    bars: Mapping[str, float]  # at least
    most: Mapping[str, float]  # at most


def write(results: Results, note: str = "") -> str:
    """The report; `note` says what would reach the bars that were missed."""
    judged = [q for q in results.asked if q.wanted]
    kinds = list(dict.fromkeys(q.kind for q in judged))
    sections = {
        "Evaluation of emoji-ldm": _lead(results),
        "Bars": _bars(results, judged, kinds, note),
        "Concepts": _concepts(results, judged, kinds),
        "Autoencoder": _autoencoder(results.real, results.costs),
        "How much is memory": _novelty(results.novelty),
        "Cost": _cost(results.costs),
    }
    written = "\n\n".join(f"{'#' * (1 + (i > 0))} {title}\n\n{text}" for i, (title, text) in enumerate(sections.items()))
    return f"{written}\n\n![sheet](sheet.png)\n"


def _lead(results: Results) -> str:
    return _paragraph(
        f"{len(results.asked)} pictures of {len(results.table)} concepts, by `python -m training.evaluate`:",
        f"{DEFAULT.sampler}, {DEFAULT.steps} steps, guidance {DEFAULT.guidance:g} unless said otherwise. Questions and",
        "seeds were fixed in code before any figure was taken (and last changed, by a review, while the network was",
        "training), and no setting was chosen by them; the prompts that the app offers were, afterwards. A small",
        "network, trained on composed glyphs alone and never on a held-out combination, names the concept; a",
        "two-concept picture counts when both halves show what the prompt says, in its order.",
    )


def _bars(results: Results, judged: Sequence[Question], kinds: Sequence[str], note: str) -> str:
    grounds = {"background, seen": "seen", "background, held out": "held-out colour"}
    measured = (
        {**results.real, **results.costs}
        | {kind: _share(q.right for q in of(judged, kind)) for kind in kinds}
        | {name: _share(q.background == q.colour for q in of(judged, kind)) for name, kind in grounds.items()}
    )
    bars = [(name, "≥", bar, measured[name] >= bar) for name, bar in results.bars.items()]
    bars += [(name, "≤", bar, measured[name] <= bar) for name, bar in results.most.items()]
    missed = [name for name, _, _, reached in bars if not reached]
    rows = [
        (name, _number(name, measured[name]), f"{sign} {_number(name, bar)}", "" if reached else "**missed**")
        for name, sign, bar, reached in bars
    ]
    told = f"Not reached: {', '.join(missed)}. {note}".strip() if missed else "Every bar is reached."
    return f"{_table(('what', 'measured', 'bar', ''), rows)}\n\n{told}"


def _concepts(results: Results, judged: Sequence[Question], kinds: Sequence[str]) -> str:
    table = _table(("asked", "pictures", "first", "among five", "background right"), [_row(judged, kind) for kind in kinds])
    told = _paragraph(
        f"Of the {len(of(judged, 'two concepts'))} pairs of “two concepts” training showed {results.trained['pairs']}",
        "together: there are far more pairs than pictures, so nearly all are new, and those of “held-out pair” are so",
        f"by rule. Of the {len(of(judged, 'seen'))} captions of “seen” it showed {results.trained['grounds']} with just",
        "that concept on that background; the others are allowed, and chance left them out. Keywords are words that",
        "captions had for one concept alone. On real compositions of held-out pairs the judge has both right in",
        f"{results.real['judge, two concepts']:.1%}: two-concept prompts could hardly reach more. What the model makes",
        "of words that no caption has is on the last rows of the sheet.",
    )
    return f"{table}\n\n{told}"


def _autoencoder(real: Mapping[str, float], costs: Mapping[str, float]) -> str:
    return _paragraph(
        f"PSNR {real['VAE PSNR']:.2f} dB and SSIM {real['VAE SSIM']:.3f} on compositions of held-out combinations,",
        "drawn as in training: one or two glyphs, any size and place, plain and graded backgrounds. The tiny decoder",
        f"is {costs['tiny PSNR']:.1f} dB from the full one and takes {costs['tiny ms']:.1f} ms instead of",
        f"{costs['full ms']:.1f} ms.",
    )


def _novelty(found: Mapping[str, Mapping[str, float]]) -> str:
    """The conclusion hangs on how near one comes by drawing the right glyph, and on how much the seed decides."""
    rows = [
        (name, *(f"{found[kind][name]:.0%}" if name.startswith("nearer") else f"{found[kind][name]:.3f}" for kind in NOVEL))
        for name in found[NOVEL[0]]
    ]
    near, glyph, seeds, _ = found[NOVEL[0]].values()
    drawn = "as near to a training picture as a new composition of the same glyph is"
    if not glyph <= 1.25 * near <= 1.25**2 * glyph:
        drawn = (
            f"{near / glyph:.1f} times as far from the nearest training picture as a new composition of the same glyph is"
        )
    told = _paragraph(
        f"A generated picture is {drawn}, and two seeds of one prompt differ {'less' if seeds < near else 'more'} than",
        "it does from the nearest training picture. The drawing itself is memory: the model was made to draw its",
        "training glyphs, and has seen no others. What can be new is the combination with a background, a place, a",
        "size or another glyph; the held-out rows above say how often that comes out right.",
    )
    about = "Root mean square difference at 32×32 pixels, pictures in 0 … 1, medians; all training pictures are looked at."
    return f"{about}\n\n{_table(('', *NOVEL), rows)}\n\n{told}"


def _cost(costs: Mapping[str, float]) -> str:
    cores = f"{costs['cores']:.0f} CPU core{'s' * (costs['cores'] != 1)}"
    return _paragraph(
        f"{costs['run s']:.2f} s for a run of {DEFAULT.steps} steps with guidance, decoded, on {cores}; its process",
        f"takes {costs['peak GB']:.2f} GB at most. {costs['weights MB']:.1f} MB of weights.",
    )


def _paragraph(*lines: str) -> str:
    return "\n".join(textwrap.wrap(" ".join(lines), 120, break_on_hyphens=False))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _row(judged: Sequence[Question], kind: str) -> tuple[str, ...]:
    asked = of(judged, kind)
    first, five = _share(q.right for q in asked), _share(all(rank < TOP for rank in q.ranks) for q in asked)
    ground = _share(q.background == q.colour for q in asked)
    return (kind, f"{len(asked)}", *(f"{share:.1%}" for share in (first, five, ground)))


def _number(name: str, value: float) -> str:
    for unit in ("dB", "MB", "s"):
        if name.endswith({"dB": "PSNR"}.get(unit, f" {unit}")):
            return f"{value:.2f} {unit}"
    return f"{value:.1%}"


def _share(truths: Iterable[bool]) -> float:
    values = list(truths)
    return sum(values) / max(1, len(values))


def ready_prompts(asked: Sequence[Question]) -> list[str]:
    """The prompts of the pictures that the judge is surest of: each concept once, colours by turns, kinds mixed."""
    chosen: list[Question] = []
    for kind, most in READY.items():
        good = sorted((q for q in of(asked, kind) if q.right and q.background == q.colour), key=lambda q: -q.confidence)
        before = len(chosen)
        for q in (q for allowed in _rounds(good) for q in allowed):
            fresh = not any(set(q.wanted) & set(old.wanted) for old in chosen)
            if fresh and len(chosen) < min(before + most, OFFERED):
                chosen.append(q)
    # Each kind's at even distances: wherever the list is cut, it has some of every kind.
    kinds = [of(chosen, kind) for kind in READY]
    spread = [((i + 0.5) / len(mine), q.prompt) for mine in kinds for i, q in enumerate(mine)]
    return [prompt for _, prompt in sorted(spread, key=lambda pair: pair[0])]


def _rounds(good: Sequence[Question]) -> Iterable[list[Question]]:
    """The best of every colour, then the second best of every colour, and so on."""
    colours: dict[str, list[Question]] = {}
    for q in good:
        colours.setdefault(q.colour, []).append(q)
    depth: Callable[[int], list[Question]] = lambda n: [mine[n] for mine in colours.values() if n < len(mine)]  # noqa: E731
    return (depth(n) for n in range(max(map(len, colours.values()), default=0)))
