"""What an exported page says of a run beside its frames: the prompt and the settings as text, the picture as WebP."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from PIL import Image

from explorer.player.page import page
from explorer.records import Trajectory
from explorer.tabs.descent import Origin, words

TITLE = 80  # characters of the prompt
VALUE = 200  # characters of what a trace says of itself


def export(trajectory: Trajectory, records: Iterable[Mapping[str, Any]], origins: Sequence[Origin] = ()) -> str:
    """The HTML of a run.

    Args:
        trajectory: the run.
        records: of all its Steps; the last has the decoded picture.
        origins: of a branch, where they are known: what it goes back to.
    """
    prompt = trajectory.request.prompt.strip()
    title = prompt[:TITLE] + "…" * (len(prompt) > TITLE) or "no prompt"
    return page(records, f"“{title}”" if prompt else title, facts(trajectory, origins))


def facts(trajectory: Trajectory, origins: Sequence[Origin] = ()) -> list[tuple[str, str]]:
    """Names and values: of a branch what it goes back to, the Request, and what a reader elsewhere asks the capsule for."""
    request, capsule = asdict(trajectory.request), trajectory.capsule
    size = f"{request.pop('width')} × {request.pop('height')}"
    said = [(name.replace("_", " "), _text(value)) for name, value in request.items() if value not in (None, "")]
    made = [(name, _text(capsule.get(key))[:VALUE]) for name, key in (("model", "model"), ("precision", "dtype"))]
    versions = capsule.get("versions")
    if isinstance(versions, Mapping):
        made.append(("versions", ", ".join(f"{name} {version}" for name, version in versions.items())[:VALUE]))
    branch = words(trajectory, origins)
    return [*([("made as", branch)] if branch else []), *said, ("size", size), *made]


def webp(picture: Image.Image) -> str:
    """A picture as the data URI of a lossless WebP."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "WEBP", lossless=True, method=6)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(_text, value)) if isinstance(value, tuple | list) else str(value)
