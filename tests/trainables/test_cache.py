from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trainables.storage.cache import DEFAULT_LIMIT, NAME, Cache

TAKER = """
import sys, time
from pathlib import Path
from trainables.storage.cache import Cache

def build(folder):
    with open(sys.argv[3], "a") as log:
        log.write("x")
    (folder / "half").write_text("left by an interrupted call")
    print("building", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "content").write_text("whole")

cache = Cache(Path(sys.argv[1]))
print((cache.take("one", build) / "content").read_text(), flush=True)
if len(sys.argv) > 4:
    sys.stdin.read()
"""


def taker(folder: Path, seconds: float, *more: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", TAKER, str(folder / "cache"), str(seconds), str(folder / "log")]
    return subprocess.Popen(
        [*words, *more], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, bufsize=1
    )


def fill(cache: Cache, *names: str) -> None:
    """Entries of 100 bytes, each used a second after the one before, and used no more."""
    for age, name in enumerate(names):
        path = Cache(cache.folder).take(name, lambda folder: _write(folder / "content"))
        os.utime(path, (1e9 + age, 1e9 + age))


def _write(path: Path) -> None:
    path.write_bytes(bytes(100))


def names(cache: Cache) -> list[str]:
    return [entry.name for entry in cache.entries()]


def test_processes_that_ask_at_once_make_an_entry_once(tmp_path: Path) -> None:
    takers = [taker(tmp_path, 0.5) for _ in range(3)]
    said = [process.communicate(timeout=60)[0].splitlines()[-1] for process in takers]
    assert said == ["whole"] * 3
    assert (tmp_path / "log").read_text() == "x"


def test_threads_that_ask_at_once_make_an_entry_once(tmp_path: Path) -> None:
    cache, built = Cache(tmp_path), []

    def build(folder: Path) -> None:
        built.append(folder)
        time.sleep(0.05)
        _write(folder / "content")

    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: cache.take("one", build), range(16)))
    assert len(built) == len(paths) == 1


def test_an_entry_whose_maker_was_killed_is_made_again(tmp_path: Path) -> None:
    killed = taker(tmp_path, 60)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "building\n"
    killed.kill()
    killed.wait()
    cache = Cache(tmp_path / "cache")
    assert names(cache) == [".one"]
    found: list[str] = []
    path = cache.take("one", lambda folder: found.extend(p.name for p in folder.iterdir()))
    assert sorted(found) == ["half", NAME], "what can be resumed is kept"
    assert path.name == "one"
    assert names(cache) == ["one"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise ValueError(str(folder))

    with pytest.raises(ValueError, match="one"):
        Cache(tmp_path).take("one", fail)
    assert list(tmp_path.iterdir()) == []


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.limit() == DEFAULT_LIMIT
    fill(cache, "a", "b", "c")
    assert names(cache) == ["a", "b", "c"]
    Cache(tmp_path).take("a", lambda folder: pytest.fail(f"{folder} is there"))
    cache.set_limit(250)
    assert names(cache) == ["c", "a"]
    fill(cache, "d")
    assert names(cache) == ["d", "a"], "what was just made stays"


def test_what_a_living_process_uses_stays(tmp_path: Path) -> None:
    user = taker(tmp_path, 0, "stay")
    assert user.stdout is not None
    assert [user.stdout.readline() for _ in range(2)] == ["building\n", "whole\n"]
    cache = Cache(tmp_path / "cache")
    cache.set_limit(0)
    assert names(cache) == ["one"]
    assert not cache.remove("one")
    user.kill()
    user.wait()
    cache.trim()
    assert names(cache) == []
    assert [path.name for path in cache.folder.iterdir()] == ["limit.json"]
