"""The engine's latents equal StableDiffusionPipeline's, bit for bit, for every row of SAMPLERS. float32, CPU."""

import pytest
import torch
from diffusers import StableDiffusionPipeline
from references import KARRAS, PAIRS, reference
from tiny import as_model, tiny_parts, tiny_pipeline

from explorer import Request, denoise_batch, run
from explorer.models import EMBEDDED
from explorer.samplers import SAMPLERS

VARIANTS = {
    "one step": {"steps": 1},
    "two steps": {"steps": 2},
    "plain": {"steps": 7},
    "many": {"steps": 26},
    "guidance 1": {"steps": 5, "guidance": 1.0, "guidance_rescale": 0.7, "negative_prompt": "cat"},
    "negative": {"steps": 5, "negative_prompt": "blue cat", "seed": 9},
    "rescale": {"steps": 5, "guidance": 7.5, "guidance_rescale": 0.7},
    "empty": {"steps": 3, "prompt": ""},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("name", "prediction_type"), PAIRS)
def test_final_latents_equal_the_pipelines(name, prediction_type, variant):
    parts = tiny_parts(prediction_type)
    request = Request(**{"prompt": "red pizza", "seed": 3, "guidance": 3.5, "sampler": name} | VARIANTS[variant])
    assert torch.equal(run(as_model(parts), request).latents, reference(parts, request))


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("name", [name for name, row in SAMPLERS.items() if row.spacing])
def test_every_spacing(name, spacing):
    parts = tiny_parts("v_prediction")
    request = Request(prompt="cat", steps=6, sampler=name, spacing=spacing)
    assert torch.equal(run(as_model(parts), request).latents, reference(parts, request))


@pytest.mark.parametrize("name", sorted(KARRAS))
def test_karras_sigmas(name):
    parts = tiny_parts("epsilon")
    request = Request(prompt="cat", steps=6, sampler=name, karras=True)
    assert torch.equal(run(as_model(parts), request).latents, reference(parts, request))
    assert SAMPLERS[name].karras


def test_karras_column_is_complete():
    assert {name for name, row in SAMPLERS.items() if row.karras} == KARRAS


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_with_eta(eta):
    parts = tiny_parts("epsilon")
    request = Request(prompt="cat", steps=6, sampler="DDIM", eta=eta)
    assert torch.equal(run(as_model(parts), request).latents, reference(parts, request))


@pytest.mark.parametrize("name", ["DDPM", "DDIM", "Euler", "Euler a", "DPM++ 2M", "DPM++ 2M SDE", "UniPC", "LCM"])
def test_zero_terminal_snr(name):
    parts = tiny_parts("v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    request = Request(prompt="cat", steps=6, sampler=name)
    ours, theirs = run(as_model(parts), request).latents, reference(parts, request)
    assert torch.equal(ours, theirs)
    assert torch.isfinite(ours).all()


def test_other_size():
    parts = tiny_parts("epsilon")
    request = Request(prompt="cat", steps=3, width=96, height=64)
    assert torch.equal(run(as_model(parts), request).latents, reference(parts, request, width=96, height=64))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_constant_tuple_is_its_number(tiny_model, name):
    n = SAMPLERS[name].evaluations(4)
    for guidance in (1.0, 3.0):
        one = run(tiny_model, Request(prompt="cat", steps=4, sampler=name, guidance=guidance))
        many = run(tiny_model, Request(prompt="cat", steps=4, sampler=name, guidance=(guidance,) * n))
        assert torch.equal(one.latents, many.latents)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_batch_of_one_is_the_single_run(tiny_model, name):
    request = Request(prompt="cat", steps=4, sampler=name, seed=5)
    *_, [last] = denoise_batch(tiny_model, [request])
    assert torch.equal(last.latents, run(tiny_model, request).latents)


@pytest.fixture(scope="module")
def embedded_parts():
    pipeline = StableDiffusionPipeline.from_pretrained(EMBEDDED, dtype=torch.float32)
    return {key: getattr(pipeline, key) for key in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    "settings",
    [{"steps": 4, "guidance": 4.0, "negative_prompt": "blue", "guidance_rescale": 0.5}, {"steps": 3, "guidance": 1.0}],
    ids=["cfg", "guidance 1"],
)
def test_embedded_model(embedded_model, embedded_parts, name, settings):
    request = Request(prompt="pizza", seed=11, sampler=name, **settings)
    assert torch.equal(run(embedded_model, request).latents, reference(embedded_parts, request))


def test_decoding_equals_the_pipelines(embedded_model, embedded_parts):
    pipeline = tiny_pipeline(embedded_parts)
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    theirs = pipeline.image_processor.postprocess(decoded, output_type="pt")
    assert torch.equal(embedded_model.decode(latents), theirs)
