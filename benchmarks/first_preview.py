"""From the click on Run to the first preview of x0 on the screen, in headless Chromium, with the form's defaults.

    python benchmarks/first_preview.py [--runs 10]

The app runs in a process of its own, with the embedded model on the CPU. The clock is the page's: it starts in the
click's event and stops after the animation frame in which step 0 of the new run was painted. The first run after the
start of the app is listed apart: it pays for what is made once. Each run has another seed, so that nothing is cached.
"""

from __future__ import annotations

import argparse
import os
import statistics

from browser import PLAYER, app, chromium, ready

CLICK = f"""() => new Promise((done) => {{
  const button = document.querySelector("#reverse-run"), player = {PLAYER}, before = player.dataset.run;
  let start = 0;
  button.addEventListener("click", () => (start = performance.now()), {{ once: true, capture: true }});
  new MutationObserver((_, observer) => {{
    if (player.dataset.run === before || !player.painted.length) return;
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
  }}).observe(player, {{ attributes: true }});
  button.click();
}})"""
OVER = f"{PLAYER}.dataset.phase === 'done' && !('running' in document.querySelector('.experiment').dataset)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.2f} on {os.cpu_count()} CPUs", flush=True)
    with app("--device", "cpu") as url, chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(url)
        ready(page)
        times = []
        for _ in range(options.runs + 1):
            page.get_by_role("button", name="Roll").click()
            times.append(page.evaluate(CLICK))
            page.wait_for_function(OVER, timeout=60_000)
    first, *rest = times
    print(f"first run after the start: {first:.0f} ms")
    print(f"the next {len(rest)}: median {statistics.median(rest):.0f} ms, max {max(rest):.0f} ms (target 300 ms)")
    print("each:", ", ".join(f"{time:.0f}" for time in rest))


if __name__ == "__main__":
    main()
