"""What a model can do, and where its form begins: told by its own config, never by its name.

A folder may say better: an `explorer.json` beside its model_index.json with any of "sampler", "steps", "scale" and
"prompts", as the embedded model has. A config can't tell which scale a model was tuned for, or what it can draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from explorer.limits import GUIDANCE, STEPS, number, show, whole
from explorer.models.files import OWN, read_json
from explorer.records import Abilities, RequestError, SourceError
from explorer.samplers import SAMPLERS


class Habit(NamedTuple):
    """What suits models that ship a scheduler: our row for it, and how many steps it wants."""

    sampler: str
    steps: int


# By the class in scheduler_config.json. diffusers' pipelines default to 50 steps whatever the scheduler; second-order
# solvers show little change beyond 20 to 25 and first-order ones beyond 30, and the person here waits for each.
HABITS: Mapping[str, Habit] = {
    "DDIMScheduler": Habit("DDIM", 30),
    "DDPMScheduler": Habit("DDPM", 50),
    "PNDMScheduler": Habit("PNDM", 25),
    "EulerDiscreteScheduler": Habit("Euler", 30),
    "EulerAncestralDiscreteScheduler": Habit("Euler a", 30),
    "HeunDiscreteScheduler": Habit("Heun", 20),  # of two evaluations each
    "DPMSolverMultistepScheduler": Habit("DPM++ 2M", 25),
    "UniPCMultistepScheduler": Habit("UniPC", 20),
    "LCMScheduler": Habit("LCM", 4),
    # no row of ours: the nearest one
    "LMSDiscreteScheduler": Habit("Euler", 30),
    "KDPM2DiscreteScheduler": Habit("Heun", 20),
    "KDPM2AncestralDiscreteScheduler": Habit("Euler a", 30),
    "DEISMultistepScheduler": Habit("DPM++ 2M", 25),
    "DPMSolverSinglestepScheduler": Habit("DPM++ 2M", 25),
    "DPMSolverSDEScheduler": Habit("DPM++ 2M SDE", 25),
    "TCDScheduler": Habit("LCM", 4),
}
PLAIN = Habit("DDIM", 30)  # takes every config
FEW = 4  # steps of a model that was distilled for 1 to 4, or as LCM for 4 to 8
TOLD = 8.5  # the scale that LatentConsistencyModelPipeline begins with
EXAMPLES = (1, 64)  # prompts to try that a folder may have
LENGTH = 200  # characters of each
# Of folders that have none: what any model of pictures has seen.
GENERAL = (
    "a red fox in the snow", "a castle of glass", "an astronaut riding a horse", "two parrots", "oranges in a bowl",
    "a cup of coffee", "a steam train", "an old sailor", "a lighthouse at dusk, oil painting", "a street in the rain",
)  # fmt: skip


def abilities(
    unet: Mapping[str, Any], scheduler: Mapping[str, Any], scale: float, own: Mapping[str, Any] | None = None
) -> Abilities:
    """What a text-to-image model of latents can do.

    Args:
        unet: the config of a UNet2DConditionModel.
        scheduler: what scheduler_config.json says.
        scale: of guidance, as the family's pipeline in diffusers begins with: 7.5, and 5 for SDXL.
        own: what `read` found in the folder; it goes before all else.
    """
    told = unet.get("time_cond_proj_dim") is not None  # LCM, arXiv:2310.04378, Section 4.2: the scale is an input
    habit = _habit(scheduler)
    found = Abilities(sampler=habit.sampler, steps=habit.steps, scale=scale, examples=GENERAL)
    if told or habit.sampler == "LCM":  # without the input it was distilled at one scale, as with LCM-LoRA
        found = replace(found, sampler="LCM", steps=FEW, scale=TOLD if told else 1.0, distilled=True)
    elif _turbo(scheduler):
        found = replace(found, steps=FEW, scale=1.0, distilled=True)
    return replace(found, guidance="embedded" if told else "cfg", **(own or {}))


def read(folder: Path, name: str) -> dict[str, Any]:
    """What a model's folder says of itself in `explorer.json`; empty where there is none.

    Raises:
        SourceError: it says what no form can begin with.
    """
    if not (folder / OWN).is_file():
        return {}
    try:
        return dict(_own(key, value) for key, value in read_json(folder / OWN).items())
    except RequestError as error:
        fault = str(error)
    except (OSError, ValueError):
        fault = "it is not a JSON object."
    raise SourceError(f"The model {name!r} has an {OWN} that can't be used: {fault}")


def _own(key: str, value: Any) -> tuple[str, Any]:
    """What a key of the file says, by the name that it has in `Abilities`."""
    if key == "steps":
        return key, whole(key, value, STEPS)
    if key == "scale":
        return key, number(key, value, GUIDANCE)
    if key == "prompts":
        return "examples", _examples(value)
    if key != "sampler":
        raise RequestError(f"it says {key[:40]!r}, which is none of sampler, steps, scale and prompts.")
    if value not in [*SAMPLERS]:
        raise RequestError(f"its sampler is {str(value)[:40]!r}, which is none of {', '.join(SAMPLERS)}.")
    return key, value


def _examples(prompts: Any) -> tuple[str, ...]:
    if not isinstance(prompts, list) or not EXAMPLES[0] <= len(prompts) <= EXAMPLES[1]:
        raise RequestError(f"its prompts must be a list of {EXAMPLES[0]} to {EXAMPLES[1]} texts.")
    for i, prompt in enumerate(prompts, 1):
        if not isinstance(prompt, str) or not prompt.strip() or len(prompt) > LENGTH or not prompt.isprintable():
            raise RequestError(f"its prompt {i} is {show(prompt)}; a line of 1 to {LENGTH} characters is needed.")
    return tuple(prompts)


def _habit(scheduler: Mapping[str, Any]) -> Habit:
    habit = HABITS.get(str(scheduler.get("_class_name")), PLAIN)
    if habit.sampler == "DPM++ 2M" and "sde" in str(scheduler.get("algorithm_type")):
        habit = habit._replace(sampler="DPM++ 2M SDE")
    return PLAIN if scheduler.get("prediction_type") == "sample" and habit.sampler in ("PNDM", "Euler a") else habit


def _turbo(scheduler: Mapping[str, Any]) -> bool:
    """Distilled by an adversary to a few steps without guidance (arXiv:2311.17042, arXiv:2402.13929).

    Those ship an Euler scheduler that begins at the last training timestep; others that begin there predict v on a
    schedule rescaled to zero SNR (arXiv:2305.08891).
    """
    euler = scheduler.get("_class_name") in ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
    last = scheduler.get("timestep_spacing") == "trailing" and not scheduler.get("rescale_betas_zero_snr")
    return euler and last and scheduler.get("prediction_type", "epsilon") == "epsilon"
