"""SD 2.x and LCM by parity with diffusers, and all families beside the rest of the app: traces, walks, scripts, devices."""

import runpy
from dataclasses import replace

import pytest
import torch
from diffusers import LatentConsistencyModelPipeline, LCMScheduler
from references import SCHEDULERS, reference
from safetensors.torch import load_file
from tiny import Calls, as_model, as_xl, lcm_parts, saved, sd2_parts, tiny_parts, tiny_pipeline, xl_parts, xl_pipeline

from explorer import Request, denoise, denoise_batch, load_model, run
from explorer.forecast import forecast
from explorer.limits import foreign
from explorer.microscope import ONE, TOLD, negatives, readings
from explorer.models.latent import scale_embedding
from explorer.records import RequestError, TraceError
from explorer.snippet import snippet
from explorer.tabs import gpu
from explorer.trace import load, save
from explorer.walk import Station, Walk, origin
from explorer.walk_film import film

ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_sd2_equals_the_pipeline(name):
    plain, zero = sd2_parts(), sd2_parts(**ZERO_SNR)
    for parts in (plain, zero) if name not in ("PNDM", "Heun") else (plain,):  # these ignore zero SNR
        request = Request(prompt="red cat", steps=3, sampler=name, guidance=7.5, guidance_rescale=0.7, negative_prompt="a")
        latents = run(as_model(parts), request).latents
        assert torch.equal(latents, reference(parts, request))
        assert torch.isfinite(latents).all()


LCM = {"prompt": "red cat", "sampler": "LCM", "steps": 4, "seed": 5}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("guidance", [1.0, 8.5])
def test_lcm_equals_the_pipeline_with_every_sampler(name, guidance):
    parts = lcm_parts()
    request = Request(prompt="red cat", steps=3, sampler=name, guidance=guidance)
    assert torch.equal(run(as_model(parts), request).latents, reference(parts, request))


@pytest.mark.parametrize("guidance", [0.5, 1.0, 8.5])
def test_lcm_equals_its_own_pipeline(guidance):
    parts = lcm_parts()
    own = LatentConsistencyModelPipeline(
        **{**parts, "scheduler": LCMScheduler.from_config(parts["scheduler"].config)}, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    own.set_progress_bar_config(disable=True)
    theirs = own(
        "red cat", num_inference_steps=4, guidance_scale=guidance, generator=torch.Generator().manual_seed(5),
        output_type="latent",
    ).images  # fmt: skip
    assert torch.equal(run(as_model(parts), Request(**LCM, guidance=guidance)).latents, theirs)


def test_the_embedding_of_a_scale_is_diffusers_own():
    for width in (256, 33):
        for w in (8.5, 1.0, -5.0, 30.0):
            theirs = LatentConsistencyModelPipeline.get_guidance_scale_embedding(
                None, torch.tensor([w - 1.0]), embedding_dim=width
            )
            assert torch.equal(scale_embedding(w, width), theirs)


def test_a_told_scale_is_one_call_and_may_change_on_the_way():
    model = Calls(as_model(lcm_parts()))
    request = Request(**LCM, guidance=(1.0, 4.0, 8.0, 4.0), negative_prompt="blue", guidance_rescale=0.7)
    steps = list(denoise(model, request))
    assert model.rows == [1] * 4
    prompt = model.encode_prompt("red cat")
    for step, w in zip(steps, request.guidance, strict=False):
        assert step.eps_uncond is None
        assert torch.equal(step.eps_cond, step.eps)
        told = model.at_scale(prompt, w)
        assert torch.equal(model.predict(step.latents, torch.tensor([step.timestep]).long(), told), step.model_output)
    plain = run(model, replace(request, negative_prompt="", guidance_rescale=0.0))
    assert torch.equal(plain.latents, steps[-1].latents)
    assert not torch.equal(plain.latents, run(model, replace(request, guidance=4.0)).latents)


def test_told_scales_share_rows_only_where_they_are_equal():
    model = Calls(as_model(lcm_parts()))
    schedule = (8.0, 8.0, 2.0, 2.0)
    requests = [Request(**LCM, guidance=w) for w in (8.0, 8.0, 2.0, schedule)]
    *_, last = denoise_batch(model, requests)
    assert model.rows == [2, 2, 3, 3]
    for step, request in zip(last, requests, strict=True):
        assert torch.allclose(step.latents, run(model, request).latents, atol=1e-4)
    assert torch.equal(last[0].latents, last[1].latents)
    model.rows.clear()
    list(denoise_batch(model, [Request(**{**LCM, "prompt": ""}, guidance=w) for w in (8.0, 2.0)]))
    assert model.rows == [2] * 4


def test_asked_outside_of_a_run_it_is_told_its_usual_scale():
    model = as_model(lcm_parts())
    latents, t, told = torch.ones(2, 4, 8, 8), torch.tensor([9, 9]), model.encode_prompt("cat")
    pair = type(told).batch([told, told])
    usual = model.at_scale(pair, model.abilities.scale)
    assert usual.tensors["scale"].shape == (2, 33)
    assert torch.equal(model.predict(latents, t, pair), model.predict(latents, t, usual))
    assert as_model(tiny_parts()).at_scale(told, 3.0) is told
    half = as_model(lcm_parts())
    half.dtype = torch.float16
    assert half.at_scale(told, 3.0).tensors["scale"].dtype == torch.float16


FAMILIES = {"sd2": lambda: as_model(sd2_parts()), "sdxl": lambda: as_xl(xl_parts()), "lcm": lambda: as_model(lcm_parts())}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return FAMILIES[request.param]()


def test_traces_and_branches(model, tmp_path):
    request = Request(
        prompt="red cat", negative_prompt="blue", steps=5, guidance=(1.0, 5.0, 5.0, 5.0, 2.0), sampler="UniPC"
    )
    whole = run(model, request)
    save(whole, tmp_path / "run.safetensors")
    kept = load(tmp_path / "run.safetensors")
    assert not foreign(kept, model)
    assert foreign(kept, as_model(tiny_parts()))
    branch = run(model, request, (kept, 3))
    assert torch.equal(branch.latents, whole.latents)
    save(branch, tmp_path / "branch.safetensors")
    assert torch.equal(run(model, request, (load(tmp_path / "branch.safetensors"), 4)).latents, whole.latents)
    assert "nothing is changed that matters" in forecast(model, request, (kept, 3)).sentence
    changed = forecast(model, replace(request, negative_prompt="a"), (kept, 3)).sentence
    assert ("negative prompt" in changed) == (model.abilities.guidance == "cfg")
    assert "guidance" in forecast(model, replace(request, guidance=7.0), (kept, 3)).sentence


def test_a_trace_of_a_told_scale_says_so(tmp_path):
    whole = run(as_model(lcm_parts()), Request(**LCM, guidance=8.5))
    assert whole.capsule["guidance"] == "embedded"
    assert "guidance" not in run(as_model(tiny_parts()), Request(steps=1)).capsule
    for guidance, sentence in ((None, "has not the predictions that guidance 8.5 makes"), ("cfg", "has not the parts")):
        capsule = {key: value for key, value in whole.capsule.items() if key != "guidance"}
        capsule |= {"guidance": guidance} if guidance else {}
        with pytest.raises(TraceError, match=sentence):
            save(replace(whole, capsule=capsule), tmp_path / "run.safetensors")


def test_walks_of_prompts(model):
    walk = Walk(
        stations=(Station("red cat", 1), Station("blue house", 1)), moves="prompt", frames=8, prompt_path="lerp",
        request=Request(steps=2, guidance=5.0),
    )  # fmt: skip
    ends = model.encode_prompt("red cat"), model.encode_prompt("blue house")
    told = origin(model, walk, 0.25)[1].conditioning
    for name, tensor in told.tensors.items():
        assert torch.equal(tensor, torch.lerp(ends[0].tensors[name], ends[1].tensors[name], 0.25))
    last = {
        frame: step
        for batch in film(model, walk, (0.0, 0.25, 1.0))
        for frame, step in zip(batch.frames, batch.steps, strict=True)
    }
    for frame, prompt in ((0, "red cat"), (2, "blue house")):
        alone = run(model, replace(walk.request, prompt=prompt, seed=1)).latents
        assert torch.allclose(last[frame].latents, alone, atol=1e-3)
    assert not torch.allclose(last[1].latents, last[0].latents, atol=1e-3)


def test_what_crosses_to_the_device_and_back(model):
    told = model.at_scale(model.encode_prompt("red cat"), 3.0)
    back = gpu.unpack(gpu.pack(told))
    assert {key: t.tolist() for key, t in back.tensors.items()} == {key: t.tolist() for key, t in told.tensors.items()}
    request = Request(prompt="cat", steps=2, guidance=5.0)
    crossed = [step.latents for step in gpu.denoise(_worker(model), request)]
    assert torch.equal(crossed[-1], run(model, request).latents)
    latents, t = torch.ones(2, 4, 8, 8), torch.tensor([5, 900])
    assert torch.equal(gpu.predict(_worker(model), latents, t, "cat"), gpu.predict(model, latents, t, "cat"))


def _worker(model):
    def work(task, seconds):
        name, arguments = gpu.unpack(task)
        yield from (gpu.pack(made) for made in gpu.WORK[name](model, *arguments))

    return gpu.Remote(model, work)


def test_the_microscope(model):
    request = Request(prompt="red cat", negative_prompt="blue house", steps=2, guidance=5.0)
    step = run(model, request).steps[0]
    seen = readings(step, request, model.prediction_type)
    if model.abilities.guidance == "embedded":
        assert (seen.note, seen.formula, seen.norm_uncond) == (TOLD, "eps = eps_cond, of a model told w = 5", None)
        alone = replace(request, guidance=1.0)
        assert readings(run(model, alone).steps[0], alone, model.prediction_type).note == ONE
        with pytest.raises(RequestError, match=r"^The model 'tiny' is asked once per step, .* no part in it\.$"):
            negatives(model, step, "red cat", "blue house")
        return
    assert seen.note == ""
    two = negatives(model, step, request.prompt, request.negative_prompt)
    size = max(1.0, float(step.eps.abs().max()))
    assert torch.allclose(two.guided(5.0), step.eps, atol=1e-3 * size)
    plain = run(model, replace(request, negative_prompt="")).steps[0]
    assert torch.allclose(two.eps_uncond, plain.eps_uncond, atol=1e-3 * size)  # zeros of SDXL included
    wordless = negatives(model, plain, "", "")
    zeros = model.encode_negative("") is not model.encode_prompt("")  # so that an empty prompt differs from them
    assert bool(wordless.toward.any()) == zeros
    assert not wordless.negative.any()
    assert wordless.note.startswith("No negative prompt here" if zeros else "No prompt and no negative prompt here")


SCRIPTS = {
    "sdxl": (lambda: xl_pipeline(xl_parts()), "StableDiffusionXLPipeline", {"sampler": "Euler", "guidance": 5.0}),
    "sdxl, negative": (
        lambda: xl_pipeline(xl_parts()), "StableDiffusionXLPipeline", {"guidance": 5.0, "negative_prompt": "blue"},
    ),
    "lcm": (lambda: tiny_pipeline(lcm_parts()), "StableDiffusionPipeline", {"sampler": "LCM", "guidance": 8.5}),
    "lcm, below 1": (lambda: tiny_pipeline(lcm_parts()), "StableDiffusionPipeline", {"sampler": "LCM", "guidance": 0.5}),
    "sd2": (lambda: tiny_pipeline(sd2_parts(**ZERO_SNR)), "StableDiffusionPipeline", {"guidance": 7.5}),
}  # fmt: skip


@pytest.mark.parametrize("which", SCRIPTS)
@pytest.mark.filterwarnings("ignore:The configuration file of this scheduler")
def test_a_run_as_a_script(tmp_path, monkeypatch, which):
    make, pipeline, settings = SCRIPTS[which]
    model = load_model(saved(tmp_path / "model", make()), "cpu")
    request = Request(prompt="red cat", steps=3, seed=4, width=96, **settings)
    text = snippet(request, model)
    assert f"pipe = {pipeline}.from_pretrained(" in text
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").write_text(text)
    runpy.run_path("script.py")
    assert torch.equal(load_file("latents.safetensors")["latents"], run(model, request).latents)
