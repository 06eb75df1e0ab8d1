"""The command line: a prompt in, a picture and a trace out, one sentence when it can't."""

import json
import shutil

import pytest
from PIL import Image

from explorer import trace
from explorer.__main__ import main


def test_a_picture_and_a_trace(tiny_folder, tmp_path, capsys):
    picture, run = tmp_path / "picture.png", tmp_path / "run.safetensors"
    code = main(["cat", "--model", str(tiny_folder), "--steps", "3", "--seed", "5", "--sampler", "DPM++ 2M", "--karras",
                 "--guidance", "1,2,3", "--out", str(picture), "--trace", str(run)])  # fmt: skip
    assert code == 0
    out, err = capsys.readouterr()
    assert out.split() == [str(picture), str(run)]
    assert "step 3" in err
    with Image.open(picture) as image:
        assert image.size == (64, 64)
        settings = json.loads(image.text["diffuscope"])
    loaded = trace.load(run)
    assert loaded.request.guidance == (1.0, 2.0, 3.0)
    assert settings["prompt"] == loaded.request.prompt == "cat"
    assert len(loaded.steps) == 4


def test_what_is_left_out_is_the_models_own(tiny_folder, tmp_path):
    folder, file = shutil.copytree(tiny_folder, tmp_path / "own"), tmp_path / "run.safetensors"
    (folder / "explorer.json").write_text(json.dumps({"sampler": "Euler", "steps": 2, "scale": 1.5}))
    assert main(["cat", "--model", str(folder), "--trace", str(file)]) == 0
    request = trace.load(file).request
    assert (request.sampler, request.steps, request.guidance) == ("Euler", 2, 1.5)


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (["--steps", "0"], "steps is 0; it must be from 1 to 1000."),
        (["--guidance", "nan"], "guidance is nan; it must be from -5 to 30."),
        (["--sampler", "best"], "sampler is 'best'; it must be one of"),
        (["--model", "no such/folder"], "neither a folder nor a Hub id"),
        (["--model", " "], "neither a folder nor a Hub id"),
        (["--device", "abacus"], "device is 'abacus'"),
    ],
)
def test_one_sentence_and_exit_code_2(tiny_folder, capsys, extra, sentence):
    assert main(["cat", "--model", str(tiny_folder), *extra]) == 2
    err = capsys.readouterr().err.strip()
    assert sentence in err
    assert "\n" not in err
    assert "Traceback" not in err


def test_a_place_that_cannot_be_written(tiny_folder, tmp_path, capsys):
    assert main(["cat", "--model", str(tiny_folder), "--steps", "1", "--out", str(tmp_path / "no" / "p.png")]) == 2
    err = capsys.readouterr().err
    assert "The picture can't be written: No such file or directory." in err
    assert str(tmp_path) not in err
    assert main(["cat", "--model", str(tiny_folder), "--steps", "1", "--trace", str(tmp_path / "no" / "t")]) == 2
    assert "The trace can't be written there" in capsys.readouterr().err
