from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.objects import SECRET
from trainables.errors import UserError
from trainables.storage import atomic as storage
from trainables.storage.paths import (
    AnyPath,
    local_state,
    matching,
    open_place,
    parse_root,
    remove,
    size,
)


def test_a_root_is_a_folder_or_a_prefix() -> None:
    assert parse_root("runs/a") == Path("runs/a")
    assert local_state(Path("runs"), None) == Path("runs").resolve()
    assert local_state(Path("runs"), Path("here")) == Path("here").resolve()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"s3://somebody:{SECRET}@bucket/prefix", "credentials and endpoints come from"),
        (f"s3://bucket/prefix?secret={SECRET}", "credentials and endpoints come from"),
        ("sftp://host/prefix", "only if it is absent, which sftp:// cannot"),
    ],
)
def test_a_url_that_cannot_be_a_root_is_refused(url: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        parse_root(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("missing", ["s3fs", "upath"])
def test_a_missing_package_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=r"pip install '\.\[s3\]'"):
        parse_root("s3://bucket/prefix")


def test_a_bucket_that_is_not_there_is_named(s3: str) -> None:
    with pytest.raises(UserError, match=r"--root s3://nowhere/a: cannot write .*bucket"):
        storage.ensure_writable(open_place("s3://nowhere/a"), 0)


def test_states_of_different_roots_lie_apart(s3: str) -> None:
    first, second = (local_state(parse_root(f"{s3}/{name}"), None) for name in ("a-b", "a/b"))
    assert first != second
    assert first.parent == second.parent == Path("runs/state").resolve()


def test_a_store_that_lets_two_create_one_object_is_refused(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = parse_root(f"{s3}/careless")
    storage.ensure_writable(root, 0)
    assert not isinstance(root, Path)
    put = root.fs.pipe_file
    monkeypatch.setattr(root.fs, "pipe_file", lambda path, value, mode="": put(path, value))
    with pytest.raises(UserError, match="ignores `If-None-Match"):
        storage.ensure_writable(root, 0)


def test_folders_are_measured_and_removed(place: AnyPath) -> None:
    for name in ("a/one", "a/b/two", "c"):
        storage.write(place / name, b"12345")
    assert size(place / "a") == 10
    assert size(place / "c") == 5
    assert [path.name for path in matching(place, "*")] == ["a", "c"]
    remove(place / "a")
    remove(place / "c")
    remove(place / "never-there")
    assert matching(place, "*") == []


def test_a_file_or_folder_is_set_aside_whole(place: AnyPath) -> None:
    for name in ("a/one", "a/b/two", "c"):
        storage.write(place / name, name.encode())
    for name in ("a", "c"):
        aside = storage.set_aside(place / name, place / "damaged")
        assert aside is not None
        assert not (place / name).exists()
        inner = aside / "b" / "two" if name == "a" else aside
        assert inner.read_bytes() == (b"a/b/two" if name == "a" else b"c")
    assert storage.set_aside(place / "c") is None
