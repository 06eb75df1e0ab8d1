"""The rules of the layout, executable: who imports whom, no work at import, files and README in step."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "explorer"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# A module may import only what its row names, and records. CONTRIBUTING.md has the picture.
ALLOWED = {
    "records": set(),
    "diffusion": set(),
    "lessons": {"diffusion"},
    "pictures": set(),
    "noising": set(),
    "intake": set(),
    "forward_schedule": {"limits", "noising"},
    "forward": {"diffusion", "forward_schedule", "intake", "noising"},
    "seeing": {"diffusion", "forward", "noising"},
    "sheets": {"forward", "limits", "noising", "pictures"},
    "touching": set(),
    "edits": {"limits", "touching"},
    "latent_files": {"edits", "limits"},
    "latents": {"diffusion", "intake", "limits"},
    "projection": {"diffusion", "limits"},
    "projection_figure": {"projection"},
    "spectrum": {"diffusion", "limits"},
    "dial": {"limits", "schedule"},
    "sweep": {"engine", "limits"},
    "microscope": {"diffusion", "limits"},
    "diversity": {"engine", "lessons", "limits", "sweep"},
    "captions": set(),
    "guidance_sheet": {"captions"},
    "walk_paths": {"diffusion"},
    "walk": {"diffusion", "limits", "samplers", "schedule", "walk_paths"},
    "walk_film": {"engine", "limits", "walk"},
    "walk_readings": {"latents", "limits", "walk", "walk_paths"},
    "pace": {"limits", "walk", "walk_film", "walk_readings"},
    "film_writers": {"limits", "pictures"},
    "film": {"film_writers", "limits"},
    "film_sheet": {"captions", "limits", "pictures"},
    "transitions": set(),
    "samplers": {"transitions"},
    "values": set(),
    "limits": {"samplers", "values"},
    "schedule": {"samplers", "diffusion"},
    "outbox": set(),
    "collecting": {"limits", "schedule", "starts"},
    "forecast": {"collecting", "diffusion", "limits", "samplers", "schedule", "starts"},
    "snippet": {"collecting", "limits", "models", "samplers", "schedule"},
    "headers": {"limits", "rows", "samplers"},
    "rows": {"limits", "samplers"},
    "engine": {"collecting", "samplers", "diffusion", "limits", "schedule", "starts", "outbox", "transitions"},
    "starts": {"limits", "schedule"},
    "trace": {"headers", "limits", "rows"},
    "forks": {"diffusion", "samplers", "sessions"},
    "frames": {"diffusion", "pictures"},
    "figures": {"noising"},
    "sessions": {"diffusion"},
    "models": {"limits", "models", "samplers"},
    "player": {"player"},
    "": {"engine", "models"},
    "__main__": {"", "collecting", "engine", "limits", "models", "pictures", "samplers", "trace"},
    "tabs": {"", "collecting", "dial", "diffusion", "diversity", "edits", "engine", "figures", "film", "film_sheet",
             "forecast", "forks", "forward", "forward_schedule", "frames", "guidance_sheet", "intake", "latent_files",
             "latents", "lessons", "limits", "microscope", "models", "noising", "pace", "pictures", "player",
             "projection", "projection_figure", "samplers", "schedule", "seeing", "sessions", "sheets", "snippet",
             "spectrum", "sweep", "tabs", "trace", "walk", "walk_film", "walk_readings"},
}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part(name: str) -> str:
    return ([*name.split("."), ""])[1]


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module):
    allowed = ALLOWED[part(module)] | {"records"}
    for name in imports(MODULES[module]):
        if name.split(".")[0] != "explorer":
            continue
        target = part(name)
        if target not in ALLOWED:  # a name of the package itself, such as explorer.Request
            target = ""
        assert target in allowed, f"{module} imports {name}"


def test_gradio_lives_in_three_places():
    for module, path in MODULES.items():
        if part(module) not in ("tabs", "player"):
            assert not any(name.split(".")[0] == "gradio" for name in imports(path)), module


def test_importing_the_engine_brings_no_gradio_and_no_model():
    code = "import sys, explorer; assert 'gradio' not in sys.modules and 'plotly' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


@pytest.mark.parametrize("module", MODULES)
def test_module_level_is_definitions_constants_and_tables(module):
    for node in ast.parse(MODULES[module].read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                name = getattr(target, "id", "?").strip("_")
                fine = name.isupper() or name in ("all", "version") or (name[:1].isupper() and name.isidentifier())
                assert fine, f"{module} line {node.lineno}: {name} is not a constant"
        elif isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"{module} line {node.lineno} does work at import"
        elif isinstance(node, ast.If):
            assert "__name__" in ast.unparse(node.test) or "TYPE_CHECKING" in ast.unparse(node.test), module


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_lives_in_it(module):
    assert ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8"))), module


def test_every_tab_is_in_the_readme():
    from explorer.tabs import TABS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for tab in TABS:
        assert re.search(rf"^\| {re.escape(tab.title)} \|", readme, re.MULTILINE), f"{tab.title} is not in README's table"


def test_every_sampler_is_in_the_readme():
    from explorer.samplers import SAMPLERS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in SAMPLERS)


def test_the_readme_and_ci_run_the_same_command():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in (
        "pip install -r requirements.txt && python app.py",
        "pip install -r requirements-dev.txt && python -m pytest",
    ):
        assert re.search(rf"^ {{4}}{re.escape(command)}$", readme, re.MULTILINE)


def test_nothing_names_the_machine_it_was_made_on():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split("\n")
    if not any(names):  # an archive without its history
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py")]
    leak = re.compile(r"(?:^|[^\w.])/(?:" + "|".join(("work", "root", "home")) + r")/[A-Za-z.]")
    for name in filter(None, names):
        path = ROOT / name
        if path.suffix in (".py", ".md", ".js", ".css", ".html", ".toml", ".txt", ".json", "") and path.is_file():
            assert not leak.search(path.read_text(encoding="utf-8")), name
