"""Drive a study on a cluster of two raylets and kill one of them (used by tests and chaos)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from study.launch.session import set_environment

PATIENCE = 300.0
"""Seconds to wait for what the kill waits for."""


def main(words: list[str], seen: str = "trials/*/manifest.json", victim: str = "any") -> int:
    """Run `words` against the cluster, of whose two machines one takes the place of the other.

    Args:
        words: Of the study, with `--root`.
        seen: A raylet is killed once this is under the root; none where it is empty.
        victim: `any`, or of a trial over both: `first`, where its rank 0 is, or `other`.

    Returns:
        The exit code of the study.
    """
    with tempfile.TemporaryDirectory() as name:
        set_environment(Path(name))
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        try:
            nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
            address = ["--address", cluster.address]
            study = subprocess.Popen([sys.executable, *words, *address])
            root = Path(words[words.index("--root") + 1])
            until = time.monotonic() + PATIENCE
            while seen and not list(root.glob(seen)) and time.monotonic() < until:
                time.sleep(0.05)
            committed = len(list(root.glob("trials/*/manifest.json")))
            if seen:
                chosen = nodes[0] if victim == "any" else of_trial(root, nodes, victim)
                cluster.remove_node(chosen, allow_graceful=False)
                if victim != "any":  # which is there only with two machines
                    cluster.add_node(num_cpus=1)
            code = study.wait()
        finally:
            cluster.shutdown()  # type: ignore[no-untyped-call]
    killed = f"one of two raylets killed after {committed} commits" if seen else "two raylets"
    print(f"{killed}; the study ended with {code}")
    return code


def of_trial(root: Path, nodes: list[Any], victim: str) -> Any:
    """The raylet that started the last trial, or the other one."""
    claims = sorted(root.glob("trials/*/attempts/*/claim.json"), key=lambda p: p.stat().st_mtime)
    process = json.loads(claims[-1].read_bytes())["process"]
    status = Path(f"/proc/{process}/stat").read_text(encoding="ascii")
    parent = int(status.rpartition(")")[2].split()[1])
    (first,) = [n for n in nodes if n.all_processes["raylet"][0].process.pid == parent]
    return first if victim == "first" else next(node for node in nodes if node is not first)


if __name__ == "__main__":
    sys.exit(main(**json.loads(sys.argv[1])))
