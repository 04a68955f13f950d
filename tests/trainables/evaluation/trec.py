"""pytrec_eval through ir-measures, kept open in the environment of the peers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]

SERVER = """
import json, sys
import ir_measures
from ir_measures import AP, RR, R, nDCG
measures = {"map": AP, "map_cut_20": AP @ 20, "mrr": RR, "recall_at_1": R @ 1,
            "recall_at_10": R @ 10, "recall_at_100": R @ 100, "ndcg_at_10": nDCG @ 10}
provider = ir_measures.providers.registry["pytrec_eval"]
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    qrels, run = json.loads(line)
    found = {name: {} for name in measures}
    names = {str(measure): name for name, measure in measures.items()}
    for metric in provider.iter_calc(list(measures.values()), qrels, run):
        found[names[str(metric.measure)]][metric.query_id] = metric.value
    print(json.dumps(found), flush=True)
"""


def peers_python() -> Path:
    """The peers' Python: $PEERS_PYTHON, or .peers/bin/python (`make peers`); else skip."""
    python = Path(os.environ.get("PEERS_PYTHON") or ROOT / ".peers" / "bin" / "python")
    if not python.exists():
        pytest.skip("no environment of peers: run make peers, or set PEERS_PYTHON")
    return python


class Trec:
    """Asks the peer for every measure of a run."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert self.read() == "ready"

    def read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def __call__(
        self, qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]
    ) -> dict[str, dict[str, float]]:
        """Measure to query to value."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([qrels, run]) + "\n")
        self.process.stdin.flush()
        answer: dict[str, dict[str, float]] = self.read()
        return answer


def open_trec() -> Iterator[Trec]:
    """The body of a fixture."""
    python = peers_python()
    have = subprocess.run([python, "-c", "import ir_measures, pytrec_eval"], capture_output=True)
    if have.returncode:
        pytest.skip("the peers' environment lacks ir-measures or pytrec-eval-terrier")
    process = subprocess.Popen(
        [python, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Trec(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
