"""A cluster of isolated hosts, launched by `ray up` from this project's `cluster.local.yaml`."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from study.state.journal import Reading
from tests.hosts import ENVIRONMENT, HOME, REPOSITORY, SHARED, Host, HostError, Hosts
from trainables import faults

PROJECT = HOME / "hybrid-batch-study"
"""Where `file_mounts` puts the project on every node."""

JOIN_SECONDS = 300.0
"""For a node to join, or to go; half a minute on an idle machine."""

STUDY_SECONDS = 1800.0
"""For a study of a test on a busy machine; one minute on an idle one."""

SPACE = """
question: Does anything get lost?
fixed:
  sampling: hybrid
  languages: [qaa, qad]
  eval_languages: [qaa, qad]
  batch_size: 8
  reference_batch_size: 8
  steps: {steps}
search:
  alpha: [0, 0.5, 1]
seeds: 2
hypotheses:
  - name: h
    metric: map/multi
    better: {{alpha: 0.5}}
    than: {{alpha: 0}}
    margin: 0.01
    why: test
tiers:
  demo: {{fixed: {{learning_rate: 0.005}}}}
  full: {{}}
"""

NODES = """
import json, ray
ray.init("auto", log_to_driver=False, logging_level="ERROR")
found = {n["NodeManagerAddress"]: n["Resources"].get("CPU", 0) for n in ray.nodes() if n["Alive"]}
print("NODES " + json.dumps(found))
"""


class Cluster:
    """What a person does on the laptop, with the files and commands of docs/cluster.md.

    Attributes:
        hosts: On which it runs.
        head: Name of the head's host.
    """

    def __init__(self, hosts: Hosts, head: str, workers: list[str], saved_step: int = 0) -> None:
        """Write the copy of `cluster.local.yaml`, and the token.

        Args:
            hosts: Switched on; all have one core.
            head: Name of a host.
            workers: Names of others.
            saved_step: The step after which every trial saves a checkpoint; 0 for none.
        """
        self.hosts, self.head, self.workers = hosts, head, workers
        self.saved_step = saved_step
        self.expected = 1 + len(workers)
        self.file = SHARED / f"cluster-{head}.yaml"
        (hosts.shared / self.file.name).write_text(self._configuration(), encoding="utf-8")
        hosts.laptop.run("ray", "get-auth-token", "--generate")
        hosts.laptop.run("chmod", "600", f"{HOME}/.ray/auth_token")

    def _configuration(self) -> str:
        """The project's file, with these machines in it.

        Nothing can be installed without a network, so the environment of the tests is used; a
        core that a host is pinned to is not seen by Ray, so it is told.
        """
        text = (REPOSITORY / "cluster.local.yaml").read_text(encoding="utf-8")
        config = yaml.safe_load(text)
        config["provider"]["head_ip"] = self.hosts[self.head].address
        config["provider"]["worker_ips"] = [self.hosts[name].address for name in self.workers]
        config["auth"]["ssh_user"] = "root"
        setup = config["setup_commands"]
        config["setup_commands"] = [line for line in setup if "install.py" not in line]
        assert len(config["setup_commands"]) == len(setup) - 1
        for key in ("head_start_ray_commands", "worker_start_ray_commands"):
            commands = [line.replace("ray start", "ray start --num-cpus=1") for line in config[key]]
            assert commands != config[key]
            config[key] = commands
        return str(yaml.safe_dump(config))

    def prepare(self, name: str) -> None:
        """What the owner of a machine does once: Python, and what trials of tests shall do."""
        words = [f"STUDY_VENV={ENVIRONMENT}", f"PYTHONPATH={PROJECT}"]
        if self.saved_step:
            words.append(f'{faults.VARIABLE}="save point=step step={self.saved_step}"')
        # before what the setup commands add
        script = 'grep -qs STUDY_VENV ~/.bashrc || echo "$1" >> ~/.bashrc'
        self.hosts[name].run("bash", "-c", script, "bash", f"export {' '.join(words)}")

    def up(self) -> None:
        """`ray up`, and wait until all nodes have joined.

        Raises:
            HostError: They have not, three times. Ray gives a node half a minute to start, which is
                not enough on a busy machine, and a worker that was too slow is not tried again.
        """
        for name in (self.head, *self.workers):
            self.prepare(name)
        for left in (2, 1, 0):
            try:
                self._laptop(f"ray up -y --no-config-cache {self.file} 2>&1")
                return self.wait(self.expected)
            except HostError:
                if not left:
                    raise

    def down(self) -> None:
        """`ray down`."""
        self._laptop(f"ray down -y {self.file} 2>&1")

    def execute(self, command: str, timeout: float = JOIN_SECONDS) -> str:
        """What a command on the head says, by `ray exec`."""
        words = ["ray", "exec", "--no-config-cache", str(self.file), command]
        return self.hosts.laptop.run("bash", "-c", _AT_HOME, "bash", *words, timeout=timeout)

    def nodes(self) -> dict[str, float]:
        """Processors of every living node, by its address; empty where no head answers."""
        command = ["timeout", "60", f"{ENVIRONMENT}/bin/python", "-c", NODES]
        # in a session of its own on the head: `ray exec` takes twice as long
        script = f'. {PROJECT}/cluster/environment.sh; exec "$@"'
        head = self.hosts[self.head]
        said = head.run("bash", "-c", script, "bash", *command, check=False)
        lines = [line for line in said.splitlines() if line.startswith("NODES ")]
        return json.loads(lines[-1][6:]) if lines else {}

    def wait(self, count: int) -> None:
        """Return when so many nodes are alive.

        Raises:
            HostError: There are not.
        """
        head = self.hosts[self.head]
        if not until(lambda: len(self.nodes()) == count, JOIN_SECONDS):
            logs = "tail -n 30 /tmp/ray/session_latest/logs/monitor.*"
            said = head.run("bash", "-c", f"{logs} 2>&1", check=False)
            raise HostError(f"{self.nodes()} instead of {count} nodes:\n{said}")

    def heal(self) -> None:
        """Wait until all hosts take part again, switched on where they are off."""
        for name in self.workers:
            if not self.hosts.is_on(name):
                self.hosts.switch_on(name)
        self.wait(self.expected)

    def study(self, root: str, *words: str) -> Study:
        """Start a study on the head, over all nodes, with its output in `<root>.log`."""
        return Study(self, root, words)

    def _laptop(self, command: str) -> str:
        return self.hosts.laptop.run(
            "bash", "-c", f"cd {REPOSITORY} && {command}", timeout=JOIN_SECONDS
        )


class Study:
    """A study that runs on the head, seen from outside."""

    def __init__(self, cluster: Cluster, root: str, words: tuple[str, ...]) -> None:
        """Start it; its root is the folder of this name in what all hosts share."""
        self.cluster = cluster
        self.root = cluster.hosts.shared / root
        self.log = self.root.with_suffix(".log")
        inside = SHARED / self.log.name
        # studies of one name in several roots, so one state folder each
        self.places = f"--root {SHARED / root} --state {HOME}/study-state/{root}"
        command = (
            f"cd {PROJECT} && python study/run.py {self.places} --name s --address auto "
            f"{' '.join(words)} > {inside} 2>&1 < /dev/null; echo ENDED $? >> {inside}"
        )
        exec_words = ["ray", "exec", "--no-config-cache", str(cluster.file), command]
        self.log.unlink(missing_ok=True)
        self.earlier = {attempt for attempt, _ in self.claims()}
        self.process = cluster.hosts.laptop.start("bash", "-c", _AT_HOME, "bash", *exec_words)

    def wait(self, seconds: float = STUDY_SECONDS) -> str:
        """What it printed, when it has ended well.

        Raises:
            HostError: It has not.
        """
        try:
            said, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            said, _ = self.process.communicate()
        printed = self.log.read_text(encoding="utf-8") if self.log.exists() else said
        if "ENDED 0" not in printed:
            raise HostError(f"the study on {self.root.name} did not end well:\n{printed}\n{said}")
        return printed

    def abandon(self) -> None:
        """Its head is gone: end the session that waits for it."""
        self.process.kill()
        self.process.communicate()

    def midway(self, host: str) -> str:
        """Wait for a trial that this host has saved and not finished; its digest.

        Raises:
            HostError: There was none.
        """
        found: list[str] = []

        def seen() -> bool:
            for attempt, claim in self.claims():
                if attempt in self.earlier:
                    continue
                trial = attempt.parents[1]
                saved = (attempt / "checkpoint/manifest.json").exists()
                if claim["host"] == host and saved and not (trial / "manifest.json").exists():
                    found.append(trial.name)
            return bool(found) or self.process.poll() is not None

        if not until(seen, STUDY_SECONDS, pause=0.05) or not found:
            raise HostError(f"no trial of {host} was seen half-way:\n{self.log.read_text()}")
        return found[0]

    def claims(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """The folder of every attempt, and who claimed it."""
        for path in sorted(self.root.glob("trials/*/attempts/*/claim.json")):
            try:
                yield path.parent, json.loads(path.read_bytes())
            except (OSError, ValueError):
                continue  # removed, or being written

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What the driver noted of this kind."""
        return [line for line in Reading(self.root / "studies/s") if line["event"] == kind]

    def results(self) -> Mapping[str, bytes]:
        """Of every trial, the result that counts."""
        found = {}
        for path in self.root.glob("trials/*/manifest.json"):
            attempt = path.parent / f"attempts/{json.loads(path.read_bytes())['attempt']:03d}"
            found[path.parent.name] = (attempt / "result.json").read_bytes()
        return found

    def ran_on(self) -> dict[str, str]:
        """Host on which each result was made."""
        return {folder.parents[1].name: claim["host"] for folder, claim in self.claims()}

    def resumed(self) -> dict[str, int]:
        """The step from which the attempt that counts went on, of every trial."""
        files = self.root.glob("trials/*/attempts/*/environment.json")
        return {p.parents[2].name: json.loads(p.read_bytes())["resumed_at"] for p in files}


_AT_HOME = f'cd {REPOSITORY}; exec "$@"'


def table(printed: str) -> str:
    """What a study says of its numbers, without the way there."""
    _, start, rest = printed.partition("s: mean")
    assert start, printed
    return rest.partition("Report: ")[0]


def until(condition: Callable[[], bool], seconds: float, pause: float = 1.0) -> bool:
    """Whether something came to hold within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


@contextmanager
def cluster_of_two(folder: Path, saved_step: int = 0) -> Iterator[Cluster]:
    """A head and a worker of one core each, up; gone at the end."""
    with Hosts(folder, {"head": 0, "worker": 1}) as hosts:
        cluster = Cluster(hosts, "head", ["worker"], saved_step)
        cluster.up()
        yield cluster


def ray_processes(host: Host) -> list[str]:
    """Command lines of Ray's servers on a host."""
    lines = host.run("ps", "-eo", "args").splitlines()
    return [line for line in lines if "/raylet " in line or "/gcs_server" in line]
