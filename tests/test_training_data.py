"""The training data: captions say what pictures show, and what is held out is never shown. Needs no font."""

import re
from collections import Counter
from random import Random

import numpy as np
import pytest
import torch

from training.concepts import EVERYDAY, SHARED, Concept, concepts, gather, plain, split
from training.data import (
    COLOURS,
    FONT,
    SIDE,
    SIZE_WORDS,
    Scenes,
    caption,
    compose,
    draw_glyphs,
    held_out,
    held_out_pair,
    pair,
)
from training.evaluate import background
from training.text import TOKENS, learn, tokenizer

TABLE = concepts(everyday=True)


@pytest.fixture(scope="module")
def glyphs():
    """A disc for every concept, told apart by its colour: magenta and cyan, which no background has."""
    y, x = np.mgrid[-64:64, -68:68]
    disc = np.zeros((128, 136, 4), np.uint8)
    disc[(x**2 + y**2 < 60**2)] = (255, 0, 255, 255)
    rows = np.repeat(disc[None], len(TABLE), 0)
    rows[1::2, ..., :2] = rows[1::2, ..., 1::-1]  # odd concepts are cyan
    return rows


def test_the_table_has_what_was_asked_for():
    everything = concepts()
    assert 1000 <= len(everything) <= 1350
    assert len(TABLE) >= 400
    for table in (everything, TABLE):
        assert max(Counter(c.name for c in table).values()) == max(Counter(c.emoji for c in table).values()) == 1
        assert max(Counter(word for c in table for word in c.keywords).values()) <= SHARED
        assert not {c.name for c in table} & {word for c in table for word in c.keywords}
    assert {c.emoji for c in TABLE} == {e for row in EVERYDAY.values() for e in split(row, {c.emoji for c in everything})}
    assert not any("\U0001f1e6" <= letter <= "\U0001f1ff" or letter == "\u20e3" for c in everything for letter in c.emoji)


def test_gather_leaves_out_writing_and_keeps_what_people_ask_for():
    everyday = [e for row in EVERYDAY.values() for e in split(row, {c.emoji for c in concepts()})]
    groups = dict.fromkeys(everyday, "Objects") | {"🕐": "Travel & Places", "🔤": "Symbols", "🗻": "Travel & Places"}
    names = dict.fromkeys(everyday, "thing") | {"🕐": "one oclock", "🔤": "input latin letters", "🐶": "dog face"}
    rows = {
        row["emoji"]: row for row in gather(names, {"🐶": ["dog_face", "Woof", "näh"]}, groups | {"🐶": "Animals & Nature"})
    }
    assert set(rows) == set(everyday)
    assert rows["🐶"]["keywords"] == ["dog", "woof"]


@pytest.mark.parametrize(
    ("text", "expected"), [("Dog_face", "dog face"), ("o’clock", "oclock"), ("8-ball", ""), ("näh", "")]
)
def test_plain(text, expected):
    assert plain(text) == expected


def test_nothing_held_out_is_ever_trained_on():
    scenes = Scenes(TABLE, seed=0)
    shown = [scenes[i] for i in range(4000)]
    assert not any(held_out(TABLE[c], scene.colour) for scene in shown for c in scene.concepts)
    assert not any(held_out_pair(*(TABLE[c] for c in scene.concepts)) for scene in shown if len(scene.concepts) == 2)
    pairs = Counter(held_out(c, colour) for c in TABLE for colour in COLOURS)
    assert 0.05 < pairs[True] / pairs.total() < 0.15
    assert all(sum(not held_out(c, colour) for colour in COLOURS) >= 6 for c in TABLE)  # every concept on most colours
    assert set(COLOURS) == {scene.colour for scene in shown}
    assert {c for scene in shown for c in scene.concepts} == set(range(len(TABLE)))
    together = Counter(held_out_pair(a, b) for a in TABLE[:60] for b in TABLE[60:120])
    assert 0.08 < together[True] / together.total() < 0.17
    assert all(held_out_pair(a, b) == held_out_pair(b, a) for a in TABLE[:20] for b in TABLE[20:40])


def test_scenes_follow_from_seed_and_index():
    assert [Scenes(TABLE, 3)[i] for i in (5, 4)] == [Scenes(TABLE, 3)[i] for i in (5, 4)]
    assert Scenes(TABLE, 3)[5] != Scenes(TABLE, 4)[5]


def test_every_place_shows_its_own_concept(glyphs):
    own = np.array([(i % 40 * 6, i // 40 * 20, (i * 37) % 251) for i in range(len(TABLE))], np.uint8)
    glyphs = glyphs.copy()
    glyphs[..., :3] = own[:, None, None]
    for i in range(300):
        scene = Scenes(TABLE, 1)[i]
        picture = compose(scene, glyphs).astype(int)
        for concept, (x, y, _) in zip(scene.concepts, scene.boxes, strict=True):
            assert abs(picture[round(y * SIDE), round(x * SIDE)] - own[concept]).max() <= 2


def test_pictures_show_what_the_scene_says(glyphs):
    for i in range(300):
        scene = Scenes(TABLE, 1)[i]
        picture = compose(scene, glyphs)
        assert picture.shape == (SIDE, SIDE, 3)
        assert picture.dtype == np.uint8
        if scene.size != "large":
            assert background(torch.from_numpy(picture.copy()).movedim(-1, 0) / 255) == scene.colour
        masks = {0: (255, 0, 255), 1: (0, 255, 255)}
        for concept, (x, y, width) in zip(scene.concepts, scene.boxes, strict=True):
            if len({c % 2 for c in scene.concepts}) < len(scene.concepts):
                continue  # two of one colour can't be told apart
            rows, columns = np.nonzero((picture == masks[concept % 2]).all(-1))
            assert abs(columns.mean() / SIDE - x) < 0.03
            assert abs(rows.mean() / SIDE - y) < 0.03
            if scene.size != "large":  # its diameter is 120 of the glyph's 136
                assert abs(np.ptp(columns) / SIDE - width * 120 / 136) < 0.04


def test_captions_say_what_the_scene_shows():
    for i in range(3000):
        scene = Scenes(TABLE, 2)[i]
        text = caption(scene, TABLE, Random(i))
        for colour in COLOURS:
            named = f"{colour} background" in text or f"{colour} gradient" in text or text.endswith(f"on {colour}")
            other = "light blue" if colour == "blue" and scene.colour == "light blue" else colour
            assert not named or other == scene.colour
        assert scene.colour == "white" or scene.colour in text
        assert (scene.gradient is not None) == ("gradient" in text)
        for concept in scene.concepts:
            assert any(re.search(rf"\b{word}\b", text) for word in (TABLE[concept].name, *TABLE[concept].keywords))
        if scene.place:
            assert f" {scene.place}" in text
            assert scene.boxes[0][0] < 0.4 if scene.place == "left" else scene.boxes[0][0] > 0.6
        if scene.size:
            assert any(word in text for word in SIZE_WORDS[scene.size])
        if len(scene.concepts) == 2:
            assert " and " in text or " next to " in text
            assert scene.boxes[0][0] < scene.boxes[1][0]


def test_the_first_of_two_is_on_the_left():
    two = (Concept("1", "zyx", (), True), Concept("2", "qwv", (), True))
    for i in range(50):
        scene = pair(1, 0, "white", Random(i))
        text = caption(scene, two, Random(i))
        assert text.index("qwv") < text.index("zyx")
        assert scene.concepts[0] == 1
        assert scene.boxes[0][0] < scene.boxes[1][0]


def test_every_caption_fits_into_the_prompt():
    words = tokenizer()
    for i in range(2000):
        text = caption(Scenes(TABLE, 2)[i], TABLE, Random(i))
        ids = words(text).input_ids
        assert len(ids) <= TOKENS
        assert words.unk_token_id not in ids[1:-1], text  # nothing in a caption is unknown
        assert words.decode(ids, skip_special_tokens=True).replace(" ", "") == text.replace(" ", "")


def test_the_committed_tokenizer_has_the_learners_words():
    learnt, kept = learn().get_vocab(), tokenizer().get_vocab()
    assert len(learnt) == len(kept)  # chance decides a few ties, and the order
    assert len(learnt.keys() & kept.keys()) > 0.95 * len(kept)


def test_words_that_no_caption_has_can_be_spelt():
    assert len(tokenizer().tokenize("xylophone")) > 1
    assert tokenizer().unk_token not in tokenizer().tokenize("xylophone quokka 42")


def test_the_font_draws_every_concept():
    if not FONT.is_file():
        pytest.skip("Debian's fonts-noto-color-emoji is not installed")
    drawn = draw_glyphs(TABLE)
    assert drawn.shape == (len(TABLE), 128, 136, 4)
    assert (drawn[..., 3].reshape(len(TABLE), -1).mean(1) > 10).all()  # none is blank
    assert len({glyph.tobytes() for glyph in drawn}) == len(TABLE)  # no two alike, such as the box of a missing glyph


def test_a_missing_font_is_named():
    with pytest.raises(FileNotFoundError, match="fonts-noto-color-emoji"):
        draw_glyphs(TABLE, FONT.with_name("no.ttf"))
