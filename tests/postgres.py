"""A real PostgreSQL server for tests, on a free port of this machine, in a folder of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "study"
PASSWORD = "open-sesame"


def programs() -> Path:
    """The folder of `initdb` and `pg_ctl`; skips the test where there is none."""
    if found := sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return found[-1].parent
    found_here = shutil.which("initdb")
    if found_here is None or Path(found_here).stat().st_size == 0:
        pytest.skip("no PostgreSQL server here (Debian: apt-get install postgresql)")
    return Path(found_here).parent


class Server:
    """A server that can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        """Make its cluster, which takes the password from everyone."""
        self.bin, self.folder = programs(), folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # the server refuses to run as root: the user that its package made does
        self.prefix = ["runuser", "-u", "postgres", "--"] if getpass.getuser() == "root" else []
        if self.prefix:
            shutil.chown(folder, "postgres")
        secret = folder / "password"
        secret.write_text(PASSWORD, encoding="ascii")
        secret.chmod(0o644)
        self._run(
            "initdb",
            *("--pgdata", str(folder / "data"), "--auth", "scram-sha-256", "--no-sync"),
            *("--username", USER, "--pwfile", str(secret), "--encoding", "UTF8"),
        )

    def start(self) -> None:
        """Serve, and return when clients can connect."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder}"
        self._run("pg_ctl", "start", "-w", "-D", str(self.folder / "data"), "-o", options)

    def stop(self) -> None:
        """Shut every connection at once and end."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self.folder / "data"))

    def create(self, database: str) -> str:
        """The URL of a new, empty database."""
        words = ["--host", "127.0.0.1", "--port", str(self.port), "--username", USER, database]
        self._run("createdb", *words)
        return f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *arguments: str) -> None:
        log = (self.folder / "log").open("ab")
        done = subprocess.run(
            [*self.prefix, "env", f"PGPASSWORD={PASSWORD}", str(self.bin / program), *arguments],
            cwd=self.folder,
            env=os.environ | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=False,
        )
        assert done.returncode == 0, (self.folder / "log").read_text()


@contextmanager
def server() -> Iterator[Server]:
    """A running server; gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        made = Server(folder)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
