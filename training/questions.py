"""What the evaluation asks: prompts, what their pictures should show, and seeds; fixed before any figure is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from torch import Tensor

from explorer import Request
from training.concepts import Concept
from training.data import COLOURS, SIZE_WORDS, held_out, held_out_pair

SEED = 20_260_901  # of the questions and of the pictures that figures are taken from
COUNTS = {"seen": 240, "held-out colour": 240, "two concepts": 160, "held-out pair": 80, "keyword": 240}
GUIDANCES, GUIDED = (1.0, 3.0, 5.0, 8.0), 80  # further scales, and how many seen captions are drawn at each
DEFAULT = Request()  # the app's sampler, steps and guidance
# Words that no caption has, for the sheet: nobody can say what is right, so they aren't judged.
UNSEEN = (
    "hound", "feline", "steed", "hog", "moth", "hawk", "cub", "wizard", "lorry", "vessel", "cab", "jet", "hut", "palace",
    "cottage", "storm", "blaze", "frost", "jam", "lime", "plum", "melody", "sailor", "moustache",
)  # fmt: skip
# Of backgrounds, places and sizes: a prompt of these alone doesn't ask for a concept.
GRAMMAR = {"left", "right"}.union(*(colour.split() for colour in COLOURS), *SIZE_WORDS.values())


@dataclass
class Question:
    """A prompt, what its picture should show, and what came of it."""

    kind: str
    prompt: str
    wanted: tuple[int, ...]  # concepts of the table, left to right; empty where nobody can say
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
        while len(of(asked, kind)) < COUNTS[kind]:
            i, j = random.sample(range(len(table)), 2)
            if held_out_pair(table[i], table[j]) == held:
                ask(kind, f"{table[i].name} and {table[j].name}", (i, j), "white")
    words = sole_keywords(table)
    for i, word in random.sample(words, min(len(words), COUNTS["keyword"])):
        ask("keyword", word, (i,), "white")
    for guidance in GUIDANCES:
        for q in of(asked, "seen")[:GUIDED]:
            ask(f"guidance {guidance:g}", q.prompt, q.wanted, q.colour, guidance)
    for word in UNSEEN:
        ask("no caption's word", word, (), "white")
    return asked


def of(asked: Sequence[Question], kind: str) -> list[Question]:
    """The questions of a kind."""
    return [q for q in asked if q.kind == kind]


def sole_keywords(table: Sequence[Concept]) -> list[tuple[int, str]]:
    """Keywords that ask for one concept alone: no other's keyword, in no other's name, and no word of the grammar."""
    return [
        (i, word)
        for i, concept in enumerate(table)
        for word in concept.keywords
        if word not in GRAMMAR
        and not any(word in other.keywords or word in other.name.split() for j, other in enumerate(table) if j != i)
    ]
