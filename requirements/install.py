"""Makes a virtual environment and installs a lock into it; finishes what was interrupted.

    python3 requirements/install.py LOCK [--into .venv] [--exact-python]

LOCK is a file of this folder without `.lock`. Run by the Makefile with nothing but the standard
library; a call with nothing to do takes a fraction of a second. A stamp inside the environment,
written after success, holds a hash of the locks, pyproject.toml, the Python and the place of the
repository. A marker stands while pip works: found at the next call, it means that pip was killed,
and packages that are not whole are installed again.
"""

# This file must parse on an old Python too, to refuse it in words: no newer syntax here.
import argparse
import csv
import glob
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
OLDEST = (3, 11)
# Locks that are environments of their own, or additions, without the project itself.
WITHOUT_PROJECT = ("peers", "real")


def say(text: str) -> None:
    """Print one line at once, so that it stands before what pip prints."""
    print(text, flush=True)


def say_system() -> None:
    """Tell what to expect where this is not Linux."""
    system = platform.system()
    if system == "Darwin":
        say("Note: this is macOS, supported as best effort; Linux is what is tested.")
    elif system == "Windows":
        sys.exit("Windows is supported through WSL2: run this inside a Linux distribution there.")
    elif system != "Linux":
        say(f"Note: this is {system}; only Linux is tested.")


def python_of(folder: str) -> str:
    """The interpreter of the environment in `folder`."""
    return os.path.join(folder, "bin", "python")


def version_in(folder: str) -> str:
    """Python's version in an environment whose pip works, else an empty string."""
    code = "import pip, sys; print('.'.join(map(str, sys.version_info[:3])))"
    try:
        done = subprocess.run(
            [python_of(folder), "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.decode().strip() if done.returncode == 0 else ""


def usable(folder: str, exact: bool) -> bool:
    """Whether the environment can stay: pip works, Python is new enough and the one asked for."""
    version = version_in(folder)
    pair = tuple(int(part) for part in version.split(".")[:2]) if version else ()
    return pair >= OLDEST and (not exact or pair == sys.version_info[:2])


def make_environment(folder: str) -> None:
    """Make (again) the environment; a reason and a remedy where that cannot be done."""
    if sys.version_info < OLDEST:
        sys.exit(
            f"Python {platform.python_version()} is too old: 3.11 or newer is needed. Install one "
            "and name it, for example: make demo PYTHON=python3.12"
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        sys.exit(
            f"This Python ({sys.executable}) cannot make virtual environments: its package "
            "python3-venv is missing. On Debian and Ubuntu: sudo apt-get install "
            f"python{sys.version_info[0]}.{sys.version_info[1]}-venv, then run make again."
        )
    if os.path.exists(folder):
        say(f"{os.path.basename(folder)} is half made or of another Python: it is made anew.")
    say(f"Making {os.path.basename(folder)} with Python {platform.python_version()}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)


def hash_of(names: "list[str]", folder: str) -> str:
    """What the installed set depends on, as one hash."""
    digest = hashlib.sha256(f"{version_in(folder)} {ROOT}".encode())
    for name in ["../pyproject.toml", *names]:
        with open(os.path.join(HERE, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def files_of(lock: str) -> "list[str]":
    """The lock and those that it includes with `-r`."""
    with open(os.path.join(HERE, lock)) as file:
        included = [line.split()[1] for line in file if line.startswith("-r ")]
    return [lock] + [name for other in included for name in files_of(other)]


def is_whole(site: str, record: str) -> bool:
    """Whether all files of a package are there with their size: pip writes RECORD last."""
    if not os.path.exists(record):
        return False
    with open(record, newline="") as file:
        for row in csv.reader(file):
            path = os.path.join(site, row[0])
            if row[0].endswith(".pyc"):
                continue
            if not os.path.exists(path) or (row[2] and os.path.getsize(path) != int(row[2])):
                return False
    return True


def drop_broken(folder: str) -> None:
    """Forget packages that a killed pip left incomplete, so that pip installs them again."""
    for above, folders, _ in os.walk(os.path.join(folder, "lib")):
        if os.path.basename(above) != "site-packages":
            continue
        for name in folders:
            whole = not name.endswith(".dist-info") or is_whole(
                above, os.path.join(above, name, "RECORD")
            )
            if name.startswith("~") or not whole:
                say(f"An interrupted installation left {name} incomplete: installing it again.")
                shutil.rmtree(os.path.join(above, name))
        folders[:] = []


def pip(folder: str, *arguments: str) -> None:
    """Run pip in the environment; end with its exit code where it fails."""
    command = [python_of(folder), "-m", "pip", "install", "--disable-pip-version-check"]
    if not sys.stdout.isatty():
        command += ["-qq"]  # errors only; a person at a terminal sees how far it is
    done = subprocess.run(command + list(arguments), stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        say("Installation failed (see above). The next call goes on from here.")
        sys.exit(done.returncode)


def install(lock: str, folder: str, exact: bool) -> None:
    """Bring the environment to what the lock says, unless its stamp tells that it is there."""
    if not usable(folder, exact):
        make_environment(folder)
    stamp, marker = (os.path.join(folder, name) for name in (".installed", ".installing"))
    stamps = {}
    if os.path.exists(stamp):
        with open(stamp) as file:
            stamps = json.load(file)
    key = hash_of(files_of(lock + ".lock"), folder)
    if stamps.get(lock) == key and not os.path.exists(marker):
        return
    if os.path.exists(marker):
        drop_broken(folder)
    with open(marker, "w"):
        pass
    say(f"Installing {lock}.lock into {os.path.basename(folder)}: minutes at the first time.")
    extra = ["--no-deps"] if lock == "real" else []
    pip(folder, *extra, "-r", os.path.join(HERE, lock + ".lock"))
    if lock not in WITHOUT_PROJECT:
        pip(folder, "--no-deps", "--no-build-isolation", "-e", ROOT)
        # The installed name is hybrid_batch_study; in a checkout its two parts have their own.
        for site in glob.glob(os.path.join(folder, "lib", "python*", "site-packages")):
            with open(os.path.join(site, "hybrid-batch-study-checkout.pth"), "w") as file:
                file.write(ROOT + "\n")
    stamps[lock] = key
    with open(stamp + ".new", "w") as file:
        json.dump(stamps, file)
    os.replace(stamp + ".new", stamp)
    os.remove(marker)


def main() -> None:
    """Read the command line; one installation at a time in a repository."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lock")
    parser.add_argument("--into", default=".venv")
    parser.add_argument("--exact-python", action="store_true")
    options = parser.parse_args()
    say_system()
    import fcntl

    with open(os.path.join(ROOT, "pyproject.toml")) as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        install(options.lock, os.path.join(ROOT, options.into), options.exact_python)


if __name__ == "__main__":
    main()
