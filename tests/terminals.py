"""A command on a terminal of its own: keys that are typed, a terminal that closes, what is left."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
CTRL_C = b"\x03"
MARK = "TESTED_COMMAND"
"""A variable that the command's processes inherit, by which they are recognised."""


@dataclass
class Terminal:
    """`python words` with a terminal as its streams; every process of it ends with the block."""

    words: Sequence[str]
    more: dict[str, str] = field(default_factory=dict)
    shown: str = ""

    def __enter__(self) -> Self:
        self.mark = uuid.uuid4().hex
        read, write = os.pipe()
        self.shell, self.master = pty.fork()
        if self.shell == 0:
            self._be_shell(write)
        os.close(write)
        with os.fdopen(read) as pipe:
            self.process = int(pipe.readline())
        return self

    def _be_shell(self, pipe: int) -> None:
        """Start the command and outlive it: a terminal forgets what it shows with its leader."""
        process = os.fork()
        if process == 0:
            for number in (signal.SIGINT, signal.SIGHUP):  # which tests in the background ignore
                signal.signal(number, signal.SIG_DFL)
            os.chdir(ROOT)
            more = self.more | {MARK: self.mark, "COLUMNS": "200"}
            os.execve(sys.executable, [sys.executable, *self.words], os.environ | more)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.write(pipe, f"{process}\n".encode())
        _, status = os.waitpid(process, 0)
        time.sleep(0.3)
        os._exit(os.waitstatus_to_exitcode(status) % 256)

    def __exit__(self, *_: object) -> None:
        self.close()
        for process in self.left():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.shell, 0)

    def left(self) -> list[int]:
        """Processes of the command that are there now, its zombies apart."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"{MARK}={self.mark}".encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    def close(self) -> None:
        """As where a window is closed."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def type(self, keys: bytes) -> None:
        """Press keys."""
        with suppress(OSError):
            os.write(self.master, keys)

    def until(self, ready: Callable[[], bool], seconds: float = 240) -> None:
        """Let the command run until something is so."""
        end = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < end, self.shown
            assert self.poll() is None, self.shown
            self.read(0.02)

    def read(self, seconds: float) -> None:
        """Take what it shows for a while; a terminal that nobody reads makes it wait."""
        if self.master < 0:
            time.sleep(seconds)
        elif select.select([self.master], [], [], seconds)[0]:
            try:
                self.shown += os.read(self.master, 65536).decode(errors="replace")
            except OSError:  # all have closed their end
                time.sleep(seconds)

    def poll(self) -> int | None:
        """Exit code once it has ended."""
        if not hasattr(self, "code"):
            done, status = os.waitpid(self.shell, os.WNOHANG)
            if not done:
                return None
            self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, seconds: float = 240) -> int:
        """Its exit code, after what it shows to the end."""
        end = time.monotonic() + seconds
        while self.poll() is None:
            assert time.monotonic() < end, self.shown
            self.read(0.05)
        return self.code


def run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run `python words` to its end."""
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
