"""Touching a latent on the Latents tab: from the input event on a tool to the painted picture.

    python benchmarks/touch.py [--touches 40]

Once one at a time, each as soon as the last one is painted; then as a drag, an event every 16 ms. A picture counts as
painted when the task behind its animation frame runs, which is after the browser painted it.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import time
from typing import Any

from browser import ROOT, app, chromium
from PIL import Image

STAGE = "document.querySelector('.latents')"
PAINTED = """
  const stage = document.querySelector('.latents'), slider = stage.querySelector('[data-op=shift] input');
  const painted = () => new Promise((done) => stage.addEventListener('drawn', () => requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => done(performance.now());
    port2.postMessage(0);
  }), { once: true }));
  const move = (value) => { slider.value = value; slider.dispatchEvent(new Event('input')); };
"""
TOUCH = f"""async (count) => {{ {PAINTED}
  const times = [], server = [];
  for (let i = 0; i < count; i++) {{
    const then = painted(), begin = performance.now();
    move(((i * 37) % 80) / 20 - 1.95);
    times.push((await then) - begin);
    server.push(stage.state.ms);
  }}
  return {{ times, server }};
}}"""
DRAG = f"""async (ms) => {{ {PAINTED}
  const begin = performance.now(), before = stage.painted;
  for (let i = 0; performance.now() - begin < ms; i++) {{
    move((i % 160) / 40 - 1.95);
    await new Promise((done) => setTimeout(done, 16));
  }}
  return (1000 * (stage.painted - before)) / (performance.now() - begin);
}}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--touches", type=int, default=40)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, headless Chromium, embedded model")
    with app("--device", "cpu") as url, chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{url}?tab=latents")
        page.wait_for_function(f"{STAGE}?.painted > 0", timeout=60_000)
        page.evaluate(TOUCH, 8)  # to warm up
        made = page.evaluate(TOUCH, options.touches)
        rate = page.evaluate(DRAG, 4000)
    times = sorted(made["times"])
    print("\n| input to paint, median ms | 95% | worst | the VAE of it, median | painted a second in a drag |")
    print("| --- | --- | --- | --- | --- |")
    row = (statistics.median(times), times[int(0.95 * len(times))], times[-1], statistics.median(made["server"]), rate)
    print(f"| {' | '.join(f'{value:.1f}' for value in row)} |")
    print("\n| format of the decoded picture | ms to encode | bytes |\n| --- | --- | --- |")
    for name, ms, size in formats():
        print(f"| {name} | {ms:.2f} | {size} |")


def formats() -> list[tuple[str, float, int]]:
    """What a picture of the embedded model's size costs in each format: milliseconds, and bytes."""
    picture = Image.open(ROOT / "assets" / "examples" / "house.png").convert("RGB").resize((128, 128))
    ways: dict[str, dict[str, Any]] = {
        "PNG, effort 1": {"format": "PNG", "compress_level": 1}, "PNG, effort 6": {"format": "PNG"},
        "WebP, quality 90": {"format": "WEBP", "quality": 90}, "WebP, lossless": {"format": "WEBP", "lossless": True},
        "JPEG, quality 90": {"format": "JPEG", "quality": 90},
    }  # fmt: skip
    rows = []
    for name, options in ways.items():
        times = []
        for _ in range(20):
            buffer, begun = io.BytesIO(), time.perf_counter()
            picture.save(buffer, **options)
            times.append(1000 * (time.perf_counter() - begun))
        rows.append((name, statistics.median(times), len(buffer.getvalue())))
    return rows


if __name__ == "__main__":
    main()
