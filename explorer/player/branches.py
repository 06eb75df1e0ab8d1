"""A branch beside the run that it goes on from, and the tree of branches: a comparison that takes the player's place."""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr

from explorer.player.compare import SCRIPTS, compare

NAME = "A branch and the run that it goes on from"
HINT = "A branch and the run that it goes on from stand here side by side."


def branches(elem_id: str, player: str, asks: Mapping[str, str]) -> gr.HTML:
    """The comparison, which is on the stage, in the player's place, only where there is a branch.

    Beside what a comparison's records have, its own have {branch: {run, line, begins}, at, place}: the branch's id, the
    (run, label) of its origins and itself, and the index at which it begins; the run and Step that a place is of, and
    that place in words. The page talks to it with "fork" and "forked", and reads `cursor()` and data-asked.

    Args:
        elem_id: the id on the page.
        player: elem_id of the player that shows one run.
        asks: elem_ids of the buttons to press for "fork", for a "branch" of the tree, and for the "run" at its root.
    """
    empty = [{"label": "Origin", "show": ["x_t", "x0"]}, {"label": "Branch", "show": ["x_t", "x0"]},
             {"label": "Branch − origin", "show": ["dx_t", "dx0"]}]  # fmt: skip
    scripts = (*SCRIPTS, "branches.js")
    return compare(elem_id, NAME, empty, HINT, scripts=scripts, player=player, asks=dict(asks))
