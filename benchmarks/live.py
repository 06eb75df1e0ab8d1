"""Turning the guidance dial: from the last movement to the first painted preview of its value, in headless Chromium.

    python benchmarks/live.py [--drags 10] [--moves 60]

The app runs in a process of its own, with the embedded model on the CPU and the form's defaults. Each drag moves the dial
as a hand does, a value every 16 ms, and ends at a value that was not run before. The clock is the page's: it starts in the
last input event and stops in the task behind the animation frame that painted x0 of that very value. The target is at most
300 ms on two idle cores.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
from typing import Any

from browser import app, chromium

DIAL = "document.querySelector('.guidance-live')"
DRAG = """async ([from, to, moves]) => {
  const root = document.querySelector('.guidance-live'), dial = root.querySelector('.turn'), times = {};
  let turn = 0, begin = 0, previews = 0;
  const drawn = ({ detail }) => {
    previews++;
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      if (detail.turn !== turn || !begin) return;
      times.first ??= performance.now() - begin;
      if (detail.i === detail.last) times.whole = performance.now() - begin;
    };
    port2.postMessage(0);
  };
  root.addEventListener('drawn', drawn);
  for (let k = 1; k <= moves; k++) {
    if (k > 1) await new Promise((done) => setTimeout(done, 16));
    if (k === moves) begin = performance.now();
    dial.value = from + ((to - from) * k) / moves;
    dial.dispatchEvent(new Event('input'));
    if (k === moves) turn = +root.dataset.turn;
  }
  while (times.whole === undefined) await new Promise((done) => setTimeout(done, 10));
  root.removeEventListener('drawn', drawn);
  return { first: times.first, whole: times.whole, previews };
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drags", type=int, default=10)
    parser.add_argument("--moves", type=int, default=60)
    options = parser.parse_args()
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, OMP_NUM_THREADS {threads}"
    print(f"{machine}, load {os.getloadavg()[0]:.2f} before", flush=True)
    with app("--device", "cpu") as url, chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{url}?tab=guidance")
        page.get_by_role("button", name="Turn the dial live").click()
        page.wait_for_selector(".guidance-live .turn")
        report(measure(page, options.drags, options.moves))


def measure(page: Any, drags: int, moves: int) -> list[dict[str, float]]:
    """The drags, after two for warming up, each to a value of its own."""
    ends = [round(2 + 0.9 * k, 1) for k in range(drags + 2)]
    return [page.evaluate(DRAG, [end + (8 if k % 2 else -6), end, moves]) for k, end in enumerate(ends)][2:]


def report(made: list[dict[str, float]]) -> None:
    first, whole = ([one[key] for one in made] for key in ("first", "whole"))
    print(f"load {os.getloadavg()[0]:.2f} after")
    print(f"last movement to first x0 of its value: median {statistics.median(first):.0f} ms, max {max(first):.0f} ms")
    print(f"to its decoded picture: median {statistics.median(whole):.0f} ms, max {max(whole):.0f} ms")
    print(f"previews painted in a drag and its end: median {statistics.median(one['previews'] for one in made):.0f}")
    print("each:", ", ".join(f"{time:.0f}" for time in first))


if __name__ == "__main__":
    main()
