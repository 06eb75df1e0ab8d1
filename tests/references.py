"""What diffusers itself would be told for each row, written down apart from SAMPLERS."""

import diffusers

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
