"""Scrubbing on the Forward tab: from the input event on the timeline to the painted frame, and the bytes that were sent.

    python benchmarks/scrub.py [--scrubs 60]

A picture of each size is uploaded; then the timeline is moved to one place after another, each as soon as the last one is
painted. A frame counts as painted when the task behind its animation frame runs, which is after the browser painted it.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
from typing import Any

import numpy as np
from browser import app, chromium
from PIL import Image

SIZES = (128, 256, 512)
STAGE = "document.querySelector('.forward')"
SCRUB = """async (count) => {
  const stage = document.querySelector('.forward'), slider = stage.querySelector('.timeline'), times = [];
  const painted = () => new Promise((done) => stage.addEventListener('drawn', () => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => done(performance.now());
    port2.postMessage(0);
  }, { once: true }));
  for (let i = 0; i < count; i++) {
    const then = painted(), begin = performance.now();
    slider.value = (i * 377 + 61) % +slider.max;
    slider.dispatchEvent(new Event('input'));
    times.push((await then) - begin);
  }
  return { times, drawing: stage.took.slice(-count) };
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scrubs", type=int, default=60)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, headless Chromium, "
          f"{options.scrubs} scrubs a size")  # fmt: skip
    print("\n| picture | input to paint, median ms | 95% | worst | drawing, median | requests while scrubbing | sent, kB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with app("--device", "cpu") as url, chromium() as browser:
        for size in SIZES:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(f"{url}?tab=forward")
            ready(page, "")
            page.wait_for_selector(".forward-cursor span", timeout=60_000)  # the curves, and with them Plotly itself
            received = watched(page)
            before = page.evaluate(f"{STAGE}.dataset.run")
            page.locator("#forward-picture input[type=file]").set_input_files(
                {"name": f"{size}.png", "mimeType": "image/png", "buffer": picture(size)}
            )
            ready(page, before)
            page.wait_for_selector('.pane[data-pane="decoded"] img:not([hidden])', timeout=60_000)  # of where it rests
            page.wait_for_timeout(1500)  # and the curves of this picture
            sent, asked = sum(received["bytes"]), len(received["requests"])
            page.evaluate(SCRUB, 10)  # to warm up
            made = page.evaluate(SCRUB, options.scrubs)
            requests, times = len(received["requests"]) - asked, sorted(made["times"])
            row = (statistics.median(times), times[int(0.95 * len(times))], times[-1], statistics.median(made["drawing"]))
            numbers = " | ".join(f"{value:.1f}" for value in row)
            print(f"| {size} × {size} | {numbers} | {requests} | {sent / 1000:.0f} |", flush=True)
            page.close()


def ready(page: Any, before: str) -> None:
    """Waits until the stage shows a picture of another run than `before`."""
    wanted = f"{STAGE}?.dataset.phase === 'ready' && {STAGE}.dataset.run !== '{before}' && {STAGE}.dataset.frame >= 0"
    page.wait_for_function(wanted, timeout=60_000)


def watched(page: Any) -> dict[str, list[Any]]:
    """What the page gets from now on: bytes, before compression, and the addresses it asks for."""
    received: dict[str, list[Any]] = {"bytes": [], "requests": []}
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.dataReceived", lambda event: received["bytes"].append(event["dataLength"]))
    page.on("request", lambda request: received["requests"].append(request.url))
    return received


def picture(size: int) -> bytes:
    """A PNG of this many pixels a side: discs on a slope."""
    y, x = np.mgrid[0:size, 0:size] / size
    planes = [np.hypot(x - cx, y - cy) < 0.3 for cx, cy in ((0.3, 0.35), (0.65, 0.4), (0.5, 0.7))]
    pixels = (120 * np.stack(planes, -1) + 100 * y[..., None]).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
