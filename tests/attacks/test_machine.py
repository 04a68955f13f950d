"""The machine itself fails: disks full or read-only, memory taken by others, clocks that jump."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.cli.app import main
from study.search.budget import spent
from study.state.journal import Reading
from study.state.record import Journal
from study.state.study_folder import StudyFolder
from tests.study.inline import results, write_space
from tests.study.inline import study as run_inline
from trainables.errors import NotNowError
from trainables.failures import NOT_NOW, describe, reason_of
from trainables.storage.arrays import new_array
from trainables.storage.cache import Cache

CODE = Path(__file__).resolve().parents[2]
MEMORY = Path("/sys/fs/cgroup/memory")
SMALL = "400m"
"""Of a disk: what a study asks for at its start, and what little it writes."""

STEPS = 200
"""Of a trial: seconds in which something can happen to it."""

PATIENCE = 240.0

DAY = 86_400.0

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

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """What the journal says, or what of it is of a kind."""
        lines = Reading(self.root / "studies/s")
        return [line for line in lines if kind in ("", line["event"])]

    def has(self, kind: str, times: int) -> bool:
        return len(self.events(kind)) >= times

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


SEARCH = """
question: Does a search mind the time of day?
fixed:
  sampling: hybrid
  languages: [qaa, qad]
  eval_languages: [qaa, qad]
  batch_size: 8
  reference_batch_size: 8
search:
  alpha: {low: 0.1, high: 0.9}
optimize: {sampler: tpe, trials: 3, hours: 2, confirm: {top: 1, seeds: 1}}
tiers: {demo: {}, full: {}}
"""


def ended(process: subprocess.Popen[str]) -> int:
    """Exit code of a command that says in few lines why it stopped, if it did."""
    printed, said = process.communicate(timeout=PATIENCE)
    print(process.returncode, printed, said, sep="\n")
    assert "Traceback" not in printed + said
    # Ray's own log, whose file lies on the full disk, has lines that begin so
    assert len([line for line in said.splitlines() if not line.startswith("[***")]) <= 3, said
    return process.returncode


def wait(until: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for something, while a process lives."""
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end, "it never came to that"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.1)


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
    done = subprocess.run(["mount", *how, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"only root of a whole machine may mount disks: {done.stderr.strip()}")
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
@pytest.mark.skipif(not shutil.which("mkfs.ext4"), reason="Debian's e2fsprogs is not installed")
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
            for number in study.processes():
                folder = Path(f"/proc/{number}")
                with suppress(OSError):  # the kernel's choice may else be the driver
                    if b"ray::" in (folder / "cmdline").read_bytes():
                        (folder / "oom_score_adj").write_text("1000")
            held = (limited / "memory.usage_in_bytes").read_text()
            (limited / "memory.limit_in_bytes").write_text(str(int(held) + (64 << 20)))
            subprocess.run([sys.executable, "-c", EATER, str(limited)], check=True)
            (limited / "memory.limit_in_bytes").write_text("-1")
            assert ended(process) == 0
    assert [event["reason"] for event in study.events("lost")] == ["out of memory"]
    assert results(study.root).keys() == expected.keys()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_worker_that_rays_memory_monitor_ends(tmp_path: Path, space: Path) -> None:
    study = Study(tmp_path / "r", space, RAY_memory_usage_threshold="0.01")
    assert study.run() == 1
    reasons = [event["reason"] for event in study.events("lost") + study.events("failed")]
    assert set(reasons) == {"out of memory"}


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


FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")

EVEN = """
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_nanosleep(clockid_t id, int how, const struct timespec *until, struct timespec *left) {
  return syscall(SYS_clock_nanosleep, id, how, until, left) ? errno : 0;
}
"""
"""Sleeping until an even time, which libfaketime gets wrong where it fakes the time of day only."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    not (FAKETIME.exists() and shutil.which("gcc")),
    reason="Debian's packages faketime and gcc are not installed",
)
def test_a_clock_that_jumps_by_days_while_a_search_runs(tmp_path: Path) -> None:
    space = write_space(tmp_path, SEARCH)
    assert run_inline(tmp_path / "whole", space, "--set", f"steps={STEPS}") == 0
    even, shift = tmp_path / "even.so", tmp_path / "shift"
    build = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(even)]
    subprocess.run(build, input=EVEN, text=True, check=True)
    shift.write_text("+0d")
    study = Study(
        tmp_path / "r",
        space,
        LD_PRELOAD=f"{even}:{FAKETIME}",
        FAKETIME_TIMESTAMP_FILE=str(shift),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    began = time.monotonic()
    with study.started() as process:
        for number, days in enumerate(("+1d", "-1d"), 1):
            wait(partial(study.has, "running", number), process)
            shift.write_text(days)
        wait(partial(study.has, "running", 3), process)
        process.send_signal(signal.SIGINT)
        assert ended(process) == 130
    shift.write_text("-3d")
    assert study.run() == 0
    shifts = {round((event["time"] - time.time()) / DAY) for event in study.events()}
    assert shifts == {1, 0, -1, -3}, "the clock did not jump"
    record, whole = (
        StudyFolder.of(root, "s").record() for root in (study.root, tmp_path / "whole")
    )
    seconds = spent(record.times)
    assert 0 < seconds.busy < seconds.wall < time.monotonic() - began
    assert seconds.ended == spent(whole.times).ended
    assert record.proposals == whole.proposals
    assert record.marks == []
    assert results(study.root) == results(tmp_path / "whole")


def test_what_was_used_last_is_so_however_the_clock_was_set(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for name in ("a", "b"):
        cache.take(name, lambda folder: (folder / "x").touch())
    later = time.time() + DAY
    os.utime(tmp_path / "b", (later, later))
    cache.take("a", lambda _: pytest.fail("it is there"))
    assert [entry.name for entry in cache.entries()] == ["b", "a"]


def test_a_store_keeps_the_order_of_writers_however_the_clock_was_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upath = pytest.importorskip("upath", reason="the extra s3 is not installed")
    folder = upath.UPath(f"memory://{uuid.uuid4().hex}/s")
    now = time.time()
    for number, event in enumerate(("failed", "retry", "started")):
        monkeypatch.setattr("time.time", lambda: now - number * DAY)  # noqa: B023
        journal = Journal(folder, {})
        journal.note(event, trial="a")
        journal.close()
    lines = [line["event"] for line in Reading(folder)]
    assert [event for event in lines if event not in ("opened", "closed")] == [
        "failed",
        "retry",
        "started",
    ]


def read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)


@pytest.mark.parametrize("use_up", [fill, use_up_inodes, read_only])
def test_a_disk_without_room_at_the_start(
    use_up: Callable[[Path], None],
    disk: Path,
    root: Path,
    space: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with mounted(disk, "-t", "tmpfs", "-o", f"size={SMALL},nr_inodes=1000", "none"):
        shutil.copytree(root, disk / "root")
        use_up(disk)
        place = ["--root", str(disk / "root")]
        run = ["run", "--space", str(space), *place, "--name"]
        assert [main([*run, "s"]), main([*run, "new"])] == [130, 130]
        assert main(["status", "s", *place]) == 0
        assert main(["track", "s", *place]) == 130
        assert "Traceback" not in "".join(capfd.readouterr())


def test_room_for_an_array_is_taken_before_it_is_written(disk: Path) -> None:
    with mounted(disk, "-t", "tmpfs", "-o", "size=1m", "none"):
        with pytest.raises(OSError, match="space") as error:
            new_array(disk / "a.npy", np.float32, (1 << 20,))
        assert reason_of(error.value) == "not now"


def test_what_a_machine_lacks_is_no_failure_of_a_trial() -> None:
    for number in NOT_NOW - {errno.ENOMEM}:
        error = OSError(number, os.strerror(number), "file")
        assert describe(error)["reason"] == "not now"
        assert "file" in describe(error)["detail"]
    assert reason_of(OSError(errno.ENOMEM, "no memory")) == "out of memory"
    assert reason_of(NotNowError("locked")) == "not now"
    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = MemoryError()
    assert reason_of(wrapped) == "out of memory"
