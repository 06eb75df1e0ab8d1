"""What the model sees in a noised picture: its prediction in four forms beside the true noise, and the training loss.

The state is of any schedule; the model knows only its own. So it is asked at its own timestep of the nearest log-SNR, while
the conversions use the state's own ᾱ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from explorer import noising
from explorer.diffusion import from_x0_eps, to_x0_eps
from explorer.forward import Noising, finite, half, moments, preview_record
from explorer.noising import Values
from explorer.records import Model, RequestError

LEVELS = 10  # of the loss curve

Predict = Callable[[Tensor, Tensor, str], Tensor]  # latents (B, C, h, w), timesteps (B,), prompt → the model's output


def sees(state: Noising, t: int, model: Model, predict: Predict) -> dict[str, Any]:
    """The model's prediction at state t, 1 … T, as planes (C, h, w), and its mean squared error in eps.

    Raises:
        RequestError: t is 0, where there is no noise to predict.
    """
    if t == 0:
        raise RequestError("x_0 has no noise, so there is nothing to predict; move the timeline to t = 1 or later.")
    alpha_bar = state.schedule.alpha_bar(t)
    alpha, sigma = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    grid = own(model)
    (timestep,) = nearest(grid, np.array([alpha_bar]))
    latents, true = state.latents(t), state.latent_noise()
    output = predict(latents[None], torch.tensor([timestep]), state.prompt)[0].cpu()
    x0, eps = to_x0_eps(output, latents, alpha, sigma, model.prediction_type)
    planes = {
        "x_t": latents, "eps": eps, "true_eps": true, "error": eps - true, "x0": x0,
        "v": from_x0_eps(x0, eps, alpha, sigma, "v_prediction"), "score": -eps / sigma,
    }  # fmt: skip
    variance = moments(state.source.latents)["var"]
    db, model_db = (finite(float(noising.snr_db(value, variance))) for value in (alpha_bar, grid[timestep]))
    apart = abs(float(noising.snr_db(alpha_bar, 1) - noising.snr_db(grid[timestep], 1)))  # whatever the variance
    return {
        "t": t, "shape": list(latents.shape), "preview": preview_record(model.preview),
        "planes": {name: half(plane) for name, plane in planes.items()},
        "alpha": alpha, "sigma": sigma, "mse": (eps - true).square().mean().item(),
        "timestep": int(timestep), "db": db, "model_db": model_db, "prompt": state.prompt,
        "note": note(int(timestep), db, model_db, apart, state.prompt if model.abilities.prompts else None),
    }  # fmt: skip


def curve(state: Noising, model: Model, predict: Predict) -> list[dict[str, Any]]:
    """The training loss on this picture and noise: the mean squared error in eps at ten places of the timeline."""
    steps = state.schedule.steps
    places = sorted({round(steps * i / LEVELS) for i in range(1, LEVELS + 1)})
    levels = np.array([state.schedule.alpha_bar(t) for t in places])
    found, true = nearest(own(model), levels), state.latent_noise()
    latents, variance = torch.stack([state.latents(t) for t in places]), moments(state.source.latents)["var"]
    outputs = predict(latents, torch.from_numpy(found), state.prompt).cpu()
    points = []
    for t, alpha_bar, timestep, x, output in zip(places, levels.tolist(), found.tolist(), latents, outputs, strict=True):
        _, eps = to_x0_eps(output, x, math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar), model.prediction_type)
        mse = (eps - true).square().mean().item()
        db = finite(float(noising.snr_db(alpha_bar, variance)))
        points.append({"at": t, "t": timestep, "db": db, "mse": mse})
    return points


def own(model: Model) -> Values:
    """ᾱ of all timesteps that the model was trained on."""
    return noising.own(model.scheduler_config)


def nearest(grid: Values, levels: Values) -> np.ndarray:
    """For each ᾱ the index of the grid's nearest by log-SNR; any variance but 0 finds the same one."""
    return noising.match(levels, 1.0, grid, 1.0)


def note(timestep: int, db: float | None, model_db: float | None, apart: float, prompt: str | None) -> str:
    """How the state was given to the model.

    Args:
        timestep: the model's.
        db: the latents' measured SNR at this state; None where they are flat.
        model_db: the same of these latents at the model's timestep.
        apart: how far, in dB, the two levels of noise are apart.
        prompt: with which it was asked; None for a model that takes none.
    """
    told = f" with the prompt “{prompt[:60]}”" if prompt else " without a prompt" if prompt is not None else ""
    asked = f"Asked{told}"
    flat = db is None or model_db is None
    if apart < 0.05:
        words = "level of noise" if flat else f"SNR, {db:.1f} dB"
        return f"{asked} at the model's own timestep {timestep}, which has this {words}."
    words = f"{apart:.1f} dB away" if flat else f"{model_db:.1f} dB there, {db:.1f} dB here"
    return (
        f"{asked} at timestep {timestep}, the model's nearest by SNR: {words}; "
        "the model was never trained on this level of noise exactly."
    )
