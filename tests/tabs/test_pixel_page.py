"""The page of a model without prompts, guidance and VAE: which tabs and words it has, and its endpoints, really run."""

from __future__ import annotations

from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from gradio_client import Client
from gradio_client.exceptions import AppError
from serving import serve
from tiny import as_model, as_xl, lcm_parts, xl_parts

from explorer import Request, frames, run, tabs
from explorer.models.pixels import PixelDiffusion
from explorer.pictures import to_png
from explorer.tabs import about, compare, present, truth
from explorer.tabs.diagram import diagram
from explorer.tabs.form import checked, defaults, form

SIDE = 16


@pytest.fixture(scope="module")
def model() -> PixelDiffusion:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        unet = UNet2DModel(
            sample_size=SIDE, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
            down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"), add_attention=False,
        )  # fmt: skip
    config = {"beta_schedule": "linear", "variance_type": "fixed_large"}
    return PixelDiffusion(name="tiny-pixels", unet=unet, scheduler_config=config, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def page(model) -> gr.Blocks:
    return tabs.build(model)


@pytest.fixture(scope="module")
def client(page):
    with serve(page) as url:
        yield Client(url, download_files=False, analytics_enabled=False, verbose=False)


def outputs(client, name, **values) -> list:
    job = client.submit(api_name=name, **values)
    job.result(timeout=60)
    return job.outputs()


def labels(page, kind) -> dict[str, bool]:
    """Of the components of a kind that have a label: whether a person sees them."""
    return {b.label: b.visible is not False for b in page.blocks.values() if isinstance(b, kind) and b.label}


def test_its_tabs_and_endpoints(page, client):
    assert [b.label for b in page.blocks.values() if isinstance(b, gr.Tab)] == ["Reverse", "Forward", "Walk"]
    named = set(client.view_api(return_format="dict")["named_endpoints"])
    assert {"/reverse", "/fork", "/compare", "/ddpm_lesson", "/predicted_against_true", "/forward", "/walk"} <= named
    assert not named & {"/latents", "/guidance"}


def test_nothing_asks_for_a_prompt_or_a_scale(page):
    seen = [
        name for kind in (gr.Textbox, gr.Slider, gr.Dropdown, gr.Number) for name, on in labels(page, kind).items() if on
    ]
    assert "Steps" in seen
    assert not [name for name in seen if "prompt" in name.lower() or "uidance" in name or name == "What moves"]
    (change,) = [b for b in page.blocks.values() if isinstance(b, gr.Radio) and b.label == "Change"]
    assert [name for name, _ in change.choices] == ["sampler", "steps"]


def test_the_form_begins_where_the_model_says(model, page, embedded_model):
    assert defaults(model) == Request(prompt="", seed=3, steps=50, guidance=1.0, sampler="DDIM")
    begun = defaults(embedded_model)
    assert (begun.prompt, begun.seed, begun.steps, begun.guidance) == (embedded_model.abilities.examples[0], 3, 20, 4.0)
    (size,) = {b.value for b in page.blocks.values() if isinstance(b, gr.Number) and b.label in ("Width", "Height")}
    assert size == SIDE


def test_an_address_is_read_without_what_the_model_has_not(model):
    values, notes = checked(model, {"prompt": "cat", "guidance": "7", "seed": "4", "width": "33"})
    assert values == {"seed": 4, "guidance": 1.0}
    assert notes == [
        "width is 33; it must be a multiple of 2.",
        "prompt is 'cat', but this model takes no prompts; leave it empty.",
    ]
    assert compare.checked({"change": "prompt"}, model.abilities) == (
        {}, ["change is 'prompt'; it must be one of sampler, steps."],
    )  # fmt: skip


def test_a_run_streams_pixels_and_ends_in_them(client, model):
    got = outputs(client, "/reverse", seed=5, steps=4)
    assert [record["i"] for record in got] == [0, 1, 2, 3, 4]
    assert all(record["pixels"] for record in got)
    assert "eps_uncond" not in got[0]["planes"]
    assert [name for _, name in got[0]["forms"]["x0"]] == ["x0_c", "eps"]
    last = run(model, Request(seed=5, steps=4)).latents
    assert got[-1]["picture"] == frames.data_uri(last / 2 + 0.5)
    assert to_png(model.decode(last)) == to_png((last / 2 + 0.5).clamp(0, 1))


def test_prompts_and_odd_sizes_are_refused_in_one_sentence(client):
    for name, values, sentence in (
        ("/reverse", {"prompt": "cat"}, "prompt is 'cat', but this model takes no prompts; leave it empty."),
        ("/reverse", {"negative_prompt": "cat"}, "negative_prompt is 'cat', but this model takes no prompts;"),
        ("/reverse", {"width": 17}, "width is 17; it must be a multiple of 2."),
        ("/forward", {"prompt": "cat"}, "prompt is 'cat', but this model takes no prompts; leave it empty."),
        ("/walk", {"stations": "cat @ 3\ncat @ 5"}, "prompt is 'cat', but this model takes no prompts; leave it empty."),
    ):
        with pytest.raises(AppError, match=r"takes no prompts|multiple of 2") as refusal:
            outputs(client, name, **values)
        assert sentence in str(refusal.value).replace("&#x27;", "'")


def test_a_picture_is_noised_at_the_size_of_the_model(client):
    (record,) = outputs(client, "/forward", example="star", seed=7)
    assert record["pixels"]["shape"] == record["latents"]["shape"] == [3, SIDE, SIDE]
    assert record["pixels"]["eps"] == record["latents"]["eps"]  # the noise of a Reverse run of this seed
    assert np.isclose(record["pixels"]["var"], record["latents"]["var"], rtol=0.02)


def test_a_walk_goes_from_noise_to_noise(client):
    got = outputs(client, "/walk", stations=" @ 3\n @ 5", frames=8, steps=2)
    assert [post["label"] for post in got[0]["stations"]] == ["seed 3", "seed 5"]
    assert sorted(record["frame"] for record in got if "frame" in record) == list(range(8))
    assert "summary" in got[-1]


def test_the_folds_run_and_speak_of_pixels(client):
    *_, last = outputs(client, "/compare", steps=2, change="sampler", other_sampler="DDPM")
    assert last["note"].startswith("The end: the pixels are ")
    assert "VAE" not in last["note"]
    *_, last = outputs(client, "/ddpm_lesson", steps=2)
    assert "of the final pixels" in last["summary"]
    *_, last = outputs(client, "/predicted_against_true", steps=3)
    assert last["note"].startswith("The last state: nothing is left to predict. The pixels ended ")
    assert [one["label"] for one in last["series"]] == ["MSE"]
    made = outputs(client, "/reverse", seed=1, steps=3)[0]["run"]
    got = outputs(client, "/fork", run=made, at=1, seed=1, steps=3, sampler="DDPM")
    assert got[-1]["branch"]["line"][0] == [made, "seed 1"]


def test_nothing_of_another_kind_of_model_is_spoken_of(model, page, tiny_model):
    stages = [b for b in page.blocks.values() if isinstance(b, gr.HTML) and "pixels" in b.props]
    assert {"reverse-player", "compare-player", "lesson-player", "truth-player"} <= {b.elem_id for b in stages}
    assert all(b.props["pixels"] is True for b in stages)
    for part in about.said(model.abilities):
        text = " ".join([*part, *part.values()]).lower()
        assert not [word for word in ("latent", "vae", "guidance", "cfg", "prompt") if word in text]
    assert about.said(tiny_model.abilities) == (about.WORDS, about.MISTAKES)
    words, _ = about.said(replace(tiny_model.abilities, guidance="embedded"))
    assert "one prediction per evaluation" in words["guidance (CFG)"]


def test_a_model_that_is_told_the_scale_has_no_guidance_tab():
    lcm = as_model(lcm_parts())
    lcm.abilities = replace(lcm.abilities, sampler="LCM", steps=4, scale=8.5)  # as LCM's own config has them
    assert [tab.title for tab in tabs.fitting(lcm)] == ["Reverse", "Forward", "Latents", "Walk"]
    stops = present.fitting(lcm, [tab.title.lower() for tab in tabs.fitting(lcm)])
    assert {stop["title"] for stop in present.stops()} - {stop["title"] for stop in stops} == {"Guidance 12", "Guidance 0"}
    with gr.Blocks():
        controls = form(lcm)
    assert {name for name in controls if controls[name].visible is False} == {"negative_prompt", "guidance_rescale"}
    assert [controls[name].value for name in ("sampler", "steps", "guidance")] == ["LCM", 4, 8.5]
    assert controls["eta"].interactive is controls["spacing"].interactive is False


def test_the_tour_and_the_diagram_know_what_is_not_there(model, tiny_model):
    assert present.fitting(model, ["reverse", "forward", "walk"]) == []
    assert present.fitting(tiny_model, ["reverse", "forward"]) == present.stops()
    shown = diagram(model, "player").value
    assert "noise" in shown
    assert 'data-part="unet"' in shown
    assert 'data-part="vae"' not in shown
    assert 'data-part="tokenizer"' not in shown
    assert "two text encoders" in diagram(as_xl(xl_parts()), "player").value
    assert "two text encoders" not in diagram(tiny_model, "player").value
    assert [label for label, _ in truth.columns(model)] == ["The picture", "Pixels", "Predicted", "True", "Error"]
