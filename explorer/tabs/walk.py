"""The Walk tab: a walk through latent space as a film, each frame a whole run, and what is measured along it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from explorer import frames as wire
from explorer import walk as path
from explorer.player import formed
from explorer.player import walk as player
from explorer.records import Model
from explorer.sessions import Sessions
from explorer.tabs import gpu, walk_again, walk_export
from explorer.tabs.common import RUNS, paced, session, told
from explorer.tabs.lanes import Record, buttons
from explorer.tabs.url import Linked, seen
from explorer.tabs.walk_form import EVALUATIONS, FRAMES, STRENGTH, asked, checked, form
from explorer.tabs.walk_runs import Made, Walks, plane, steps
from explorer.tabs.walk_sources import sources
from explorer.tabs.walk_words import changes, named, posts, ways
from explorer.walk_film import Batch

TITLE = "Walk"
LEAD = "Press Run: a film from one prompt and noise to the next, a whole run of the model a frame. Then drag along it."
NOISES = "Press Run: a film from one noise to the next, a whole run of the model a frame. Then drag along it."
STAGE = "walk-stage"
NAME = "walk"  # of the endpoint, and of the buttons' ids
EVEN = "walk-even"
BESIDE = "walk-beside"


def build(model: Model, sessions: Sessions) -> Linked:
    """Builds the tab into the open Blocks."""
    walks, can = Walks(), model.abilities
    sessions.on_drop(walks.drop)
    with gr.Row(elem_classes="leads"):
        gr.Markdown(LEAD if can.prompts else NOISES, elem_classes="lead")
    with gr.Row(elem_classes="experiment trial walk-tab"):
        with gr.Column(elem_classes="controls"):
            controls = form(model)
        with gr.Column(elem_classes="runbar"):
            start, cancel = buttons("Run", NAME)
        with gr.Column(elem_classes="stage-column"):
            marks = ("the first station", "the last")
            stage = player.film(
                STAGE,
                steps=steps(model, walks),
                frames=FRAMES,
                stations=marks,
                even=EVEN,
                beside=BESIDE,
                prompts=can.prompts,
                pixels=not can.latent,
            )
            walk_export.build(model, walks, stage)
    run = gr.Textbox("", label="Run", visible="hidden")
    even, beside = (gr.Button(name, visible="hidden", elem_id=name) for name in (EVEN, BESIDE))

    linked = {name: one for name, one in controls.items() if name not in ("picture", "second_picture")}
    values = list(linked.values())
    gr.on([one.change for one in values], fn=None, js=formed(STAGE, "formed", "walk", list(linked)), inputs=values)  # type: ignore[attr-defined]
    start.click(fn=None, js=formed(STAGE, "asked", "walk", list(linked)), inputs=values)
    looked = f"() => document.querySelector('#{STAGE} .walk').looked()"
    again = {"api_visibility": "private", "js": looked, **RUNS}
    started: list[Any] = []
    for button, handler, given, options in (
        (start, runner(model, walks), list(controls.values()), {"api_name": NAME, **RUNS}),
        (even, walk_again.evening(model, walks, filming), run, again),
        (beside, walk_again.other(model, walks, filming), run, again),
    ):
        button.click(fn=None, js=player.tell(STAGE, "run"))
        running = button.click(handler, given, stage, **options)
        started.append(running)
        for over in (running.then, running.failure):  # gradio's then() is silent after an error
            over(fn=None, js=player.tell(STAGE, "end"))
    cancel.click(fn=None, js=player.tell(STAGE, "cancel"), cancels=started)
    return Linked(seen(linked), checked, str(start.elem_id))


def runner(model: Model, walks: Walks) -> Callable[..., Iterator[Record]]:
    """The endpoint: its parameters are those of the API, in the order of the form."""

    @told
    def walk(
        stations: str,
        kind: str = "stations",
        moves: str = "both",
        noise_path: str = "slerp",
        frames: int = FRAMES,
        steps: int = EVALUATIONS,
        guidance: float = 4.0,
        prompt_path: str = "slerp",
        sampler: str = "DDIM",
        negative_prompt: str = "",
        angle: float = 20.0,
        strength: float = STRENGTH,
        first: str = "house",
        second: str = "star",
        batch: int = 4,
        picture: dict[str, Any] | None = None,
        second_picture: dict[str, Any] | None = None,
        request: gr.Request | None = None,
    ) -> Iterator[Record]:
        """Denoises every frame of a walk through latent space; yields small records as they are made.

        The first has the frames' places and, along them, the norm by both paths, the angle and the prompts' cosine;
        others x0 of frames on their way (base64 float16), then each one's picture (data URI) and, in pairs, [frame,
        change of its latents to the next, 1 - SSIM]. Frames x steps x size is bounded.

        Parameters:
            stations: one a line, prompt @ seed: 2 to 8; a circle has 2, a sphere and a walk between pictures 1
            kind: stations, circle, pictures or sphere
            moves: both, prompt or noise; of a walk from station to station
            noise_path: slerp or lerp, of noises and of pictures' latents
            frames: 8 to 120
            steps: number of sampling steps of each frame, 1 to 1000
            guidance: scale of classifier-free guidance, -5 to 30
            prompt_path: slerp or lerp, of the whole conditionings of two prompts
            sampler: a name of explorer.samplers.SAMPLERS that injects no noise
            negative_prompt: takes the place of the empty prompt in the unconditional call
            angle: radius of a sphere's circle, 1 to 90 degrees
            strength: share of the run that is denoised anew between pictures, 0.05 to 1
            first: which of the pictures in assets/examples to start from, where no picture is given
            second: likewise, to end at
            batch: frames denoised together, 1 to 16; at 1 a station's frame is its plain run, exactly
            picture: a file to start from
            second_picture: a file to end at
        """
        wanted = asked(
            model, stations=stations, kind=kind, moves=moves, noise_path=noise_path, frames=frames, steps=steps,
            guidance=guidance, prompt_path=prompt_path, sampler=sampler, negative_prompt=negative_prompt, angle=angle,
            strength=strength,
        )  # fmt: skip
        given = sources(model, wanted, (picture, first), (second_picture, second))
        made = Made(wanted, path.places(wanted), given.names, given.latents)
        yield from filming(model, walks, session(request), made, batch)
        yield {"run": made.run, "summary": changes(made)}

    return walk


def filming(
    model: Model, walks: Walks, here: str, made: Made, batch: int = 4, note: str = "", **more: Any
) -> Iterator[Record]:
    """Makes the frames of a film and keeps them; its records as of the endpoint.

    Args:
        model: what predicts.
        walks: where it is kept.
        here: whose it is.
        made: the film, empty.
        batch: frames denoised together.
        note: said before how far it is.
        more: what else the first record says.
    """
    run, n = made.run, len(made.places)
    made.batch = batch
    walks.open(here)
    stream = gpu.film(model, made.walk, made.places, made.sources, batch)  # refuses before anything else is done
    made.tracks = gpu.tracks(model, made.walk, made.places, made.sources)
    with closing(paced(stream)) as batches:
        for one in batches:
            fresh = not made.x0
            made.take(one)
            if fresh:
                walks.put(here, made)
                yield _opening(model, made) | more
            done = len(made.pictures)
            if one.evaluation < made.evaluations:
                yield _making(model, made, one, note)
                continue
            for k, (i, step) in enumerate(zip(one.frames, one.steps, strict=True), done + 1):
                picture = model.decode(step.latents)  # one by one, and Cancel is heard between them
                pairs = [[a, *(round(value, 5) for value in pair)] for a, pair in made.finish(i, step, picture).items()]
                doing = f"{note}{_there(k, n)}" if k < n else ""
                yield {"run": run, "frame": i, "picture": wire.data_uri(picture), "pairs": pairs, "doing": doing}


def _making(model: Model, made: Made, one: Batch, note: str) -> Record:
    """The frames that are being made, as the model predicts them now."""
    so_far, count = _there(len(made.pictures), len(made.places)), len(one.frames)
    x0s = {i: step.x0 for i, step in zip(one.frames, one.steps, strict=True)}
    return {
        "run": made.run,
        "evaluation": one.evaluation,
        "doing": f"{note}{so_far}; {count} more at step {one.evaluation + 1} of {made.evaluations}",
        "planes": {str(i): plane(model, x0) for i, x0 in x0s.items() if x0 is not None},
    }


def _there(count: int, n: int) -> str:
    return f"{count} of {n} frames {'is' if count == 1 else 'are'} there"


def _opening(model: Model, made: Made) -> Record:
    """The first record of a film: all that is known of it before a frame is there."""
    walk, tracks, preview = made.walk, made.tracks, model.preview
    assert tracks is not None
    return {
        "run": made.run, "n": len(made.places), "places": list(made.places), "closed": walk.closed,
        "kind": walk.kind, "angle": walk.angle, "evaluations": made.evaluations, "shape": list(made.shape),
        "tracks": {name: _short(value) for name, value in tracks._asdict().items()}, "stations": posts(walk, made.ends),
        "names": ways(walk), "name": named(walk),
        "preview": {"matrix": [list(row) for row in preview.matrix], "offset": list(preview.offset)},
    }  # fmt: skip


def _short(value: Any) -> Any:
    return [float(f"{one:.5g}") for one in value] if isinstance(value, tuple) else value
