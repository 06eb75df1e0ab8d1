"""Makes again what the embedded model has drawn and the project keeps: recorded run, example pictures, screenshots.

python benchmarks/remake.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import examples
import screenshots

from explorer import load_model
from explorer.tabs.form import defaults
from explorer.tabs.traces import RECORDED


def recorded() -> None:
    """The run that the stage shows at first, by the command line, as anybody would make it."""
    begun = defaults(load_model(device="cpu"))
    command = [sys.executable, "-m", "explorer", begun.prompt, "--seed", str(begun.seed), "--device", "cpu"]
    files = ["--out", str(RECORDED.with_suffix(".png")), "--trace", str(RECORDED)]
    subprocess.run(command + files, check=True)


def main() -> None:
    recorded()
    examples.main()
    screenshots.main()


if __name__ == "__main__":
    main()
