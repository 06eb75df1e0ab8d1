"""What the folds of the Latents tab ask of the server: right answers to what is right, one sentence to all else."""

from __future__ import annotations

import base64
import gzip
import io
import json
import math
import threading
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image
from plotly.offline import get_plotlyjs

from explorer import denoise, edits, spectrum
from explorer.collecting import collect
from explorer.diffusion import slerp, to_vp
from explorer.latent_files import read, to_npy, to_safetensors
from explorer.latents import from_latents
from explorer.limits import check
from explorer.records import Request
from explorer.sessions import Sessions
from explorer.tabs import latents_folds, latents_runs
from explorer.tabs.latents_asking import BUSY, FAILED, guard, plain
from explorer.tabs.latents_export import LARGEST, opener, received
from explorer.tabs.latents_mix import mixing
from explorer.tabs.latents_store import Shelf

HERE = SimpleNamespace(session_hash="here")
MUTED = [{"op": "mute", "channel": 1}]


@pytest.fixture(scope="module")
def stage(tiny_model):
    """A page's worth of folds: a latent on the shelf, two runs of one session and one of another, and what is asked."""
    shelf, sessions = Shelf(), Sessions()
    for session, run, seed, steps, sampler in (
        ("here", "one", 1, 4, "DDIM"),
        ("here", "two", 2, 3, "Euler"),
        ("there", "far", 3, 3, "DDIM"),
    ):
        request = check(Request(prompt="a <b>cat</b>", seed=seed, steps=steps, sampler=sampler), tiny_model)
        sessions.put(session, run, collect(tiny_model, request, list(denoise(tiny_model, request))))
    latents = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(7))
    key = shelf.put("here", from_latents("a star", latents, tiny_model))
    with gr.Blocks():
        component = latents_folds.build(tiny_model, sessions, shelf, "latents-stage", gr.HTML(None))
    asked = {function.__name__: function for function in component.server_fns}
    return SimpleNamespace(shelf=shelf, sessions=sessions, key=key, latents=latents, **asked)


def picture(uri: str) -> np.ndarray:
    """(H, W, 3) of a data URI."""
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))).convert("RGB"))


def as_bytes(decoded: torch.Tensor) -> np.ndarray:
    return (decoded[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()


# --- one guard around all ---

STRANGE = (
    None, 7, True, "", "none", [], {}, {"0": "KEY"}, [None] * 9, ["none", []], [["none", []], "cat", 0.5, "lerp"],
    ["x" * 10**6, []], [[]] * 3, ["KEY", [{"op": "boil"}]], ["KEY", "not json", "npy"], ["KEY", 7, "npy"],
)  # fmt: skip
NAMED = {
    "decoders": (["KEY", [{"op": "mute", "channel": 9}]],),
    "ends": ([["KEY", []], "dragon"], [["KEY", []], ["gone", []]], [["KEY", []], None], [["KEY", []], ["KEY", "x"]]),
    "mix": (
        [["KEY", []], "cat", 2.0, "lerp"], [["KEY", []], "cat", float("nan"), "lerp"], [["KEY", []], "cat", "0.5", "lerp"],
        [["KEY", []], "cat", 0.5, "nlerp"], [["KEY", []], "cat", 0.5, ["lerp"]], [["KEY", []], "cat"],
    ),
    "project": (["one", "gone"], ["one", None], [["one"]], ["one", "two", "far", "a", "b", "c", "d"]),
    "measure": ("gone", ["one"]),
    "save": (["KEY", [], "zip"], ["KEY", [], None], ["KEY", [], ["npy"]]),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_anything_is_answered_with_one_sentence(stage, name):
    for wanted in json.loads(json.dumps([*STRANGE, *NAMED[name]]).replace("KEY", stage.key)):
        answer = getattr(stage, name)(wanted)
        assert list(answer) == ["error"], wanted
        assert answer["error"] not in (FAILED, BUSY)
        assert answer["error"].endswith(".")
        assert len(answer["error"]) < 300


def test_a_crowd_is_sent_away_and_an_accident_is_a_sentence(caplog):
    inside, go = threading.Event(), threading.Event()

    def work(wanted):
        inside.set()
        go.wait(10)
        return {"value": 1 / wanted}

    answer = guard(waiting=1)(work)
    first = threading.Thread(target=answer, args=(1,))
    first.start()
    assert inside.wait(10)
    assert answer(1) == {"error": BUSY, "busy": True}
    go.set()
    first.join(10)
    assert answer(2) == {"value": 0.5}
    assert answer(0) == {"error": FAILED}
    assert "ZeroDivisionError" in caplog.text


def test_json_gets_no_number_that_it_cannot_hold():
    assert plain({"a": (math.inf, 1.5), "b": [math.nan, "x", None]}) == {"a": [None, 1.5], "b": [None, "x", None]}


# --- decoders and mixtures ---


def test_the_decoders_see_the_edited_latent(stage, tiny_model):
    edited = edits.apply(stage.latents, edits.checked(MUTED, (4, 8, 8)))
    rows = {row["name"]: row for row in stage.decoders([stage.key, MUTED])["rows"]}
    assert set(rows) >= {"linear preview", "full VAE"}
    np.testing.assert_array_equal(picture(rows["full VAE"]["picture"]), as_bytes(tiny_model.decode(edited[None])))
    assert rows["full VAE"]["mae"] == 0
    assert rows["linear preview"]["mae"] > 0
    assert rows["linear preview"]["ms"] > 0


def test_a_mixture_is_decoded_and_its_ends_are_the_pictures(stage, tiny_model):
    held, second = [stage.key, MUTED], [stage.key, []]
    ends = stage.ends([held, second])
    for name, share in (("a", 0), ("b", 1)):
        np.testing.assert_array_equal(picture(ends[name]), picture(stage.mix([held, second, share, "slerp"])["picture"]))
    answer = stage.mix([held, second, 0.25, "slerp"])
    a, b = edits.apply(stage.latents, edits.checked(MUTED, (4, 8, 8))), stage.latents
    mixed = slerp(a, b, 0.25)
    np.testing.assert_array_equal(picture(answer["picture"]), as_bytes(tiny_model.decode(mixed[None])))
    assert answer["norm"] == pytest.approx(float(mixed.norm()))
    assert answer["norm"] == pytest.approx(
        0.75 * ends["norms"][0] + 0.25 * ends["norms"][1], rel=1e-5
    )  # what the page draws
    a1, b1, cosine = *ends["norms"], math.cos(math.radians(ends["angle"]))
    straight = math.sqrt((0.75 * a1) ** 2 + (0.25 * b1) ** 2 + 2 * 0.75 * 0.25 * a1 * b1 * cosine)
    assert stage.mix([held, second, 0.25, "lerp"])["norm"] == pytest.approx(straight, rel=1e-4)
    faded = 0.75 * tiny_model.decode(a[None]) + 0.25 * tiny_model.decode(b[None])
    assert answer["apart"] == pytest.approx(float((tiny_model.decode(mixed[None]) - faded).abs().mean()), abs=1e-6)


def test_an_example_can_be_mixed_in(stage):
    ends = stage.ends([[stage.key, []], "cat"])
    assert picture(ends["b"]).shape == (64, 64, 3)
    assert stage.mix([[stage.key, []], "cat", 0.5, "lerp"])["between"] > 0


def test_a_pair_is_known_by_its_latents_whatever_else_was_sent(tiny_model):
    decoded = []
    shelf, model = Shelf(), Forwarding(tiny_model, decode=lambda x: (decoded.append(1), tiny_model.decode(x))[1])
    key = shelf.put("ann", from_latents("one", torch.ones(4, 8, 8), tiny_model))
    ends, _ = mixing(model, shelf)
    for rest in ([], ["x" * 1000], [{"y": 1}]):
        ends([[key, [], *rest], [key, MUTED, *rest], *rest])
    assert len(decoded) == 2


class Forwarding:
    """A model of which something is another's."""

    def __init__(self, model, **others):
        self._model = model
        vars(self).update(others)

    def __getattr__(self, name):
        return getattr(self._model, name)


def test_latents_of_two_sizes_are_not_mixed(stage, tiny_model):
    small = stage.shelf.put("here", from_latents("small", torch.zeros(4, 4, 4), tiny_model))
    assert "only latents of one size" in stage.ends([[stage.key, []], [small, []]])["error"]


# --- runs ---


def test_a_session_sees_its_own_runs(stage, tiny_model):
    runs = latents_runs.listed(tiny_model, stage.sessions, "here")
    assert {one["run"] for one in runs} == {"one", "two"}  # the recorded run is another model's
    two = next(one for one in runs if one["run"] == "two")
    assert two["detail"] == "seed 2, Euler, 3 steps"
    assert two["states"] == 4
    assert latents_runs.listed(tiny_model, stage.sessions, "nobody") == []


def test_the_recorded_run_is_offered_where_its_model_is(embedded_model):
    (run,) = latents_runs.listed(embedded_model, Sessions(), "nobody")
    assert run["detail"].startswith("recorded, ")


def test_no_two_titles_are_alike_and_what_tells_them_apart_is_not_cut_off():
    said = [
        {"name": name, "detail": f"seed {seed}"}
        for name, seed in (("“a cat”", 1), ("“a cat”", 2), ("“a cat”", 1), ("“b”", 1))
    ]
    assert latents_runs._titles(said) == ["1: seed 1", "seed 2", "2: seed 1", "“b”"]


def test_runs_are_projected_with_their_frames(stage, tiny_model):
    answer = stage.project(["one", "two"])
    json.dumps(answer, allow_nan=False)
    assert [len(one["x_t"]) for one in answer["runs"]] == [5, 4]
    assert [len(one["x0"]) for one in answer["runs"]] == [4, 3]
    assert 0 < sum(answer["explained"]) <= 1 + 1e-9
    assert len(answer["figures"]["2"]["data"]) == 4  # two paths a run
    assert {trace["type"] for trace in answer["figures"]["3"]["data"]} == {"scatter3d"}
    one, run = answer["runs"][0], stage.sessions.find("one")
    assert one["name"] != answer["runs"][1]["name"]  # same prompt, told apart
    sheet, (width, height) = picture(one["sheet"]), one["tile"]
    preview = run.capsule["preview"]
    matrix, offset = np.array(preview["matrix"]), np.array(preview["offset"])
    for place, state in ((2, to_vp(run.steps[2].latents, run.steps[2].alpha, run.steps[2].sigma)), (5, run.steps[0].x0)):
        row, column = divmod(place, one["columns"])
        tile = sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]
        colours = np.einsum("kc,chw->hwk", matrix, state[0].numpy()) + offset
        np.testing.assert_allclose(tile, colours.clip(0, 1) * 255, atol=1)


def test_frames_of_a_long_run_are_smaller(stage):
    run = stage.sessions.find("one")
    states = [SimpleNamespace(latents=torch.zeros(1, 4, 64, 64), x0=None, alpha=1.0, sigma=0.0) for _ in range(101)]
    made = latents_runs.frames(SimpleNamespace(steps=states, capsule=run.capsule))
    assert made["tile"] == [32, 32]
    assert picture(made["sheet"]).shape == (4 * 32, 32 * 32, 3)


def test_the_statistics_are_those_of_the_engine(stage):
    answer = stage.measure("two")
    wanted = spectrum.statistics(stage.sessions.find("two"))
    assert answer["steps"] == wanted["steps"]
    assert answer["frequencies"] == wanted["frequencies"]


def test_plotly_arrives_as_it_is_in_the_package(stage):
    assert gzip.decompress(base64.b64decode(stage.plotly(None)["library"])).decode() == get_plotlyjs()


# --- files ---


@pytest.mark.parametrize("form", ["safetensors", "npy"])
def test_a_saved_latent_is_the_edited_one_and_opens_again(stage, tiny_model, form):
    saved = stage.save([stage.key, MUTED, form])
    assert saved["name"] == f"diffuscope-latent-a-star-edited.{form}"
    edited = edits.apply(stage.latents, edits.checked(MUTED, (4, 8, 8)))
    torch.testing.assert_close(read(base64.b64decode(saved["data"]), (4, 8, 8)), edited, rtol=0, atol=0)
    (made,) = opener(tiny_model, stage.shelf)({"name": saved["name"], "data": saved["data"]}, HERE)
    assert made["kind"] == "latents"
    assert stage.shelf.owns("here", made["key"])
    torch.testing.assert_close(stage.shelf.get(made["key"]).mean, edited, rtol=0, atol=0)


def test_a_bad_file_is_one_sentence(stage, tiny_model):
    good = to_safetensors(stage.latents, {})
    bad = {
        "not a file": None,
        "did not arrive whole": {"data": "%%%"},
        "limit of a latent": {"data": "A" * (LARGEST * 4 // 3 + 8)},
        "shape 4 × 4 × 4": {"data": base64.b64encode(to_npy(torch.zeros(4, 4, 4))).decode()},
        "not finite": {"data": base64.b64encode(to_npy(torch.full((4, 8, 8), math.inf))).decode()},
        "The file": {"data": base64.b64encode(good[:-7]).decode()},
    }
    for words, file in bad.items():
        with pytest.raises(gr.Error) as refused:
            next(opener(tiny_model, stage.shelf)(file, HERE))
        assert words in str(refused.value.message)


def test_a_file_without_a_name_has_one():
    assert received({"data": "AAAA", "name": 7}) == ("a latent", b"\0\0\0")
