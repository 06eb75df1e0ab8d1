"""Fixtures: a tiny real pipeline, made on the spot, and the embedded model."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import torch
from tiny import Calls, as_model, tiny_parts, tiny_pipeline
from xdist.scheduler import LoadScopeScheduling

from explorer import load_model
from explorer.models.sd import StableDiffusion

# The two test processes must not write one file cache at once.
os.environ["GRADIO_TEMP_DIR"] = str(Path(tempfile.gettempdir()) / f"gradio-{os.environ.get('PYTEST_XDIST_WORKER', 'one')}")
torch.set_num_threads(1)  # two processes with two OpenMP threads each on two cores slow each other fifty-fold


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.browser)


# Pages that wait for nobody and time nothing: whichever process is first done with its own takes them, file by file.
QUIET = {
    f"test_{name}.py"
    for name in ("address", "branch_words", "export_page", "files", "foreign", "menu_page", "player_access", "player_words")
}


class OneBrowser(LoadScopeScheduling):
    """Of two processes one has the browser, which sets the pace, and the other all else, file by file."""

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.split("::")[0])
        return "browser" if path.parent.name == "browser" and path.name not in QUIET else str(path)


def pytest_xdist_make_scheduler(config, log):
    return OneBrowser(config, log)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """The tiny pipeline as a diffusers folder."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_pipeline(tiny_parts()).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def tiny_model() -> StableDiffusion:
    return as_model(tiny_parts())


@pytest.fixture(scope="session")
def embedded_model() -> StableDiffusion:
    return load_model()


@pytest.fixture
def counted(tiny_model) -> Calls:
    return Calls(tiny_model)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Under DIFFUSCOPE_NO_SKIPS, as in .ci/run, a skipped test has failed; only `gpu` may skip."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("DIFFUSCOPE_NO_SKIPS") and item.get_closest_marker("gpu") is None:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and this run allows no skips: {report.longrepr}"
