"""The script of a run: executed as it is copied, its final latents are the run's own."""

import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from references import KARRAS
from safetensors.torch import load_file
from tiny import as_model, tiny_parts, tiny_pipeline

from explorer import Request, load_model, run
from explorer.models import EMBEDDED
from explorer.pictures import to_image
from explorer.records import RequestError
from explorer.samplers import SAMPLERS
from explorer.snippet import snippet


@pytest.fixture(scope="module")
def folder_model(tiny_folder):
    return load_model(tiny_folder, "cpu")


def executed(text, folder, monkeypatch):
    """The latents that a script leaves, run in this process in the folder that holds the model's."""
    monkeypatch.chdir(folder)
    (folder / "script.py").write_text(text, encoding="utf-8")
    (folder / "latents.safetensors").unlink(missing_ok=True)
    runpy.run_path("script.py")
    return load_file("latents.safetensors")["latents"]


pytestmark = pytest.mark.filterwarnings("ignore:The configuration file of this scheduler")

OPTIONS = {
    "plain": {},
    "negative prompt, rescale and size": {
        "negative_prompt": "it's a \"cat\"\\ \n", "guidance_rescale": 0.7, "width": 96, "height": 32, "seed": 2**32 - 1,
    },
    "guidance 1": {"guidance": 1.0, "negative_prompt": "cat", "guidance_rescale": 0.7, "prompt": ""},
}  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_it_makes_the_same_latents(folder_model, tiny_folder, monkeypatch, name, options):
    request = Request(
        **{"prompt": "red pizza ✨", "steps": 4, "guidance": 3.5, "sampler": name, "seed": 3} | OPTIONS[options]
    )
    trajectory = run(folder_model, request)
    text = snippet(trajectory, folder_model)
    assert text == snippet(request, folder_model)
    assert torch.equal(executed(text, tiny_folder.parent, monkeypatch), trajectory.latents)
    assert to_image(folder_model.decode(trajectory.latents)).tobytes() == Image.open("picture.png").tobytes()
    assert SAMPLERS[name].scheduler.__name__ in text
    assert len(text.splitlines()) < 45


@pytest.mark.parametrize(
    "settings",
    [
        *({"sampler": name, "karras": karras} for name in sorted(KARRAS) for karras in (True, False)),
        *({"sampler": name, "spacing": "trailing"} for name, row in SAMPLERS.items() if row.spacing),
        {"sampler": "Euler", "spacing": "linspace"},
        {"sampler": "DDIM", "eta": 0.6},
        {"sampler": "DDIM", "eta": 1.0, "spacing": "linspace"},
        {"sampler": "DDIM", "noise_scale": 0.5},  # at eta 0 there is none to scale
        {"sampler": "DDIM", "guidance": (3.0, 3.0, 3.0, 3.0)},
        {"sampler": "LCM", "steps": 1, "noise_scale": 0.5},  # its one evaluation draws none
    ],
    ids=str,
)
def test_it_makes_the_same_latents_with_options(folder_model, tiny_folder, monkeypatch, settings):
    request = Request(**{"prompt": "cat", "steps": 4} | settings)
    text = snippet(request, folder_model)
    assert torch.equal(executed(text, tiny_folder.parent, monkeypatch), run(folder_model, request).latents)


SCHEDULERS = {
    "what the pipeline overrides": {
        "steps_offset": 0, "clip_sample": True, "thresholding": True, "timestep_spacing": "trailing",
    },
    "zero SNR": {
        "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
    },
    "trained betas": {"trained_betas": [0.0001 + 0.00002 * i for i in range(1000)]},
}  # fmt: skip


@pytest.fixture(scope="module", params=SCHEDULERS)
def other(request, tmp_path_factory):
    """A model with another scheduler, and the folder that holds its own."""
    folder = tmp_path_factory.mktemp("others")
    tiny_pipeline(tiny_parts(**SCHEDULERS[request.param])).save_pretrained(folder / "other")
    return load_model(folder / "other", "cpu"), folder


@pytest.mark.parametrize("name", SAMPLERS)
def test_models_with_other_scheduler_configs(other, monkeypatch, name):
    (model, folder), request = other, Request(prompt="cat", steps=4, sampler=name)
    assert torch.equal(executed(snippet(request, model), folder, monkeypatch), run(model, request).latents)


def test_karras_sigmas_of_a_model_that_predicts_v(tmp_path, monkeypatch):
    tiny_pipeline(tiny_parts("v_prediction")).save_pretrained(tmp_path / "other")
    model = load_model(tmp_path / "other", "cpu")
    for name in sorted(KARRAS):
        request = Request(prompt="cat", steps=4, sampler=name, karras=True)
        assert torch.equal(executed(snippet(request, model), tmp_path, monkeypatch), run(model, request).latents), name


def test_a_scheduler_config_of_few_words(tmp_path, monkeypatch):
    """What the file leaves out is every class's own default, and those differ."""
    tiny_pipeline(tiny_parts()).save_pretrained(tmp_path / "other")
    config = '{"_class_name": "PNDMScheduler", "beta_schedule": "scaled_linear", "use_karras_sigmas": true}'
    (tmp_path / "other" / "scheduler" / "scheduler_config.json").write_text(config)
    index = tmp_path / "other" / "model_index.json"
    index.write_text(index.read_text().replace("DDIMScheduler", "PNDMScheduler"))
    model = load_model(tmp_path / "other", "cpu")
    for name in SAMPLERS:
        request = Request(prompt="cat", steps=3, sampler=name)
        assert torch.equal(executed(snippet(request, model), tmp_path, monkeypatch), run(model, request).latents), name


def test_the_embedded_model_in_a_process_of_its_own(embedded_model, tmp_path):
    request = Request(prompt="pizza", steps=2, sampler="DPM++ 2M SDE", karras=True)
    text = snippet(request, embedded_model)
    source = 'from_pretrained("assets/models/emoji-ldm", dtype=torch.float32, use_safetensors=True)'
    assert f"{source}  # from the repository's root" in text
    (tmp_path / "assets").symlink_to(Path(__file__).parents[1] / "assets")
    threads = os.environ | {"OMP_NUM_THREADS": "1"}  # as many as here: other numbers of threads round differently
    subprocess.run([sys.executable, "-c", text], cwd=tmp_path, env=threads, check=True, timeout=120, capture_output=True)
    trajectory = run(embedded_model, request)
    assert torch.equal(load_file(tmp_path / "latents.safetensors")["latents"], trajectory.latents)
    assert Image.open(tmp_path / "picture.png").size == (128, 128)


def test_how_it_reads(folder_model):
    text = snippet(Request(prompt="cat", sampler="DPM++ 2M SDE", karras=True), folder_model)
    assert "equal to the last bit" in text
    assert '''
pipe = StableDiffusionPipeline.from_pretrained("./tiny", dtype=torch.float32, use_safetensors=True)  # the path of the \
model's folder
pipe.scheduler = DPMSolverMultistepScheduler.from_config(
    pipe.scheduler.config,
    algorithm_type="sde-dpmsolver++",
    use_karras_sigmas=True,
    steps_offset=1,
    thresholding=False,
)
latents = pipe(
    "cat",
    num_inference_steps=20,
    guidance_scale=4.0,
    generator=torch.Generator("cpu").manual_seed(0),
    output_type="latent",
).images
''' in text  # fmt: skip
    hub = as_model(tiny_parts(), name="owner/name")
    assert 'from_pretrained("owner/name", dtype=torch.float32, use_safetensors=True)\n' in snippet(Request(), hub)
    hub.dtype = torch.float16
    assert "the app runs in float16 on cpu, so latents are equal up to rounding." in snippet(Request(), hub)


def test_what_it_claims_goes_by_the_runs_own_capsule(folder_model):
    request = Request(prompt="cat", steps=2)
    whole = run(folder_model, request)
    assert "on this machine, with these versions, its latents are equal to the last bit." in snippet(whole, folder_model)
    versions = whole.capsule["versions"] | {"torch": "1.2.3"}
    for made, words in (
        ({"device": "cuda", "dtype": "float16"}, "the app runs in float16 on cuda, so latents are equal up to rounding."),
        (
            {"versions": versions},
            "with these versions, which made the run elsewhere, its latents are equal up to rounding.",
        ),
    ):
        assert words in snippet(replace(whole, capsule={**whole.capsule, **made}), folder_model)
    assert "# torch 1.2.3, diffusers " in snippet(
        replace(whole, capsule={**whole.capsule, "versions": versions}), folder_model
    )


def test_a_stopped_run(folder_model):
    whole = run(folder_model, Request(prompt="cat", steps=4))
    with pytest.raises(RequestError) as refusal:
        snippet(replace(whole, steps=whole.steps[:3]), folder_model)
    assert str(refusal.value) == "The run was stopped at step 2, before its end; diffusers alone runs to the end."


def test_a_folder_that_is_called_like_the_embedded_model(tmp_path, monkeypatch):
    tiny_pipeline(tiny_parts()).save_pretrained(tmp_path / EMBEDDED.name)
    model, request = load_model(tmp_path / EMBEDDED.name, "cpu"), Request(prompt="cat", steps=2)
    text = snippet(request, model)
    assert 'from_pretrained("./emoji-ldm", dtype=torch.float32, use_safetensors=True)  # the path of the model' in text
    assert torch.equal(executed(text, tmp_path, monkeypatch), run(model, request).latents)
    assert "assets/models/emoji-ldm" in snippet(request, load_model(EMBEDDED, "cpu"))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"guidance": 0.99}, "guidance is 0.99; below 1 diffusers alone leaves the unconditional prediction out."),
        ({"guidance": -3.0}, "guidance is -3; below 1"),
        ({"guidance": (4.0,) * 19 + (2.0,)}, "guidance goes from 2 to 4 on the way; diffusers alone takes one value."),
        ({"sampler": "LCM", "noise_scale": 0.5}, "noise_scale is 0.5; diffusers alone injects all of the noise, 1."),
        ({"sampler": "DDPM", "noise_scale": 0.5}, "noise_scale is 0.5; diffusers alone injects all of the noise, 1."),
        ({"eta": 0.1, "noise_scale": 0.0}, "noise_scale is 0; diffusers alone injects all of the noise, 1."),
        ({"steps": 0}, "steps is 0; it must be from 1 to 1000."),
        ({"steps": 61, "spacing": "trailing"}, "steps is 61: with trailing spacing"),
    ],
)
def test_what_diffusers_alone_cannot_express(tiny_model, settings, sentence):
    with pytest.raises(RequestError) as refusal:
        snippet(Request(**settings), tiny_model)
    assert sentence in str(refusal.value)


def test_runs_that_begin_elsewhere(tiny_model):
    request = Request(prompt="cat", steps=5, sampler="PNDM", seed=3)
    whole = run(tiny_model, request)
    noise = torch.zeros(1, 4, 8, 8), torch.ones(1, 4, 8, 8)
    for trajectory, step in (
        (run(tiny_model, request, (whole, 2)), 2),
        (run(tiny_model, request, (*noise, 3)), 3),
        (run(tiny_model, request, (*noise, 0)), 0),
        (run(tiny_model, replace(request, seed=4), (whole, 0)), 0),
    ):
        with pytest.raises(RequestError) as refusal:
            snippet(trajectory, tiny_model)
        seed = trajectory.request.seed
        assert (
            str(refusal.value) == f"start is step {step}, not in the noise of seed {seed}; diffusers alone begins in that."
        )
    assert snippet(run(tiny_model, request, (whole, 0)), tiny_model) == snippet(whole, tiny_model)  # the same run again
    with pytest.raises(RequestError, match=r"can be played but not copied as a script."):
        snippet(whole, as_model(tiny_parts(), name="other"))


def test_sizes_that_only_this_project_takes(tiny_model):
    small = as_model(tiny_parts())
    small.latent_scale = 4
    with pytest.raises(RequestError, match=r"width is 68; diffusers alone takes multiples of 8."):
        snippet(Request(width=68), small)


def test_a_revision_is_named_as_diffusers_takes_it(tiny_model, monkeypatch):
    request = Request(prompt="pizza", steps=2)
    trajectory = run(tiny_model, request)
    monkeypatch.setattr(tiny_model, "name", "owner/name@v1.0")
    script = snippet(replace(trajectory, capsule={**trajectory.capsule, "model": tiny_model.name}), tiny_model)
    assert 'from_pretrained("owner/name", revision="v1.0", dtype' in script
