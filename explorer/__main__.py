"""The command line: python -m explorer "pizza" --out picture.png --trace run.safetensors"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from explorer import load_model, trace
from explorer.collecting import capsule
from explorer.engine import denoise
from explorer.limits import SPACINGS, check
from explorer.pictures import save_png
from explorer.records import DiffuscopeError, Request, Trajectory
from explorer.samplers import SAMPLERS


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one request; returns the exit code: 0, or 2 with one sentence on stderr."""
    options = _parser().parse_args(argv)
    try:
        model = load_model(options.model, options.device)
        names, can = {field.name for field in fields(Request)}, model.abilities
        own = {"sampler": can.sampler, "steps": can.steps, "guidance": can.scale}
        asked: dict[str, Any] = {k: own.get(k) if v is None else v for k, v in vars(options).items() if k in names}
        request = check(Request(**asked), model)
        steps = []
        for step in denoise(model, request):
            steps.append(step)
            print(f"\rstep {step.index}  t = {step.timestep:g}   ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        trajectory = Trajectory(request=request, steps=tuple(steps), capsule=capsule(model))
        if options.out:
            save_png(model.decode(trajectory.latents), options.out, {"diffuscope": json.dumps(asdict(request))})
        if options.trace:
            trace.save(trajectory, options.trace)
    except DiffuscopeError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:  # of writing the picture
        print(f"The picture can't be written: {error.strerror}.", file=sys.stderr)
        return 2
    for path in filter(None, (options.out, options.trace)):
        print(path)
    return 0


def _parser() -> argparse.ArgumentParser:
    default = Request()
    parser = argparse.ArgumentParser(prog="python -m explorer", description="Run a diffusion model and keep every state.")
    parser.add_argument("prompt", help="what to draw; an empty one is the unconditional run")
    parser.add_argument("--out", type=Path, help="write the picture here, as PNG")
    parser.add_argument("--trace", type=Path, help="write every state of the run here, as .safetensors")
    parser.add_argument("--model", help="a folder or a Hub id; the embedded model if left out")
    parser.add_argument("--device", help="cpu, cuda or cuda:1")
    parser.add_argument("--negative-prompt", default=default.negative_prompt)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--steps", type=int, help="the model's own if left out")
    parser.add_argument("--guidance", type=_guidance, help="a number, or one per evaluation; the model's own if left out")
    parser.add_argument("--guidance-rescale", type=float, default=default.guidance_rescale)
    parser.add_argument("--sampler", help=f"{', '.join(SAMPLERS)}; the model's own if left out")
    parser.add_argument("--eta", type=float, default=default.eta, help="DDIM only")
    parser.add_argument("--noise-scale", type=float, default=default.noise_scale, help="stochastic samplers only")
    parser.add_argument("--spacing", help=", ".join(SPACINGS))
    parser.add_argument("--karras", action="store_true", default=None)
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    return parser


def _guidance(text: str) -> float | tuple[float, ...]:
    values = tuple(float(part) for part in text.split(","))
    return values if len(values) > 1 else values[0]


if __name__ == "__main__":
    sys.exit(main())
