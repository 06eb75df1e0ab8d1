"""SDXL: the engine's latents equal StableDiffusionXLPipeline's, bit for bit; loading a folder; every refusal of one."""

import json
import shutil

import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionXLPipeline
from references import PAIRS, reference
from safetensors.torch import load_file, save_file
from tiny import Calls, as_xl, lcm_parts, xl_parts, xl_pipeline

from explorer import Request, denoise_batch, load_model, run
from explorer.diversity import grid, measured
from explorer.models.latent import LatentDiffusion
from explorer.records import SourceError
from explorer.samplers import SAMPLERS

VARIANTS = {
    "no negative prompt": {"steps": 4, "guidance_rescale": 0.7},
    "negative prompt": {"steps": 3, "negative_prompt": "blue cat", "seed": 9},
    "guidance 1": {"steps": 3, "guidance": 1.0, "negative_prompt": "cat"},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("name", "prediction_type"), [pair for pair in PAIRS if pair[1] != "sample"])
def test_final_latents_equal_the_pipelines(name, prediction_type, variant):
    parts = xl_parts(prediction_type)
    request = Request(**{"prompt": "red pizza", "seed": 3, "guidance": 5.0, "sampler": name} | VARIANTS[variant])
    assert torch.equal(run(as_xl(parts), request).latents, reference(parts, request))


@pytest.mark.parametrize("name", ["DDIM", "PNDM", "Euler", "UniPC"])
def test_the_steps_offset_is_the_files(name):
    """StableDiffusionPipeline sets it to 1, this pipeline doesn't."""
    first, second = (xl_parts(steps_offset=offset, timestep_spacing="leading") for offset in (0, 1))
    request = Request(prompt="cat", steps=3, sampler=name)
    latents = run(as_xl(first), request).latents
    assert torch.equal(latents, reference(first, request))
    assert not torch.equal(latents, run(as_xl(second), request).latents)


def test_sizes_are_told_to_the_network():
    """(height, width, 0, 0, height, width), and what it is told matters."""
    parts = xl_parts()
    model, request = as_xl(parts), Request(prompt="cat", steps=2, width=96, height=64)
    latents = run(model, request).latents
    assert torch.equal(latents, reference(parts, request, width=96, height=64))
    assert not torch.equal(latents, reference(parts, request, width=96, height=64, original_size=(512, 512)))
    assert torch.equal(run(model, Request(prompt="cat", steps=2)).latents, reference(parts, Request(prompt="cat", steps=2)))


@pytest.mark.parametrize("prompt", ["", "cat " * 40])
def test_prompts_of_no_words_and_of_too_many(prompt):
    parts = xl_parts()
    request = Request(prompt=prompt, negative_prompt="red " * 40, steps=2, guidance=5.0)
    assert torch.equal(run(as_xl(parts), request).latents, reference(parts, request))


def test_zero_terminal_snr():
    parts = xl_parts("v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    for name in ("DDIM", "Euler", "DPM++ 2M"):
        request = Request(prompt="cat", steps=3, sampler=name, guidance=5.0, guidance_rescale=0.7)
        assert torch.equal(run(as_xl(parts), request).latents, reference(parts, request)), name


def test_an_empty_negative_prompt_is_zeros_unless_the_config_says_no():
    parts, request = xl_parts(), Request(prompt="cat", steps=2, guidance=5.0)
    zeros, words = as_xl(parts), as_xl(parts, zeros_for_empty=False)
    nothing = zeros.encode_negative("")
    assert all(not tensor.any() for tensor in nothing.tensors.values())
    assert nothing is zeros.encode_negative("")  # one object is one row
    assert {key: t.shape for key, t in nothing.tensors.items()} == {"hidden": (1, 16, 40), "pooled": (1, 20)}
    assert zeros.encode_negative("cat") is zeros.encode_prompt("cat")
    assert words.encode_negative("") is words.encode_prompt("")
    without = reference(parts, request, lambda parts: xl_pipeline(parts, force_zeros_for_empty_prompt=False))
    assert torch.equal(run(words, request).latents, without)
    assert not torch.equal(run(zeros, request).latents, without)


def test_lcm_of_sdxl_is_told_the_scale_too():
    parts = lcm_parts(xl=True)
    model = as_xl(parts)
    assert (model.abilities.guidance, model.abilities.scale) == ("embedded", 8.5)
    for guidance in (1.0, 8.5):
        request = Request(prompt="red cat", steps=3, sampler="LCM", guidance=guidance, seed=2)
        assert torch.equal(run(model, request).latents, reference(parts, request))


def test_a_batch_of_prompts_and_scales_is_its_single_runs():
    counted = Calls(as_xl(xl_parts()))
    requests = [Request(prompt=p, steps=3, guidance=g) for p, g in (("cat", 5.0), ("red", 5.0), ("cat", 1.0))]
    *_, last = denoise_batch(counted, requests)
    assert counted.rows[0] == 3  # zeros once, two prompts
    for request, step in zip(requests, last, strict=True):
        assert torch.allclose(step.latents, run(counted, request).latents, atol=1e-3)


def test_unconditional_is_guidance_0_of_a_grid_too():
    request, scales = Request(prompt="cat", steps=2), (0.0, 5.0)
    zero, five = measured(grid(as_xl(xl_parts()), request, (1, 2), scales), scales)
    assert zero.distance == 0 < five.distance


def test_what_of_a_prompt_is_not_read_and_the_parts():
    model = as_xl(xl_parts())
    assert model.unread("cat " * 14 + "red") == "red"
    assert model.unread("red cat") == ""
    tokenizer, text_encoder, unet, vae = model.parts()
    assert text_encoder.kind == "CLIPTextModel and CLIPTextModelWithProjection"
    assert (tokenizer.gives, text_encoder.gives) == ((16,), model.encode_prompt("cat").tensors["hidden"].shape[1:])
    both = (model.text_encoder, model.text_encoder_2)
    assert text_encoder.parameters == sum(p.numel() for one in both for p in one.parameters())
    assert unet.gives == vae.takes == (4, 8, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny SDXL as a diffusers folder, with a turbo's scheduler."""
    parts, where = xl_parts(), tmp_path_factory.mktemp("models") / "tiny-xl"
    turbo = EulerAncestralDiscreteScheduler.from_config(parts["scheduler"].config, timestep_spacing="trailing")
    xl_pipeline({**parts, "scheduler": turbo}).save_pretrained(where, safe_serialization=True)
    return where


def test_a_folder_and_what_it_can_do(folder):
    model = load_model(folder, "cpu")
    assert isinstance(model, LatentDiffusion)
    assert (model.pipeline, model.name, model.default_size) == ("StableDiffusionXLPipeline", "tiny-xl", (64, 64))
    can = model.abilities
    assert (can.guidance, can.sampler, can.steps, can.scale, can.distilled) == ("cfg", "Euler a", 4, 1.0, True)
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    request = Request(prompt="red cat", sampler=can.sampler, steps=can.steps, guidance=can.scale)
    theirs = pipeline(
        "red cat", num_inference_steps=4, guidance_scale=0.0, generator=torch.Generator().manual_seed(0),
        output_type="latent",
    ).images  # fmt: skip
    assert torch.equal(run(model, request).latents, theirs)
    half = load_model(folder, "cpu", "bfloat16")
    assert {tensor.dtype for tensor in half.encode_prompt("cat").tensors.values()} == {torch.bfloat16}
    assert half.vae.dtype == torch.float32
    assert torch.isfinite(run(half, request).latents).all()


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "model")


def test_what_the_index_says_of_empty_prompts(folder, tmp_path):
    other = copied(folder, tmp_path)
    edit(other / "model_index.json", force_zeros_for_empty_prompt=False)
    model = load_model(other, "cpu")
    assert model.encode_negative("") is model.encode_prompt("")


def test_the_checksum_covers_both_encoders(folder, tmp_path):
    other = copied(folder, tmp_path)
    weights = other / "text_encoder_2" / "model.safetensors"
    save_file({key: tensor + 1 for key, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    assert load_model(other, "cpu").weights != load_model(folder, "cpu").weights


def _lose(path, name):
    tensors = load_file(path)
    kept = {key: tensor for key, tensor in tensors.items() if name not in key}
    assert len(kept) < len(tensors)
    save_file(kept, path, {"format": "pt"})


def _unet(**settings):
    """Another network in the U-Net's place, whole and of its own config."""
    from tiny import XL, _unet

    return lambda f: _unet(**XL | settings).save_pretrained(f / "unet")


WEIGHTS = "diffusion_pytorch_model.safetensors"
REFUSALS = {
    "a refiner": (
        lambda f: (
            [shutil.rmtree(f / part) for part in ("text_encoder", "tokenizer")],
            edit(f / "model_index.json", text_encoder=[None, None], tokenizer=[None, None]),
        ),
        "has the second text encoder only, as SDXL's refiner",
    ),
    "an aesthetic score": (
        lambda f: edit(f / "model_index.json", requires_aesthetics_score=True), "is told an aesthetic score",
    ),
    "no second text encoder": (lambda f: shutil.rmtree(f / "text_encoder_2"), "text_encoder_2"),
    "no second tokenizer": (lambda f: shutil.rmtree(f / "tokenizer_2"), "tokenizer_2"),
    "a weight missing": (
        lambda f: _lose(f / "text_encoder_2" / "model.safetensors", "text_projection"), "text_encoder_2",
    ),
    "pickle only": (lambda f: (f / "unet" / WEIGHTS).rename(f / "unet" / "diffusion_pytorch_model.bin"), "unet"),
    "inpainting": (_unet(in_channels=9), "its U-Net takes 9 channels where its latents have 4, as one for inpainting"),
    "variance predicted": (_unet(out_channels=8), "its U-Net gives 8 channels for 4"),
    "no added conditions": (_unet(addition_embed_type=None), "its U-Net's added conditions are 'None'"),
    "class labels": (_unet(num_class_embeds=3), "its U-Net is told a class"),
    "another width": (_unet(cross_attention_dim=16), "attends to vectors 16 wide, and its prompts have 40"),
    "a prompt encoded again": (_unet(encoder_hid_dim=40, encoder_hid_dim_type="text_proj"), "encodes what it attends to"),
    "the refiner's sizes": (_unet(projection_class_embeddings_input_dim=5 * 8 + 20),
                            "takes 60 numbers beside the prompt, but its configs make 68"),
    "tokenizers of two lengths": (
        lambda f: edit(f / "tokenizer_2" / "tokenizer_config.json", model_max_length=12),
        "has tokenizers of 16 and 12 tokens; they must be equal.",
    ),
    "latents shifted": (
        lambda f: edit(f / "vae" / "config.json", latents_mean=[0.1] * 4, latents_std=[2.0] * 4),
        "its VAE shifts and stretches latents by numbers of its own",
    ),
    "EDM": (
        lambda f: edit(f / "scheduler" / "scheduler_config.json", _class_name="EDMDPMSolverMultistepScheduler"),
        "was made for 'EDMDPMSolverMultistepScheduler'",
    ),
    "flow matching": (
        lambda f: edit(f / "scheduler" / "scheduler_config.json", use_flow_sigmas=True), "this project can't run that.",
    ),
    "a pipeline that begins in a picture": (
        lambda f: edit(f / "model_index.json", _class_name="StableDiffusionXLImg2ImgPipeline"),
        "is a 'StableDiffusionXLImg2ImgPipeline'; this project can run",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", REFUSALS)
def test_refusals(folder, tmp_path, how):
    other = copied(folder, tmp_path)
    spoil, sentence = REFUSALS[how]
    spoil(other)
    with pytest.raises(SourceError) as refusal:
        load_model(other, "cpu")
    message = str(refusal.value)
    assert sentence in message
    assert message.startswith("The model 'model' ")
    assert message.endswith(".")
    assert "\n" not in message
    assert str(tmp_path) not in message


def test_every_default_of_a_scheduler_is_one_that_runs():
    from explorer.models.abilities import HABITS

    model = as_xl(xl_parts())
    for habit in HABITS.values():
        assert habit.sampler in SAMPLERS
        run(model, Request(prompt="cat", sampler=habit.sampler, steps=2))
