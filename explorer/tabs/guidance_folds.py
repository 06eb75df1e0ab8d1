"""The folds below the Guidance tab's stage: the dial turned live, a negative prompt's two directions, and what guidance
costs in diversity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from explorer.records import Model
from explorer.sessions import Sessions
from explorer.tabs import guidance_diversity, guidance_live, guidance_negative
from explorer.tabs.guidance_form import Controls


def build(model: Model, sessions: Sessions, controls: Mapping[str, gr.components.Component], stage_id: str) -> Controls:
    """Builds the folds into the open Blocks, each closed; returns their own controls, by the names of READERS.

    Args:
        model: what predicts.
        sessions: tells when a page was closed.
        controls: the form's, by name.
        stage_id: elem_id of the sweep above.
    """
    guidance_live.build(model, sessions, controls, stage_id)
    return guidance_negative.build(model, controls) | guidance_diversity.build(model, controls)


# What of the folds an address can hold, as of the form.
READERS: Mapping[str, Callable[[str], Any]] = {**guidance_negative.READERS, **guidance_diversity.READERS}
