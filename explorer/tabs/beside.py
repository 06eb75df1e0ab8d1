"""A branch beside the run that it goes on from: one record of a comparison for each state of the branch.

Up to the fork the two are one run. From there on each state of the branch has that of its origin beside it which stands
at the same evaluation or, on another grid, has the nearest log-SNR.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from explorer import frames
from explorer.forks import Fork, State, beside, counted
from explorer.lessons import distance
from explorer.records import Model, Request, Step
from explorer.tabs.common import REPLAYED, noun, paced
from explorer.tabs.compare import CURVES, DIFFERENCE, SHOW, sentence, x0_apart
from explorer.tabs.lanes import Lane, Record, curve, difference, record


@dataclass(frozen=True)
class Showing:
    """A branch and its origin on the stage."""

    model: Model
    view: str  # an id for the records of this one showing
    run: str  # the branch's id
    fork: Fork
    request: Request  # the branch's
    origin: str  # what to call the origin
    before: Sequence[State]  # the origin's, up to the Step at which the branch begins
    after: Sequence[State]  # that one and all that follow
    line: Sequence[tuple[str, str]]  # (run, label) of the branch's origins, the first one first, and of itself

    @property
    def n(self) -> int:
        """How many places the timeline has."""
        return len(self.before) + self.fork.last - self.fork.first + 1


def records(showing: Showing, steps: Iterable[Step]) -> Iterator[Record]:
    """One record a place, from the origin's first state on, then as the branch's own Steps are made; one more sums up."""
    fork, k, unit = showing.fork, len(showing.before), counted(showing.request)
    for i, state in enumerate(paced(showing.before, REPLAYED)):
        yield _record(showing, i, state, state, "Before the fork: here the two are one run.")
    for i, step in enumerate(paced(steps, REPLAYED), k):
        theirs, ours = beside(step, showing.after), State(showing.run, step, f"{unit} {step.index} of {fork.last}")
        yield _record(showing, i, theirs, ours, _note(showing, i, theirs, ours))
        if i == k:
            yield {"run": showing.view, "summary": fork.said}


def _note(showing: Showing, i: int, theirs: State, ours: State) -> str:
    """What the two show at one place of the branch."""
    end, guess = showing.after[-1], x0_apart(theirs.step, ours.step)
    if i == len(showing.before):
        already = "" if guess is None else f"; the clean {noun(showing.model)} that the two predict are {guess:.3f} apart"
        return f"The branch begins here, in the state of its origin{already}."
    if i == showing.n - 1 and end.step.x0 is not None:
        return f"The end of the branch; its origin was stopped at {end.place}, so their ends can't be compared."
    return sentence(i, showing.n, distance(theirs.step, ours.step), guess, ours.place, noun(showing.model))


def _record(showing: Showing, i: int, theirs: State, ours: State, note: str) -> Record:
    names = (showing.origin, f"Branch · {showing.fork.changed}")
    pair = (theirs.step, ours.step)
    pictures = [
        frames.data_uri(showing.model.decode(step.latents)) if i == showing.n - 1 and step.x0 is None else None
        for step in pair
    ]
    lanes = [
        Lane(name, state.step, SHOW, f"{state.place} · t = {state.step.timestep:.4g}", picture=picture, place=state.place)
        for name, state, picture in zip(names, (theirs, ours), pictures, strict=True)
    ]
    lanes.append(Lane("Branch − origin", theirs.step, DIFFERENCE, "0 has the ground's colour", planes=difference(*pair)))
    apart = distance(*pair), x0_apart(*pair)
    series = [curve(*one, value) for one, value in zip(CURVES, apart, strict=True)]
    branch = {"run": showing.run, "line": [list(one) for one in showing.line], "begins": len(showing.before)}
    made = record(showing.model, showing.view, i, showing.n, lanes, series=series, note=note)
    return made | {"branch": branch, "at": [ours.run, ours.step.index], "place": ours.place}
