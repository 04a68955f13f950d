"""`ui`: serve MLflow's pages for a root, with a link to each study's runs, and Optuna's too."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.error import URLError
from urllib.parse import quote

import typer

from study.cli.workspace import ROOT, Root, State, Workspace
from study.console import PlainConsole
from study.state.databases import OPTUNA_FILE, sqlite_url
from trainables.errors import UserError

MAX_COMPARED = 100
"""Maximum number of runs on a comparison page; with more it becomes unreadable and slow."""

START_SECONDS = 120.0
"""Seconds within which a server must answer; MLflow's takes about 6 on two idle cores."""

# One worker and no job runner: 2 processes and 0.5 GB instead of 15 and 2.5 GB.
SERVER_ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "INFO",  # the end of the log is shown if the start fails
}


def ui(
    root: Root = ROOT,
    state: State = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free one.")] = 5000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    optuna: Annotated[bool, typer.Option("--optuna", help="Optuna's dashboard, too.")] = False,
) -> int:
    """Show the studies of a root in MLflow's web pages, until Ctrl-C."""
    console, folder = PlainConsole(soft_wrap=True), Workspace.open(root, state).state
    with ExitStack() as servers:
        if optuna:
            dashboard = servers.enter_context(serving_optuna(folder, host))
            console.print(
                f"Optuna's dashboard answers at {dashboard}; states only, figures come from folders"
            )
        address = servers.enter_context(serving(folder, port, host))
        console.print(f"MLflow answers at {address} (stop it with Ctrl-C)")
        for study in links(folder, address):
            console.print(f"\n{study.name}\n  runs  {study.runs}")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return 0


@contextmanager
def serving(root: Path, port: int, host: str) -> Iterator[str]:
    """Run MLflow's server on the store in `root` within a block, and yield its address.

    Raises:
        UserError: There is no store, the port is taken, or the server does not start.
    """
    store = root.resolve() / "mlflow.db"
    if not store.is_file():
        raise UserError(
            f"{root}: no MLflow store (mlflow.db) here. Run a study first (python study/run.py "
            "--space batch_size), fill one from trial folders (python -m study track NAME), or "
            "name another place with --root DIR"
        )
    command = [
        *(sys.executable, "-m", "mlflow", "ui", "--workers", "1"),
        *("--backend-store-uri", sqlite_url(store)),
        *("--artifacts-destination", (store.parent / "mlartifacts").as_uri()),
    ]
    with _answering(command, store.with_name("mlflow-ui.log"), host, port, "/health") as address:
        yield address


@contextmanager
def serving_optuna(root: Path, host: str) -> Iterator[str]:
    """Run Optuna's dashboard on the storage in `root` at a free port, and yield its address.

    Raises:
        UserError: It is not installed, there is no storage, or it does not start.
    """
    if find_spec("optuna_dashboard") is None:
        raise UserError(
            "--optuna: Optuna's dashboard is not installed; in the repository: pip install "
            "'.[dashboard]'"
        )
    rows = root.resolve() / OPTUNA_FILE
    if not rows.is_file():
        raise UserError(
            f"{root}: no rows of Optuna ({OPTUNA_FILE}) here. Fill them from trial folders (python "
            "-m study track NAME), or name another place with --root DIR"
        )
    code = "from optuna_dashboard._cli import main; main()"
    command = [sys.executable, "-c", code, sqlite_url(rows)]
    with _answering(command, rows.with_name("optuna-ui.log"), host, 0, "/") as address:
        yield address


@contextmanager
def _answering(command: list[str], log: Path, host: str, port: int, page: str) -> Iterator[str]:
    """Run a server within a block, and yield its address once `page` answers.

    SIGTERM to this process ends the server too.
    """
    port = free_port(host, port)
    with log.open("w") as output:
        # Own process group: the server may have child processes, which must end with it.
        server = subprocess.Popen(
            [*command, "--host", host, "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=os.environ | SERVER_ENVIRONMENT,
            cwd=log.parent,
            start_new_session=True,
        )
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{'127.0.0.1' if host == '0.0.0.0' else shown}:{port}"
        wait_for(server, f"{address}{page}", log)
        yield address
    finally:
        signal.signal(signal.SIGTERM, before)
        stop(server)


@dataclass(frozen=True)
class Link:
    """Link to the page that compares the runs of one study.

    Attributes:
        name: Name of the study.
        runs: URL of the page.
    """

    name: str
    runs: str


def links(root: Path, address: str) -> list[Link]:
    """List the links of all studies with runs in a root, the latest study first."""
    from study.tracking import default_uri, studies

    return [
        Link(study.name, comparison(address, study.experiment_id, study.run_ids))
        for study in studies(default_uri(root))
        if study.run_ids
    ]


def comparison(address: str, experiment_id: str, run_ids: tuple[str, ...]) -> str:
    """Return the URL of MLflow's comparison: plots and a table of up to `MAX_COMPARED` runs."""
    runs = quote(json.dumps(list(run_ids[:MAX_COMPARED]), separators=(",", ":")))
    return f"{address}/#/compare-runs?runs={runs}&experiments={quote(json.dumps([experiment_id]))}"


def free_port(host: str, port: int) -> int:
    """Return `port` if it is free, or any free port for 0.

    Raises:
        UserError: The port is taken, or `host` is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers do: closing connections of an earlier server do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"--host {host} --port {port}: cannot listen there ({error.strerror or error}). "
                "Take another port, or --port 0 for any free one"
            ) from None
        return int(probe.getsockname()[1])


def wait_for(server: subprocess.Popen[bytes], page: str, log: Path) -> None:
    """Wait until the page of a server answers.

    Raises:
        UserError: The server ended or stayed silent; the message ends with its log's last lines.
    """
    end = time.monotonic() + START_SECONDS
    # The user's proxy is for other machines, not for this one.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None and time.monotonic() < end:
        try:
            with direct.open(page, timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
    raise UserError(f"the server did not start; {log} ends with:\n{tail}")


def stop(server: subprocess.Popen[bytes]) -> None:
    """End a server and its children: SIGTERM, then SIGKILL for those left after at most 10 s."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, kind)
            server.wait(timeout=10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
