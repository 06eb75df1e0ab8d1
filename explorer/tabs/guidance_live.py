"""Turning the dial live: with every movement the same noise is denoised again at the new scale, and what it shows streams.

The browser asks for one step at a time, and for the newest value only: a run that nobody asks for stands still, so a stale
one stops within the step that it was in, a closed page costs nothing, and no more than one answer is ever under way for a
page. Measured here in Gradio 6.31, ten drags of 40 movements on two cores at a load of 6, from the last movement to the
first preview of its value, median and worst: this way 235 and 333 ms; a streaming listener with trigger_mode "always_last"
whose runs are told of newer values 293 and 839 ms; one with trigger_mode "multiple" 1647 and 2186 ms, since each movement
waits in the queue. Cancelling through Gradio adds about 150 ms more.
"""

from __future__ import annotations

import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from threading import BoundedSemaphore, Lock
from typing import Any

import gradio as gr

from explorer import frames, limits
from explorer.microscope import clipped, saturation
from explorer.player import guidance_live as player
from explorer.records import DiffuscopeError, Model, Request, RequestError, Step
from explorer.samplers import SAMPLERS
from explorer.sessions import Sessions
from explorer.sweep import meaning
from explorer.tabs.gpu import denoise
from explorer.tabs.lanes import asked

TITLE = "Turn the dial live: one noise, every scale"
LEAD = (
    "Drag the dial: the noise of the form's seed is denoised again at each value, in 8 steps, and the picture follows your "
    "hand. Values that you rest on are kept below, so that you can go back to them."
)
STAGE = "guidance-live"
STEPS = 8
FIRST = 4.0
TAKES = ("prompt", "seed", "sampler", "negative_prompt", "guidance_rescale")  # of the form
TENTHS = tuple(n / 10 for n in range(round(10 * limits.GUIDANCE[0]), round(10 * limits.GUIDANCE[1]) + 1))
PAGES = 16  # runs that are kept under way, one a page
RESTING = 5.0  # seconds after which a run may be let go for another page's: a page asks for its next step sooner
IDLE = 60.0  # seconds after which a run that nobody asks for is dropped
WAITING = 4  # more than this many at once are told to ask again: each holds one of the server's threads
LOST = "The dial and the server have lost each other; load the page again."
FAILED = "The run failed inside the app; the server's log says why."

Answer = dict[str, Any]


def build(model: Model, sessions: Sessions, controls: Mapping[str, gr.components.Component], stage_id: str) -> None:
    """Builds the fold.

    Args:
        model: what predicts.
        sessions: tells when a page was closed.
        controls: the form's, by name; those of TAKES are used where they are there.
        stage_id: elem_id of the sweep above.
    """
    turning, used = Turning(model), [name for name in TAKES if name in controls]
    sessions.on_drop(lambda session: turning.drop_idle())
    with gr.Accordion(TITLE, open=False, elem_classes="fold"):
        gr.Markdown(LEAD, elem_classes="note guidance-lead")
        dial = player.dial(
            STAGE, {name: getattr(controls[name], "value", None) for name in used}, live=runner(turning),
            span=limits.GUIDANCE, first=FIRST, steps=STEPS, stage=stage_id,
            meanings={"without": meanings(""), "with": meanings("some")},
        )  # fmt: skip
    names = ", ".join(f"'{name}'" for name in used)
    inputs = [controls[name] for name in used]
    gr.on(
        [control.change for control in inputs],  # type: ignore[attr-defined]
        fn=None, js=f"(...values) => Object.fromEntries([{names}].map((name, i) => [name, values[i]]))",
        inputs=inputs, outputs=dial,
    )  # fmt: skip


def meanings(negative_prompt: str) -> list[tuple[float, str, str]]:
    """What the dial's values mean, as rows of (lowest scale, name, sentence): each holds up to the next one."""
    rows: list[tuple[float, str, str]] = []
    for w in TENTHS:
        found = meaning(w, negative_prompt)
        if not rows or rows[-1][1:] != (found.name, found.sentence):
            rows.append((w, found.name, found.sentence))
    return rows


@dataclass(eq=False)
class _Run:
    """One page's newest run, between two of its steps."""

    turn: int
    guidance: float
    n: int
    steps: Iterator[Step]
    used: float = 0.0  # seconds, of time.monotonic

    def close(self) -> None:
        """Stops it here; nothing of it is computed any more."""
        close = getattr(self.steps, "close", None)
        if close is not None:
            close()


class Turning:
    """The runs under way, one a page: a newer turn of the dial takes the place of the page's older run.

    Safe to use from several threads; one of them computes at a time.
    """

    def __init__(self, model: Model, pages: int = PAGES, idle: float = IDLE, resting: float = RESTING) -> None:
        self._model, self._pages, self._idle, self._resting = model, pages, idle, resting
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._runs)

    def next(self, page: str, turn: int, values: Mapping[str, Any]) -> Answer:
        """The next step of that turn's run; {"over": True} where a newer one is under way, or it has ended.

        {"busy": True} where there is no room for another page's run: one let go amid its steps would only begin again.

        Raises:
            RequestError: a value of a new run is outside its limit.
        """
        with self._lock:
            self._close_idle()
            run = self._runs.get(page)
            if run is not None and turn < run.turn:
                return {"turn": turn, "over": True}
            if run is None and self._full():
                return {"busy": True}
            if run is None or turn > run.turn:
                fresh = begin(self._model, turn, values)  # what is wrong is told before the older run is let go
                if run is not None:
                    run.close()
                run = self._runs[page] = fresh
            try:
                step = next(run.steps, None)
                answer = {"turn": turn, "over": True} if step is None else record(self._model, run, step)
            except BaseException:
                self._runs.pop(page).close()
                raise
            run.used = time.monotonic()
            self._runs.move_to_end(page)
            return answer

    def drop_idle(self) -> None:
        """Lets go of the runs that nobody has asked for lately: their pages are closed, or have moved on."""
        with self._lock:
            self._close_idle()

    def _full(self) -> bool:
        """Whether there is no room for one more page: every run was asked for a moment ago."""
        if len(self._runs) < self._pages:
            return False
        oldest = next(iter(self._runs))
        if self._runs[oldest].used > time.monotonic() - self._resting:
            return True
        self._runs.pop(oldest).close()
        return False

    def _close_idle(self) -> None:
        late = time.monotonic() - self._idle
        for page in [page for page, run in self._runs.items() if run.used < late]:
            self._runs.pop(page).close()


def begin(model: Model, turn: int, values: Mapping[str, Any]) -> _Run:
    """A run of STEPS steps, checked, with nothing computed yet."""
    w = limits.number("guidance", values.get("guidance"), limits.GUIDANCE)
    plain = Request()
    given = {name: values.get(name, getattr(plain, name)) for name in TAKES}
    rest = {"spacing": None, "width": None, "height": None}
    wanted = asked(model, steps=STEPS, guidance=w, **given, **rest)
    n = SAMPLERS[wanted.sampler].evaluations(STEPS) + 1
    return _Run(turn, w, n, denoise(model, wanted))


def record(model: Model, run: _Run, step: Step) -> Answer:
    """What the page gets of one state: x0, and at the end the decoded picture with its share of clipped values."""
    whole = frames.encode(step, run="", n=run.n, model_preview=model.preview)
    made = {key: whole[key] for key in ("i", "n", "t", "shape", "preview")} | {"turn": run.turn, "w": run.guidance}
    made["planes"] = {name: plane for name, plane in whole["planes"].items() if name == "x0"}
    if step.index == run.n - 1:
        picture = model.decode(step.latents)
        made |= {"picture": frames.data_uri(picture), "clipped": clipped(picture), "saturation": saturation(picture)}
    return made


def runner(turning: Turning) -> Callable[[Any], Answer]:
    """live({"page", "turn", "guidance", and of TAKES what is wanted}); takes anything, raises nothing.

    The answer is a step's record; {"over": True} of a turn that has a newer one, or has ended; {"busy": True} where too
    many ask at once: ask again; or {"error": one sentence}.
    """
    places = BoundedSemaphore(WAITING)

    def live(wanted: Any = None) -> Answer:
        given = wanted if isinstance(wanted, dict) else {}
        page, turn = given.get("page"), given.get("turn")
        if not isinstance(page, str) or not 8 <= len(page) <= 64:
            return {"error": LOST}
        try:
            number = limits.whole("turn", turn, (0, 2**53))
        except RequestError:
            return {"error": LOST}
        if not places.acquire(blocking=False):
            return {"busy": True}
        try:
            return turning.next(page, number, given)
        except DiffuscopeError as error:
            return {"error": str(error)}
        except gr.Error as error:  # of ZeroGPU, on a Space: a sentence, at times with a link in it
            return {"error": re.sub(r"<[^>]*>", "", str(error.message))}
        except Exception:
            logging.getLogger(__name__).exception("A live run failed")
            return {"error": FAILED}
        finally:
            places.release()

    return live
