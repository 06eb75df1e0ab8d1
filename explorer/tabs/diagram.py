"""The pipeline as a diagram, with the loaded model's real shapes; the part at work lights up as the player's run goes."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

import gradio as gr

from explorer.records import Model, Part

HERE = Path(__file__).parent
# What each part does, in one sentence; the word at the page and the glossary's first use.
DOES = {
    "tokenizer": "Cuts the prompt into tokens, pieces of words with a number each; what is too long is cut off.",
    "text_encoder": "Turns the tokens into one vector each, which the U-Net attends to at every step.",
    "unet": "Predicts, from the noisy latents, the timestep and the prompt's vectors. Its skip connections go straight "
    "across; nothing in it is recurrent.",
    "scheduler": "The sampler: takes the prediction and computes the next, less noisy latents. It has no weights. "
    "U-Net and scheduler take turns, once per evaluation.",
    "vae": "The decoder turns the last latents into pixels. It runs once, at the end.",
}
IN_PIXELS = {  # of a model without prompts and VAE
    "unet": "Predicts, from the noisy pixels and the timestep alone, which part of them is noise. Its skip connections go "
    "straight across; nothing in it is recurrent.",
    "scheduler": "The sampler: takes the prediction and computes the next, less noisy pixels. It has no weights. "
    "U-Net and scheduler take turns, once per evaluation; the last pixels are the picture.",
}
TWO = (  # text encoders, as SDXL has
    "Each turns the tokens into one vector a token; the U-Net attends to both, end to end, at every step. The second one's "
    "vector of the whole prompt is added to the timestep's."
)
TITLES = {
    "tokenizer": "tokens",
    "text_encoder": "text encoder",
    "unet": "U-Net",
    "scheduler": "scheduler",
    "vae": "VAE decoder",
}


def diagram(model: Model, player: str) -> gr.HTML:
    """The diagram of a model, lit by the player with this elem_id."""
    parts = {part.name: part for part in model.parts()}
    unet = parts["unet"]
    latents, words = _shape(unet.gives), DOES if model.abilities.latent else IN_PIXELS
    loop = (
        '<div class="turns" role="group" aria-label="taking turns">'
        f"{_box(unet, f'{latents} → {latents}', words)}<span class='arrow' aria-hidden='true'>⇄</span>"
        f"{_scheduler(model, latents, words)}</div>"
    )
    boxes = ['<span class="end">prompt</span>' if model.abilities.prompts else '<span class="end">noise</span>']
    if tokenizer := parts.get("tokenizer"):
        boxes.append(_box(tokenizer, f"{tokenizer.gives[0]} tokens"))
    if text_encoder := parts.get("text_encoder"):
        two = " and " in text_encoder.kind
        said = words | {"text_encoder": TWO} if two else words
        boxes.append(_box(text_encoder, _shape(text_encoder.gives), said, "two text encoders" if two else None))
    boxes.append(loop)
    if vae := parts.get("vae"):
        boxes.append(_box(vae, f"{_shape(vae.takes)} → {_shape(vae.gives)}"))
    boxes.append('<span class="end">picture</span>')
    arrow = '<span class="arrow" aria-hidden="true">→</span>'
    return gr.HTML(
        # As the value: a template is evaluated in the browser, and the facts come from the model's own files.
        f'<div class="diagram" data-player="{player}" aria-label="The pipeline">{arrow.join(boxes)}</div>',
        css_template=(HERE / "diagram.css").read_text("utf-8"),
        js_on_load=(HERE / "diagram.js").read_text("utf-8"),
        apply_default_css=False,
        padding=False,
    )


def _box(part: Part, shape: str, words: Mapping[str, str] = DOES, title: str | None = None) -> str:
    facts = {"class": part.kind, **part.facts}
    if part.parameters:
        facts["parameters"] = f"{part.parameters:,}"
    return _details(part.name, shape, facts, words, title)


def _scheduler(model: Model, latents: str, words: Mapping[str, str]) -> str:
    config = model.scheduler_config
    facts = {"predicts": model.prediction_type} | {
        name: str(config[key])
        for name, key in (("training timesteps", "num_train_timesteps"), ("betas", "beta_schedule"),
                          ("first beta", "beta_start"), ("last beta", "beta_end"), ("spacing", "timestep_spacing"))
        if config.get(key) is not None
    }  # fmt: skip
    return _details("scheduler", latents, facts, words)


def _details(
    name: str, shape: str, facts: Mapping[str, str | int], words: Mapping[str, str], title: str | None = None
) -> str:
    rows = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(str(value))}</dd></div>" for key, value in facts.items())
    return (
        f'<details class="part" data-part="{name}" name="pipeline">'
        f"<summary><b>{title or TITLES[name]}</b><span>{escape(shape)}</span></summary>"
        f"<div class='about'><p>{escape(words[name])}</p><dl>{rows}</dl></div></details>"
    )


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
