"""Pixel diffusion: parity with DDPMPipeline and DDIMPipeline bit for bit, clipped terms, and what is refused."""

import json
import runpy
import shutil
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image
from safetensors.torch import load_file

from explorer import Request, denoise, denoise_batch, load_model, run, trace
from explorer.limits import check
from explorer.models import pixels
from explorer.models.pixels import PixelDiffusion
from explorer.pictures import to_image
from explorer.records import Conditioning, RequestError, SourceError
from explorer.samplers import SAMPLERS
from explorer.snippet import snippet

SIDE = 16
FIXED = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02, "prediction_type": "epsilon"}


@cache
def tiny_unet(channels: int = 3) -> UNet2DModel:
    """Some thousand weights, seeded; who changes weights changes a copy."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet2DModel(
            sample_size=SIDE, in_channels=channels, out_channels=channels, block_out_channels=(8, 16), layers_per_block=1,
            norm_num_groups=4, down_block_types=("DownBlock2D", "AttnDownBlock2D"), attention_head_dim=8,
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        ).eval()  # fmt: skip


def as_pixels(config: dict | None = None, channels: int = 3) -> PixelDiffusion:
    config = FIXED if config is None else config
    return PixelDiffusion(name="tiny-pixels", unet=tiny_unet(channels), scheduler_config=config, device=torch.device("cpu"))


def spied(pipeline, **call) -> tuple[torch.Tensor, torch.Tensor]:
    """The pipeline's last state, before it is made a picture, and that picture, (1, 3, H, W)."""
    states, step = [], type(pipeline.scheduler).step

    def spy(*args, **kwargs):
        out = step(pipeline.scheduler, *args, **kwargs)
        states.append(out.prev_sample.clone())
        return out

    pipeline.scheduler.step = spy
    pipeline.set_progress_bar_config(disable=True)
    pictures = pipeline(generator=torch.Generator().manual_seed(7), output_type="np", **call).images
    return states[-1], torch.from_numpy(pictures).movedim(-1, 1)


def same(request: Request, config: dict, pipeline, channels: int = 3, **call) -> None:
    model = as_pixels(config, channels)
    latents, pictures = spied(pipeline, num_inference_steps=request.steps, **call)
    ours = run(model, request).latents
    assert torch.equal(ours, latents)
    assert torch.equal(model.decode(ours), pictures.expand(-1, 3, -1, -1))
    *_, [last, other] = denoise_batch(
        model, [request, Request(sampler=request.sampler, steps=request.steps, eta=request.eta)]
    )
    assert float((last.latents - latents).abs().max()) <= 1e-4 * max(1.0, float(latents.abs().max()))
    assert not torch.equal(other.latents, last.latents)


@pytest.mark.parametrize("steps", [1, 7, 24])
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_ddpm_equals_its_pipeline(variance, clip, steps):
    config = FIXED | {"variance_type": variance, "clip_sample": clip}
    pipeline = DDPMPipeline(tiny_unet(), DDPMScheduler(**config))
    same(Request(seed=7, steps=steps, sampler="DDPM"), config, pipeline)


@pytest.mark.parametrize(("steps", "eta"), [(1, 0.0), (7, 0.0), (7, 0.4), (26, 1.0)])
@pytest.mark.parametrize("clip", [True, False])
def test_ddim_equals_its_pipeline(clip, steps, eta):
    config = FIXED | {"clip_sample": clip}
    pipeline = DDIMPipeline(tiny_unet(), DDIMScheduler(**config))
    same(Request(seed=7, steps=steps, sampler="DDIM", eta=eta), config, pipeline, eta=eta)


def test_a_model_made_with_ddpm_runs_by_ddim_as_the_pipeline_converts_it():
    scheduler = DDPMScheduler(**FIXED, variance_type="fixed_large", clip_sample_range=0.8)
    pipeline = DDIMPipeline(tiny_unet(), scheduler)
    assert isinstance(pipeline.scheduler, DDIMScheduler)
    same(Request(seed=7, steps=9), dict(scheduler.config), pipeline)


def test_grey_pictures():
    same(Request(seed=7, steps=5), FIXED, DDIMPipeline(tiny_unet(1), DDIMScheduler(**FIXED)), channels=1)
    model, picture = as_pixels(channels=1), torch.full((1, 3, SIDE, SIDE), 0.3)
    assert model.encode(picture).shape == (1, 1, SIDE, SIDE)
    assert torch.allclose(model.decode(model.encode(picture)), picture * 0.5 + 0.5, atol=1e-6)


def test_dynamic_thresholding():
    config = FIXED | {"thresholding": True, "sample_max_value": 1.5}
    same(Request(seed=7, steps=6), config, DDIMPipeline(tiny_unet(), DDIMScheduler(**config)))


CUTS = {"clipped": {}, "thresholded": {"thresholding": True}, "neither": {"clip_sample": False}}
CUTTING = {"clipped": {"DDPM", "DDIM", "LCM"}, "neither": set(),
           "thresholded": {"DDPM", "DDIM", "LCM", "DPM++ 2M", "DPM++ 2M SDE", "UniPC"}}  # fmt: skip


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_terms_sum_and_name_the_x0_that_was_cut(name, cut):
    eta = 0.6 if name == "DDIM" else 0.0
    steps = run(as_pixels(FIXED | CUTS[cut]), Request(steps=6, sampler=name, eta=eta, seed=3)).steps
    names = {term.name for step in steps for form in step.forms.values() for term in form}
    assert ("x0_c" in names) == (name in CUTTING[cut])
    changed = 0.0
    for step, following in pairwise(steps):
        assert torch.allclose(step.alpha * step.x0 + step.sigma * step.eps, step.latents, atol=1e-4)
        for terms in step.forms.values():
            scale = max([1.0, *(abs(term.coefficient) * float(term.tensor.abs().max()) for term in terms)])
            total = sum(term.coefficient * term.tensor for term in terms)
            assert float((total - following.latents).abs().max()) <= 1e-5 * scale
            for term in terms:
                if term.name == "x0_c":
                    assert "x0" not in {one.name for one in terms}
                    assert float(term.tensor.abs().max()) <= 1
                    changed = max(changed, float((term.tensor - step.x0).abs().max()))
    assert (changed > 0.1) == ("x0_c" in names)  # the tiny network's x0 is far outside


@pytest.mark.parametrize("sampler", ["DDPM", "DPM++ 2M"])
def test_a_branch_is_replayed_and_begins_in_a_picture(sampler, tmp_path):
    model, request = as_pixels(), Request(steps=8, sampler=sampler, seed=1)
    whole = run(model, request)
    assert torch.equal(run(model, request, (whole, 3)).latents, whole.latents)
    trace.save(whole, tmp_path / "run.safetensors")
    again = trace.load(tmp_path / "run.safetensors")
    assert torch.equal(run(model, request, (again, 5)).latents, whole.latents)
    picture, noise = torch.rand(1, 3, SIDE, SIDE) * 2 - 1, torch.randn(1, 3, SIDE, SIDE)
    tail = run(model, request, (model.encode(picture), noise, 6)).steps
    alpha, sigma = tail[0].alpha, tail[0].sigma
    assert torch.allclose(tail[0].latents, alpha * picture + sigma * noise, atol=1e-5)
    assert [step.index for step in tail] == [6, 7, 8]


def test_its_members_are_what_the_engine_asks_for():
    model, picture = as_pixels(), torch.rand(2, 3, SIDE, SIDE)
    assert torch.equal(model.encode(picture), picture)
    mean, spread = model.posterior(picture)
    assert torch.equal(mean, picture)
    assert not spread.any()
    matrix, offset = torch.tensor(model.preview.matrix), torch.tensor(model.preview.offset)
    preview = torch.einsum("rc,bchw->brhw", matrix, picture) + offset[:, None, None]
    assert torch.equal(model.decode(picture), preview)
    assert model.decode_tiny(picture) is None
    told = model.encode_prompt("")
    assert model.encode_negative("") is told
    assert Conditioning.batch([told, told]).tensors["nothing"].shape == (2, 0)
    assert told.lerp(told, 0.5).tensors["nothing"].shape == (1, 0)
    (part,) = model.parts()
    assert part.parameters == sum(p.numel() for p in model.unet.parameters())
    assert (model.default_size, model.latent_scale, model.latent_channels) == ((SIDE, SIDE), 1, 3)


def test_what_it_can_not_be_asked():
    model = as_pixels()
    sentence = "prompt is 'cat', but this model takes no prompts; leave it empty."
    with pytest.raises(RequestError, match=f"^{sentence}$"):
        check(Request(prompt="cat"), model)
    with pytest.raises(RequestError, match=f"^negative_{sentence}$"):
        check(Request(negative_prompt="cat"), model)
    with pytest.raises(RequestError, match=r"^width is 33; it must be a multiple of 2\.$"):
        check(Request(width=33), model)
    with pytest.raises(RequestError, match=r"^guidance is nan"):
        check(Request(guidance=float("nan")), model)
    asked = check(Request(guidance=(7.0,) * 20, guidance_rescale=0.5), model)
    assert (asked.guidance, asked.guidance_rescale, asked.width, asked.height) == (1.0, 0.0, SIDE, SIDE)
    first, *_ = denoise(model, Request(steps=2, width=32, height=48))
    assert first.latents.shape == (1, 3, 48, 32)
    assert first.eps_uncond is None


@pytest.mark.parametrize(("sampler", "eta"), [("DDPM", 0.0), ("DDIM", 0.6), ("Euler a", 0.0), ("DPM++ 2M", 0.0)])
def test_its_script_makes_the_same_pixels(folder, monkeypatch, sampler, eta):
    model = load_model(folder)
    trajectory = run(model, Request(steps=4, sampler=sampler, eta=eta, seed=5, width=32, height=48))
    monkeypatch.chdir(folder.parent)
    Path("script.py").write_text(snippet(trajectory, model), encoding="utf-8")
    runpy.run_path("script.py")
    assert torch.equal(load_file("latents.safetensors")["latents"], trajectory.latents)
    assert to_image(model.decode(trajectory.latents)).tobytes() == Image.open("picture.png").tobytes()


# --- folders


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("pixels") / "made"
    DDPMPipeline(tiny_unet(), DDPMScheduler(**FIXED)).save_pretrained(made)
    return made


def changed(folder, tmp_path, path, **values):
    """A copy of the folder with other values in one of its configs."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / path).read_text()) | values
    (copy / path).write_text(json.dumps(config))
    return copy


@pytest.mark.parametrize("kind", ["DDPMPipeline", "DDIMPipeline"])
def test_a_folder_is_loaded(folder, tmp_path, kind):
    model = load_model(changed(folder, tmp_path, "model_index.json", _class_name=kind))
    can = model.abilities
    assert (can.prompts, can.guidance, can.latent, can.sampler, can.steps, can.scale) == (
        False,
        "none",
        False,
        "DDIM",
        50,
        1,
    )
    assert model.scheduler_config["clip_sample"] is True
    request = Request(seed=7, steps=3)
    assert torch.equal(run(model, request).latents, run(as_pixels(), request).latents)


def test_older_folders_have_their_parts_at_the_root(folder, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in folder.rglob("*.*"):
        if path.is_file():
            shutil.copy(path, flat / path.name)
    first = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "variance_type": "fixed_large"}
    as_published = first | {"_class_name": "GaussianDDPMScheduler", "timesteps": 1000}  # google/ddpm-cifar10-32's
    (flat / "scheduler_config.json").write_text(json.dumps(as_published))
    request = Request(seed=7, steps=3, sampler="DDPM")
    assert torch.equal(run(load_model(flat), request).latents, run(as_pixels(first), request).latents)


SIDES = ", which is not a multiple of its U-Net's 2"
PLAIN = "; of pixel models this project runs plain unconditional ones."
WRONG = [
    ("unet/config.json", {"_class_name": "UNet1DModel"}, f"has a 'UNet1DModel' where a UNet2DModel is needed{PLAIN}"),
    ("unet/config.json", {"num_class_embeds": 10}, f"is told a class{PLAIN}"),
    ("unet/config.json", {"class_embed_type": "identity"}, f"is told a class{PLAIN}"),
    ("unet/config.json", {"sample_size": None}, f"has the sample_size 'None'{SIDES}{PLAIN}"),
    ("unet/config.json", {"sample_size": 15}, f"has the sample_size '15'{SIDES}{PLAIN}"),
    ("unet/config.json", {"block_out_channels": [6, 6]}, "can't be read ("),
    ("scheduler/scheduler_config.json", {"_class_name": "KarrasVeScheduler"},
     f"has a 'KarrasVeScheduler' where a DDPMScheduler or DDIMScheduler is needed{PLAIN}"),
    ("scheduler/scheduler_config.json", {"variance_type": "learned_range"},
     f"has the variance_type 'learned_range'{PLAIN}"),
    ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, "predicts 'flow'; this project can't run that."),
    ("scheduler/scheduler_config.json", {"beta_end": float("nan")}, "has a noise schedule that is not finite"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "values", "sentence"), WRONG, ids=range(len(WRONG)))
def test_other_kinds_are_refused_in_one_sentence(folder, tmp_path, path, values, sentence):
    with pytest.raises(SourceError) as refusal:
        pixels.load(changed(folder, tmp_path, path, **values), "copy", torch.device("cpu"), None)
    message = str(refusal.value)
    assert message.startswith(f"The model 'copy' {sentence}"), message
    assert str(tmp_path) not in message


def test_a_variance_that_is_predicted_is_refused(tmp_path):
    net = UNet2DModel(
        sample_size=8, out_channels=6, block_out_channels=(4,), down_block_types=("DownBlock2D",), norm_num_groups=2,
        up_block_types=("UpBlock2D",), layers_per_block=1, add_attention=False,
    )  # fmt: skip
    DDPMPipeline(net, DDPMScheduler(**FIXED)).save_pretrained(tmp_path / "two")
    with pytest.raises(SourceError, match=r"^The model 'two' predicts its variance too; of pixel models"):
        load_model(tmp_path / "two")


def test_pickled_weights_are_not_read(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(tiny_unet().state_dict(), copy / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(SourceError, match=r"^The model 'copy' can't be read \(OSError\): it needs unet and scheduler"):
        pixels.load(copy, "copy", torch.device("cpu"), None)
    with pytest.raises(SourceError, match="pickle"):
        load_model(copy)
