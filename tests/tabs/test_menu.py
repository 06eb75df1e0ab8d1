"""The model menu as a program sees it: load_model's records and refusals, and the pages that it makes beside the first."""

from __future__ import annotations

import gc
import time
import weakref
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from menus import serve_menu, tiny_folders
from serving import Counting

import app
from explorer import Request, load_model, run
from explorer.frames import data_uri
from explorer.records import SourceError
from explorer.tabs import menu as menus
from explorer.tabs.pages import Pages, forget

VALUES = {"prompt": "pizza", "seed": 5, "steps": 4, "guidance": 3.0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    return tiny_folders(tmp_path_factory.mktemp("menu"), ("first", "a b", "third"))


@pytest.fixture(scope="module")
def home(folders) -> Counting:
    return Counting(load_model(folders[0], device="cpu"))


@pytest.fixture(scope="module")
def served(folders, home):
    with serve_menu(home, str(folders[0]), f"{folders[2]}, owner/name") as (url, menu):
        yield url, menu


@pytest.fixture(scope="module")
def client(served):
    yield from connect(served[0])


def connect(url):
    client = Client(url, download_files=False, analytics_enabled=False, verbose=False)
    yield client
    client.close()


def load(client, source) -> list[dict]:
    job = client.submit(source, api_name="/load_model")
    job.result(timeout=60)
    return job.outputs()


def test_a_folder_is_loaded_and_runs_on_its_own_page(client, served, folders):
    records = load(client, str(folders[1]))
    assert {"stage", "done", "total", "line"} <= set(records[0])
    assert [record["stage"] for record in records[-2:]] == ["building", "ready"]
    assert records[-1] | {"done": 1} == {
        "stage": "ready",
        "done": 1,
        "total": 1,
        "line": "a b is ready",
        "model": "a b",
        "page": "models/a-b/",
        "new": True,
    }
    (there,) = connect(served[0] + records[-1]["page"])
    record = there.predict(**VALUES, api_name="/reverse")
    model = load_model(folders[1], device="cpu")
    assert record["picture"] == data_uri(model.decode(run(model, Request(**VALUES)).latents))
    again, home = load(there, str(folders[1]))[-1], load(there, "first")[-1]
    assert (again["page"], again["new"]) == ("models/a-b/", False)  # there already
    assert (home["page"], home["new"]) == ("", False)


def test_runs_on_the_old_page_go_on_while_another_is_loaded_and_used(client, served, folders, home):
    alone = client.predict(**VALUES | {"steps": 12}, api_name="/reverse")
    home.pause = 0.25
    try:
        running = client.submit(**VALUES | {"steps": 12}, api_name="/reverse")
        while len(running.outputs()) < 2:
            time.sleep(0.05)
        page = load(client, "third")[-1]["page"]  # by the name that the operator offers
        assert not running.done()  # it didn't wait for the run
        (there,) = connect(served[0] + page)
        assert there.predict(**VALUES | {"steps": 1}, api_name="/reverse")["i"] == 1
        assert running.result(timeout=60)["picture"] == alone["picture"]
    finally:
        home.pause = 0.0
    assert len(running.outputs()) == 13


@pytest.mark.parametrize("source", ["no such folder", "no/../way", "a\0b", "x" * 301, 7, None, ["a"]])
def test_what_cannot_be_loaded_is_one_sentence(client, served, source, caplog):
    before = served[1].shelf.rows()
    with pytest.raises(AppError) as error:
        load(client, source)
    assert str(error.value).endswith(".")
    assert len(str(error.value)) < 250
    assert "Traceback" not in caplog.text
    assert [row[:3] for row in served[1].shelf.rows()] == [row[:3] for row in before]


def test_an_address_whose_page_is_not_here_leads_to_the_menu(served):
    with httpx.Client(base_url=served[0], trust_env=False, headers={"accept": "text/html"}) as http:
        for path in ("models/gone/", "models/gone"):
            answer = http.get(f"{path}?seed=3")
            assert answer.status_code == 303
            assert answer.url.join(answer.headers["location"]) == f"{served[0]}?missing=gone&seed=3"
        assert http.get("models/").url.join(http.get("models/").headers["location"]).path == "/"
        assert "%22" in http.get('models/"><b>/').headers["location"]
        answer = http.get("models/gone/config", headers={"accept": "*/*"})
        assert (answer.status_code, answer.text) == (
            404,
            "The model page 'gone' is not loaded here; load it with load_model first.",
        )


def test_the_menu_says_what_there_is(served, folders, client):
    load(client, str(folders[1]))
    rows = {row["name"]: row for row in served[1].catalog()["rows"]}
    assert rows["emoji-ldm"] == {"group": "embedded", "name": "emoji-ldm", "load": "", "size": "", "state": ""}
    assert rows["first"] == {"group": "recent", "name": "first", "load": "first", "size": "0.3 MB", "state": "in memory"}
    assert (rows["a b"]["group"], rows["a b"]["load"]) == ("recent", str(folders[1]))
    assert (rows["third"]["group"], rows["third"]["load"]) == ("allowed", "third")
    assert rows["owner/name"] == {"group": "allowed", "name": "owner/name", "load": "owner/name", "size": "", "state": ""}
    assert served[1].catalog()["free"] is True
    load(client, "third")
    offered = [row["name"] for row in served[1].catalog()["rows"] if row["group"] == "allowed"]
    assert offered == ["third", "owner/name"]  # as the operator wrote them, whatever is loaded


def test_in_public_only_what_is_offered_can_be_loaded(folders, home):
    menu = app.create_menu(home, str(folders[0]), str(folders[2]), True)
    assert next(iter(reversed([*menu.load("first")])))["page"] == ""
    for source in (str(folders[1]), str(folders[2]), "owner/name", "../third", str(folders[0])):
        with pytest.raises(SourceError, match=r"is not among those offered here: third\.$"):
            next(menu.load(source))
    records = menu.load("third")
    assert next(records)["line"]
    records.close()
    said = menu.catalog()
    assert said["free"] is False
    assert {row["name"] for row in said["rows"]} == {"first", "emoji-ldm", "third"}
    assert str(folders[0].parent) not in str(said)


def test_where_there_is_no_choice_there_is_no_menu(folders, home, monkeypatch):
    assert app.create_menu(home, None, None, True) is None  # the embedded one alone
    monkeypatch.setenv("SPACES_ZERO_GPU", "1")
    assert app.create_menu(home, None, "owner/name", False) is None


def test_an_entry_that_is_no_model_is_refused(home):
    with pytest.raises(SourceError, match="neither a folder nor a Hub id"):
        app.create_menu(home, None, "owner/name,no", False)


def test_progress_is_told_in_bytes():
    class Loading:
        told = ("fetching", 1_234_000_000, 4_321_000_000)

    assert menus._record(Loading()) == {
        "stage": "fetching", "done": 1_234_000_000, "total": 4_321_000_000, "line": "Fetching 1.2 of 4.3 GB"
    }  # fmt: skip
    Loading.told = ("fetching", 2_000_000, 12_345_678)
    assert menus._record(Loading())["line"] == "Fetching 2 of 12 MB"
    Loading.told = ("waiting", 0, 0)
    assert menus._record(Loading())["line"] == "Waiting until another model is loaded"


def test_loading_is_stopped_by_leaving(folders, home, monkeypatch):
    menu = app.create_menu(home, str(folders[0]), None, False)
    stopped = []

    def endless(source, progress):
        try:
            while True:
                progress("fetching", 1, 2)
                time.sleep(0.01)
        finally:
            stopped.append(source)

    menu.shelf._load = endless
    records = menu.load(str(folders[1]))
    assert next(records)["line"] == "Fetching 0.0 of 0.0 MB"
    records.close()
    late = time.monotonic() + 10
    while not stopped and time.monotonic() < late:
        time.sleep(0.02)
    assert stopped == [str(folders[1])]


def eventually(true) -> bool:
    """Whether it becomes so within a while."""
    late = time.monotonic() + 20
    while not true() and time.monotonic() < late:
        time.sleep(0.1)
    return bool(true())


def test_pages_are_bounded_never_dropped_while_open_and_leave_nothing(served, folders):
    url, menu = served
    pages, refs = menu.pages, []
    build, most = pages._build, pages._most

    def watched(model):
        made = build(model)
        refs.append(weakref.ref(made))
        return made

    def idle() -> bool:
        return not any(page.open for page in pages._pages.values())

    for name in [*pages._pages]:  # of the tests before
        pages._pages.pop(name).end()
    with menu.shelf.ask(str(folders[1])) as one, menu.shelf.ask(str(folders[2])) as two:
        models = [one.result(), two.result()]
    pages._build, pages._most = watched, 1
    try:
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as http:
            for model in (*models, models[0]):
                path = pages.path(model)
                assert http.get(path).status_code == 200
                assert eventually(idle)
                assert len(pages._pages) == 1
            with http.stream("GET", f"{path}gradio_api/heartbeat/somebody") as heartbeat:  # as a browser has it
                assert heartbeat.status_code == 200
                assert eventually(lambda: not idle())
                with pytest.raises(SourceError, match="The pages of 1 models are open here"):
                    pages.path(models[1])
        assert eventually(idle)
        pages._pages.popitem()[1].end()
        assert len(refs) == 3

        def gone() -> bool:
            forget()
            gc.collect()
            return all(ref() is None for ref in refs)

        assert eventually(gone)
    finally:
        pages._build, pages._most = build, most


def test_slugs_are_safe_and_one_a_source():
    class Model:
        def __init__(self, source, name):
            self.source, self.name = source, name

    pages = Pages(lambda model: None, {})
    names = ["Owner/Na_me@v1.0", "owner/na-me@v1-0", "ü", "<b>", "owner/name"]
    slugs = [pages._slug(Model(str(i), name)) for i, name in enumerate(names)]
    assert slugs == ["owner-na-me-v1-0", "owner-na-me-v1-0-2", "model", "b", "owner-name"]
    assert pages._slug(Model("0", names[0])) == slugs[0]


def test_who_is_public(monkeypatch):
    for name in ("MODEL", "MODELS", "PUBLIC", "HOST", "SHARE"):
        monkeypatch.delenv(f"DIFFUSCOPE_{name}", raising=False)
    monkeypatch.delenv("SPACE_ID", raising=False)

    def public(*arguments):
        return app.is_public(app.parser().parse_args(arguments))

    assert not public()
    assert all(public(*one) for one in (["--share"], ["--host", "0.0.0.0"], ["--public"]))
    assert not public("--host", "0.0.0.0", "--no-public")
    monkeypatch.setenv("DIFFUSCOPE_PUBLIC", "1")
    assert public()
    monkeypatch.setenv("DIFFUSCOPE_PUBLIC", "0")
    assert not public("--share")
    monkeypatch.delenv("DIFFUSCOPE_PUBLIC")
    monkeypatch.setenv("SPACE_ID", "owner/space")
    assert public()
