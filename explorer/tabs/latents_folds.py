"""The folds below the Latents stage: every decoder, mixtures, runs in a projection, statistics, and latents as files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from explorer.player.latents_folds import folds
from explorer.records import Model
from explorer.sessions import Sessions
from explorer.tabs.common import session, told
from explorer.tabs.latents_asking import guard
from explorer.tabs.latents_export import LARGEST, opener, saving
from explorer.tabs.latents_mix import decoders, mixing
from explorer.tabs.latents_runs import listed, measuring, plotly, projecting
from explorer.tabs.latents_store import Shelf
from explorer.tabs.picture_field import EXAMPLES

FOLDS = "latents-folds"


def build(model: Model, sessions: Sessions, shelf: Shelf, stage_id: str, stage: gr.HTML) -> gr.HTML:
    """Builds the folds into the open Blocks.

    Args:
        model: what decodes.
        sessions: whose runs can be projected.
        shelf: the latents that are held.
        stage_id: the elem_id of the stage.
        stage: the stage itself: a latent that is opened from a file is put there.
    """
    once = guard()
    ends, mix = mixing(model, shelf)
    asked = {
        "decoders": decoders(model, shelf), "ends": ends, "mix": mix, "project": projecting(sessions),
        "measure": measuring(sessions), "plotly": lambda wanted: {"library": plotly()}, "save": saving(model, shelf),
    }  # fmt: skip
    below = folds(
        FOLDS,
        stage=stage_id,
        functions={name: once(function) for name, function in asked.items()},
        examples=tuple(EXAMPLES.items()),
        largest=LARGEST,
    )

    @told
    def list_runs(request: gr.Request) -> Iterator[dict[str, Any]]:
        yield {"runs": listed(model, sessions, session(request))}

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    below.expand(list_runs, None, below, concurrency_limit=None, **quiet)
    of_folds = f"document.querySelector('#{FOLDS} .latents-folds')"
    opened = below.upload(
        opener(model, shelf), below, stage, js=f"() => {of_folds}.file", preprocess=False, concurrency_id="latents", **quiet
    )
    for over, how in ((opened.success, "opened"), (opened.failure, "refused")):
        over(fn=None, js=f"() => {{ {of_folds}.dispatchEvent(new CustomEvent('{how}')); }}")
    return below
