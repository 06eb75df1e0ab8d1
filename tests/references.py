"""What diffusers itself would be told for each row, written down apart from SAMPLERS."""

import diffusers
import torch
from tiny import tiny_pipeline, xl_pipeline

from explorer import Request

KARRAS = {"Euler", "Heun", "DPM++ 2M", "DPM++ 2M SDE", "UniPC"}

SCHEDULERS = {
    "DDPM": (diffusers.DDPMScheduler, {}),
    "DDIM": (diffusers.DDIMScheduler, {}),
    "PNDM": (diffusers.PNDMScheduler, {"skip_prk_steps": True}),
    "Euler": (diffusers.EulerDiscreteScheduler, {}),
    "Euler a": (diffusers.EulerAncestralDiscreteScheduler, {}),
    "Heun": (diffusers.HeunDiscreteScheduler, {}),
    "DPM++ 2M": (diffusers.DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "DPM++ 2M SDE": (diffusers.DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}),
    "UniPC": (diffusers.UniPCMultistepScheduler, {"solver_order": 2}),
    "LCM": (diffusers.LCMScheduler, {"original_inference_steps": 50}),
}

REFUSED = {("PNDM", "sample"), ("Euler a", "sample")}
PAIRS = [(n, p) for n in SCHEDULERS for p in ("epsilon", "v_prediction", "sample") if (n, p) not in REFUSED]


def reference(parts, request: Request, pipeline=None, **extra) -> torch.Tensor:
    """diffusers' own final latents, by the pipeline that these parts make."""
    pipeline = pipeline or (xl_pipeline if "text_encoder_2" in parts else tiny_pipeline)
    scheduler, settings = SCHEDULERS[request.sampler]
    settings = dict(settings, clip_sample=False) if request.sampler in ("DDPM", "LCM", "Heun") else dict(settings)
    if request.spacing:
        settings["timestep_spacing"] = request.spacing
    if request.karras:
        settings["use_karras_sigmas"] = True
    made = pipeline({**parts, "scheduler": scheduler.from_config(parts["scheduler"].config, **settings)})
    return made(
        request.prompt, negative_prompt=request.negative_prompt or None, num_inference_steps=request.steps,
        guidance_scale=request.guidance, guidance_rescale=request.guidance_rescale, eta=request.eta,
        generator=torch.Generator().manual_seed(request.seed), output_type="latent", **extra,
    ).images  # fmt: skip
