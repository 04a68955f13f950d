"""How much faster a study is on two machines than on one of them: trials in an hour.

`python benchmarks/cluster.py` makes two isolated hosts of one core each on this machine, launches
a cluster of one and then of both with `ray up`, and runs the same demo study on each. It needs
root, sshd, iproute2 and rsync. Time counts from the moment the driver hands its trials to Ray until
the last is committed, including the start of workers. The head's one core runs trials, the driver
and Ray's own servers. `--space`, `--seeds` and `--set`
choose another study.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figures import figure, show  # noqa: E402
from tests.cluster import Cluster  # noqa: E402
from tests.hosts import Hosts, missing  # noqa: E402

CORES = {"head": 0, "worker": 1}
GOAL = 1.8
BUSY = 0.5
"""Load average before the benchmark above which figures are marked."""


def main() -> None:
    """Run both, print a table, then one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--space", default="batch_size")
    parser.add_argument("--seeds", default="2")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    chosen = parser.parse_args()
    words = ["--space", chosen.space, "--seeds", chosen.seeds]
    words += [word for pair in chosen.set for word in ("--set", pair)]
    if reason := missing():
        sys.exit(reason)
    if (os.cpu_count() or 1) < len(CORES):
        sys.exit(f"{len(CORES)} hosts of one core each need as many cores")
    load = os.getloadavg()[0]
    loaded = f" (loaded: {load:.1f})" if load > BUSY else ""
    speed = {number: trials_per_hour(number, words) for number in (1, 2)}
    show(
        [
            figure(
                f"trials per hour, two hosts against one{loaded}",
                speed[2],
                speed[1],
                speed[2] / speed[1],
                unit="1/h",
                goal=f"ratio >= {GOAL}",
            )
        ]
    )


def trials_per_hour(number: int, words: list[str]) -> float:
    """Measure the study on a fresh cluster of this number of hosts."""
    with tempfile.TemporaryDirectory(prefix="cluster-") as name:
        cores: dict[str, int | None] = dict(list(CORES.items())[:number])
        with Hosts(Path(name), cores) as hosts:
            cluster = Cluster(hosts, "head", [host for host in cores if host != "head"])
            cluster.up()
            study = cluster.study("runs", *words)
            study.wait()
            (launch,) = study.events("launch")
            ended = [event["time"] for event in study.events("complete")]
            seconds: float = max(ended) - launch["time"]
            hosts_used = sorted(set(study.ran_on().values()))
            cluster.down()
    print(f"{len(ended)} trials in {seconds:.0f} s on {', '.join(hosts_used)}", flush=True)
    assert hosts_used == sorted(cores), "a host took no trial"
    return 3600 * len(ended) / seconds


if __name__ == "__main__":
    main()
