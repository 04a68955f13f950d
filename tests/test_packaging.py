"""The project's files agree with each other, and a broken environment is healed."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
IMAGE_HOME = "/ho" + "me/ray/"
"""The home of every container made from Ray's images."""

IMPORT_NAMES = {
    "PIL": "pillow",
    "faiss": "faiss-cpu",
    "iso639": "python-iso639",
    "upath": "universal-pathlib",
    "yaml": "pyyaml",
}


def load(name: str) -> ModuleType:
    """A script of requirements/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, LOCKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


install = load("install")
lock = load("lock")


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return found


def pins(name: str) -> dict[str, str]:
    """Every pin of a lock and of those it includes."""
    found: dict[str, str] = {}
    for file in install.files_of(f"{name}.lock"):
        for line in (LOCKS / file).read_text().splitlines():
            if line and not line.startswith(("#", "-r ")):
                assert re.fullmatch(r"[a-z0-9.-]+==[0-9a-z.!]+", line), f"{file}: {line}"
                package, version = line.split("==")
                assert package not in found, f"{file} pins {package} twice"
                found[package] = version
    return found


def tracked_files() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def packages_on_disk() -> list[str]:
    folders = {
        file.parent for top in ("study", "trainables") for file in (ROOT / top).rglob("*.py")
    }
    inner = sorted(".".join(folder.relative_to(ROOT).parts) for folder in folders)
    return ["hybrid_batch_study", *(f"hybrid_batch_study.{name}" for name in inner)]


def test_every_package_is_listed() -> None:
    listed = project()["tool"]["setuptools"]["packages"]
    assert listed == sorted(listed)
    assert listed == packages_on_disk()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder into which the wheel was installed, beside another `study`."""
    folder = tmp_path_factory.mktemp("site")
    checkout = tmp_path_factory.mktemp("checkout")
    for file in tracked_files():
        copy = checkout / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(checkout / "out"), "."]
    subprocess.run([*pip, *build], cwd=checkout, check=True)
    (wheel,) = (checkout / "out").glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder), str(wheel)], check=True)
    (folder / "study.py").write_text("raise ImportError('another project')\n")
    (folder / "trainables.py").write_text("raise ImportError('another project')\n")
    return folder


def installed(site: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=environment | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_installs_one_name(site: Path) -> None:
    ours = {path.name for path in site.iterdir() if path.suffix not in (".py", ".dist-info")}
    assert ours - {"bin", "__pycache__"} == {"hybrid_batch_study"}
    assert (site / "hybrid_batch_study/study/py.typed").exists()


def test_the_wheel_runs_its_own_modules_beside_others_of_the_same_name(
    site: Path, tmp_path: Path
) -> None:
    code = "import hybrid_batch_study, study.spaces.schema as s; print(s.__file__)"
    done = installed(site, "-c", code, cwd=tmp_path)
    assert Path(done.stdout.strip()).is_relative_to(site / "hybrid_batch_study"), done.stderr
    code = "from hybrid_batch_study import evaluate; print(evaluate.__module__)"
    assert installed(site, "-c", code, cwd=tmp_path).stdout.split(".")[0] == "trainables"


@pytest.mark.slow
def test_a_study_runs_from_the_wheel(site: Path, tmp_path: Path) -> None:
    small = ["--set", "steps=2", "--set", "batch_size=8", "--seeds", "1", "--workers", "1"]
    words = ["-m", "hybrid_batch_study", "run", "--space", "mixing_ratio", "--root", "runs"]
    done = installed(site, *words, *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "runs/trials").iterdir())


@pytest.mark.parametrize("name", ["runtime", "dev", "s3", "aws", "postgres", "real"])
def test_every_requirement_is_pinned_within_its_range(name: str) -> None:
    pinned = pins(name)
    for text in lock.groups()[name]:
        requirement = Requirement(text)
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{text} is pinned to {version}"


@pytest.mark.parametrize("name", ["runtime", "dev"])
def test_lock_pins_all_that_is_needed_as_tested_here(name: str) -> None:
    assert lock.closure(lock.groups()[name]).items() <= pins(name).items()


def test_peers_agree_with_the_project_on_what_both_use() -> None:
    peers, ours = pins("peers"), pins("runtime")
    assert {"sentence-transformers", "pytrec-eval-terrier", "ir-measures"} <= set(peers)
    for package in ("torch", "transformers", "tokenizers", "numpy"):
        assert peers[package] == ours[package]


def imported_names() -> Iterator[tuple[str, str]]:
    for top in ("study", "trainables"):
        for file in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                else:
                    continue
                yield from ((name.partition(".")[0], str(file)) for name in names)


def test_every_import_is_a_declared_dependency() -> None:
    table = project()["project"]
    groups = [table["dependencies"], *table["optional-dependencies"].values()]
    declared = {canonicalize_name(Requirement(text).name) for group in groups for text in group}
    own = {"study", "trainables"}
    missing = {
        (name, file)
        for name, file in imported_names()
        if name not in own | sys.stdlib_module_names
        and canonicalize_name(IMPORT_NAMES.get(name, name)) not in declared
    }
    assert not missing


NEEDED_UNSEEN = {"scikit-learn"}
"""No module imports it: Optuna's fANOVA does."""


def test_every_runtime_dependency_is_imported_or_known_to_be_needed() -> None:
    used = {canonicalize_name(IMPORT_NAMES.get(name, name)) for name, _ in imported_names()}
    declared = {
        canonicalize_name(Requirement(text).name) for text in project()["project"]["dependencies"]
    }
    assert declared - used == NEEDED_UNSEEN


def test_only_tracking_imports_mlflow_and_trainables_stays_below() -> None:
    above = {"study", "ray", "optuna", "mlflow"}
    for name, file in imported_names():
        place = Path(file).relative_to(ROOT)
        assert not (place.parts[0] == "trainables" and name in above), f"{place} imports {name}"
        if name == "mlflow":
            assert place.parts[:2] == ("study", "tracking"), f"{place} imports mlflow"


def test_no_path_of_a_machine_and_no_registry_in_tracked_files() -> None:
    # Spelt in pieces, so that this file does not hold what it looks for.
    hosts = ["py" + "pi.org", "pythonhosted" + ".org", "registry.npm" + "js.org"]
    hosts += ["deb." + "debian.org", "download." + "pytorch.org"]
    pattern = re.compile(
        "|".join(map(re.escape, [*hosts, "/wo" + "rk/", "/ho" + "me/", "/ro" + "ot/"]))
    )
    found = []
    for file in tracked_files():
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue
        text = text.replace(IMAGE_HOME, "")
        found += [f"{file.relative_to(ROOT)}: {hit}" for hit in pattern.findall(text)]
    assert not found


def test_python_range_is_the_one_that_is_checked() -> None:
    assert project()["project"]["requires-python"] == ">=3.11"
    assert install.OLDEST == (3, 11)


def package(site: Path, name: str, *, record: bool = True, size: int = 4) -> Path:
    """An installed package of one module, as pip leaves it."""
    (site / f"{name}.py").write_text("pass")
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
    if record:
        (info / "RECORD").write_text(f"{name}.py,sha256=x,{size}\n{info.name}/RECORD,,\n")
    return info


def test_packages_that_a_killed_pip_left_incomplete_are_dropped(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    whole = package(site, "whole")
    unrecorded = package(site, "unrecorded", record=False)
    short = package(site, "short", size=5)
    missing = package(site, "missing")
    (site / "missing.py").unlink()
    (site / "~alf-1.0.dist-info").mkdir()
    install.drop_broken(str(tmp_path))
    assert whole.exists()
    assert not any(path.exists() for path in (unrecorded, short, missing))
    assert not list(site.glob("~*"))


def test_an_environment_without_pip_is_not_usable(tmp_path: Path) -> None:
    assert not install.usable(str(tmp_path), False)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path], check=True)
    assert not install.usable(str(tmp_path), False)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """A usable environment whose pip only notes what it was asked for."""
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(install, "usable", lambda folder, exact: True)
    monkeypatch.setattr(install, "version_in", lambda folder: "3.11.7")
    monkeypatch.setattr(install, "pip", lambda folder, *arguments: calls.append(arguments))
    return calls


def test_a_second_installation_has_nothing_to_do(
    tmp_path: Path, environment: list[tuple[str, ...]]
) -> None:
    install.install("dev", str(tmp_path), False)
    assert environment[0][-2:] == ("-r", str(LOCKS / "dev.lock"))
    assert environment[1][-2:] == ("-e", str(ROOT))
    environment.clear()
    install.install("dev", str(tmp_path), False)
    assert environment == []


def test_an_interrupted_or_outdated_installation_is_done_again(
    tmp_path: Path, environment: list[tuple[str, ...]]
) -> None:
    install.install("dev", str(tmp_path), False)
    environment.clear()
    (tmp_path / ".installing").touch()
    install.install("dev", str(tmp_path), False)
    assert len(environment) == 2
    assert not (tmp_path / ".installing").exists()
    environment.clear()
    (tmp_path / ".installed").write_text(json.dumps({"dev": "of another lock"}))
    install.install("dev", str(tmp_path), False)
    assert len(environment) == 2


def test_a_failed_installation_leaves_no_stamp(
    tmp_path: Path, environment: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: str, *arguments: str) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(install, "pip", fail)
    with pytest.raises(SystemExit):
        install.install("dev", str(tmp_path), False)
    assert not (tmp_path / ".installed").exists()
    assert (tmp_path / ".installing").exists()


def test_an_old_python_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    with pytest.raises(SystemExit, match=r"too old: 3\.11 or newer .* PYTHON=python3\.12"):
        install.make_environment(str(tmp_path / "new"))


def test_a_missing_venv_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(SystemExit, match=r"apt-get install python3\.\d+-venv"):
        install.make_environment(str(tmp_path / "new"))


@pytest.mark.parametrize(
    ("system", "said"), [("Linux", ""), ("Darwin", "macOS"), ("FreeBSD", "only Linux is tested")]
)
def test_the_system_is_said(
    system: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    install.say_system()
    out = capsys.readouterr().out
    assert said in out
    assert bool(out) == bool(said)


def test_windows_is_sent_to_wsl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Windows")
    with pytest.raises(SystemExit, match="WSL2"):
        install.say_system()


def test_ci_script_is_valid_bash_and_executable() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", script], check=True)
