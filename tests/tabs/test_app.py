"""Starting the app: flags win over the environment, and what can't start says so in one sentence."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import app

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(monkeypatch):
    for name in ("MODEL", "MODELS", "PUBLIC", "DEVICE", "PRECISION", "COMPILE", "HOST", "PORT", "SHARE", "MCP"):
        monkeypatch.delenv(f"DIFFUSCOPE_{name}", raising=False)
    return monkeypatch.setenv


def test_defaults(environment):
    arguments = app.parser().parse_args([])
    assert vars(arguments) == {
        "model": None,
        "models": None,
        "public": None,
        "device": None,
        "precision": "auto",
        "compile": False,
        "host": "127.0.0.1",
        "port": 7860,
        "share": False,
        "mcp": False,
    }


def test_the_environment_counts_and_flags_win(environment):
    values = {"MODEL": "a/b", "MODELS": "c/d, e/f", "PUBLIC": "no", "DEVICE": "cpu", "HOST": "0.0.0.0", "PORT": "7000"}
    values |= {"SHARE": "true", "MCP": "1", "PRECISION": "float32", "COMPILE": "on"}
    for name, value in values.items():
        environment(f"DIFFUSCOPE_{name}", value)
    assert vars(app.parser().parse_args([])) == {
        "model": "a/b",
        "models": "c/d, e/f",
        "public": False,
        "device": "cpu",
        "precision": "float32",
        "compile": True,
        "host": "0.0.0.0",
        "port": 7000,
        "share": True,
        "mcp": True,
    }
    arguments = app.parser().parse_args(["--model", "c/d", "--port", "7001", "--no-share", "--no-mcp", "--public"])
    assert (arguments.model, arguments.port, arguments.share, arguments.mcp) == ("c/d", 7001, False, False)
    assert arguments.public is True


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_what_is_no_port_is_refused(environment, capsys, port):
    environment("DIFFUSCOPE_PORT", port)
    with pytest.raises(SystemExit) as stop:
        app.parser().parse_args([])
    assert stop.value.code == 2
    assert "from 1 to 65535" in capsys.readouterr().err


def test_a_missing_model_is_one_sentence_and_exit_2():
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DIFFUSCOPE_")}
    done = subprocess.run(
        [sys.executable, "app.py", "--model", "no such folder"], cwd=ROOT, env=environment, capture_output=True, timeout=120
    )
    assert done.returncode == 2
    lines = done.stderr.decode().strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("diffuscope: The model 'no such folder'")
    assert lines[0].endswith(".")


def test_a_broken_model_and_a_missing_device_are_told_too(environment, tmp_path, capsys):
    (tmp_path / "model_index.json").write_text("{")
    assert app.main(["--model", str(tmp_path)]) == 2
    assert app.main(["--device", "abacus"]) == 2
    assert app.main(["--models", "no model"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 3
    assert all(line.startswith("diffuscope: ") and str(tmp_path) not in line for line in lines)


def test_a_port_that_is_taken_is_one_sentence_and_exit_2(environment, tiny_folder, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert app.main(["--model", str(tiny_folder), "--port", str(port)]) == 2
    assert capsys.readouterr().err == f"diffuscope: Port {port} on 127.0.0.1 is not free; choose another with --port.\n"
