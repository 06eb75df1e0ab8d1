"""The About fold: the three corrections are there, and every paper has its link."""

from __future__ import annotations

import re

import gradio as gr

from explorer.tabs import about
from explorer.tabs.diagram import DOES


def test_the_fold_corrects_and_links():
    with gr.Blocks():
        fold = about.fold()
    text = fold.children[0].value
    for words in ("eps is Gaussian noise", "skip connections", "The bottleneck is an inner layer", "Apache-2.0"):
        assert words in text, words
    for words in ("this alpha is √ᾱ", "to T = 1000"):  # as Forward has them
        assert words in text, words
    links = re.findall(r'href="([^"]+)"', text)
    assert len(links) == len(about.PAPERS) == len(set(links))
    assert all(re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{5}", link) for link in links)


def test_no_text_shouts():
    assert "!" not in "".join([*about.WORDS.values(), *about.MISTAKES, *about.MISTAKES.values(), *DOES.values()])
