"""A run as a page: small, whole, and nothing in it that a person or a file wrote becomes markup."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from explorer import Request, run, trace
from explorer.collecting import collect
from explorer.forks import Fork, Forks
from explorer.pictures import to_png
from explorer.player.page import PLANES, page
from explorer.sessions import Sessions
from explorer.tabs import traces
from explorer.tabs.descent import descent, settings
from explorer.tabs.export import export, facts, webp

HOSTILE = (
    """</script><script>pwned=1</script><img src=x onerror=pwned=1> "'&amp; <!--<script> $title {{x}} ${7*7} \u2028]]>"""
)


@pytest.fixture(scope="module")
def recorded():
    return trace.load(traces.RECORDED)


def made(trajectory) -> str:
    picture = webp(Image.open(traces.RECORDED.with_suffix(".png")))
    return export(trajectory, traces.records(trajectory, traces.FIRST, picture))


class Parsed(HTMLParser):
    """The tags of a page with their attributes, and the text of each kind of element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.texts, self._open = [], {}, ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        if self._open:
            self.texts[self._open][-1] += data


def test_twenty_steps_of_the_embedded_model_are_under_two_megabytes(recorded):
    assert recorded.request.steps == 20
    assert recorded.capsule["model"] == "emoji-ldm"
    assert len(made(recorded).encode()) < 2_000_000


def test_it_holds_every_frame_the_prompt_and_the_settings(recorded):
    parsed = Parsed(made(recorded))
    data = json.loads(parsed.texts["script"][0])
    sent = list(traces.records(recorded, traces.FIRST, None))
    assert [one["i"] for one in data["records"]] == list(range(21))
    for mine, theirs in zip(data["records"], sent, strict=True):
        assert mine["planes"] == {name: theirs["planes"][name] for name in PLANES if name in theirs["planes"]}
        assert mine["preview"] == theirs["preview"]
    assert data["records"][-1]["picture"].startswith("data:image/webp;base64,")
    said = dict(zip(parsed.texts["dt"], parsed.texts["dd"], strict=True))
    assert said["prompt"] == recorded.request.prompt
    assert (said["seed"], said["steps"], said["sampler"]) == ("3", "20", recorded.request.sampler)
    assert (said["size"], said["model"], said["precision"]) == ("128 × 128", "emoji-ldm", "float32")
    assert "Made with Diffuscope" in parsed.texts["p"]


def test_the_picture_is_kept_exactly():
    picture = Image.open(traces.RECORDED.with_suffix(".png"))
    kept = Image.open(io.BytesIO(base64.b64decode(webp(picture).partition(",")[2])))
    assert kept.format == "WEBP"
    assert kept.tobytes() == picture.convert("RGB").tobytes()


def test_what_a_person_wrote_stays_text(recorded):
    request = replace(recorded.request, prompt=HOSTILE, negative_prompt=HOSTILE)
    capsule = {**recorded.capsule, "model": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    parsed, plain = Parsed(made(replace(recorded, request=request, capsule=capsule))), Parsed(made(recorded))
    names = [tag for tag, _ in parsed.tags]
    assert [n for n in names if n not in ("div", "dt", "dd")] == [t for t, _ in plain.tags if t not in ("div", "dt", "dd")]
    assert names.count("script") == 2
    assert not any(key.startswith("on") for _, attributes in parsed.tags for key in attributes)
    said = dict(zip(parsed.texts["dt"], parsed.texts["dd"], strict=True))
    assert said["prompt"] == said["negative prompt"] == HOSTILE
    assert said["model"] == HOSTILE
    assert parsed.texts["h1"] == [f"“{HOSTILE[:80]}…”"]


def test_a_record_cannot_leave_its_script_element(recorded):
    record = next(traces.records(recorded, traces.FIRST, None)) | {"forms": {HOSTILE: [[1.0, HOSTILE]]}}
    parsed = Parsed(page([record], "x", []))
    assert len(parsed.texts["script"]) == 2
    assert json.loads(parsed.texts["script"][0])["records"][0]["forms"] == {HOSTILE: [[1.0, HOSTILE]]}


def test_the_policy_allows_its_own_script_and_no_address(recorded):
    parsed = Parsed(made(recorded))
    policy = next(attributes["content"] for tag, attributes in parsed.tags if "http-equiv" in attributes)
    digest = base64.b64encode(hashlib.sha256(parsed.texts["script"][1].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert not [a for _, a in parsed.tags if not (a.get("src") or a.get("href") or "data:").startswith("data:")]


def test_every_colour_and_space_that_its_styles_use_is_there(recorded):
    html = made(recorded)
    used = set(re.findall(r"var\((--[\w-]+)\)", html))
    assert used > {"--page", "--q-x_t", "--map-zero", "--s3"}
    assert {name for name in used if not re.search(rf'{name}:|"{name}"', html)} == set()


def test_settings_are_said_as_the_form_says_them(recorded):
    request = replace(recorded.request, guidance=(1.0, 7.5), karras=True, prompt="", spacing=None)
    said = dict(facts(replace(recorded, request=request)))
    assert (said["guidance"], said["karras"]) == ("1, 7.5", "yes")
    assert not {"prompt", "spacing", "negative prompt"} & set(said)


@pytest.fixture
def family(tiny_model):
    """A session of ann: a run, a branch of it at step 3, a branch of that at step 5, and that one's trace, reopened."""
    sessions = Sessions()
    forks = Forks(sessions)
    root = run(tiny_model, Request(prompt="pizza", seed=5, steps=7, guidance=3.0))
    limb_asked, twig_asked = replace(root.request, guidance=9.0), replace(root.request, guidance=9.0, prompt=HOSTILE)
    limb = collect(tiny_model, limb_asked, run(tiny_model, limb_asked, (root, 3)).steps, (root, 3))
    twig = collect(tiny_model, twig_asked, run(tiny_model, twig_asked, (limb, 5)).steps, (limb, 5))
    for name, one in (("root", root), ("limb", limb), ("twig", twig), ("reopened", limb)):
        sessions.put("ann", name, one)
    for name, origin, at, label in (
        ("limb", "root", 3, "guidance 3 → 9 at step 3"),
        ("twig", "limb", 5, "prompt at step 5"),
    ):
        forks.put("ann", name, Fork(origin=origin, at=at, first=at, last=7, changed="", label=label, said=""))
    return lambda name: (sessions.get("ann", name), descent(sessions, forks, "ann", name))


def test_a_branch_says_what_it_goes_back_to(family):
    assert "made as" not in dict(facts(*family("root")))
    assert dict(facts(*family("limb")))["made as"] == (
        "A branch: the settings here are those of step 3 and all after it.\n"
        "It goes back to “pizza”, seed 5, 7 steps of DDIM, guidance 3\nthen guidance 3 → 9 at step 3"
    )
    lines = dict(facts(*family("twig")))["made as"].splitlines()
    assert lines[2:] == ["then guidance 3 → 9 at step 3", "then prompt at step 5"]
    assert dict(facts(*family("reopened")))["made as"] == (
        "A branch: the settings here are those of step 3 and all after it. The run that it goes on from is not known here."
    )
    trajectory, origins = family("twig")
    parsed = Parsed(export(trajectory, traces.records(trajectory, traces.PAGE, None), origins))
    assert parsed.texts["dt"][0] == "made as"
    assert parsed.texts["dd"][0] == dict(facts(trajectory, origins))["made as"]


def test_a_branchs_picture_does_not_pass_for_a_run_of_its_settings(family):
    def kept(name):
        picture = to_png(torch.zeros(1, 3, 8, 8), {"diffuscope": json.dumps(settings(*family(name)))})
        return json.loads(Image.open(io.BytesIO(picture)).text["diffuscope"])

    root, limb = family("root")[0].request, family("limb")[0].request
    assert Request(**kept("root")) == root
    with pytest.raises(TypeError):
        Request(**kept("limb"))
    branch = kept("limb")["branch"]
    assert (Request(**branch["request"]), branch["from"]) == (limb, 3)
    assert [(Request(**one["request"]), one["left_at"]) for one in branch["origins"]] == [(root, 3)]
    assert [one["left_at"] for one in kept("twig")["branch"]["origins"]] == [3, 5]
    assert kept("reopened")["branch"]["origins"] == []


def test_a_branch_has_a_files_name_and_a_line_of_its_own(family, tiny_model):
    names, lines = [], []
    for name in ("root", "limb"):
        with traces._place(family(name)[0], "png") as path:
            names.append(path.name)
        lines.append(traces._line("Opened trace", family(name)[0], tiny_model))
    assert names == ["diffuscope-pizza-seed-5.png", "diffuscope-pizza-seed-5-branch-from-3.png"]
    assert "Opened trace:</b> prompt “pizza”" in lines[0]
    assert "Opened trace:</b> a branch from step 3 on, prompt “pizza”" in lines[1]
