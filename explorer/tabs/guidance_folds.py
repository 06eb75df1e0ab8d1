"""The folds below the Guidance tab's stage: the dial turned live, a negative prompt's two directions, and what guidance
costs in diversity."""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr

from explorer.records import Model
from explorer.sessions import Sessions
from explorer.tabs import guidance_diversity, guidance_live, guidance_negative


def build(model: Model, sessions: Sessions, controls: Mapping[str, gr.components.Component], stage_id: str) -> None:
    """Builds the folds into the open Blocks, each closed.

    Args:
        model: what predicts.
        sessions: tells when a page was closed.
        controls: the form's, by name.
        stage_id: elem_id of the sweep above.
    """
    guidance_live.build(model, sessions, controls, stage_id)
    guidance_negative.build(model, controls)
    guidance_diversity.build(model, controls)
