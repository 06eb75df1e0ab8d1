"""What a model can do, told by its config: of the kinds on the Hub, of folders, and of folders that say it themselves."""

import json

import pytest
import torch
from diffusers import LatentConsistencyModelPipeline, LCMScheduler, StableDiffusionPipeline
from tiny import as_model, lcm_parts, saved, sd2_parts, tiny_parts, tiny_pipeline

from explorer import Request, load_model, run
from explorer.models.abilities import GENERAL, HABITS, OWN, abilities, read
from explorer.records import SourceError
from explorer.schedule import schedule

ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}

LCM = Request(prompt="red cat", sampler="LCM", steps=4, seed=5, guidance=8.5)

# Of the configs on the Hub, by what they say: (of the U-Net, of the scheduler, the family's scale) → what it can do.
CONFIGS = {
    "sd 1.5": ({}, {"_class_name": "PNDMScheduler"}, 7.5, ("cfg", "PNDM", 25, 7.5, False)),
    "sd 2.1": (
        {"use_linear_projection": True}, {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}, 7.5,
        ("cfg", "DDIM", 30, 7.5, False),
    ),
    "sd-turbo": (
        {}, {"_class_name": "EulerDiscreteScheduler", "prediction_type": "epsilon", "timestep_spacing": "trailing"}, 7.5,
        ("cfg", "Euler", 4, 1.0, True),
    ),
    "sdxl": (
        {"time_cond_proj_dim": None},
        {"_class_name": "EulerDiscreteScheduler", "prediction_type": "epsilon", "timestep_spacing": "leading"}, 5.0,
        ("cfg", "Euler", 30, 5.0, False),
    ),
    "sdxl-turbo": (
        {}, {"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"}, 5.0,
        ("cfg", "Euler a", 4, 1.0, True),
    ),
    "v at zero SNR": (
        {}, {"_class_name": "EulerDiscreteScheduler", "prediction_type": "v_prediction", **ZERO_SNR}, 7.5,
        ("cfg", "Euler", 30, 7.5, False),
    ),
    "lcm": (
        {"time_cond_proj_dim": 256}, {"_class_name": "LCMScheduler"}, 7.5, ("embedded", "LCM", 4, 8.5, True),
    ),
    "lcm with another's scheduler": (
        {"time_cond_proj_dim": 256}, {"_class_name": "EulerDiscreteScheduler"}, 5.0, ("embedded", "LCM", 4, 8.5, True),
    ),
    "lcm by a merged LoRA": ({}, {"_class_name": "LCMScheduler"}, 7.5, ("cfg", "LCM", 4, 1.0, True)),
    "sde": (
        {}, {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"}, 7.5,
        ("cfg", "DPM++ 2M SDE", 25, 7.5, False),
    ),
    "x0 by Euler a": (
        {}, {"_class_name": "EulerAncestralDiscreteScheduler", "prediction_type": "sample"}, 7.5,
        ("cfg", "DDIM", 30, 7.5, False),
    ),
    "a scheduler nobody knows": ({}, {"_class_name": "NewScheduler"}, 7.5, ("cfg", "DDIM", 30, 7.5, False)),
    "none": ({}, {}, 7.5, ("cfg", "DDIM", 30, 7.5, False)),
}  # fmt: skip


@pytest.mark.parametrize("which", CONFIGS)
def test_what_a_config_says(which):
    unet, scheduler, scale, expected = CONFIGS[which]
    can = abilities(unet, scheduler, scale)
    assert (can.guidance, can.sampler, can.steps, can.scale, can.distilled) == expected
    assert can.prompts
    assert can.latent


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_every_habit_can_be_run(spacing):
    for prediction_type in ("epsilon", "v_prediction"):
        config = as_model(tiny_parts(prediction_type, timestep_spacing=spacing)).scheduler_config
        for habit in HABITS.values():
            plan = schedule(Request(sampler=habit.sampler, steps=habit.steps), config)
            assert plan.evaluations >= habit.steps


def test_folders_of_sd2_and_lcm(tmp_path):
    sd2 = load_model(saved(tmp_path / "sd2", tiny_pipeline(sd2_parts(**ZERO_SNR))), "cpu")
    can = sd2.abilities
    assert (can.sampler, can.steps, can.scale, sd2.prediction_type) == ("DDIM", 30, 7.5, "v_prediction")
    request = Request(prompt="cat", steps=3, guidance=7.5)
    assert torch.equal(run(sd2, request).latents, run(as_model(sd2_parts(**ZERO_SNR)), request).latents)
    parts = lcm_parts()
    parts["scheduler"] = LCMScheduler.from_config(parts["scheduler"].config)
    own = LatentConsistencyModelPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    lcm = load_model(saved(tmp_path / "lcm", own), "cpu")
    can = lcm.abilities
    assert (can.guidance, can.sampler, can.steps, can.scale, can.distilled) == ("embedded", "LCM", 4, 8.5, True)
    assert torch.equal(run(lcm, LCM).latents, run(as_model(parts), LCM).latents)
    other = load_model(saved(tmp_path / "other", StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )), "cpu")  # fmt: skip
    assert other.abilities == can


def test_a_folder_may_say_where_its_form_begins(tmp_path, embedded_model):
    can = embedded_model.abilities
    assert (can.sampler, can.steps, can.scale, can.guidance, can.distilled) == ("DDIM", 20, 4.0, "cfg", False)
    folder = saved(tmp_path / "mine", tiny_pipeline(tiny_parts()), sampler="UniPC", scale=2)
    can = load_model(folder, "cpu").abilities
    assert (can.sampler, can.steps, can.scale, can.examples) == ("UniPC", 30, 2.0, GENERAL)
    (folder / OWN).write_text('{"prompts": ["a cat", "pizza on blue"]}')
    assert load_model(folder, "cpu").abilities.examples == ("a cat", "pizza on blue")
    for text, sentence in (
        ("[1]", "it is not a JSON object."),
        ("{", "it is not a JSON object."),
        ('{"sampler": "Fast"}', "its sampler is 'Fast', which is none of DDPM, DDIM,"),
        ('{"sampler": ["DDIM"]}', "its sampler is \"['DDIM']\", which is none of"),
        ('{"steps": 0}', "steps is 0; it must be from 1 to 1000."),
        ('{"scale": "4"}', "scale is '4'; a number from -5 to 30 is needed."),
        ('{"colour": 1}', "it says 'colour', which is none of sampler, steps, scale and prompts."),
        ('{"prompts": []}', "its prompts must be a list of 1 to 64 texts."),
        ('{"prompts": "a cat"}', "its prompts must be a list of 1 to 64 texts."),
        (json.dumps({"prompts": ["cat"] * 65}), "must be a list of 1 to 64 texts."),
        ('{"prompts": ["cat", " "]}', "its prompt 2 is ' '; a line of 1 to 200 characters is needed."),
        (json.dumps({"prompts": ["cat\n"]}), "its prompt 1 is 'cat\\n'; a line of 1 to 200 characters is needed."),
        ('{"prompts": [7]}', "its prompt 1 is 7; a line of 1 to 200 characters is needed."),
    ):
        (folder / OWN).write_text(text)
        with pytest.raises(SourceError) as refusal:
            read(folder, "mine")
        assert str(refusal.value).startswith("The model 'mine' has an explorer.json that can't be used: ")
        assert sentence in str(refusal.value)
    with pytest.raises(SourceError, match=r"^The model 'mine' has an explorer\.json"):
        load_model(folder, "cpu")
