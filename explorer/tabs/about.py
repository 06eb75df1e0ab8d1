"""The About fold: the words, what is often said wrong, what to read, and where the code is."""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr

from explorer import __version__
from explorer.records import Abilities

WORDS = {
    "x_t, latents": "The state of a run: a small grid of numbers with a few channels, which the VAE can turn into a "
    "picture. At the start it is noise.",
    "timestep t": "Where on the training's scale from clean (0) to noise (999) a state is. A run visits a few of them, "
    "from high to low. Forward counts from t = 0, the picture itself, to T = 1000, so its t is this number plus one.",
    "alpha, sigma": "How much picture and how much noise a state holds: x_t = alpha · x0 + sigma · eps. "
    "In DDPM's letters, which Forward uses, α is 1 − β of one small step, and this alpha is √ᾱ, sigma √(1 − ᾱ).",
    "eps": "The noise that the model predicts in x_t.",
    "x0": "What is left of x_t without the predicted noise: the model's present guess of the clean latents.",
    "scheduler, sampler": "The rule that computes the next latents from the prediction. It has no weights.",
    "evaluation": "One use of the U-Net. Some samplers need two for a step.",
    "guidance (CFG)": "Two predictions, with and without the prompt; their difference, multiplied, is added.",
    "eta": "In DDIM, how much fresh noise each step puts in: none at 0, as much as DDPM at 1.",
    "seed": "The number from which all noise of a run is drawn: same seed and settings, same picture.",
    "VAE": "The network that turns pictures into latents and latents into pictures.",
}
# The same for a model that works on the pixels themselves, without prompts; None: there is no such thing.
PIXEL_WORDS: dict[str, str | None] = {
    "x_t, latents": None,
    "x_t, pixels": "The state of a run: the picture's own pixels, red, green and blue. At the start they are noise.",
    "x0": "What is left of x_t without the predicted noise: the model's present guess of the clean pixels.",
    "scheduler, sampler": "The rule that computes the next pixels from the prediction. It has no weights.",
    "guidance (CFG)": None,
    "VAE": None,
}
TOLD = {  # of a model that has the scale as an input
    "guidance (CFG)": "How strongly the prompt pulls. The model has learned this, and is told the scale: one prediction "
    "per evaluation, where others need two.",
}
MISTAKES = {
    "“The model predicts which noise step it is, a whole number.”": "eps is Gaussian noise: one real number per channel "
    "and cell, as many as the latents have. The timestep is an input of the model, not its answer.",
    "“The U-Net's skip connections feed back, like a recurrent network.”": "They go one way, from an early layer to a "
    "late one of the same pass. What repeats is the sampler's loop around the network.",
    "“The U-Net's bottleneck is the latent space.”": "The latent space is the VAE's: it is what goes into the U-Net and "
    "what comes out of the run. The bottleneck is an inner layer of the U-Net.",
    "“The picture is hidden in the noise, and the model uncovers it.”": "The first noise holds no picture. The model says "
    "what is likely under the prompt, and the sampler goes there a little at a time.",
    "“More guidance is a better picture.”": "It is a stronger pull towards the prompt, paid for with variety and, when "
    "large, with burnt colours.",
}
PIXEL_MISTAKES: dict[str, str | None] = {
    "“The model predicts which noise step it is, a whole number.”": "eps is Gaussian noise: one real number per pixel and "
    "colour, as many as the picture has. The timestep is an input of the model, not its answer.",
    "“The U-Net's bottleneck is the latent space.”": None,
    "“The picture is hidden in the noise, and the model uncovers it.”": "The first noise holds no picture. The model says "
    "what is likely among the pictures of its training, and the sampler goes there a little at a time.",
    "“More guidance is a better picture.”": None,
}
PAPERS = (
    ("Sohl-Dickstein et al. 2015", "Deep Unsupervised Learning using Nonequilibrium Thermodynamics", "1503.03585"),
    ("Ho, Jain, Abbeel 2020", "Denoising Diffusion Probabilistic Models (DDPM)", "2006.11239"),
    ("Song, Meng, Ermon 2020", "Denoising Diffusion Implicit Models (DDIM)", "2010.02502"),
    ("Song et al. 2020", "Score-Based Generative Modeling through Stochastic Differential Equations", "2011.13456"),
    ("Rombach et al. 2021", "High-Resolution Image Synthesis with Latent Diffusion Models", "2112.10752"),
    ("Ho, Salimans 2022", "Classifier-Free Diffusion Guidance", "2207.12598"),
    ("Karras et al. 2022", "Elucidating the Design Space of Diffusion-Based Generative Models", "2206.00364"),
    ("Lu et al. 2022", "DPM-Solver++: Fast Solver for Guided Sampling", "2211.01095"),
    ("Lin et al. 2023", "Common Diffusion Noise Schedules and Sample Steps are Flawed", "2305.08891"),
    ("Luo et al. 2023", "Latent Consistency Models", "2310.04378"),
)
PROJECT = f"""
<p>Diffuscope runs on diffusers; its latents equal the pipeline's bit for bit. The code is under Apache-2.0 (the file
LICENSE beside it); the embedded model was trained by this project on Noto Color Emoji (OFL 1.1).</p>
<p>To cite it: “Diffuscope {__version__}, an interactive explorer of diffusion models”, with the model that the page's
header names. A saved trace holds every number of a run and the versions that made it, so that a figure can be checked.</p>
"""


def fold(can: Abilities | None = None) -> gr.Accordion:
    """The fold, built into the open Blocks, in the words of a model that can do this."""
    words, mistakes = said(can or Abilities())
    with gr.Accordion("About: words, common mistakes, papers", open=False, elem_classes="about-fold") as accordion:
        gr.HTML(
            '<div class="about-page">'
            f"<section><h2>Words</h2><dl>{_pairs(words)}</dl></section>"
            f"<section><h2>Often said, and not so</h2><dl>{_pairs(mistakes)}</dl></section>"
            f"<section><h2>To read</h2><ul>{''.join(map(_paper, PAPERS))}</ul>"
            f"<h2>This project</h2>{PROJECT}</section></div>",
            apply_default_css=False,
            padding=False,
        )
    return accordion


def said(can: Abilities) -> tuple[dict[str, str], dict[str, str]]:
    """Words and mistakes for a model that can do this."""
    if can.latent:
        return _changed(WORDS, TOLD if can.guidance == "embedded" else {}), MISTAKES
    return _changed(WORDS, PIXEL_WORDS), _changed(MISTAKES, PIXEL_MISTAKES)


def _changed(pairs: Mapping[str, str], others: Mapping[str, str | None]) -> dict[str, str]:
    """The pairs with others in their place, or without; new ones come first."""
    new = {name: text for name, text in others.items() if name not in pairs and text}
    kept = {name: others.get(name, text) for name, text in pairs.items()}
    return new | {name: text for name, text in kept.items() if text}


def _pairs(pairs: dict[str, str]) -> str:
    return "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in pairs.items())


def _paper(paper: tuple[str, str, str]) -> str:
    authors, title, number = paper
    return (
        f'<li><a href="https://arxiv.org/abs/{number}" target="_blank" rel="noopener">{title}</a> '
        f"<span>{authors}, arXiv:{number}</span></li>"
    )
