"""Diffuscope's engine: run a diffusion model and look at every state of it.

from explorer import load_model, Request, denoise

model = load_model()
for step in denoise(model, Request(prompt="pizza", seed=7)):
    print(step.index, step.timestep, step.x0)
"""

from explorer.engine import denoise, denoise_batch, run
from explorer.models import load as load_model
from explorer.records import Request, Step, Trajectory

__version__ = "0.1.0"

__all__ = ["Request", "Step", "Trajectory", "denoise", "denoise_batch", "load_model", "run"]
