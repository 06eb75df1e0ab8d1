"""A run as one HTML file that plays offline: the player itself, the run's records, and what made the run.

Scripts and styles are the player's own; page.js stands in for what gr.HTML gives them. The page may load nothing: its
content security policy allows no address, and of scripts only the one that was written here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from explorer.player import CSS, HERE, PANES, SCRIPTS

PALETTE = Path(__file__).parents[2] / "assets" / "theme.css"
PLANES = ("x_t", "eps", "x0")  # what the panes draw and read
WIDE = 40  # characters; a longer value has a line of its own


def page(records: Iterable[Mapping[str, Any]], title: str, facts: Sequence[tuple[str, str]]) -> str:
    """The HTML.

    Args:
        records: of `explorer.frames.encode`, all of one run; the last has the decoded picture.
        title: plain text.
        facts: names and values of what made the run, plain text.
    """
    kept = [{**one, "planes": {name: one["planes"][name] for name in PLANES if name in one["planes"]}} for one in records]
    player = "\n".join(_read(HERE / name) for name in SCRIPTS)
    script = Template(_read(HERE / "page.js")).substitute(player=player)
    return Template(_read(HERE / "page.html")).substitute(
        title=escape(title),
        hashes=f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'",
        style="\n".join((palette(), _read(CSS), _read(HERE / "page.css"))),
        player=_read(HERE / "player.html"),
        facts="".join(_fact(name, value) for name, value in facts),
        records=_data({"panes": PANES, "records": kept}),
        script=script,
    )


def palette() -> str:
    """The blocks of the theme that name the colours and spaces, in light and dark."""
    return "\n".join(re.findall(r"^(?::root|\.dark) \{.*?^\}", _read(PALETTE), re.MULTILINE | re.DOTALL))


def _fact(name: str, value: str) -> str:
    wide = ' class="wide"' if len(value) > WIDE or "\n" in value else ""
    return f"<div{wide}><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


def _data(value: Any) -> str:
    """JSON that no HTML parser takes for markup: it stands in a script element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _read(path: Path) -> str:
    return path.read_text("utf-8")
