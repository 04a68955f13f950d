"""Names and folders keep the rules of docs/architecture.md; principles name tests that exist."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("study", "trainables")

VAGUE = frozenset(["found", "asked", "told", "seen", "wanted", "kept", "dealt", "learnt"])
"""Participles that once stood for some fifty kinds of things."""

LARGE = {"study/cli", "study/report/sections", "study/spaces", "trainables/data/sources"}
LARGE |= {"trainables/data/formats"}
"""Folders of one file a command, section, question, source or format."""


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def defined(tree: ast.AST) -> Iterator[str]:
    """Identifiers that a module gives to something of its own."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname


@pytest.mark.parametrize("package", PACKAGES)
def test_a_module_basename_stands_once(package: str) -> None:
    own_names = {"study/cli", "study/report/sections"}
    names = Counter(
        path.stem
        for path in files(package)
        if path.stem != "__init__" and str(path.parent.relative_to(ROOT)) not in own_names
    )
    assert not {name for name, count in names.items() if count > 1}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_public_class_name_stands_once(package: str) -> None:
    names = Counter(
        node.name
        for path in files(package)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert not {name for name, count in names.items() if count > 1}


def test_no_identifier_is_a_participle_that_says_nothing() -> None:
    vague = {
        f"{path.relative_to(ROOT)}: {name}"
        for package in PACKAGES
        for path in files(package)
        for name in defined(ast.parse(path.read_text(encoding="utf-8")))
        if name in VAGUE
    }
    assert not vague


def test_a_folder_has_three_to_twelve_modules() -> None:
    sizes = Counter(
        str(path.parent.relative_to(ROOT))
        for package in PACKAGES
        for path in files(package)
        if path.stem != "__init__"
    )
    assert not {name: n for name, n in sizes.items() if not 3 <= n <= 12 and name not in LARGE}


def test_every_principle_names_tests_that_exist() -> None:
    text = (ROOT / "docs/principles.md").read_text(encoding="utf-8")
    laws = re.split(r'<a id="\d+"></a>', text)[1:]
    assert len(laws) == 12
    for law in laws:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", law)
        assert named, law[:80]
        for file, test in named:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert test in tests, f"{file} has no {test}"


def test_cited_principles_exist() -> None:
    cited = {
        int(number)
        for package in PACKAGES
        for path in files(package)
        for number in re.findall(r"\blaw (\d+)", path.read_text(encoding="utf-8"))
    }
    assert cited <= set(range(1, 13))
