"""The machine itself fails: disks full or read-only, memory taken by others, clocks that jump."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.study.inline import results, write_space
from tests.study.inline import study as run_inline

CODE = Path(__file__).resolve().parents[2]
MEMORY = Path("/sys/fs/cgroup/memory")
SMALL = "400m"
"""Of a disk: what a study asks for at its start, and what little it writes."""

STEPS = 200
"""Of a trial: seconds in which something can happen to it."""

PATIENCE = 240.0

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount disks")
needs_groups = pytest.mark.skipif(
    not os.access(MEMORY / "cgroup.procs", os.W_OK),
    reason="no memory cgroups of version 1 that this user may make",
)


class Study:
    """One command, typed again and again, on Ray."""

    def __init__(self, root: Path, space: Path, *more: str, **environment: str) -> None:
        self.root, self.mark = root, uuid.uuid4().hex
        self.words = [sys.executable, "study/run.py", "--space", str(space), "--root", str(root)]
        self.words += ["--name", "s", "--workers", "1", "--set", f"steps={STEPS}", *more]
        self.environment = os.environ | {"STUDY_TEST_MARK": self.mark} | environment

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[str]]:
        """The command's process; nothing of it outlives this."""
        out = subprocess.PIPE
        process = subprocess.Popen(
            self.words, cwd=CODE, env=self.environment, stdout=out, stderr=out, text=True
        )
        try:
            yield process
        finally:
            for number in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)

    def run(self) -> int:
        with self.started() as process:
            return ended(process)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What the journal says of a kind."""
        file = self.root / "studies/s/events.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def processes(self) -> list[int]:
        """Those of the command that live, Ray's included."""
        mark, living = f"STUDY_TEST_MARK={self.mark}".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    living.append(int(folder.name))
        return living

    def in_a_trial(self) -> bool:
        return any(self.root.glob("trials/*/attempts/001/claim.json"))


def ended(process: subprocess.Popen[str]) -> int:
    """Exit code of a command that says in one line why it stopped, if it did."""
    printed, said = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in printed + said, printed + said
    if process.returncode == 130:
        assert [line for line in said.splitlines() if "LOG ERROR" not in line][1:2] == [
            "resume with"
        ], said
    return process.returncode


def wait(until: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for something, while a process lives."""
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end, "it never came to that"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_space(tmp_path_factory.mktemp("space"))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, space: Path) -> dict[str, bytes]:
    """What an undisturbed study comes to."""
    root = tmp_path_factory.mktemp("undisturbed") / "root"
    assert run_inline(root, space, "--set", f"steps={STEPS}") == 0
    return results(root)


@pytest.fixture
def disk() -> Iterator[Path]:
    """Where to mount one: a path so short that Ray's own files lie there too."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    yield folder
    folder.rmdir()


@contextmanager
def mounted(folder: Path, *how: str) -> Iterator[None]:
    subprocess.run(["mount", *how, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    with (disk / "fill").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 20)) == 1 << 20:
            pass
    with (disk / "more").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(512)):
            pass


def use_up_inodes(disk: Path) -> None:
    with suppress(OSError):
        for number in range(100_000):
            (disk / f"fill-{number}").touch()


@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_root
@pytest.mark.parametrize(
    ("use_up", "limit", "state"),
    [(fill, "", "beside"), (fill, "", "elsewhere"), (use_up_inodes, ",nr_inodes=1500", "beside")],
)
def test_a_disk_that_fills_in_a_trial(
    use_up: Callable[[Path], None],
    limit: str,
    state: str,
    disk: Path,
    tmp_path: Path,
    space: Path,
    expected: dict[str, bytes],
) -> None:
    with mounted(disk, "-t", "tmpfs", "-o", f"size={SMALL}{limit}", "none"):
        places = [] if state == "beside" else ["--state", str(tmp_path / "state")]
        study = Study(disk / "r", space, *places)
        with study.started() as process:
            wait(study.in_a_trial, process)
            use_up(disk)
            assert ended(process) == 130
        assert not study.events("failed")
        for path in disk.glob("[fm]*"):
            path.unlink()
        assert study.run() == 0
        assert results(study.root) == expected


@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_root
def test_a_disk_that_becomes_read_only_in_a_trial(
    disk: Path, tmp_path: Path, space: Path, expected: dict[str, bytes]
) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(600 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    study = Study(disk / "r", space, "--state", str(tmp_path / "state"))
    with mounted(disk, "-o", "loop,errors=remount-ro", str(image)):
        with study.started() as process:
            wait(study.in_a_trial, process)
            found = ["findmnt", "--noheadings", "--output", "SOURCE", str(disk)]
            device = Path(subprocess.run(found, capture_output=True, text=True).stdout.strip()).name
            Path("/sys/fs/ext4", device, "trigger_fs_error").write_text("1")
            assert ended(process) == 130
        assert not study.events("failed")
    subprocess.run(["e2fsck", "-f", "-y", image], capture_output=True, check=False)
    with mounted(disk, "-o", "loop", str(image)):
        assert study.run() == 0
        assert results(study.root) == expected


@contextmanager
def group() -> Iterator[Path]:
    """A group of processes whose memory is counted, and may be limited."""
    folder = MEMORY / f"study-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        yield folder
    finally:
        wait(lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()


def kills(group: Path) -> int:
    counts = dict(line.split() for line in (group / "memory.oom_control").read_text().splitlines())
    return int(counts["oom_kill"])


EATER = """
import sys
from pathlib import Path
group, taken = Path(sys.argv[1]), []
(group / "cgroup.procs").write_text("0")
while "oom_kill 0" in (group / "memory.oom_control").read_text():
    taken.append(b"x" * (4 << 20))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_groups
def test_a_worker_that_the_kernel_kills_for_its_memory(
    tmp_path: Path, space: Path, expected: dict[str, bytes]
) -> None:
    with group() as limited:
        join = ["sh", "-c", f'echo $$ > {limited}/cgroup.procs && exec "$@"', "sh"]
        study = Study(tmp_path / "r", space)
        study.words = [*join, *study.words]
        with study.started() as process:
            wait(study.in_a_trial, process)
            held = (limited / "memory.usage_in_bytes").read_text()
            (limited / "memory.limit_in_bytes").write_text(str(int(held) + (64 << 20)))
            subprocess.run([sys.executable, "-c", EATER, str(limited)], check=True)
            (limited / "memory.limit_in_bytes").write_text("-1")
            assert ended(process) == 0
    assert [event["reason"] for event in study.events("lost")] == ["out of memory"]
    assert results(study.root).keys() == expected.keys()


@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_groups
def test_a_driver_that_the_kernel_kills_for_its_memory(
    tmp_path: Path, space: Path, expected: dict[str, bytes]
) -> None:
    study = Study(tmp_path / "r", space)
    with study.started() as process:
        wait(study.in_a_trial, process)
        with group() as limited:
            (limited / "memory.limit_in_bytes").write_text("4096")
            (limited / "cgroup.procs").write_text(str(process.pid))
            assert ended(process) == -signal.SIGKILL
            assert kills(limited) == 1
        wait(lambda: not study.processes())
    assert study.run() == 0
    assert results(study.root) == expected
