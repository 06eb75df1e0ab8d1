"""Starts Diffuscope: arguments and environment → model → page.

Every flag has an environment variable of the same name (DIFFUSCOPE_MODEL, …); the flag wins.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Read by gradio and huggingface_hub when they are imported: nothing is sent anywhere.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from collections.abc import Callable

    import gradio as gr

    from explorer.models.hub import Progress
    from explorer.models.shelved import Shelved
    from explorer.records import Model
    from explorer.sessions import Sessions
    from explorer.tabs.menu import Menu

    Loader = Callable[[str | None, Progress | None], Model]

ASSETS = Path(__file__).parent / "assets"
TRUE = {"1", "true", "yes", "on"}
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
MCP = "gradio[mcp]"  # what the flag --mcp needs; not among the requirements of the page itself


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the app until it is interrupted; 2 where it can't start, with one sentence on stderr."""
    arguments = parser().parse_args(argv)
    if arguments.mcp and find_spec("mcp") is None:
        return _refuse(f'--mcp needs a package that is not installed; install it with: pip install "{MCP}".')
    with suppress(ImportError):  # on ZeroGPU it stands in for CUDA here, and must come before torch
        import spaces  # noqa: F401
    import torch  # after the arguments: --help should not wait for it

    from explorer.models.measured import cores
    from explorer.records import SourceError

    torch.set_num_threads(cores())
    load = loader(arguments.device, arguments.precision, arguments.compile)
    try:
        model = load(arguments.model, None)
        menu = create_menu(model, arguments.model, arguments.models, is_public(arguments), load)
        page = create_app(model if menu is None else menu.home, menu)
        where = {"server_name": arguments.host, "server_port": arguments.port, "share": arguments.share}
        options = {**launch_options(), "mcp_server": arguments.mcp}
        server, local, public = page.launch(**where, **options, quiet=True, prevent_thread_lock=True)
        if menu is not None:
            menu.pages.attach(server)
    except SourceError as error:
        return _refuse(str(error))
    except OSError as error:  # gradio's word for a taken port
        if "port" not in str(error):
            raise
        return _refuse(f"Port {arguments.port} on {arguments.host} is not free; choose another with --port.")
    print(f"Diffuscope is at {public or local} (Ctrl+C stops it)", flush=True)
    page.block_thread()
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line, with the environment as its defaults."""
    environment = {
        name: os.environ.get(f"DIFFUSCOPE_{name.upper()}")
        for name in ("model", "models", "public", "device", "precision", "compile", "host", "port", "share", "mcp")
    }
    result = argparse.ArgumentParser(prog="app.py", description="Diffuscope: watch noise become a picture.")
    result.add_argument(
        "--model",
        default=environment["model"],
        help="a folder in diffusers layout or a Hub id; default: the embedded model",
    )
    result.add_argument(
        "--models",
        default=environment["models"],
        help="folders and Hub ids that the model menu offers, with commas between",
    )
    public = environment["public"]
    result.add_argument(
        "--public",
        action=argparse.BooleanOptionalAction,
        default=public.lower() in TRUE if public else None,
        help="load only those and the embedded model; default: on a Space, with --share, and at hosts but this one",
    )
    result.add_argument(
        "--device", default=environment["device"], help="cpu, cuda or cuda:1; default: CUDA where there is one"
    )
    result.add_argument(
        "--precision",
        choices=("auto", "float32", "float16", "bfloat16"),
        default=environment["precision"] or "auto",
        help="of the network; default: auto, half on CUDA, on a CPU what is fastest, but float32 for the embedded model",
    )
    result.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=(environment["compile"] or "").lower() in TRUE,
        help="on CUDA, also compile the network, in the background; runs then repeat to rounding only",
    )
    here = "0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1"  # a Space is reached from outside its container
    result.add_argument(
        "--host", default=environment["host"] or here, help="address to listen on; default: 127.0.0.1, on a Space all"
    )
    result.add_argument("--port", type=_port, default=environment["port"] or 7860, help="port to listen on; default: 7860")
    result.add_argument(
        "--share",
        action=argparse.BooleanOptionalAction,
        default=(environment["share"] or "").lower() in TRUE,
        help="make a public link through Gradio's tunnel",
    )
    result.add_argument(
        "--mcp",
        action=argparse.BooleanOptionalAction,
        default=(environment["mcp"] or "").lower() in TRUE,
        help=f"offer the runs as tools to MCP clients, at /gradio_api/mcp/; needs {MCP}",
    )
    return result


def create_app(model: Model, menu: Menu | None = None, sessions: Sessions | None = None) -> gr.Blocks:
    """The page for one model, not yet launched; with the menu from which others can be chosen."""
    from explorer.tabs import build

    return build(model, menu, sessions).queue(default_concurrency_limit=1, max_size=32)


def loader(device: str | None, precision: str | None = None, compiled: bool = False) -> Loader:
    """How this server loads its models: on one device, in one precision, and compiled where that is asked for."""
    from explorer import load_model

    def load(source: str | None, progress: Progress | None) -> Model:
        model = load_model(source, device=device, dtype=precision, progress=progress)
        if compiled:
            model.kernels.compile()  # type: ignore[attr-defined]
        return model

    return load


def create_menu(
    model: Model, source: str | None, models: str | None, public: bool, load: Loader | None = None
) -> Menu | None:
    """The menu of a server, whose first page is for `model`; None where there is nothing to choose.

    On ZeroGPU there is none: a worker has the one model with which it was forked.

    Args:
        model: loaded.
        source: what it was loaded from.
        models: ids and folders that are offered, with commas between.
        public: whether those and the embedded model are all that may be loaded.
        load: loads the others; None: on the same device.

    Raises:
        SourceError: of what is offered something is neither an id nor a folder.
    """
    from explorer.models.hub import allowed
    from explorer.models.shelf import Shelf, resolved, room_for
    from explorer.sessions import MIB, Sessions
    from explorer.tabs.menu import Menu

    if "SPACES_ZERO_GPU" in os.environ:
        return None

    def page(other: Shelved) -> gr.Blocks:
        return create_app(other, menu, Sessions(total_bytes=256 * MIB))

    offered = allowed(filter(None, map(str.strip, (models or "").split(","))))
    shelf = Shelf(load or loader(str(model.device)), room_for(model))
    menu = Menu(shelf, shelf.put(resolved(source or ""), model), offered, public, page, launch_options())
    return menu if menu.worth_it else None


def is_public(arguments: argparse.Namespace) -> bool:
    """Whether strangers may come: as the flag says, else on a Space, by a shared link and at any but a loopback address."""
    if arguments.public is not None:
        return arguments.public
    return "SPACE_ID" in os.environ or arguments.share or arguments.host not in LOOPBACK


def launch_options() -> dict[str, Any]:
    """What every launch of the page needs: its look, and nothing open that the page does not use."""
    from explorer.player import CSS, compare, forward, guidance, guidance_live, latents, latents_folds, walk
    from explorer.tabs import forward_form, walk_export
    from explorer.tabs.theme import theme
    from explorer.tabs.traces import LARGEST

    parts = (compare, forward, forward_form, latents, latents_folds, guidance, guidance_live, walk, walk_export)
    return {
        "theme": theme(),
        "css_paths": [ASSETS / "theme.css", CSS, *(part.CSS for part in parts)],
        "favicon_path": ASSETS / "favicon.png",
        "footer_links": [],
        "ssr_mode": False,
        "enable_monitoring": False,
        "max_file_size": f"{LARGEST}mb",
        "show_error": False,
    }


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; a whole number from 1 to 65535 is needed")
    return int(text)


def _refuse(sentence: str) -> int:
    print(f"diffuscope: {sentence}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
