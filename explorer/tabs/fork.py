"""Rewind and fork: from the step under the cursor on, with what the form says now.

The branch takes the stage beside the run that it goes on from; the tree of branches there brings each of them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from secrets import token_hex
from typing import Any

import gradio as gr

from explorer import frames, limits, trace
from explorer.collecting import collect
from explorer.forecast import forecast
from explorer.forks import Fork, Forks, counted, differs, find, quoted
from explorer.player.branches import branches as side_by_side
from explorer.player.compare import tell
from explorer.records import Model, Request, RequestError, Step, Trajectory
from explorer.samplers import SAMPLERS
from explorer.sessions import Sessions
from explorer.tabs import traces
from explorer.tabs.beside import Showing, records
from explorer.tabs.common import REPLAYED, RUNS, paced, session, told
from explorer.tabs.gpu import denoise
from explorer.tabs.keeping import keeping
from explorer.tabs.lanes import Record, asked

STAGE = "reverse-branches"
GONE = "This run is not kept here, so nothing can go on from it; press Run, or open its trace again."
LOST = "This branch, or the run that it began in, is no longer kept here; press Run for a new one."
LARGE = "The branch is too large to be kept here: it can't be brought back, nor can anything go on from it."
PRIVATE: dict[str, Any] = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}


def build(
    model: Model, sessions: Sessions, family: Forks, controls: Mapping[str, gr.components.Component], stage: gr.HTML
) -> list[Any]:
    """Builds what shows the branches, hidden until there is one; returns the events that Cancel has to cancel.

    Args:
        family: where each branch began is kept here.
        controls: the Reverse tab's, by the endpoint's parameters, in their order.
        stage: its player.
    """
    player = str(stage.elem_id)
    # Pressed, and filled in, by what a person presses on the stage.
    run, at = gr.Textbox("", label="Run", visible="hidden"), gr.Number(0, label="At", visible="hidden")
    left = gr.Textbox("", label="Left", visible="hidden")
    ask = {name: gr.Button(name, elem_id=f"{STAGE}-{name}", visible="hidden") for name in ("fork", "branch", "run")}
    beside = side_by_side(STAGE, player, {name: str(button.elem_id) for name, button in ask.items()})
    root = f"document.querySelector('#{STAGE} .compare')"

    running = ask["fork"].click(
        runner(model, sessions, family),
        [*controls.values(), run, at],
        beside,
        js=f"(...values) => [...values.slice(0, -2), ...{root}.cursor()]",
        api_name="fork",
        **RUNS,
    )
    chosen = f"{root}.dataset.asked"
    shown = ask["branch"].click(
        shower(model, sessions, family), run, beside, js=f"() => {chosen}", concurrency_id="model", **PRIVATE
    )
    brought = ask["run"].click(
        bringer(model, sessions, family), [run, left], stage,
        js=f"() => [{chosen}, document.querySelector('#{player} .player').dataset.run ?? '']",
        concurrency_id="model", **PRIVATE,
    )  # fmt: skip
    for event, failed in ((running, "over"), (shown, "lost"), (brought, "lost")):
        event.then(fn=None, js=tell(STAGE, "over"))
        event.failure(fn=None, js=tell(STAGE, failed))  # gradio's then() is silent after an error
    return [running, shown, brought]


def runner(model: Model, sessions: Sessions, family: Forks) -> Callable[..., Iterator[Record]]:
    """The endpoint: the form's parameters, then the run and the step to go on from."""

    @told
    def fork(
        prompt: str,
        seed: int,
        steps: int,
        guidance: float,
        sampler: str,
        negative_prompt: str,
        guidance_rescale: float,
        eta: float,
        noise_scale: float,
        spacing: str,
        karras: bool,
        width: int | None = None,
        height: int | None = None,
        run: str = "",
        at: int = 0,
        request: gr.Request | None = None,
    ) -> Iterator[Record]:
        """Goes on from a step of a run of this session with other settings; yields one record per step, beside its origin.

        The branch is kept under the id in "branch", and can be forked like any run. All clients of the MCP server
        are one session: others' runs push the oldest out.

        Parameters:
            prompt: what the branch should show
            seed: another one than the origin's draws fresh noise from this step on, 0 to 2**32 - 1
            steps: number of sampling steps of the whole run, 1 to 1000
            guidance: classifier-free guidance scale, -5 to 30
            sampler: a name of explorer.samplers.SAMPLERS; on another grid the branch begins at the nearest log-SNR
            negative_prompt: takes the place of the empty prompt in the unconditional call
            guidance_rescale: phi of arXiv:2305.08891, 0 to 1
            eta: share of DDPM's variance that DDIM puts back, 0 to 1
            noise_scale: share of the injected noise that a stochastic sampler keeps, 0 to 1
            spacing: leading, linspace or trailing; empty for the model's own
            karras: whether sigmas are spaced as in arXiv:2206.00364; null for the model's own
            width: pixels, those of the origin; null for the model's own
            height: pixels, those of the origin; null for the model's own
            run: the id of the run to go on from
            at: the index of its step, from its first to the last but one
        """
        wanted = asked(
            model, prompt=prompt, seed=seed, steps=steps, guidance=guidance, sampler=sampler,
            negative_prompt=negative_prompt, guidance_rescale=guidance_rescale, eta=eta, noise_scale=noise_scale,
            spacing=spacing, karras=karras, width=width, height=height,
        )  # fmt: skip
        here = session(request)
        sessions.open(here)
        origin = _kept(model, sessions, family, here, run, "forked")
        state = _state(origin, at)
        start, name = (origin, state.index), token_hex(6)
        made = _fork(model, origin, wanted, run, state)
        showing = _showing(model, sessions, family, here, name, made, origin, wanted)

        def keep(steps: Sequence[Step]) -> None:
            if sessions.put(here, name, collect(model, wanted, steps, start)):
                family.put(here, name, made)

        with closing(keeping(sessions, denoise(model, wanted, start), made.last - made.first + 1, keep)) as stream:
            yield from records(showing, stream)
        if here and sessions.get(here, name) is None:
            yield {"run": showing.view, "summary": f"{made.said} {LARGE}"}

    return fork


def shower(model: Model, sessions: Sessions, family: Forks) -> Callable[..., Iterator[Record]]:
    """Brings a branch that was made before back, beside its origin."""

    @told
    def show(run: str, request: gr.Request) -> Iterator[Record]:
        here = session(request)
        branch, made = _find(model, sessions, family, here, run), family.get(here, run) if isinstance(run, str) else None
        origin = _find(model, sessions, family, here, made.origin) if made else None
        if branch is None or made is None or origin is None:
            raise RequestError(LOST)
        yield from records(_showing(model, sessions, family, here, run, made, origin, branch.request), branch.steps)

    return show


def bringer(model: Model, sessions: Sessions, family: Forks) -> Callable[..., Iterator[Record]]:
    """Brings a run that was made before back to the player, in the place of `left`, which the tree then has too."""

    @told
    def bring(run: str, left: str = "", request: gr.Request | None = None) -> Iterator[Record]:
        here = session(request)
        trajectory = _kept(model, sessions, family, here, run, "decoded")
        other = _find(model, sessions, family, here, left)
        more = {"left": [left, _began(other)]} if other and not limits.foreign(other, model) else {}
        wanted = trajectory.request
        n = max(SAMPLERS[wanted.sampler].evaluations(wanted.steps), trajectory.steps[-1].index) + 1
        for step in paced(trajectory.steps, REPLAYED):
            picture = frames.data_uri(model.decode(step.latents)) if step.x0 is None else None
            yield more | frames.encode(
                step, run=run, n=n, model_preview=model.preview, picture=picture, steps=wanted.steps,
                first=trajectory.steps[0].index,
            )  # fmt: skip

    return bring


def _find(model: Model, sessions: Sessions, family: Forks, here: str, run: Any) -> Trajectory | None:
    """A run of this session; one that goes back to the recorded run has that one at hand again, who ever pushed it out."""
    if not isinstance(run, str):
        return None
    line = family.line(here, run)
    root, *_, found = [sessions.get(here, one) for one in [line[0], *line]]  # used now: others go first
    if line[0] == traces.FIRST and root is None:
        root = trace.load(traces.RECORDED)
        if not limits.foreign(root, model):
            sessions.put(here, traces.FIRST, root)
    return root if run == line[0] else found


def _kept(model: Model, sessions: Sessions, family: Forks, here: str, run: Any, wish: str) -> Trajectory:
    """A run of this session that this model made; `wish` is what it is for."""
    trajectory = _find(model, sessions, family, here, run)
    if trajectory is None:
        raise RequestError(GONE)
    limits.check_own(trajectory, model, wish)
    return trajectory


def _state(trajectory: Trajectory, at: Any) -> Step:
    """The Step to go on from."""
    first, last, unit = trajectory.steps[0].index, trajectory.steps[-1], counted(trajectory.request)
    k = limits.whole("at", at, (first, last.index))
    if k == last.index and last.x0 is None:
        raise RequestError(f"{unit.capitalize()} {k} is the end of the run and leads nowhere; rewind to an earlier {unit}.")
    return trajectory.steps[k - first]


def _fork(model: Model, trajectory: Trajectory, wanted: Request, run: str, state: Step) -> Fork:
    """What the branch is, before it is made."""
    was, unit = trajectory.request, counted(trajectory.request)
    if (wanted.width, wanted.height) != (was.width, was.height):
        raise RequestError(
            f"The run is {was.width} x {was.height}, the form {wanted.width} x {wanted.height}; a branch keeps its size."
        )
    ahead, changed = forecast(model, wanted, (trajectory, state.index)), differs(was, wanted)
    return Fork(
        origin=run, at=state.index, first=ahead.first, last=ahead.last, changed=changed,
        label=f"{changed} at {unit} {state.index}", said=ahead.sentence,
    )  # fmt: skip


def _showing(
    model: Model, sessions: Sessions, family: Forks, here: str, run: str, made: Fork, origin: Trajectory, request: Request
) -> Showing:
    """A branch ready to be shown beside its origin, of which all is read here, once.

    Args:
        run: the branch's id.
        made: where it began.
        origin: the run that it goes on from.
        request: the branch's.
    """
    states, older = family.states(here, made.origin, origin), family.get(here, made.origin)
    k = find(states, made.origin, made.at)
    line = []
    for one in family.line(here, made.origin):
        fork, root = family.get(here, one), origin if one == made.origin else sessions.get(here, one)
        line.append((one, fork.label if fork else _began(root) if root else "an earlier run"))
    return Showing(
        model=model, view=token_hex(6), run=run, fork=made, request=request, line=[*line, (run, made.label)],
        before=states[:k], after=states[k:], origin=f"Origin · {older.changed}" if older else "Origin",
    )  # fmt: skip


def _began(root: Trajectory) -> str:
    """What the tree calls a run that began in noise."""
    return f"{quoted(root.request.prompt)} · seed {root.request.seed}".removeprefix("none · ")
