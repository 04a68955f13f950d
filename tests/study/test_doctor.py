"""The doctor: every fault is found where it is, with what to do, and nothing is left behind."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray

from study.cli.app import main
from study.doctor import checks
from study.doctor.checks import Diagnosis, Findings
from study.doctor.facts import Facts, Token, code_digest, gather, probe, probe_files, token
from study.doctor.ports import OpenPort, listeners
from study.launch.nodes import now, skew
from trainables.storage.paths import AnyPath

GOOD = Facts(
    host="head",
    python="3.11.7",
    packages={"ray": "2.60.0", "torch": "2.13.0"},
    code="abc",
    free=10**12,
    gpus=["NVIDIA L4"],
    cuda=True,
    token=Token("token", "~/.ray/auth_token", "mark", private=True),
    listening=[],
    storage="",
    first=True,
    missing=[],
)
LOCKED = {"ray": "2.60.0", "torch": "2.13.0"}
RAY = OpenPort("0.0.0.0", 6379, "/x/gcs_server --log", asks_token=True, metrics=False)


def machines(**changes: Any) -> dict[str, Facts]:
    """A good head, and a worker that differs."""
    differing: dict[str, Any] = {"host": "worker", "first": False} | changes
    worker = dataclasses.replace(GOOD, **differing)
    return {"head": GOOD, "worker": worker}


def named(findings: Findings) -> list[Diagnosis]:
    return [Diagnosis("a check", *finding) for finding in findings]


def problems(findings: Findings) -> list[Diagnosis]:
    found = [finding for finding in named(findings) if finding.state != "ok"]
    assert all(finding.remedy for finding in found), "a finding must say what to do"
    return found


def test_nothing_is_wrong_with_good_machines() -> None:
    both = machines()
    for findings in (
        checks.versions(both, LOCKED),
        checks.storage(both, "s3://b", 2),
        checks.clocks(machines(skew=skew(10, 10.5, 11))),
        checks.disk(both),
        checks.gpu(both),
        checks.token(both, cluster=True),
        checks.ports(both),
        checks.data(both, []),
    ):
        assert {finding.state for finding in named(findings)} == {"ok"}


def test_versions_that_differ() -> None:
    [found] = problems(checks.versions(machines(packages={"ray": "2.59.0"}), LOCKED))
    assert (found.where, found.state) == ("worker", "problem")
    assert "ray 2.59.0 instead of 2.60.0, torch missing" in found.says
    [found] = problems(checks.versions(machines(python="3.12.1"), LOCKED))
    assert "head 3.11.7, worker 3.12.1" in found.says
    assert problems(checks.versions(machines(python="3.11.9"), LOCKED)) == []
    [found] = problems(checks.versions(machines(code="def"), LOCKED))
    assert "different code" in found.says
    [found] = problems(checks.versions({"head": GOOD}, LOCKED | {"optuna": "5.0.0"}))
    assert (found.state, found.says) == (
        "warning",
        "not as in the lock: optuna missing instead of 5.0.0",
    )


@pytest.mark.parametrize(
    ("changes", "together", "says"),
    [
        ({"first": True}, 2, "2 of 2 machines were first"),  # neither sees the other's
        ({}, 1, "1 files came together"),
        ({"storage": "Permission denied"}, 2, "Permission denied"),
    ],
)
def test_storage_that_is_not_one(changes: dict[str, Any], together: int, says: str) -> None:
    [found] = problems(checks.storage(machines(**changes), "/data", together))
    assert says in found.says
    assert "s3://" in found.remedy


def test_clocks_disk_and_gpu() -> None:
    [found] = named(checks.clocks(machines(skew=skew(100, 130, 109))))
    assert (found.where, found.state) == ("worker", "warning")
    assert found.says == "21 s away from this machine's clock"
    assert skew(100, 101, 109) == 0, "an answer takes time on its way"
    assert skew(100, 60, 109) == 40
    [found] = problems(checks.disk(machines(free=10**8)))
    assert (found.where, found.state) == ("worker", "problem")
    [found] = problems(checks.disk(machines(free=5 * 10**9)))
    assert found.state == "warning"
    [found] = problems(checks.gpu(machines(cuda=False)))
    assert found.says == "NVIDIA L4: torch cannot use it"
    assert problems(checks.gpu(machines(gpus=[], cuda=None))) == []


def test_ray_can_ask_a_machine_for_its_time() -> None:
    with pytest.raises(TypeError):
        ray.remote(time.time)
    ray.remote(now)
    assert abs(now() - time.time()) < 60


def test_tokens() -> None:
    def of(**changes: Any) -> list[Diagnosis]:
        worker = dataclasses.replace(GOOD.token, **changes)
        return problems(checks.token(machines(token=worker), cluster=True))

    assert [finding.says for finding in of(mode="")] == ["RAY_AUTH_MODE is not `token`"]
    assert [finding.says for finding in of(mark="other")] == [
        "machines have different tokens, or none"
    ]
    assert [finding.remedy for finding in of(private=False)] == ["chmod 600 ~/.ray/auth_token"]


@pytest.mark.parametrize(
    ("listener", "state", "says"),
    [
        (RAY, "ok", "all asking for the token"),
        (dataclasses.replace(RAY, asks_token=False), "problem", "6379 and asks for no token"),
        (dataclasses.replace(RAY, metrics=True), "warning", "figures of this machine"),
        (OpenPort("0.0.0.0", 5000, "mlflow server", False, True), "problem", "0.0.0.0:5000"),
        (OpenPort("::", 5432, "/usr/lib/postgres -D x", False, True), "problem", ":::5432"),
        (OpenPort("0.0.0.0", 22, "", False, True), "ok", "1 of other programs"),
    ],
)
def test_ports(listener: OpenPort, state: str, says: str) -> None:
    worker = dataclasses.replace(GOOD, listening=[listener])
    [found] = named(checks.ports({"worker": worker}))
    assert found.state == state
    assert says in found.says


def test_listening_sockets_are_seen_with_their_programs() -> None:
    code = "import socket, sys; s = socket.socket(); s.bind((sys.argv[1], 0)); s.listen();"
    code += "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    found = {}
    for address in ("0.0.0.0", "127.0.0.1"):
        words = [sys.executable, "-S", "-c", code, address, "ray::worker"]
        environment = {"PATH": "/bin", "RAY_AUTH_MODE": "token"}
        server = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert server.stdout is not None
        port = int(server.stdout.readline())
        found[address] = [entry for entry in listeners() if entry.port == port]
        assert found[address] == listeners([server.pid])
        server.communicate("")
    assert found["127.0.0.1"] == []
    [entry] = found["0.0.0.0"]
    assert entry.is_ray
    assert entry.asks_token
    assert entry.metrics


def test_one_of_many_claims_the_probe(place: AnyPath) -> None:
    def ask(number: int) -> tuple[str, bool]:
        return probe(str(place), "question")

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(ask, range(4)))
    assert [wrong for wrong, _ in said] == [""] * 4
    assert sum(first for _, first in said) == 1
    assert probe_files(place, "question") == {f"{socket.gethostname()}-{os.getpid()}"}


def test_the_token_never_leaves_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert token("q").source == ""
    path = tmp_path / ".ray/auth_token"
    path.parent.mkdir()
    path.write_text("the-secret\n")
    path.chmod(0o644)
    found = token("q")
    assert not found.private
    assert "secret" not in repr(found)
    assert found.mark == token("q").mark != token("another").mark
    assert "secret" not in repr(gather("q", str(tmp_path), str(tmp_path), []))


def test_the_code_is_what_its_files_hold(tmp_path: Path) -> None:
    for folder in ("study", "trainables"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text("1")
    before = code_digest(tmp_path)
    assert before == code_digest(tmp_path)
    (tmp_path / "study/a.py").write_text("2")
    assert code_digest(tmp_path) != before


def test_on_a_laptop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "deep/root"
    main(["doctor", "--root", str(root), "--json"])
    said = json.loads(capsys.readouterr().out)
    found = {finding["check"]: finding for finding in said["findings"]}
    assert {"versions", "storage", "disk", "GPU", "token", "ports"} <= found.keys()
    assert found["storage"]["state"] == "ok"
    assert list(tmp_path.iterdir()) == [], "looking leaves nothing"


def test_the_exit_code_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept").touch()
    monkeypatch.setattr(checks, "gather", lambda *_: GOOD)
    monkeypatch.setattr(checks, "locked_versions", lambda: LOCKED)
    monkeypatch.setattr(checks, "probe_files", lambda *_: {"head"})
    assert main(["doctor", "--root", str(tmp_path)]) == 0
    assert "Ready." in capsys.readouterr().out
    monkeypatch.setattr(checks, "probe_files", lambda *_: set())
    assert main(["doctor", "--root", str(tmp_path)]) == 1
    assert "1 problem" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_data_that_a_space_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["doctor", "--root", str(tmp_path), "--space", "batch_size", "--json"]
    assert main([*words, "--tier", "full"]) == 1
    said = json.loads(capsys.readouterr().out)
    missing = [f for f in said["findings"] if f["check"] == "data" and f["state"] == "problem"]
    ways = {finding["says"].split()[0]: finding["remedy"].split()[-1] for finding in missing}
    assert ways == {"checkpoint": "--encoder", "data": "--data-dir"}
    [found] = problems(checks.data(machines(missing=["/data/x"]), []))
    assert (found.where, found.says) == ("worker", "/data/x is not there")
