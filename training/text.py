"""The words: a BPE tokenizer of all captions' vocabulary, and the text encoder, which is trained with the U-Net.

    python -m training.text

learns the tokenizer anew into tokenizer/ beside this file. The result is committed, since the learner breaks ties by
chance: token ids of one process would mean nothing to the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.concepts import concepts
from training.data import COLOURS, SIZE_WORDS

TOKENS = 32  # of a prompt, start and end included
VOCABULARY = 2400
WIDTH, LAYERS, HEADS = 256, 3, 4
FOLDER = Path(__file__).with_name("tokenizer")
START, END = "<|startoftext|>", "<|endoftext|>"
GLUE = [
    "a",
    "an",
    "the",
    "and",
    "next",
    "to",
    "on",
    "of",
    "at",
    "left",
    "right",
    "background",
    "gradient",
    "emoji",
    "picture",
]


def corpus() -> Iterator[str]:
    """Names and keywords of all concepts, and the words between them, which every caption has."""
    for concept in concepts():
        yield f"{concept.name} {concept.name}"
        yield from concept.keywords
    for word in (*GLUE, *COLOURS, *(word for words in SIZE_WORDS.values() for word in words)):
        yield from [word] * 50


def tokenizer() -> CLIPTokenizer:
    """The committed tokenizer."""
    return CLIPTokenizer.from_pretrained(FOLDER)


def ids(words: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Texts as token ids, (B, TOKENS), padded and cut."""
    return words(list(texts), padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt").input_ids


def learn() -> CLIPTokenizer:
    """CLIP's kind of BPE (small letters, words ending in </w>) over this project's own vocabulary."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Whitespace()
    # Every letter twice, inside a word and at its end: any word can be spelt.
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2 * len(letters) - 2, initial_alphabet=list(letters), end_of_word_suffix="</w>",
        show_progress=False,
    )  # fmt: skip
    learner.train_from_iterator(corpus(), trainer)
    learnt = json.loads(learner.to_str())["model"]
    words = dict.fromkeys([*letters, *(f"{letter}</w>" for letter in letters), *learnt["vocab"], START, END])
    merges = [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in learnt["merges"]]
    return CLIPTokenizer(
        vocab={word: i for i, word in enumerate(words)}, merges=merges, unk_token=END, bos_token=START, eos_token=END,
        pad_token=END, model_max_length=TOKENS,
    )  # fmt: skip


def build(words: CLIPTokenizer) -> CLIPTextModel:
    """A small CLIP text encoder."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words), hidden_size=WIDTH, intermediate_size=4 * WIDTH, projection_dim=WIDTH,
            num_hidden_layers=LAYERS, num_attention_heads=HEADS, max_position_embeddings=TOKENS,
            bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
        )
    )  # fmt: skip


if __name__ == "__main__":
    learn().save_pretrained(FOLDER)
