"""A local Ray, or a connection to a running one: quiet, authenticated, tidied up."""

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
"""Characters of Ray's folder: its sockets' full paths, 69 longer, must fit the system's 107."""

PLAIN = re.compile(r"[\w./+=@-]+", re.ASCII)
"""A path that stays what it is where Ray and Arrow take it for a URL."""

LOCK = "driver.lock"
"""In each such folder: held by its driver."""

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

    Raises:
        UserError: The token's file is of no use.
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
            "TUNE_DISABLE_SIGINT_HANDLER": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
    )


def own_token(folder: Path) -> Path:
    """The file with this user's token in a folder that several users may share, made if absent.

    It appears whole. One that is empty, or that others may read, is replaced.

    Raises:
        UserError: Another user's files stand in the way.
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
                _replace_unless_whole(draft, path)
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


def _replace_unless_whole(draft: Path, path: Path) -> None:
    """Of drivers that begin at once the first replaces the token; the others take that."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # a server's filesystem may have no locks for folders
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
    """Check that this user made a plain file or a folder, and who else may use it.

    Args:
        status: Of the file itself, not of what it links to.
        forbidden: Bits of its mode that would give others too much.

    Raises:
        PermissionError: Another user could have made or changed it.
    """
    plain = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    if not plain or status.st_mode & forbidden or status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "others could have made it")


def _refuse_unusable(path: Path) -> None:
    """Refuse a file that was named for the token and holds none."""
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
    """Start or join Ray; yields a folder for Tune's own files, removed with Ray's at the end.

    Args:
        state: A local folder for the token, and for temporary files where its path is short.
        workers: Processors for trials, on a Ray started here.
        address: Of a running cluster; None starts one on this machine.
    """
    set_environment(state if address is None else None)
    import ray
    from ray._private import utils

    # private, for `ray.init` calls both by itself and has no argument or variable for either:
    # Ray notes the command line, which may hold passwords, or what no locale but its own can write
    utils.get_entrypoint_name = lambda: "study"
    # and would exit at SIGTERM, wherever it is
    utils.set_sigterm_handler = lambda _: None
    temporary, lock = _short_folder(state)
    try:
        if address is None:
            _start(workers, temporary)
        else:
            _join(address)
        end_politely()  # once more: Ray's C++ takes SIGTERM for itself
        for name in ("ray", "ray.tune", "ray.train", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield temporary / "tune"
    finally:
        with held():
            try:
                ray.shutdown()
            except OSError:  # on a full disk it cannot even make what it removes
                shutil.rmtree(temporary, ignore_errors=True)
                ray.shutdown()
            end_politely()  # and gives it back to nobody
            shutil.rmtree(temporary, ignore_errors=True)
            lock.close()
            with suppress(OSError):
                (state / "tmp").rmdir()


def _start(processors: int, temporary: Path) -> None:
    """Start Ray on this machine, again where a busy one needs longer than Ray waits.

    Raises:
        NotNowError: It never comes up.
    """
    import ray
    from ray._private import services

    # Without its pages (include_dashboard=False starts it all the same, so this is private) it is
    # there only to report, and asks clouds' servers who they are for that
    services.start_api_server = lambda *_, **__: (None, None)
    for _ in range(STARTS):
        try:
            with held():
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
    raise NotNowError(
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

    Anybody can make a folder of such a name in a temporary folder: only this user's are opened.

    Returns:
        What was removed, or would be.
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
    """The opened lock of a session's folder.

    Raises:
        OSError: There is none, or others could have made it.
    """
    within = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _ensure_own(os.fstat(within), 0o077)
        # another kind of file is opened without waiting for its other end
        lock = os.open(LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=within)
        try:
            _ensure_own(os.fstat(lock), 0)
            yield lock
        finally:
            os.close(lock)
    finally:
        os.close(within)


def _system_folders() -> list[Path]:
    """Folders for temporary files, the one that the environment names first."""
    named = [tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp", "/var/tmp"]
    return list(dict.fromkeys(Path(name) for name in named if name and Path(name).is_dir()))


def _short_folder(state: Path) -> tuple[Path, TextIO]:
    """A fresh folder under `state`, or in one of the system's for temporary files.

    The latter where the path of the former is too long, or holds what means something in a URL.
    Also the lock in it that says for as long as this process lives that it is in use.

    Raises:
        UserError: No path is short enough, or none can be written.
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
            (folder / f".{LOCK}").rename(folder / LOCK)  # locked before anybody can find it
            return folder, lock
    tried = ", ".join(str(place) for place, _ in candidates)
    raise UserError(
        f"Ray needs a folder for its sockets whose path has at most {LONGEST_TEMPORARY - 15} "
        f"characters of A-Z a-z 0-9 _ . / + = @ -, where this user may write; none of {tried} is "
        "one. Name one with TMPDIR"
    )
