"""Names and digests that come from a command line: they name a folder within, or are refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.cli.app import main
from trainables.errors import UserError
from trainables.storage.cache import Cache
from trainables.storage.inputs import fetched, publish
from trainables.storage.paths import is_within, name_of_folder
from trainables.trial.trial_folder import TrialFolder

BAD = [
    "",
    ".",
    "..",
    "/",
    "../x",
    "../../../escaped",
    "a/b",
    "/absolute",
    "a\\b",
    "a\nb",
    "t\x1b]0;x\x07",
    "nul\0",
    "\x7f",
    "n" * 101,
    "🙂" * 51,
    "\ud800",
]
GOOD = ["s", "-rf", "a b", "ünïcode🙂", "[red]n", "x.damaged-1", "...", "n" * 100, "日本" * 30]


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    return ((str(p), p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file())


@pytest.mark.parametrize("name", BAD)
def test_what_names_no_folder_is_refused_wherever_a_path_is_made_of_it(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(UserError):
        name_of_folder(name, "study")
    with pytest.raises(UserError):
        TrialFolder.of(tmp_path, name)
    with pytest.raises(UserError):
        publish(tmp_path, name, str(tmp_path))
    with pytest.raises(UserError):
        fetched(tmp_path, name, Cache(tmp_path / "cache"))
    with pytest.raises(UserError):
        Cache(tmp_path / "cache").take(name, lambda folder: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", GOOD)
def test_other_names_are_taken(name: str) -> None:
    assert name_of_folder(name, "study") == name


def test_a_path_from_a_file_stays_within_its_folder() -> None:
    assert all(map(is_within, ("a", "0/deep/weights", "encoder/model.safetensors", "..a", ".x")))
    assert not any(map(is_within, ("", "/a", "../a", "a/../../b", "a//b", "a/.", "a/", "a\0b")))


@pytest.mark.parametrize("name", [n for n in BAD if n not in ("nul\0", "\ud800")])
def test_every_command_refuses_such_a_name(
    tmp_path: Path, space: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "deep/root"
    root.mkdir(parents=True)
    (tmp_path / "deep/x").mkdir()
    before = list(files(tmp_path))
    at = ["--root", str(root)]
    commands = [
        ["run", "--space", str(space), f"--name={name}", *at],
        ["run", "--space", str(space), f"--name={name}", "--dry-run", *at],
        ["status", *at, "--", name],
        ["report", *at, "--", name],
        ["track", *at, "--", name],
        ["compare", *at, "--", name, "other"],
        ["reproduce", *at, "--", name],
        ["export", "--to", str(tmp_path / "export"), *at, "--", name],
    ]
    for words in commands:
        assert main(words) == 2, words
        assert "Traceback" not in capsys.readouterr().err
    assert list(files(tmp_path)) == before
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize("root", ["loop", "s3://", "s3:///x", "file/x", "pipe"])
def test_a_root_that_no_files_can_have_is_refused(
    tmp_path: Path, space: Path, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("file").touch()
    os.mkfifo("pipe")
    before = sorted(tmp_path.iterdir())
    run = ["run", "--space", str(space), "--name", "s"]
    for words in (run, ["status", "s"], ["report", "s"], ["clean"], ["reproduce", "abc"]):
        assert main([*words, "--root", root]) == 2
    if "://" not in root:
        assert main([*run, "--root", "good", "--state", root]) == 2
        data = ["--benchmark", "jsonl", "--data-dir", root]
        assert main([*run, "--root", "good", *data]) == 2
    assert sorted(set(tmp_path.iterdir()) - {tmp_path / "good"}) == before


@pytest.mark.parametrize("path", ["9" * 5000, "~nobody-of-this-name/x"])
@pytest.mark.parametrize("option", ["--encoder", "--data-dir"])
def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path, option: str, path: str) -> None:
    given = {"--encoder": str(tmp_path / "encoder"), "--data-dir": str(tmp_path)} | {option: path}
    words = [word for pair in given.items() for word in pair]
    command = ["run", "--space", "mixing_ratio", "--benchmark", "jsonl", *words]
    assert main([*command, "--root", str(tmp_path / "root")]) == 2
    assert not (tmp_path / "root").exists()
