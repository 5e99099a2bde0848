"""Imports point towards the data, and nothing forbidden is used: read from the files' syntax trees."""

import ast
import graphlib
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "nlp_rnn"

# Module or subpackage -> what of the package it may import.
ALLOWED: dict[str, set[str]] = {
    "config": set(),
    "model_config": {"config"},
    "jobs": {"config", "model_config"},
    "settings": {"config"},
    "text": {"config"},
    "vocabularies": {"config", "text"},
    "tags": {"config"},
    "words": {"config", "text"},
    "vectors": {"readers"},
    "splitting": {"text"},
    "reading": {"splitting", "text", "words"},
    "losses": set(),
    "metrics": set(),
    "calibration": set(),
    "classification_metrics": {"calibration"},
    "tagging_metrics": {"calibration", "classification_metrics", "tags"},
    "scoring": set(),
    "search": {"scoring"},
    "plots": set(),
    "folders": set(),
    "replay": set(),
    "parity": {"replay"},
    "ahead": set(),
    "answers": set(),
    "serving": {"answers", "config"},
    "retries": set(),
    "clients": {"answers", "retries"},
    "explanations": {"answers"},
    "signature_inputs": {"parity"},
    "portability": set(),
    "server_files": {"config", "folders", "parity", "signature_inputs"},
    "edge_inputs": set(),
    "parquet": {"config"},
    "readers": {"config", "parquet", "settings"},
    "sample_grammar": set(),
    "sample_entities": set(),
    "sample_opinions": set(),
    "samples": {"sample_entities", "sample_grammar", "sample_opinions"},
    "rows": {"config", "readers", "settings"},
    "hub": {"config", "readers", "samples"},
    "streams": {"hub", "readers", "rows"},
    "scratch": set(),
    "corpora": {"config", "hub", "readers", "rows", "scratch", "streams"},
    "cutting": {"ahead", "reading"},
    "plans": {"config"},
    "examples": {"ahead", "plans"},
    "batching": {"config", "examples", "plans", "reading", "text"},
    "feeds": {"examples", "plans", "readers", "rows", "streams"},
    "layers": {"layers"},
    "models": {"layers", "losses", "models", "reading", "scoring", "search", "splitting", "text"},
    "families": {"config", "jobs", "layers", "models", "reading", "tags", "text", "words"},
    "store": {"config", "families", "folders", "layers", "settings"},
    "transfer": {"config", "families", "jobs", "layers", "models", "reading", "store", "text"},
    "schedules": set(),
    "hardware": {"layers"},
    "checkpoints": {"config", "folders"},
    "cluster": {"config"},
    "distribution": {"cluster", "config", "plans"},
    "optimization": {"config", "distribution", "schedules"},
    "training": {"checkpoints", "config", "distribution", "optimization", "schedules"},
    "event_files": set(),
    "export": {
        "config", "families", "folders", "jobs", "models", "parity", "portability", "replay", "server_files",
        "signature_inputs", "store",
    },
    "verification": {
        "config", "edge_inputs", "export", "families", "folders", "parity", "portability", "signature_inputs", "store",
    },
    "evaluation": {
        "answers", "calibration", "classification_metrics", "config", "corpora", "families", "jobs", "metrics",
        "models", "plots", "readers", "serving", "store", "tagging_metrics", "tags",
    },
    "reviews": {"families"},
    "model_card": {"families", "reviews", "settings"},
    "report": {"model_card", "plots", "reviews", "settings"},
    "spaces": {"config", "families", "settings"},
    "tuning": {"config", "corpora", "families", "folders", "jobs", "plots", "runs", "settings", "spaces", "training"},
    "command_line": {"config", "settings"},
}  # fmt: skip
# What puts a training together may import all that stands before it.
_EVERYTHING_BUT: dict[str, set[str]] = {
    "tasks": {
        "__init__",
        "command_line",
        "evaluation",
        "export",
        "model_card",
        "report",
        "runs",
        "serving",
        "store",
        "tuning",
    },
    "runs": {"__init__", "command_line", "tuning"},
}  # fmt: skip
_MODULES = sorted(PACKAGE.rglob("*.py"))
_SCRIPTS = sorted((ROOT / "pipelines").rglob("*.py"))


def top_of(path: Path) -> str:
    """The module's name, or that of the subpackage it lies in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """All dotted names imported anywhere in a file, relative ones made absolute."""
    found = set()
    package = [*path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def internal(path: Path) -> set[str]:
    """The modules and subpackages of the package that a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("nlp_rnn.")}


def names_used(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {part for name in imports(path) for part in name.split(".")}
    used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return used | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def public_names() -> list[str]:
    return importlib.import_module("nlp_rnn").__all__


def identity(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", _MODULES, ids=identity)
def test_imports_point_towards_the_data(path: Path) -> None:
    module = top_of(path)
    if module == "__init__":
        return  # names everything, and loads nothing: see the test of laziness
    everything = {top_of(other) for other in _MODULES}
    allowed = everything - _EVERYTHING_BUT[module] if module in _EVERYTHING_BUT else ALLOWED.get(module)
    assert allowed is not None, f"{module} is new: say in ALLOWED what it may import"
    assert internal(path) - allowed - {module} == set()
    assert "nlp_rnn" not in imports(path), "import the module that is meant, not the package"


def test_imports_do_not_go_round_in_circles() -> None:
    """Whatever the table allows, the modules can be put in an order."""
    graph: dict[str, set[str]] = {}
    for path in _MODULES:
        graph.setdefault(top_of(path), set()).update(internal(path) - {top_of(path)})
    del graph["__init__"]
    list(graphlib.TopologicalSorter(graph).static_order())  # raises a CycleError


def test_the_table_says_no_more_than_it_must() -> None:
    """What no module of that name imports any longer is taken out of the table."""
    used: dict[str, set[str]] = {}
    for path in _MODULES:
        used.setdefault(top_of(path), set()).update(internal(path))
    assert set(ALLOWED) | set(_EVERYTHING_BUT) == set(used) - {"__init__"}
    assert {module: allowed - used[module] for module, allowed in ALLOWED.items() if allowed - used[module]} == {}


@pytest.mark.parametrize("path", _SCRIPTS, ids=identity)
def test_pipelines_use_public_names_only(path: Path) -> None:
    for name in imports(path):
        if name.split(".")[0] == "nlp_rnn":
            allowed = {"nlp_rnn", "nlp_rnn.command_line", *(f"nlp_rnn.{public}" for public in public_names())}
            assert name in allowed or name.startswith("nlp_rnn.command_line."), name


@pytest.mark.parametrize("path", [*_MODULES, *_SCRIPTS], ids=identity)
def test_nothing_imports_pipelines(path: Path) -> None:
    assert not any(name.split(".")[0] == "pipelines" for name in imports(path))


@pytest.mark.parametrize("path", _MODULES, ids=identity)
def test_only_what_can_be_exported_and_read_safely_is_used(path: Path) -> None:
    forbidden = {"py_function", "numpy_function", "py_func", "pickle", "cloudpickle", "dill", "joblib", "Lambda"}
    assert names_used(path) & forbidden == set()


@pytest.mark.parametrize("path", _MODULES, ids=identity)
def test_the_library_neither_prints_nor_parses_nor_exits(path: Path) -> None:
    if top_of(path) != "command_line":
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert called & {"print", "tf.print", "exit", "quit", "sys.exit", "os._exit"} == set()
        assert {name.split(".")[0] for name in imports(path)} & {"argparse", "tyro"} == set()


def test_the_reader_of_imports_sees_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above are worth what this function finds."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "nlp_rnn" / "layers" / "attention.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import nlp_rnn.a\nfrom nlp_rnn import b\nfrom nlp_rnn.c import x\nfrom . import d\nfrom ..e import y\n"
        "def f():\n    from nlp_rnn.g.h import z\n"
    )
    assert internal(path) == {"a", "b", "c", "layers", "e", "g"}


def test_importing_the_package_loads_no_framework() -> None:
    program = "import sys, nlp_rnn; nlp_rnn.TranslatorRun(output='o'); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert {"nlp_rnn.config", "nlp_rnn.jobs", "nlp_rnn.model_config"} <= loaded
    assert loaded & {"tensorflow", "keras", "datasets", "sklearn", "matplotlib", "tyro"} == set()


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_resolves(name: str) -> None:
    package = importlib.import_module("nlp_rnn")
    assert getattr(package, name) is not None
    assert name in dir(package)


def test_public_names_are_listed_once_and_mapped() -> None:
    package = importlib.import_module("nlp_rnn")
    assert sorted(set(package.__all__)) == package.__all__
    assert set(package._MODULE_OF) | {"layers"} == set(package.__all__)


def test_no_public_function_bears_a_submodule_s_name() -> None:
    """Importing a submodule would put the module in the function's place."""
    assert set(public_names()) & {top_of(path) for path in _MODULES} == {"layers"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'nlp_rnn' has no attribute 'nothing'"):
        importlib.import_module("nlp_rnn").nothing  # noqa: B018
