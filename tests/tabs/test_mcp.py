"""The runs as tools of an MCP server, behind the flag --mcp: a real client lists them and calls one."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
from serving import serve

import app
from explorer import Request, run
from explorer.frames import data_uri

mcp = pytest.importorskip("mcp", reason="mcp is not installed; it is in requirements-dev.txt")

ROOT = Path(__file__).parents[2]
TABS = {"forward", "reverse", "latents", "guidance", "walk"}
TOOLS = TABS | {"fork", "compare", "ddpm_lesson", "predicted_against_true", "negative_prompt", "diversity", "load_model"}


@pytest.fixture(scope="module")
def address(tiny_folder):
    """app.py as a person starts it, with the flag."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DIFFUSCOPE_")}
    command = [sys.executable, "app.py", "--mcp", "--model", str(tiny_folder), "--device", "cpu", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert any(line.startswith("Diffuscope is at") for line in process.stdout), "the app did not start"
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(20)


@asynccontextmanager
async def connected(address: str):
    from mcp.client.streamable_http import streamable_http_client

    async with (
        httpx.AsyncClient(trust_env=False, timeout=60, follow_redirects=True) as http,
        streamable_http_client(f"{address}gradio_api/mcp/", http_client=http) as (read, write, _),
        mcp.ClientSession(read, write) as session,
    ):
        await session.initialize()
        yield session


def ask(address: str, question):
    """What an async question(session) answers."""

    async def asked():
        async with connected(address) as session:
            return await question(session)

    with ThreadPoolExecutor(1) as threads:  # Playwright's own loop may be running in this one
        return threads.submit(anyio.run, asked).result()


def test_every_run_is_a_tool_that_says_what_it_does(address):
    tools = {tool.name: tool for tool in ask(address, lambda session: session.list_tools()).tools}
    assert set(tools) == TOOLS  # and nothing that only the page's own buttons ask for
    for name, tool in tools.items():
        assert tool.description[0].isupper(), name
        own, _, _ = tool.description.partition(" If a user passes a file as an input")  # gradio's own words
        assert own.endswith("."), name
        assert 40 < len(own) < 400, name
        said = {parameter: row.get("description") for parameter, row in tool.inputSchema["properties"].items()}
        assert all(said.values()), f"{name}: {said}"
    schema = tools["reverse"].inputSchema["properties"]
    assert "DPM++ 2M" in schema["sampler"]["enum"]
    assert schema["steps"]["description"] == "number of sampling steps, 1 to 1000"


def test_a_tool_runs_and_answers_with_the_last_record(address, tiny_model):
    values = {"prompt": "pizza", "seed": 7, "steps": 4, "guidance": 3.0}
    answer = ask(address, lambda session: session.call_tool("reverse", values))
    assert not answer.isError
    (content,) = answer.content
    record = ast.literal_eval(content.text)
    latents = run(tiny_model, Request(**values)).latents
    assert (record["i"], record["n"], record["t"]) == (4, 5, 0.0)
    assert record["norms"]["x_t"] == pytest.approx(latents.square().mean().sqrt().item(), rel=1e-6)
    assert record["picture"] == data_uri(tiny_model.decode(latents))


def test_a_run_is_gone_on_from_by_any_client(address, tiny_model):
    """They are all one session of the page, and the tool says so; a run is found by its id alone."""
    values = {"prompt": "pizza", "seed": 7, "steps": 4, "guidance": 3.0}
    first = ask(address, lambda session: session.call_tool("reverse", values))
    run_id = ast.literal_eval(first.content[0].text)["run"]

    async def another(session):
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        return tools["fork"].description, await session.call_tool(
            "fork", values | {"guidance": 9.0, "run": run_id, "at": 2}
        )

    said, answer = ask(address, another)
    assert "one session" in said
    assert not answer.isError
    record = ast.literal_eval(answer.content[0].text)
    origin = run(tiny_model, Request(**values))
    branch = run(tiny_model, Request(**values | {"guidance": 9.0}), (origin, 2))
    assert [lane.get("picture") for lane in record["lanes"]] == [
        data_uri(tiny_model.decode(origin.latents)), data_uri(tiny_model.decode(branch.latents)), None
    ]  # fmt: skip
    assert record["at"][1] == 4


def test_what_is_wrong_is_one_sentence_for_the_client_too(address):
    answer = ask(address, lambda session: session.call_tool("reverse", {"prompt": "pizza", "steps": 4000}))
    assert answer.isError
    assert [content.text for content in answer.content] == ["steps is 4000; it must be from 1 to 1000."]


def test_without_the_flag_there_is_no_such_server(tiny_model):
    with serve(app.create_app(tiny_model)) as url, httpx.Client(trust_env=False) as http:
        assert http.get(f"{url}gradio_api/mcp/schema").status_code == 404


def test_without_the_package_the_flag_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mcp", None)  # as where it is not installed
    assert app.main(["--mcp"]) == 2
    assert capsys.readouterr().err == (
        'diffuscope: --mcp needs a package that is not installed; install it with: pip install "gradio[mcp]".\n'
    )
