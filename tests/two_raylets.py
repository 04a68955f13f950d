"""Drive a study on a cluster of two raylets and kill one of them (used by tests and chaos)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from study.launch.session import set_environment

PATIENCE = 300.0
"""Seconds to wait for what the kill waits for."""


def main(words: list[str], seen: str = "trials/*/manifest.json", *, again: bool = False) -> int:
    """Run `words` against the cluster; its exit code.

    Args:
        words: Of the study, with `--root`.
        seen: The raylet is killed once this is under the root; never where it is empty.
        again: Whether another one takes its place.
    """
    with tempfile.TemporaryDirectory() as name:
        set_environment(Path(name))
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        try:
            victim = cluster.add_node(num_cpus=1)
            address = ["--address", cluster.address]
            study = subprocess.Popen([sys.executable, *words, *address])
            root = Path(words[words.index("--root") + 1])
            until = time.monotonic() + PATIENCE
            while seen and not list(root.glob(seen)) and time.monotonic() < until:
                time.sleep(0.05)
            committed = len(list(root.glob("trials/*/manifest.json")))
            if seen:
                cluster.remove_node(victim, allow_graceful=False)
            if again:
                cluster.add_node(num_cpus=1)
            code = study.wait()
        finally:
            cluster.shutdown()  # type: ignore[no-untyped-call]
    killed = f"one of two raylets killed after {committed} commits" if seen else "two raylets"
    print(f"{killed}; the study ended with {code}")
    return code


if __name__ == "__main__":
    sys.exit(main(**json.loads(sys.argv[1])))
