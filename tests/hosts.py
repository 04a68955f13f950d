"""Isolated hosts on one machine: what a cluster needs, without a second computer.

Each host has a network, process and mount namespace of its own: an address, its own disk (its
home), `/tmp` and shared memory, a read-only system, one processor core and an SSH server. A laptop
holds the switch that they are plugged into and the keys to them; nothing of it touches the
machine's own network. A host's first process reads a pipe of this process, so that all of a host
goes when this process goes, however it ends.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
HOME = Path(pwd.getpwuid(0).pw_dir)
"""Of root, on every host."""

SHARED = Path("/mnt/shared")
"""Where every host has the folder that all of them share, as over NFS."""

ENVIRONMENT = Path(sys.prefix)
PATH = f"{ENVIRONMENT}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NETWORK = "10.99.7"
LAPTOP = f"{NETWORK}.1"
READY_SECONDS = 30.0
LONGEST_COMPLAINT = 4000
"""Characters of what a command that failed had said; `ray up` tells all that it does."""

PACKAGES = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "rsync": "rsync",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
    "taskset": "util-linux",
    "unshare": "util-linux",
}
"""Programs that are needed, and Debian's packages of them."""

# The first process of a host: arguments are its name, its core or "", the shared folder, the folder
# of keys and its disk; then what must stay visible although a folder above it is covered.
INIT = f"""
set -eu
read -r pid _ < /proc/self/stat
name=$1 core=$2 shared=$3 keys=$4 disk=$5; shift 5
if [ -n "$core" ]; then taskset -cp "$core" $$ > /dev/null; fi
hostname "$name"
mount -t tmpfs hold /mnt
mkdir -p {SHARED} /mnt/keys /mnt/disk /mnt/keep
mount --bind "$shared" {SHARED}
mount --bind "$keys" /mnt/keys
mount --bind "$disk" /mnt/disk
number=0
for kept in "$@"; do
    number=$((number + 1)); mkdir /mnt/keep/$number; mount --rbind "$kept" /mnt/keep/$number
done
for covered in /tmp /var/tmp /run /dev/shm; do mount -t tmpfs own "$covered"; done
mount --bind /mnt/disk "{HOME}"
chmod 1777 /tmp /var/tmp /dev/shm
mount -o remount,bind,ro / || true
number=0
for kept in "$@"; do
    number=$((number + 1)); mkdir -p "$kept" 2> /dev/null || true
    mount --rbind /mnt/keep/$number "$kept"; mount -o remount,bind,ro "$kept"
done
mount -t proc proc /proc
mkdir -p /run/sshd "{HOME}/.ssh"
cp /mnt/keys/id_ed25519.pub "{HOME}/.ssh/authorized_keys"
: > /run/resolv.conf; mount --bind /run/resolv.conf /etc/resolv.conf || true
mount --bind /mnt/keys/hosts /etc/hosts
[ -e "{HOME}/.bashrc" ] || echo 'export PATH={PATH}' | tee "{HOME}/.bashrc" > "{HOME}/.profile"
ip link set lo up
echo "$pid"
while read -r line; do :; done
"""

SSHD = """
ListenAddress {address}
HostKey /mnt/keys/host_ed25519
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
UseDNS no
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
"""


def install() -> None:
    """Install what is missing with apt-get, where root may (`python -m tests.hosts`)."""
    packages = sorted({package for name, package in PACKAGES.items() if not _which(name)})
    if packages and os.geteuid() == 0 and (apt := _which("apt-get")):
        silent = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            subprocess.run([apt, "-qq", *words], env=silent, check=False, timeout=600)


class HostError(Exception):
    """A host could not be made, or a command on it failed."""


def missing() -> str:
    """Why hosts cannot be made here; empty where they can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "isolated hosts need root on Linux"
    absent = sorted({package for name, package in PACKAGES.items() if not _which(name)})
    if absent:
        return f"isolated hosts need Debian's packages: apt-get install {' '.join(absent)}"
    try:
        with tempfile.TemporaryDirectory() as name, Hosts(Path(name), {"one": None}) as hosts:
            hosts["one"].run("true")
    except HostError as error:
        return f"isolated hosts cannot be made here: {error}"
    return ""


class Host:
    """One of them, switched on."""

    def __init__(self, name: str, address: str, core: int | None, folder: Path) -> None:
        """Start its first process; it is not plugged in yet.

        Args:
            name: Its host name.
            address: Its own, in the network of the laptop.
            core: The only one that its processes run on; None for all.
            folder: Of keys, disks, and of what is shared by all hosts.
        """
        disk = folder / "disks" / name
        disk.mkdir(parents=True, mode=0o700, exist_ok=True)
        self.name, self.address, self.core = name, address, core
        self.port = f"to-{name}"[:15]
        kept = [REPOSITORY, ENVIRONMENT, Path(sys.base_prefix)]
        flags = ["--net", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child"]
        words = [*map(str, (folder / "shared", folder / "keys", disk, *kept))]
        self.process = subprocess.Popen(
            [
                *("unshare", *flags, "--propagation", "private", "bash", "-c", INIT, "init"),
                *(name, "" if core is None else str(core), *words),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            text=True,
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        if not said.isdigit():
            _, error = self.process.communicate()
            raise HostError(f"{name}: {error.strip() or 'its first process ended'}")
        self.pid = int(said)

    def words(self, *command: str) -> list[str]:
        """The command as it is typed outside."""
        pinned = [] if self.core is None else ["taskset", "-c", str(self.core)]
        flags = ["--net", "--pid", "--mount", "--uts", "--ipc", "--wdns=" + str(HOME)]
        return ["nsenter", "--target", str(self.pid), *flags, *pinned, *command]

    def start(self, *command: str, log: Path | None = None) -> subprocess.Popen[str]:
        """Start a command on it; its output goes to the file, or into a pipe."""
        output = subprocess.PIPE if log is None else log.open("a", encoding="utf-8")
        return subprocess.Popen(
            self.words(*command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(),
            text=True,
        )

    def run(self, *command: str, timeout: float = 300.0, check: bool = True) -> str:
        """What a command on it says.

        Raises:
            HostError: It failed, or took longer than `timeout` seconds.
        """
        process = self.start(*command)
        try:
            said, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
            raise HostError(self._told(command, f"took over {timeout:g} s", said)) from None
        if check and process.returncode:
            raise HostError(self._told(command, f"ended with {process.returncode}", said))
        return said

    def _told(self, command: tuple[str, ...], what: str, said: str) -> str:
        return f"{self.name}: {' '.join(command)[-500:]} {what}:\n{said[-LONGEST_COMPLAINT:]}"

    def serve(self) -> None:
        """Let others in over SSH; returns when they can come."""
        configuration = SSHD.format(address=self.address)
        self.run("bash", "-c", 'printf %s "$1" > /run/sshd/config', "bash", configuration)
        self.run(str(_which("sshd")), "-f", "/run/sshd/config", "-E", "/run/sshd/log")

    def kill(self) -> None:
        """End every process of it at once."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # with its first process go all others
        self.process.communicate()
        until = time.monotonic() + READY_SECONDS
        while Path(f"/proc/{self.pid}").exists() and time.monotonic() < until:
            time.sleep(0.02)


class Hosts:
    """A laptop, and hosts plugged into its switch; a context manager that removes them all.

    Attributes:
        laptop: From where the others are reached; it has the private key.
        shared: The folder that every host has as `SHARED`, seen from outside.
    """

    def __init__(self, folder: Path, cores: dict[str, int | None]) -> None:
        """Say which.

        Args:
            folder: An empty one, for keys and what is shared; stays when the hosts are gone.
            cores: The names of the hosts, and on which core each runs.
        """
        self.folder, self.cores = folder, cores
        self.shared = folder / "shared"
        self._running: dict[str, Host] = {}

    def __enter__(self) -> Hosts:
        """Make the keys, switch everything on and plug it in."""
        keys = self.folder / "keys"
        try:
            for path in (keys, self.shared):
                path.mkdir()
            for name in ("id_ed25519", "host_ed25519"):
                self._outside("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name))
            names = ["127.0.0.1 localhost", f"{LAPTOP} laptop", *map(self._line, self.cores)]
            (keys / "hosts").write_text("\n".join(names) + "\n", encoding="ascii")
            self.laptop = self._running["laptop"] = Host("laptop", LAPTOP, None, self.folder)
            script = (
                "ip link add switch type bridge && ip link set switch up && "
                f"ip address add {LAPTOP}/24 dev switch && "
                f"install -m 600 /mnt/keys/id_ed25519 {HOME}/.ssh/id_ed25519"
            )
            self.laptop.run("bash", "-c", script)
            for name in self.cores:
                self.switch_on(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Switch everything off; what they shared stays."""
        for host in self._running.values():
            host.kill()
        self._running.clear()
        for name in ("keys", "disks"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def __getitem__(self, name: str) -> Host:
        """A host that is switched on."""
        return self._running[name]

    def switch_on(self, name: str) -> Host:
        """A host with its power on and its cable in; its home is as it was left."""
        address = self.address(name)
        host = self._running[name] = Host(name, address, self.cores[name], self.folder)
        laptop = self.laptop.run
        laptop("bash", "-c", f"ip link delete {host.port} 2> /dev/null || true")
        # a cable whose other end lies in the host; the laptop sees processes of its own only
        self._outside(
            *("nsenter", "--target", str(self.laptop.pid), "--net"),
            *("ip", "link", "add", host.port, "type", "veth"),
            *("peer", "name", "eth0", "address", self._card(name), "netns", str(host.pid)),
        )
        laptop("ip", "link", "set", host.port, "master", "switch")
        self.plug(name)
        host.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        # as in any office; it leads to the laptop, which forwards nothing
        host.run("ip", "route", "add", "default", "via", LAPTOP)
        host.serve()
        return host

    def switch_off(self, name: str, lost: bool = False) -> None:
        """Take a host's power; nobody hears of it.

        Args:
            name: Of the host.
            lost: Whether its disk goes too, so that the next of this name is as from the shop.
        """
        self.unplug(name)
        self._running.pop(name).kill()
        if lost:
            shutil.rmtree(self.folder / "disks" / name)

    def is_on(self, name: str) -> bool:
        """Whether a host has power."""
        return name in self._running

    def unplug(self, name: str) -> None:
        """Pull a host's network cable."""
        self.laptop.run("ip", "link", "set", self._running[name].port, "down")

    def plug(self, name: str) -> None:
        """Put it back."""
        self.laptop.run("ip", "link", "set", self._running[name].port, "up")

    @contextmanager
    def unplugged(self, name: str) -> Iterator[None]:
        """A host without network for a while."""
        self.unplug(name)
        try:
            yield
        finally:
            self.plug(name)

    def ssh(self, name: str, *command: str, timeout: float = 300.0) -> str:
        """What a command says that is typed on the laptop, in a session on a host."""
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-q"]
        where = f"root@{self[name].address}"
        return self.laptop.run("ssh", *options, where, *command, timeout=timeout)

    def address(self, name: str) -> str:
        """Of a host, whether it is on or off."""
        return f"{NETWORK}.{11 + list(self.cores).index(name)}"

    def _card(self, name: str) -> str:
        """Of a host's network card: the same after a restart, or others would look for the old."""
        return f"02:00:00:00:00:{11 + list(self.cores).index(name):02x}"

    def _line(self, name: str) -> str:
        """Address and name of a host, as in /etc/hosts."""
        return f"{self.address(name)} {name}"

    def _outside(self, *command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HostError(f"{' '.join(command)}: {done.stderr.strip()}")


def listening(host: Host) -> Sequence[tuple[str, int, int]]:
    """(address, port, process) of every TCP socket of a host that waits for connections."""
    found = []
    for line in host.run(
        "ss", "--tcp", "--listening", "--numeric", "--processes", "-H"
    ).splitlines():
        words = line.split()
        address, _, port = words[3].rpartition(":")
        process = 0
        with suppress(IndexError, ValueError):
            process = int(line.split("pid=")[1].split(",")[0])
        found.append((address.strip("[]"), int(port), process))
    return found


def _environment() -> dict[str, str]:
    return {"PATH": PATH, "HOME": str(HOME), "LANG": "C.UTF-8", "USER": "root"}


def _which(program: str) -> str | None:
    return shutil.which(program, path=PATH)


if __name__ == "__main__":
    install()
    print(missing() or "isolated hosts can be made here")
