"""Writes the lock files from the environment that runs it (`make lock`).

A lock lists, as plain `name==version` lines, one group of dependencies of pyproject.toml with all
that they need. A group with a package that is not installed here keeps its lock as it is.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

HERE = Path(__file__).parent
HEADER = "# Written by `make lock`: the versions this project is tested with.\n"


def project() -> dict[str, Any]:
    """The `[project]` table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    return table


def groups() -> dict[str, list[str]]:
    """Names of the locks and the requirements behind each: `runtime` and every extra."""
    table = project()
    extras: dict[str, list[str]] = table["optional-dependencies"]
    return {"runtime": table["dependencies"], **extras}


def closure(requirements: list[str]) -> dict[str, str]:
    """Installed version of each requirement and of all it needs here, by canonical name.

    Raises:
        PackageNotFoundError: One of them is not installed.
    """
    pins: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    queue = [Requirement(text) for text in requirements]
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        found = distribution(requirement.name)
        # A local part such as +cpu names one build and would refuse every other one.
        pins[name] = Version(found.version).public
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for text in found.requires or []:
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    queue.append(needed)
    return pins


def write(name: str, requirements: list[str], base: dict[str, str]) -> None:
    """Write `name`.lock; what `base` pins already is included by reference."""
    include = "" if name == "runtime" else "-r runtime.lock\n"
    pins = {key: value for key, value in closure(requirements).items() if key not in base}
    lines = "".join(f"{key}=={value}\n" for key, value in sorted(pins.items()))
    (HERE / f"{name}.lock").write_text(HEADER + include + lines)
    print(f"{name}.lock: {len(pins)} packages")


def main() -> None:
    """Write every lock whose packages are installed."""
    base = closure(groups()["runtime"])
    for name, requirements in groups().items():
        if name == "real":  # installed with --no-deps: its own pin is all there is
            (HERE / "real.lock").write_text(HEADER + "\n".join(requirements) + "\n")
            continue
        try:
            write(name, requirements, {} if name == "runtime" else base)
        except PackageNotFoundError as error:
            print(f"{name}.lock: kept as it is, {error.name} is not installed here")


if __name__ == "__main__":
    main()
