"""A local Ray or a connection to a running cluster: quiet, with token, cleaned up at the end."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import secrets
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from study.interrupts import end_politely, held
from trainables.errors import NotNowError, UserError

LONGEST_TEMPORARY = 38
"""Limit of the path of Ray's folder: sockets add 69 characters, and the system allows 107."""

PLAIN = re.compile(r"[\w./+=@-]+", re.ASCII)
"""A path that means the same when Ray and Arrow parse it as a URL."""

LOCK = "driver.lock"
"""File in each temporary folder, locked by its driver."""

SYSTEM_PREFIX = "study-"
"""Prefix of our folders in the system's temporary folders."""

OBJECT_STORE_BYTES = 100_000_000
"""Size of Ray's object store: trials pass numbers only."""

NOWHERE = "http://127.0.0.1:9"
"""Usage report URL (discard port): Ray would tell its vendor even that reporting is off."""

STARTS = 4
"""Attempts at starting a local Ray, each of which Ray limits to 30 seconds."""


def set_environment(token_folder: Path | None) -> None:
    """Set the environment variables that Ray reads; call this before importing it.

    Even a local Ray listens on other interfaces, so that each of its processes must authenticate
    with a token. Usage reports, metric servers and Tune's own loggers are off.

    Args:
        token_folder: Folder with the token of a local Ray, created if absent; None for a running
            cluster, whose token is in `~/.ray/auth_token` unless the environment says otherwise.

    Raises:
        UserError: The token file cannot be used.
    """
    os.environ["RAY_AUTH_MODE"] = "token"
    if "RAY_AUTH_TOKEN_PATH" in os.environ:
        _refuse_unusable(Path(os.environ["RAY_AUTH_TOKEN_PATH"]))
    elif token_folder and not os.environ.get("RAY_AUTH_TOKEN"):
        os.environ.pop("RAY_AUTH_TOKEN", None)
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(own_token(token_folder))
    os.environ.update(
        {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_USAGE_STATS_REPORT_URL": NOWHERE,
            # metric servers, which need no token: off, or on a port that cannot be opened
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
            "TUNE_DISABLE_SIGINT_HANDLER": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
    )


def own_token(folder: Path) -> Path:
    """Return the file with this user's token, in a folder that several users may share.

    The file is created atomically; one that is empty, or that others may use, is replaced.

    Raises:
        UserError: Files of another user or links take both names, or the folder cannot be written.
    """
    names = ("ray.token", f"ray.token-{os.geteuid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder / name for name in names):
            draft = folder / f".{path.name}.{uuid.uuid4().hex}"
            file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w", encoding="ascii") as stream:
                stream.write(secrets.token_hex(32))
            try:
                os.link(draft, path)
            except FileExistsError:
                if path.is_symlink() or path.lstat().st_uid != os.geteuid():
                    continue
                _replace_unusable(draft, path)
            finally:
                draft.unlink(missing_ok=True)
            return path
    except OSError as error:
        raise UserError(
            f"{folder}: this user's token of Ray cannot be kept there ({error.strerror}); choose "
            "another folder with --state"
        ) from None
    raise UserError(
        f"{folder / names[0]} and {names[1]} are links or another user's; remove one of them, or "
        "choose another folder with --state"
    )


def _replace_unusable(draft: Path, path: Path) -> None:
    """Replace an unusable token; of drivers that start together, only the first replaces it."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # a network filesystem may not lock folders
            fcntl.flock(folder, fcntl.LOCK_EX)
        try:
            _ensure_own(path.lstat(), 0o077)
            if path.read_text(encoding="ascii").strip():
                return
        except (OSError, ValueError):
            pass
        os.replace(draft, path)
    finally:
        os.close(folder)


def _ensure_own(status: os.stat_result, forbidden: int) -> None:
    """Check that this user owns a plain file or folder, and that others may not use it.

    Args:
        status: Status of the file itself, not of a link's target.
        forbidden: Mode bits that must not be set.

    Raises:
        PermissionError: Another user could have made or changed it.
    """
    plain = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    if not plain or status.st_mode & forbidden or status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "others could have made it")


def _refuse_unusable(path: Path) -> None:
    """Refuse a file of RAY_AUTH_TOKEN_PATH that holds no token."""
    try:
        why = "" if path.read_text(encoding="utf-8").strip() else "it is empty"
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
    if why:
        raise UserError(
            f"RAY_AUTH_TOKEN_PATH={path}: {why}; name a file with the cluster's token, or unset it"
        )


@contextmanager
def ray_session(state: Path, workers: int, address: str | None) -> Iterator[Path]:
    """Start or join Ray, and shut it down or disconnect at the end.

    Args:
        state: Local folder for the token, and for temporary files if its path is short.
        workers: CPUs for trials, on a Ray started here.
        address: Address of a running cluster; None starts Ray on this machine.

    Yields:
        Folder for Tune's files, removed with Ray's at the end.

    Raises:
        UserError: No cluster answers at `address`, the token cannot be used, or no temporary
            folder has a short path.
        NotNowError: A local Ray never comes up.
    """
    set_environment(state if address is None else None)
    import ray
    from ray._private import utils

    # private functions, as `ray.init` calls both and has no option against either: the first stores
    # the command line, which may hold passwords, or characters that another locale cannot encode
    utils.get_entrypoint_name = lambda: "study"
    # the second would exit at SIGTERM, at any point
    utils.set_sigterm_handler = lambda _: None
    temporary, lock = _short_folder(state)
    try:
        if address is None:
            _start(workers, temporary)
        else:
            _join(address)
        end_politely()  # again, as Ray's C++ replaces the SIGTERM handler
        for name in ("ray", "ray.tune", "ray.train", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield temporary / "tune"
    finally:
        with held():
            try:
                ray.shutdown()
            except OSError:  # on a full disk Ray fails to create a file while shutting down
                shutil.rmtree(temporary, ignore_errors=True)
                ray.shutdown()
            end_politely()  # again, as Ray does not restore the handler
            shutil.rmtree(temporary, ignore_errors=True)
            lock.close()
            with suppress(OSError):
                (state / "tmp").rmdir()


def _start(processors: int, temporary: Path) -> None:
    """Start Ray on this machine; retry if a busy machine exceeds Ray's own time limit.

    Raises:
        NotNowError: Ray timed out `STARTS` times.
    """
    import ray
    from ray._private import services

    # private: include_dashboard=False removes the pages but still starts this server, which then
    # only reports usage, and queries the metadata servers of clouds to do so
    services.start_api_server = lambda *_, **__: (None, None)
    for _ in range(STARTS):
        try:
            with held():
                ray.init(
                    # ignores RAY_ADDRESS: only --address names a cluster
                    address="local",
                    num_cpus=processors,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    object_store_memory=OBJECT_STORE_BYTES,
                    _temp_dir=str(temporary / "ray"),
                    _node_ip_address="127.0.0.1",
                )
        except Exception as error:  # Ray raises no narrower type here
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
        else:
            return
    raise NotNowError(
        f"Ray did not start in {STARTS} times 30 seconds: this machine is too busy, or its "
        "temporary folder too slow. Nothing is lost; run the same command again"
    )


def _join(address: str) -> None:
    """Connect to a running cluster.

    Raises:
        UserError: The cluster does not answer, or refuses the token.
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
    """Remove the temporary folders of killed drivers; a living driver holds its folder's lock.

    Folders of other users are left alone: anybody can create one of such a name.

    Returns:
        The removed folders, or with `dry_run` those that would be removed.
    """
    folders = [path for place in _system_folders() for path in place.glob(f"{SYSTEM_PREFIX}*")]
    dead = []
    if not (state / "tmp").is_symlink():
        folders += state.glob("tmp/*")
    for folder in folders:
        with suppress(OSError), _own_lock(folder) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            dead.append(folder)
            if not dry_run:
                shutil.rmtree(folder, ignore_errors=True)
    return dead


@contextmanager
def _own_lock(folder: Path) -> Iterator[int]:
    """Open the lock file of a session's folder.

    Yields:
        Its file descriptor.

    Raises:
        OSError: The file is missing, or other users could have made it.
    """
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _ensure_own(os.fstat(directory), 0o077)
        # O_NONBLOCK: opening a FIFO of that name must not block
        lock = os.open(LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        try:
            _ensure_own(os.fstat(lock), 0)
            yield lock
        finally:
            os.close(lock)
    finally:
        os.close(directory)


def _system_folders() -> list[Path]:
    """List the system's temporary folders that exist, beginning with that of `tempfile`."""
    names = [tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp", "/var/tmp"]
    return list(dict.fromkeys(Path(name) for name in names if name and Path(name).is_dir()))


def _short_folder(state: Path) -> tuple[Path, TextIO]:
    """Create a temporary folder under `state`, or else in a temporary folder of the system.

    The path must be short (`LONGEST_TEMPORARY`) and the same as a URL (`PLAIN`).

    Returns:
        The folder, and its lock file, which stays locked while it is open.

    Raises:
        UserError: No folder with such a path can be written.
    """
    remove_dead_sessions(state)
    with suppress(OSError):
        (state / "tmp").mkdir(parents=True, exist_ok=True)
    candidates = [(state / "tmp", ""), *((place, SYSTEM_PREFIX) for place in _system_folders())]
    for place, prefix in candidates:
        path = str(place.resolve())
        if len(f"{path}/{prefix}xxxxxxxx") > LONGEST_TEMPORARY or not PLAIN.fullmatch(path):
            continue
        with suppress(OSError):
            folder = Path(tempfile.mkdtemp(dir=path, prefix=prefix))
            lock = (folder / f".{LOCK}").open("w", encoding="ascii")
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / f".{LOCK}").rename(folder / LOCK)  # already locked when it gets its name
            return folder, lock
    tried = ", ".join(str(place) for place, _ in candidates)
    raise UserError(
        f"Ray needs a folder for its sockets whose path has at most {LONGEST_TEMPORARY - 15} "
        f"characters of A-Z a-z 0-9 _ . / + = @ -, where this user may write; none of {tried} is "
        "one. Name one with TMPDIR"
    )
