"""The README's example of the API runs as it stands, against the served page."""

from __future__ import annotations

import re
from pathlib import Path

from serving import serve

import app

README = Path(__file__).parents[2] / "README.md"
ADDRESS = "http://127.0.0.1:7860"


def test_the_example_of_the_api_runs(tiny_model, capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    (example,) = [block for block in blocks if "gradio_client" in block]
    assert ADDRESS in example
    with serve(app.create_app(tiny_model)) as url:
        exec(compile(example.replace(ADDRESS, url), "README.md", "exec"), {})
    printed = [line.split() for line in capsys.readouterr().out.splitlines() if re.fullmatch(r"\d+ [\d.]+", line)]
    assert [int(i) for i, _ in printed] == list(range(9))
    assert float(printed[-1][1]) == 0
