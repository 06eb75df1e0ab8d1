"""The training commands at toy size: they stop and go on exactly, and what they write is a model that the app runs."""

import itertools
import json
import math
import os
import re
import shutil
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import explorer
from explorer import Request
from training import (
    autoencoder,
    classifier,
    data,
    diffusion,
    evaluate,
    export,
    loop,
    measures,
    questions,
    report,
    text,
    tiny,
)
from training.concepts import concepts
from training.optimizer import Optimizer

HERE = Path(__file__).parent
TABLE = concepts(everyday=True)


def asked(folder, **changes) -> SimpleNamespace:
    """What a command line would give."""
    plain = {
        "steps": 4, "batch": 4, "minutes": 9.0, "threads": 1, "workers": 0, "resume": False, "seed": 0, "device": "cpu",
        "all": False, "folder": folder, "bank": 48, "compile": False,
    }  # fmt: skip
    return SimpleNamespace(**plain | changes)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A folder with glyphs that need no font (a square of the concept's own colour), and networks of toy size."""
    random = np.random.default_rng(0)
    glyphs = np.zeros((len(TABLE), 128, 136, 4), np.uint8)
    glyphs[:, 20:108, 24:112, :3] = random.integers(0, 255, (len(TABLE), 1, 1, 3))
    glyphs[:, 20:108, 24:112, 3] = 255
    np.savez_compressed(tmp_path / data.GLYPHS, names=np.array([c.name for c in TABLE]), glyphs=glyphs)
    small_networks(monkeypatch.setattr)
    return tmp_path


def small_networks(put) -> None:
    """Networks of a few thousand weights instead of the real ones."""
    put(autoencoder, "CHANNELS", (8, 8, 16, 16))
    put(diffusion, "CHANNELS", (32, 32, 32))
    put(diffusion, "HEADS", (1, 1, 1))
    put(text, "LAYERS", 1)
    put(tiny, "CHANNELS", (16, 16, 16, 16))


def same(a, b) -> bool:
    """Equal bit for bit, whatever the nesting."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def stage(name: str, arguments: SimpleNamespace) -> None:
    """One training command; those after the first read what the first wrote."""
    if name == "vae":
        autoencoder.train(arguments)
    else:
        {"diffusion": diffusion, "tiny": tiny}[name].train(arguments, autoencoder.load(arguments.folder))


STAGES = ("vae", "diffusion", "tiny")


def commands(folder: Path, stop: int, resume: bool) -> None:
    """The commands as a person runs them; with `stop`, --minutes ends each after so many steps."""
    torch.set_num_threads(1)
    small_networks(setattr)
    whole = loop.Run.__iter__

    def part(run):
        for number, pair in enumerate(whole(run)):
            yield pair
            if number == stop - 1:
                run.until = 0.0

    loop.Run.__iter__ = part
    torch.manual_seed(stop + 10 * resume)  # nothing may hang on the global generator
    for name in STAGES:
        stage(name, asked(folder / name, resume=resume))


def alone(folder: Path, stop: int = 0, resume: bool = False) -> dict[str, dict]:
    """The commands in a process of their own, forked from one that has read the modules; the checkpoints they leave."""
    process = get_context("forkserver").Process(target=commands, args=(folder, stop, resume))
    process.start()
    process.join(200)
    assert process.exitcode == 0
    return {name: torch.load(folder / name / f"{name}.pt", weights_only=True) for name in STAGES}


def test_runs_that_were_stopped_go_on_exactly(toy, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (HERE, HERE.parent))))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    get_context("forkserver").set_forkserver_preload([Path(__file__).stem])
    stage("vae", asked(toy, steps=2))
    stage("diffusion", asked(toy, steps=1))  # leaves the latents
    (toy / "diffusion.pt").unlink()
    for name in STAGES:
        shutil.copytree(toy, toy / name, ignore=shutil.ignore_patterns(*STAGES))
    straight = alone(toy)
    for name in STAGES:
        assert straight[name]["done"] == 4
        (toy / name / f"{name}.pt").unlink()
    assert all(state["done"] == 2 for state in alone(toy, stop=2).values())
    assert same(alone(toy, resume=True), straight)


def test_a_checkpoint_has_only_cpu_tensors_and_nothing_pickled(toy):
    autoencoder.train(asked(toy, steps=1))
    state = torch.load(toy / "vae.pt", weights_only=True)
    assert set(state) == {"done", "model", "optimizer"}


@pytest.mark.gpu
def test_a_checkpoint_goes_on_on_cuda(toy):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    autoencoder.train(asked(toy, steps=2))
    autoencoder.train(asked(toy, steps=4, device="cuda", resume=True))
    assert torch.load(toy / "vae.pt", weights_only=True)["done"] == 4


def test_resuming_without_a_checkpoint_says_so(toy):
    with pytest.raises(FileNotFoundError):
        autoencoder.train(asked(toy, resume=True))


def test_the_share_of_the_learning_rate():
    steps = 1000
    shares = [loop.share(i, steps) for i in range(steps)]
    assert shares[0] == pytest.approx(0.01)
    assert shares[100:700] == [1.0] * 600
    assert shares[-1] == pytest.approx(1 / 300)


def test_the_whole_way_ends_in_a_model_that_the_app_runs(toy, monkeypatch, capsys):
    monkeypatch.setattr(questions, "COUNTS", dict.fromkeys(questions.COUNTS, 2))
    monkeypatch.setattr(questions, "GUIDED", 1)
    monkeypatch.setattr(questions, "UNSEEN", questions.UNSEEN[:2])
    monkeypatch.setattr(measures, "COMPOSITIONS", 8)
    monkeypatch.setattr(evaluate, "NOVEL", 2)
    monkeypatch.setattr(measures, "SCENES", 600)
    monkeypatch.setattr(evaluate, "JUDGE", {"steps": 2, "batch": 4, "seed": 7})
    autoencoder.train(asked(toy))
    diffusion.train(asked(toy), autoencoder.load(toy))
    tiny.train(asked(toy), autoencoder.load(toy))
    export.export(toy, toy / "model")
    model = explorer.load_model(toy / "model")
    steps = list(explorer.denoise(model, Request(prompt="a house on blue", steps=3)))
    assert steps[-1].latents.shape == (1, 4, 16, 16)
    assert model.prediction_type == "v_prediction"

    argv = ["evaluate", "--model", str(toy / "model"), "--folder", str(toy), "--threads", "1"]
    monkeypatch.setattr("sys.argv", [*argv, "--minutes", "0"])
    evaluate.main()
    assert capsys.readouterr().out == "Time is over before the last picture; --resume goes on.\n"
    assert not (toy / "model" / "EVALUATION.md").exists()
    monkeypatch.setattr("sys.argv", [*argv, "--resume"])  # nothing is drawn yet
    evaluate.main()
    written = (toy / "model" / "EVALUATION.md").read_text(encoding="utf-8")
    assert "| held-out colour | 2 |" in written
    assert "**missed**" in written
    assert written in capsys.readouterr().out
    seconds, peak = map(
        float, re.search(r"(\S+) s for a run of 20 steps .* on 1 CPU core; .* takes (\S+) GB", written).groups()
    )
    assert 0 < seconds < 60
    assert 0.1 < peak < 4
    monkeypatch.setattr("sys.argv", [*argv, "--again", "--note", "More training would."])
    evaluate.main()
    again = (toy / "model" / "EVALUATION.md").read_text(encoding="utf-8")
    assert again.replace(" More training would.", "") == written != again
    told = json.loads((toy / "model" / "explorer.json").read_text(encoding="utf-8"))
    assert told == export.DEFAULTS  # an untrained model has no prompts to offer
    evaluate.offer(toy / "model", ["star", "a house on blue"])
    can = explorer.load_model(toy / "model").abilities
    assert (can.examples, can.scale) == (("star", "a house on blue"), export.DEFAULTS["scale"])
    assert (toy / "model" / "sheet.png").stat().st_size > 1000


def test_the_whole_model_fits_into_its_budget():
    words = text.tokenizer()
    parts = (autoencoder.build(), diffusion.build(), text.build(words), tiny.build())
    assert sum(p.numel() for part in parts for p in part.parameters()) * 2 <= 60e6


def test_the_questions_are_what_the_issue_asks_for():
    all_of_them = questions.questions(TABLE)
    assert len(all_of_them) >= 1000
    assert all_of_them == questions.questions(TABLE)
    assert len({q.seed for q in all_of_them}) == len(all_of_them)
    kinds = {q.kind: [r for r in all_of_them if r.kind == q.kind] for q in all_of_them}
    assert all(data.held_out(TABLE[q.wanted[0]], q.colour) for q in kinds["held-out colour"])
    assert not any(data.held_out(TABLE[q.wanted[0]], q.colour) for q in kinds["seen"])
    assert all(data.held_out_pair(*(TABLE[i] for i in q.wanted)) for q in kinds["held-out pair"])
    assert all(q.prompt in TABLE[q.wanted[0]].keywords for q in kinds["keyword"])
    assert {1.0, 3.0, 5.0, 8.0} <= {q.guidance for q in all_of_them}
    assert {q.guidance for kind in questions.COUNTS for q in kinds[kind]} == {Request().guidance}


def test_the_background_is_the_median_of_the_border():
    picture = torch.full((3, 128, 128), 0.5)
    for name, colour in data.COLOURS.items():
        picture[:] = torch.tensor(colour)[:, None, None] / 255
        picture[:, 20:100, 20:100] = 0.3
        picture[:, :3, :60] = 0.9  # something sticks out over the border
        assert evaluate.background(picture) == name


def test_windows_cut_both_halves():
    pictures = torch.zeros(1, 3, 128, 128)
    pictures[..., :64] = 1
    left, right = classifier.halves(pictures)
    assert left.shape == right.shape == (1, 3, classifier.WINDOW, classifier.WINDOW)
    assert left.mean() > 0.9
    assert right.mean() < -0.9


def test_ready_prompts_are_right_ones_of_different_concepts():
    def question(i, kind, colour, confidence, rank=0):
        return questions.Question(kind, f"p{i}", (i,), colour, i, ranks=[rank], confidence=confidence, background=colour)

    chosen = report.ready_prompts(
        [question(0, "seen", "red", 0.9), question(1, "seen", "red", 0.8), question(2, "seen", "blue", 0.5),
         question(3, "seen", "blue", 0.99, rank=1), question(0, "held-out colour", "red", 0.9)]
    )  # fmt: skip
    assert chosen == ["p2", "p0", "p1"]  # p0 is of the held-out kind; colours by turns; the wrong one is out


def test_channels_last_weights_are_optimised_alike():
    """On CUDA the networks are channels_last: Muon's matrices must still be the weights' own memory."""
    updates = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = torch.nn.Conv2d(12, 16, 3).to(memory_format=layout)
        before = model.weight.detach().clone()
        model(torch.randn(2, 12, 8, 8)).square().mean().backward()
        Optimizer(model, 1e-3, 1e-2).step(1.0)
        updates.append((model.weight.detach() - before).contiguous())
    assert updates[0].abs().mean() > 1e-3
    torch.testing.assert_close(updates[1], updates[0], rtol=0, atol=0.05 * updates[0].abs().max().item())


def test_the_optimizers_state_moves_between_layouts():
    def model(layout):
        torch.manual_seed(0)
        made = torch.nn.Sequential(torch.nn.Conv2d(12, 16, 3), torch.nn.Conv2d(16, 9, 3))
        return made.to(memory_format=layout)

    def stepped(made, optimizer, picture):
        before = [p.detach().clone() for p in made.parameters() if p.ndim > 1]
        made(picture).square().mean().backward()
        optimizer.step(1.0)
        return [
            (p.detach() - b).contiguous() for p, b in zip((p for p in made.parameters() if p.ndim > 1), before, strict=True)
        ]

    pictures = torch.randn(2, 1, 12, 8, 8, generator=torch.Generator().manual_seed(1)) + 1
    layouts = (torch.contiguous_format, torch.channels_last)
    for layout, other in (layouts, layouts[::-1]):
        first, second = model(layout), model(other)
        one, two = (Optimizer(made, 1e-3, 1e-2) for made in (first, second))
        stepped(first, one, pictures[0])
        state = one.state_dict()
        momenta = [kept["momentum_buffer"].clone() for kept in state["muon"]["state"].values()]
        second.load_state_dict(first.state_dict())
        two.load_state_dict(state)
        again = two.state_dict()["muon"]["state"].values()
        assert all(torch.equal(a, b["momentum_buffer"]) for a, b in zip(momenta, again, strict=True))
        for a, b in zip(stepped(first, one, pictures[1]), stepped(second, two, pictures[1]), strict=True):
            torch.testing.assert_close(b, a, rtol=0, atol=0.05 * a.abs().max().item())


def test_a_bank_of_other_scenes_or_another_autoencoder_is_made_anew(toy):
    vae = autoencoder.build()

    def made(table=TABLE, seed=1, count=4, by=vae):
        latents = diffusion.bank(table, by, seed, count, "cpu", toy)
        assert torch.equal(latents, diffusion.read_bank(toy)[0])
        return latents

    first, written = made(), (toy / diffusion.LATENTS).stat().st_mtime_ns
    assert torch.equal(made(), first)
    assert (toy / diffusion.LATENTS).stat().st_mtime_ns == written
    for other in (made(seed=2), made(table=TABLE[:50]), made(by=autoencoder.build())):
        assert not torch.equal(other, first)
    assert len(made(count=6)) == 6


def test_the_judge_never_sees_what_is_held_out(toy, monkeypatch):
    seen = []
    monkeypatch.setattr(classifier, "compose", lambda scene, glyphs: seen.append(scene) or data.compose(scene, glyphs))
    judge = classifier.train(TABLE, data.load_glyphs(TABLE, toy), toy, math.inf, steps=5, batch=40, seed=1, device="cpu")
    assert len(seen) == 200
    assert not any(data.held_out(TABLE[scene.concepts[0]], scene.colour) for scene in seen)
    read = classifier.train(TABLE, data.load_glyphs(TABLE, toy), toy, math.inf, steps=5, batch=40, seed=1, device="cpu")
    assert len(seen) == 200
    assert same(dict(read.state_dict()), dict(judge.state_dict()))
    assert classifier.train(TABLE, data.load_glyphs(TABLE, toy), toy, 0.0, steps=6, batch=40, seed=1, device="cpu") is None


def test_an_answer_is_ranked_and_a_picture_that_is_none_is_refused(embedded_model, monkeypatch, tmp_path):
    beliefs = torch.tensor([[0.0, 2.0, 1.0]])
    asked = [questions.Question("seen", "x", (i,), "white", 0, picture=torch.ones(3, 128, 128)) for i in range(3)]
    asked += [questions.Question("no caption's word", "x", (), "white", 0, picture=torch.ones(3, 128, 128))]
    evaluate.judge(lambda window: beliefs, asked)
    assert [q.ranks for q in asked] == [[2], [0], [1], []]
    assert [q.right for q in asked[:3]] == [False, True, False]
    assert [q.background for q in asked] == ["white"] * 3 + [""]
    assert asked[1].confidence == pytest.approx(beliefs.softmax(1)[0, 1].item())
    monkeypatch.setattr(type(embedded_model), "decode", lambda self, latents: torch.full((1, 3, 128, 128), torch.nan))
    monkeypatch.setattr(evaluate, "Request", lambda **known: Request(**known, steps=1))
    with pytest.raises(ValueError, match=r"^The picture of 'x', seed 0, has values that are no numbers\.$"):
        evaluate.draw(embedded_model, asked[:1], tmp_path / "drawn.pt")


def test_drawing_that_was_stopped_goes_on_and_draws_the_same(embedded_model, monkeypatch, tmp_path):
    monkeypatch.setattr(evaluate, "Request", lambda **known: Request(**known, steps=2))
    monkeypatch.setattr(evaluate, "ROW", 2)
    whole = [questions.Question("seen", "star", (0,), "white", i) for i in range(5)]
    stopped = [replace(q) for q in whole]
    others = [replace(q, seed=9) for q in whole]
    assert evaluate.draw(embedded_model, whole, tmp_path / "whole.pt")
    with monkeypatch.context() as patch:  # a clock that a row takes two seconds of
        patch.setattr(loop, "time", SimpleNamespace(monotonic=itertools.count().__next__))
        assert not evaluate.draw(embedded_model, stopped, tmp_path / "stopped.pt", minutes=5 / 60)
    assert [q.picture is None for q in stopped] == [False] * 4 + [True]
    assert evaluate.draw(embedded_model, stopped, tmp_path / "stopped.pt", resume=True)
    for one, other in zip(whole, stopped, strict=True):
        assert torch.equal(one.picture, other.picture)
    assert not torch.equal(whole[0].picture, whole[1].picture)
    with pytest.raises(ValueError, match="The pictures that are kept are of another model or of other questions; begin"):
        evaluate.draw(embedded_model, others, tmp_path / "stopped.pt", resume=True)
    monkeypatch.setattr(embedded_model, "weights", "of another")
    with pytest.raises(ValueError, match="The pictures that are kept are of another model or of other questions; begin"):
        evaluate.draw(embedded_model, stopped, tmp_path / "stopped.pt", resume=True)


def test_peak_memory_is_this_process_own():
    held = np.ones(400_000_000, np.uint8)
    before = measures.peak()
    assert before > held.nbytes
    del held
    with get_context("spawn").Pool(1) as pool:
        assert pool.apply(measures.peak) < before
    assert measures.peak() > 0.99 * before


def test_a_new_composition_is_the_measure_of_what_is_memory():
    def told(near):
        found = {"nearest": near, "a new composition": 0.1, "another seed": 0.1, "nearer": 0.5}
        return " ".join(report._novelty(dict.fromkeys(report.NOVEL, found)).split())

    assert "is as near to a training picture as a new composition of the same glyph is" in told(0.11)
    assert "is 2.0 times as far from the nearest training picture as a new composition" in told(0.2)
    assert "is 0.5 times as far from the nearest training picture as a new composition" in told(0.05)


def test_sole_keywords_ask_for_one_concept():
    words = questions.sole_keywords(TABLE)
    assert len(words) >= questions.COUNTS["keyword"]
    for i, word in words:
        assert [j for j, c in enumerate(TABLE) if word in c.keywords or word in c.name.split()] in ([i], []) or (
            word in TABLE[i].keywords
        )
        assert not any(word in c.name.split() or word in c.keywords for j, c in enumerate(TABLE) if j != i)
        assert word not in data.COLOURS
    known = {part for c in TABLE for word in (c.name, *c.keywords) for part in word.split()}
    assert not known & {*questions.UNSEEN}


def test_novelty_of_pictures_that_are_known(toy, monkeypatch):
    monkeypatch.setattr(measures, "SCENES", 64)
    glyphs = data.load_glyphs(TABLE, toy)
    endless = data.Scenes(TABLE, diffusion.SCENES)
    copies = classifier.to_tensor([data.compose(endless[i], glyphs) for i in range(3)])
    asked = [questions.Question("seen", "x", (0,), "white", i, picture=copy) for i, copy in enumerate(copies)]
    shifted = [questions.Question("seen", "x", (0,), "white", i, picture=copy - 0.5) for i, copy in enumerate(copies)]
    scenes = measures.trained(TABLE)
    near, _, seeds, nearer = measures.novelty(measures.small(scenes, glyphs), glyphs, asked, shifted).values()
    assert near == pytest.approx(0, abs=2e-3)
    assert seeds == pytest.approx(0.5)
    assert nearer == 1
    shown = [scene.concepts[::-1] for scene in scenes if len(scene.concepts) == 2]
    pairs = [questions.Question("two concepts", "x", wanted, "white", 0) for wanted in (*shown, (0, 1))]
    assert measures.trained_pairs(scenes, pairs) == len(shown) > 3
    alone = next(scene for scene in scenes if len(scene.concepts) == 1)
    grounds = [questions.Question("seen", "x", alone.concepts, colour, 0) for colour in (alone.colour, "no colour")]
    assert measures.trained_grounds(scenes, grounds) == 1
