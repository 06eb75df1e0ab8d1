"""The README's screenshots, made from the running app with the embedded model.

    python benchmarks/screenshots.py [folder]

Each row of SHOTS is a file, an address, and the step at which the run is stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path

from browser import PLAYER, ROOT, app, chromium, ready

SHOTS = (("reverse.png", "?seed=3&run=1&__theme=light", 12),)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "assets" / "screenshots"
    with app("--device", "cpu") as url, chromium() as browser:
        for name, address, step in SHOTS:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(url + address)
            ready(page)
            timeline = page.locator(".timeline").first
            page.wait_for_function(f"{PLAYER}.dataset.frame === document.querySelector('.timeline').max", timeout=60_000)
            timeline.press("Home")
            for i in range(step):
                page.wait_for_function(f"{PLAYER}.dataset.frame === '{i}'")
                timeline.press("ArrowRight")
            page.wait_for_function(f"{PLAYER}.dataset.frame === '{step}'")
            page.wait_for_timeout(1500)  # the decoding of the step at which one rests
            page.evaluate("document.activeElement.blur()")
            page.screenshot(path=folder / name)
            page.close()
            print(folder / name)


if __name__ == "__main__":
    main()
