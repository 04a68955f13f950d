"""Fetching, from servers on this machine: what was asked for, or one clear error."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trainables.data import fetch as fetching
from trainables.data.catalog import source
from trainables.data.fetch import expanded, fetch
from trainables.data.source import Web
from trainables.errors import UserError

COMMIT = "a" * 40
FILES = {"data/swh_Latn.jsonl": b"one\n", "data/eng_Latn.jsonl": b"two\n"}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download of a data set asks for."""

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        path = self.path.partition("?")[0]
        headers = {"X-Repo-Commit": COMMIT}
        name = path.partition(f"/resolve/{COMMIT}/")[2]
        if name in FILES:
            content = FILES[name]
            headers["ETag"] = f'"{hashlib.sha1(content).hexdigest()}"'
        elif "/tree/" in path:
            entries = [
                {"type": "file", "path": p, "size": len(c), "oid": "0"} for p, c in FILES.items()
            ]
            content = json.dumps(entries).encode()
        elif path.startswith("/api/datasets/facebook/belebele"):
            siblings = [{"rfilename": name} for name in FILES]
            found = {"id": "facebook/belebele", "sha": COMMIT, "siblings": siblings}
            content = json.dumps(found).encode()
        else:
            self.send_error(404)
            return
        self.send_response(200)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def online(endpoint: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Fetch one language of Belebele in a process that may use the hub, at `endpoint`."""
    code = (
        "import os, sys; os.environ.pop('HF_HUB_OFFLINE', None)\n"
        "from pathlib import Path\n"
        "from trainables.data.catalog import source\n"
        "from trainables.data.fetch import fetch\n"
        "from trainables.errors import UserError\n"
        "try: print(fetch(source('belebele'), Path(sys.argv[2]), ['sw'], sys.argv[1]))\n"
        "except UserError as error: sys.exit(f'refused: {error}')\n"
    )
    arguments = [sys.executable, "-c", code, endpoint, str(folder)]
    root = Path(__file__).resolve().parents[3]
    return subprocess.run(arguments, cwd=root, capture_output=True, text=True, check=False)


def test_the_hub_gives_only_what_was_asked_for(server: str, tmp_path: Path) -> None:
    done = online(server, tmp_path / "belebele")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "belebele" / "data" / "swh_Latn.jsonl").read_bytes() == b"one\n"
    assert not (tmp_path / "belebele" / "data" / "eng_Latn.jsonl").exists()
    note = json.loads((tmp_path / "belebele" / fetching.NOTE).read_text())
    assert COMMIT in note["from"][0]


def test_a_hub_that_cannot_be_reached(tmp_path: Path) -> None:
    done = online("http://127.0.0.1:9", tmp_path / "belebele")
    assert done.returncode == 1
    assert "refused: belebele: data set facebook/belebele cannot be fetched" in done.stderr
    assert "<language>_<Script>.jsonl" in done.stderr
    assert not (tmp_path / "belebele").exists()


def test_offline_is_respected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set, so facebook/belebele is not"):
        fetch(source("belebele"), tmp_path / "belebele", ["sw"])


def test_files_at_addresses_of_their_own(server: str, tmp_path: Path) -> None:
    found = source("amqa")
    address = f"{server}/resolve/{COMMIT}/data/swh_Latn.jsonl"
    said = fetching._from_web(found, Web((address,)), tmp_path, [])
    assert said == [address]
    assert (tmp_path / "swh_Latn.jsonl").read_bytes() == b"one\n"
    with pytest.raises(UserError, match=r"amqa: .*/gone cannot be fetched .*404"):
        fetching._from_web(found, Web((f"{server}/gone",)), tmp_path, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["swh_Latn.jsonl"]


def test_patterns_name_languages_as_the_source_does() -> None:
    assert expanded(["a/{}.tsv", "b"], ["x", "y"]) == ["a/x.tsv", "a/y.tsv", "b"]
