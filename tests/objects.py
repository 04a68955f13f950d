"""An object store on this machine: moto's S3 server in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECRET = "a-secret-that-must-not-be-kept"


@contextmanager
def s3_server(log: Path) -> Iterator[dict[str, str]]:
    """Serve an S3 with the bucket `bucket`; yields the environment by which it is reached."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("w") as output:
        server = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait(port, server, log)
        yield {
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }
    finally:
        server.kill()
        server.wait()


def make_bucket() -> None:
    """Make `bucket` in the store that the environment names."""
    import s3fs

    assert os.environ["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    s3fs.S3FileSystem(use_listings_cache=False).mkdir("bucket")


def _wait(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
    raise TimeoutError(f"no S3 server: {log.read_text()}")
