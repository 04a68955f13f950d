"""A local Ray, or a connection to a running one: quiet, authenticated, tidied up."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from trainables.errors import UserError

LONGEST_TEMPORARY = 40
"""Characters of Ray's folder: its sockets' full paths must fit the system's 107."""

PLAIN = re.compile(r"[\w./+=@-]+", re.ASCII)
"""A path that stays what it is where Ray and Arrow take it for a URL."""

SYSTEM_PREFIX = "study-"
"""Of folders in the system's temporary folder."""

OBJECT_STORE_BYTES = 100_000_000
"""Trials hand over numbers only."""


NOWHERE = "http://127.0.0.1:9"
"""Where Ray reports to that it must not report: it tells its makers even that."""

STARTS = 4
"""How often a local Ray is started: it gives itself half a minute each time."""


def set_environment(token_folder: Path | None) -> None:
    """Say to Ray, before it is imported, what it reads from the environment.

    Its ports listen wider than this machine even for a local start, so every process of it must
    show a token; its usage report, its own loggers and its automatic resizing stay off.

    Args:
        token_folder: Where the token of a Ray started here lies, or is made; None for a running
            cluster, whose token is in `~/.ray/auth_token` unless the environment says otherwise.
    """
    os.environ["RAY_AUTH_MODE"] = "token"
    if token_folder and not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        path = token_folder / "ray.token"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(32), encoding="ascii")
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)
    os.environ.update(
        {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_USAGE_STATS_REPORT_URL": NOWHERE,
            # servers of figures, which ask for no token: none, or at a port that cannot be opened
            "RAY_enable_metrics_collection": "0",
            "AUTOSCALER_METRIC_PORT": "-1",
            "DASHBOARD_METRIC_PORT": "-1",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "RAY_DEDUP_LOGS": "1",
            "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
            "TUNE_DISABLE_AUTO_CALLBACK_SYNCER": "1",
            "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
            "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
            "RAY_AIR_NEW_OUTPUT": "0",
            "TUNE_GLOBAL_CHECKPOINT_S": "3600",
            "TOKENIZERS_PARALLELISM": "false",
        }
    )


@contextmanager
def ray_session(state: Path, workers: int, address: str | None) -> Iterator[Path]:
    """Start or join Ray; yields a folder for Tune's own files, removed with Ray's at the end.

    Args:
        state: A local folder for the token, and for temporary files where its path is short.
        workers: Processors for trials, on a Ray started here.
        address: Of a running cluster; None starts one on this machine.
    """
    set_environment(state if address is None else None)
    import ray

    temporary, lock = _short_folder(state)
    # a driver script's own folder is no place to import from: `study/` holds `plan`, `ledger`, …
    sys.path[:] = [
        entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parents[1]
    ]
    try:
        if address is None:
            _start(workers, temporary)
        else:
            _join(address)
        for name in ("ray", "ray.tune", "ray.train", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield temporary / "tune"
    finally:
        try:
            ray.shutdown()
        except OSError:  # on a full disk it cannot even make what it removes
            shutil.rmtree(temporary, ignore_errors=True)
            ray.shutdown()
        shutil.rmtree(temporary, ignore_errors=True)
        lock.close()
        with suppress(OSError):
            (state / "tmp").rmdir()


def _start(processors: int, temporary: Path) -> None:
    """Start Ray on this machine, again where a busy one needs longer than Ray waits.

    Raises:
        UserError: It never comes up.
    """
    import ray
    from ray._private import services

    # Without its pages it is there only to report, and asks clouds' servers who they are for that
    services.start_api_server = lambda *_, **__: (None, None)
    for _ in range(STARTS):
        try:
            ray.init(
                # not the cluster that RAY_ADDRESS names: only --address does
                address="local",
                num_cpus=processors,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(temporary / "ray"),
                _node_ip_address="127.0.0.1",
            )
        except Exception as error:  # Ray raises no other kind here
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
        else:
            return
    raise UserError(
        f"Ray did not start in {STARTS} times 30 seconds: this machine is too busy, or its "
        "temporary folder too slow. Nothing is lost; run the same command again"
    )


def _join(address: str) -> None:
    """Connect to a running cluster.

    Raises:
        UserError: It does not answer, or does not take the token.
    """
    import ray
    from ray.exceptions import AuthenticationError

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except AuthenticationError as error:
        raise UserError(f"--address {address}: {_first_line(error)}; {TOKEN}") from None
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"--address {address}: no Ray cluster answers there ({_first_line(error)}). On its "
            f"head use --address auto; `ray status` shows whether it runs. {TOKEN}"
        ) from None


TOKEN = (
    "The cluster's token must be in ~/.ray/auth_token, or where RAY_AUTH_TOKEN_PATH says, as on "
    "its other machines"
)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def remove_dead_sessions(state: Path, dry_run: bool = False) -> list[Path]:
    """Remove the temporary folders of drivers that were killed; a living one holds a lock.

    Returns:
        What was removed, or would be.
    """
    system = Path(tempfile.gettempdir()).glob(f"{SYSTEM_PREFIX}*/driver.lock")
    dead = []
    for path in [*state.glob("tmp/*/driver.lock"), *system]:
        with suppress(OSError), path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            dead.append(path.parent)
            if not dry_run:
                shutil.rmtree(path.parent, ignore_errors=True)
    return dead


def _short_folder(state: Path) -> tuple[Path, TextIO]:
    """A fresh folder under `state`, or in the system's temporary folder.

    The latter where the path of the former is too long, or holds what means something in a URL.
    Also the lock in it that says for as long as this process lives that it is in use.
    """
    remove_dead_sessions(state)
    inside = state / "tmp"
    path = str(inside.resolve())
    if len(path) + len("/xxxxxxxx") > LONGEST_TEMPORARY or not PLAIN.fullmatch(path):
        folder = Path(tempfile.mkdtemp(prefix=SYSTEM_PREFIX))
    else:
        inside.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=inside.resolve(), prefix=""))
    lock = (folder / "driver.lock").open("w", encoding="ascii")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return folder, lock
