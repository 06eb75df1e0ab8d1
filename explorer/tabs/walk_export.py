"""A walk as files: its film, and a contact sheet of its frames and steps; of a cancelled walk, what there is of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr

from explorer import film, film_sheet
from explorer.film import FORMATS
from explorer.film_sheet import COUNTS, Row
from explorer.records import Model, RequestError
from explorer.tabs.common import slug, told
from explorer.tabs.walk_runs import Made, Walks
from explorer.tabs.walk_words import posts

CSS = Path(__file__).with_suffix(".css")  # given to launch()
TITLE = "Save the film"
SHEET = "Contact sheet: frames × steps"
FILE = "walk-file"
FPS = 12
EVERY = 0.25  # seconds between two words on how far it is
NONE = "No frame of this film is finished yet; press Run, or wait for the first."
STOPPED = "Cancelled; no file was written."
NEAR = 1e-9  # of a place: a frame that is there is the station's own
OPTIONS: dict[str, Any] = {
    "preprocess": False, "show_progress": "hidden", "api_visibility": "private", "concurrency_id": "film",
    "concurrency_limit": 2,
}  # fmt: skip

Writing = Generator[tuple[int, int], None, bytes]


def build(model: Model, walks: Walks, stage: gr.HTML) -> None:
    """Builds the fold into the open Blocks, below the stage.

    Args:
        model: whose preview and decoder draw the contact sheet.
        walks: the films that are kept.
        stage: it has an element that says in data-run, data-fps and data-way what is on it.
    """
    shown = f"document.querySelector('#{stage.elem_id} [data-run]')"
    with gr.Accordion(TITLE, open=False, elem_classes="fold", elem_id="walk-export") as fold:
        what = "; ".join(f"{row.label} {row.summary}" for row in FORMATS.values()) + "."
        choices = [(row.label, name) for name, row in FORMATS.items()]
        format = gr.Radio(choices, value="mp4", label="File", info=what, elem_id="walk-film-format")
        with gr.Row(elem_classes="files walk-files"):
            fps = gr.Number(
                FPS, label="Frames per second", precision=0, minimum=film.FPS[0], maximum=film.FPS[1], min_width=72,
                elem_id="walk-film-fps",
            )  # fmt: skip
            back = gr.Checkbox(False, label="there and back", container=False, min_width=72, elem_id="walk-film-way")
            loop = gr.Checkbox(True, label="loop (GIF, WebP)", container=False, min_width=72, elem_id="walk-film-loop")
            save = gr.Button(TITLE, size="sm", min_width=72, elem_id="walk-save")
        with gr.Row(elem_classes="files walk-files"):
            rows = gr.Number(8, label="Rows", precision=0, minimum=COUNTS[0], maximum=COUNTS[1], min_width=72)
            columns = gr.Number(8, label="Columns", precision=0, minimum=COUNTS[0], maximum=COUNTS[1], min_width=72)
            decoded = gr.Checkbox(False, label="decoded", container=False, min_width=72, elem_id="walk-sheet-decoded")
            draw = gr.Button(SHEET, size="sm", min_width=72, elem_id="walk-sheet")
        with gr.Row(elem_classes="files walk-files walk-told"):
            said = gr.HTML(
                "", html_template='<p class="said" role="status">${value}</p>', apply_default_css=False, padding=False,
                elem_id="walk-said",
            )  # fmt: skip
            cancel = gr.Button("Cancel", size="sm", min_width=72, interactive=False, elem_id="walk-save-cancel")
            link = gr.DownloadButton("", visible="hidden", elem_id=FILE)

    @told
    def save_film(run: Any, format: Any, fps: Any, back: Any, loop: Any) -> Iterator[list[Any]]:
        made = walks.there(run)
        there = finished(made)
        frames = [made.pictures[i].permute(1, 2, 0).numpy() for i in there]
        facts = settings(model, made, there) | {"fps": fps, "there_and_back": back, "loop": loop}
        writing = film.encoding(frames, format, fps, back, loop, facts)
        name = f"{named(made, there)}{'-there-and-back' if back else ''}.{FORMATS[format].ending}"
        shown = len(film.route(len(frames), back))
        yield from written(writing, name, "Writing picture", f"{shown} pictures, {shown / fps:.3g} s")

    @told
    def save_sheet(run: Any, rows: Any, columns: Any, decoded: Any) -> Iterator[list[Any]]:
        made = walks.there(run)
        there = finished(made)
        timesteps = made.timesteps[: made.evaluations]
        marks = posts(made.walk, made.ends)
        frames = [_row(made, i, marks) for i in there]
        decode = model.decode if decoded is True else None
        facts = settings(model, made, there) | {"frames_shown": there}
        writing = film_sheet.sheet(frames, timesteps, model.preview, titled(made), facts, (rows, columns), decode)
        yield from written(writing, f"{named(made, there)}-steps.png", "Drawing row", "frames down, steps across")

    run = f"{shown}?.dataset.run ?? ''"
    over: dict[str, Any] = {"queue": False, "api_visibility": "private"}
    working: list[Any] = []
    both = (save, save_film, [format, fps, back, loop]), (draw, save_sheet, [rows, columns, decoded])
    for button, handler, more in both:
        js = f"(stage, ...more) => [{run}, ...more]"
        event = button.click(handler, [stage, *more], [link, said, cancel], js=js, **OPTIONS)
        event.success(fn=None, js=f"() => document.querySelector('#{FILE}').click()")
        working.append(event)
    stopped = cancel.click(fn=None, cancels=working)
    stopped.then(lambda: [STOPPED, gr.update(interactive=False)], None, [said, cancel], **over)  # after the last word of it
    as_shown = f"""(fps, back) => {{
      const now = {shown}?.dataset ?? {{}};
      return [+now.fps || fps, now.way ? now.way === 'back' : back];
    }}"""
    fold.expand(fn=None, js=as_shown, inputs=[fps, back], outputs=[fps, back])


def written(writing: Writing, name: str, doing: str, what: str) -> Iterator[list[Any]]:
    """Says how far a file is, then gives it: outputs for the link, the line, and Cancel."""
    due = 0.0
    with closing(writing):
        while True:
            try:
                done, of = next(writing)
            except StopIteration as end:
                data = end.value
                break
            except Exception:
                yield [gr.skip(), "", gr.update(interactive=False)]
                raise
            if time.monotonic() >= due:
                due = time.monotonic() + EVERY
                yield [gr.skip(), f"{doing} {min(done + 1, of)} of {of}", gr.update(interactive=True)]
    with tempfile.TemporaryDirectory(prefix="diffuscope-") as folder:  # Gradio copies it before it is gone again
        path = Path(folder) / name
        path.write_bytes(data)
        size = f"{len(data) / 1e6:.1f} MB" if len(data) >= 1e5 else f"{len(data) / 1e3:.1f} KB"
        yield [str(path), f"{name}: {what}, {size}", gr.update(interactive=False)]


def finished(made: Made) -> list[int]:
    """The frames that are there, in order.

    Raises:
        RequestError: none is.
    """
    if not (there := sorted(dict(made.pictures))):
        raise RequestError(NONE)
    return there


def settings(model: Model, made: Made, there: list[int]) -> dict[str, Any]:
    """What the film was made from, in plain values; the stations as the form takes them."""
    walk, request = made.walk, made.walk.request
    guidance = request.guidance
    kind: dict[str, Any] = {"moves": walk.moves} if walk.kind == "stations" else {}
    kind |= {"angle": walk.angle} if walk.kind == "sphere" else {}
    if walk.kind == "pictures":
        kind |= {"strength": walk.strength, "first": (made.ends or ("", ""))[0], "second": (made.ends or ("", ""))[1]}
    return {
        "model": model.name,
        "walk": walk.kind,
        "stations": "\n".join(f"{one.prompt} @ {one.seed}" for one in walk.stations),
        **kind, "noise_path": walk.noise_path, "prompt_path": walk.prompt_path, "frames": len(made.places),
        "frames_there": len(there), "places": " ".join(f"{made.places[i]:.6g}" for i in there), "steps": request.steps,
        "guidance": guidance if not isinstance(guidance, tuple) else " ".join(f"{one:g}" for one in guidance),
        "guidance_rescale": request.guidance_rescale, "sampler": request.sampler,
        "negative_prompt": request.negative_prompt, "width": request.width, "height": request.height,
    }  # fmt: skip


def titled(made: Made) -> str:
    """The line above a contact sheet."""
    walk, request = made.walk, made.walk.request
    path = " to ".join(made.ends or [f"'{one.prompt or 'no prompt'}' @ {one.seed}" for one in walk.stations])
    weight = f", guidance {request.guidance:g}" if not isinstance(request.guidance, tuple) else ""
    return f"{walk.kind.capitalize()}: {path}; {request.sampler}, {request.steps} steps{weight}"


def named(made: Made, there: list[int]) -> str:
    """A file's name, after what it shows."""
    walk, n = made.walk, len(made.places)
    ends = [walk.stations[0], walk.stations[-1]] if walk.kind != "pictures" else []
    texts = dict.fromkeys(made.ends or [f"{one.prompt} {one.seed}" for one in ends])
    words = "-to-".join(filter(None, (slug(text)[:32].strip("-") for text in texts)))
    count = f"{n}" if len(there) == n else f"{len(there)}-of-{n}"
    return f"diffuscope-walk-{walk.kind}-{words or 'no-prompt'}-{count}-frames"


def _row(made: Made, i: int, marks: list[dict[str, Any]]) -> Row:
    """A frame on the contact sheet, with its station's name where it is one."""
    place = made.places[i]
    note = next(
        (mark["label"].replace(" · ", "\n") for mark in marks if abs(mark["place"] - place) < NEAR),
        f"at {place:.3f} of the path",
    )
    return Row(f"frame {i + 1} of {len(made.places)}", note, made.x0[i], made.pictures[i])
