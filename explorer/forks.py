"""The forks of a session: which run each branch goes on from, at which Step, and with what otherwise.

A branch is kept in `sessions` like any run, from its own first Step on; here is only how it hangs together with its
origin. An origin that was pushed out is simply not found: what came before the branch is then not known.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

from explorer.diffusion import log_snr
from explorer.records import Request, Step, Trajectory
from explorer.samplers import SAMPLERS
from explorer.sessions import Sessions

KEPT = 128  # of one session, of a few hundred bytes each
SESSIONS = 1024


@dataclass(frozen=True)
class Fork:
    """Where a run, a branch, goes on from a Step of another one."""

    origin: str  # that run's id
    at: int  # index of its Step
    first: int  # index of the branch's own first Step
    last: int  # and of its last
    changed: str  # "guidance 4 → 12"
    label: str  # "guidance 4 → 12 at step 8"
    said: str  # what the fork does, in a sentence


class State(NamedTuple):
    """One state of a run, which may be that of a run before it."""

    run: str  # whose Step it is
    step: Step
    place: str  # "step 8 of 20"


class Forks:
    """Forks by session and the run that began there, the oldest going first; safe to use from several threads."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._kept: OrderedDict[str, OrderedDict[str, Fork]] = OrderedDict()
        self._lock = Lock()
        sessions.on_drop(self.drop)

    def put(self, session: str, run: str, fork: Fork) -> None:
        """Keeps where a run began."""
        with self._lock:
            mine = self._kept.setdefault(session, OrderedDict())
            self._kept.move_to_end(session)
            mine[run] = fork
            if len(mine) > KEPT:
                mine.popitem(last=False)
            if len(self._kept) > SESSIONS:
                self._kept.popitem(last=False)

    def get(self, session: str, run: str) -> Fork | None:
        """None for a run that began in noise, or is unknown."""
        with self._lock:
            mine = self._kept.get(session)
            return mine.get(run) if mine else None

    def drop(self, session: str) -> None:
        """Forgets a session's."""
        with self._lock:
            self._kept.pop(session, None)

    def line(self, session: str, run: str) -> list[str]:
        """The run and all that it goes back to, the first one first."""
        runs = [run]
        while fork := self.get(session, runs[-1]):
            runs.append(fork.origin)
        return runs[::-1]

    def states(self, session: str, run: str, kept: Trajectory | None = None) -> list[State]:
        """All states of a run from the first that is kept: of a branch, those of its origins before it too.

        Args:
            session: whose it is.
            run: its id.
            kept: the run itself, where it is in hand: others may push it out of the sessions at any moment.
        """
        states: list[State] = []
        for one in self.line(session, run):
            trajectory, fork = self._sessions.get(session, one), self.get(session, one)
            if one == run and kept is not None:
                trajectory = kept
            if trajectory is None:
                states = []
                continue
            if fork is not None:
                states = states[: find(states, fork.origin, fork.at)]
            states += [State(one, step, place(trajectory, step)) for step in trajectory.steps]
        return states


def find(states: Sequence[State], run: str, index: int) -> int:
    """Where a run's Step is among states; 0 where it is not."""
    return next((i for i, state in enumerate(states) if (state.run, state.step.index) == (run, index)), 0)


def beside(step: Step, others: Sequence[State]) -> State:
    """The state to show beside one of a branch: of the same evaluation where the levels agree, else of nearest log-SNR.

    Ends go together, whatever their levels.
    """
    if step.x0 is None:
        return others[-1]
    same = (other for other in others if other.step.index == step.index and _apart(other.step, step) == 0)
    return next(same, None) or min(others, key=lambda other: _apart(other.step, step))


def differs(before: Request, after: Request) -> str:
    """What a request has otherwise than another one, in a short line: "guidance 4 → 12, seed 3 → 7"."""
    made = []
    for field, words in (("prompt", "prompt"), ("negative_prompt", "negative prompt")):
        if getattr(before, field) != getattr(after, field):
            made.append(f"{words} → {quoted(getattr(after, field))}")
    if before.sampler != after.sampler:
        made.append(f"{before.sampler} → {after.sampler}")
    for field in ("guidance", "seed", "steps", "eta", "noise_scale", "guidance_rescale"):
        if getattr(before, field) != getattr(after, field):
            made.append(f"{field} {_short(getattr(before, field))} → {_short(getattr(after, field))}")
    if before.spacing != after.spacing:
        made.append(f"spacing {before.spacing or 'the model’s own'} → {after.spacing or 'the model’s own'}")
    if bool(before.karras) != bool(after.karras):
        made.append(f"Karras sigmas {'on' if after.karras else 'off'}")
    return ", ".join(made) or "unchanged"


def place(trajectory: Trajectory, step: Step) -> str:
    """Where a Step is in its run, in words."""
    request = trajectory.request
    last = max(SAMPLERS[request.sampler].evaluations(request.steps), trajectory.steps[-1].index)  # PNDM may have one more
    return f"{counted(request)} {step.index} of {last}"


def counted(request: Request) -> str:
    """What the states of a run are counted in: samplers that look twice have more evaluations than steps."""
    return "step" if SAMPLERS[request.sampler].evaluations(request.steps) == request.steps else "evaluation"


def quoted(text: str) -> str:
    """A prompt, short enough for a label."""
    short = text if len(text) <= 32 else text[:30].rstrip() + "…"
    return f"“{short}”" if text else "none"


def _short(value: float | tuple[float, ...]) -> str:
    return "per evaluation" if isinstance(value, tuple) else str(value) if isinstance(value, int) else f"{value:g}"


def _apart(a: Step, b: Step) -> float:
    """How far two noise levels are apart, in nats of log-SNR."""
    here, there = log_snr(a.alpha, a.sigma), log_snr(b.alpha, b.sigma)
    return 0.0 if here == there else math.inf if math.isinf(here) and math.isinf(there) else abs(here - there)
