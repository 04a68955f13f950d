"""Imports run downward only, and every large library has its one place (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FLOORS = (
    "trainables.errors",
    "trainables.faults",
    "trainables.failures",
    "trainables.spec",
    "trainables.storage",
    "trainables.data",
    "trainables.encoders",
    "trainables.evaluation",
    "trainables.training",
    "trainables.distributed",
    "trainables.trial",
    "trainables.finetune",
    "study.interrupts",
    "study.console",
    "study.spaces",
    "study.state",
    "study.cost",
    "study.analysis",
    "study.search",
    "study.planning",
    "study.launch",
    "study.report",
    "study.tracking",
    "study.doctor",
    "study.driver",
    "study.cli",
    "study.run",
    "study.__main__",
)
"""Each room may import from those above it in this list, which are the floors below it."""

PLACES = {
    "ray": ("study.launch",),
    "optuna": ("study.tracking", "study.search"),
    "mlflow": ("study.tracking",),
    "faiss": ("trainables.evaluation",),
    "transformers": ("trainables.encoders", "trainables.trial.outcome", "study.cost"),
    "typer": ("study.cli", "study.__main__"),
}
"""Which rooms may import a library; the others ask them."""


def modules() -> dict[str, Path]:
    """Every module of the two packages."""
    found = {}
    for package in ("study", "trainables"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(path: Path) -> Iterator[str]:
    """What a file imports, wherever in it; but not for types alone."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if whole in MODULES else str(node.module)


@cache
def ours(name: str) -> set[str]:
    """Modules of this project that a module imports."""
    return {found for found in imports(MODULES[name]) if found in MODULES} - {name}


def room(name: str) -> str:
    """A folder or a module at the top of a package."""
    return ".".join(name.split(".")[:2])


def inside(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(place + ".") for place in places)


def test_every_room_is_on_a_floor() -> None:
    assert {room(name) for name in MODULES} - {"study", "trainables"} == set(FLOORS)


def test_imports_run_downward_only() -> None:
    upward = [
        f"{name} imports {other}, of a floor above it"
        for name in MODULES.keys() - {"study", "trainables"}
        for other in ours(name)
        if FLOORS.index(room(other)) > FLOORS.index(room(name))
    ]
    assert not upward


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: ours(name) for name in MODULES}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("library", PLACES)
def test_a_library_is_imported_in_its_places_only(library: str) -> None:
    users = {
        name
        for name, path in MODULES.items()
        if any(found.partition(".")[0] == library for found in imports(path))
    }
    assert users, f"nobody imports {library}"
    assert not {name for name in users if not inside(name, PLACES[library])}


def test_tests_of_trainables_know_nothing_of_studies() -> None:
    tests = sorted((ROOT / "tests" / "trainables").rglob("*.py"))
    assert tests
    above = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in tests
        for name in imports(path)
        if name.partition(".")[0] == "study"
    }
    assert not above
