"""The same no-op trials under stock Ray Tune with its OptunaSearch.

    python -m benchmarks.turnaround_peer NOTES TRIALS 0|1

The last argument sets `reuse_actors`. Every worker imports torch and transformers.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from typing import Any

import ray
from ray import tune
from ray.tune.search.optuna import OptunaSearch

SLOTS = 2


class Noop(tune.Trainable):
    """Trial of one step."""

    def setup(self, config: dict[str, Any]) -> None:
        """Import what real trials import."""
        import torch
        import transformers

        self.modules = (torch.__name__, transformers.__name__)
        self.x: float = config["x"]
        self.notes: str = config["notes"]

    def step(self) -> dict[str, Any]:
        """Note the start and the end of the step."""
        self.note("began")
        value = (self.x - 0.3) ** 2
        self.note("ended")
        return {"value": value, "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Accept another trial in the same process."""
        self.setup(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing; without this method, Tune would report every trial as an error."""

    def note(self, what: str) -> None:
        """Append a line to the benchmark's notes."""
        line = {"trial": self.trial_id, "what": what, "at": time.time(), "process": os.getpid()}
        with open(self.notes, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def main() -> None:
    """Run the trials."""
    notes, trials, reuse = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1"
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ray.init(
        num_cpus=SLOTS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=100_000_000,
        _node_ip_address="127.0.0.1",
    )
    with tempfile.TemporaryDirectory() as folder:
        found = tune.Tuner(
            tune.with_resources(Noop, {"cpu": 1}),
            param_space={"x": tune.uniform(0, 1), "notes": notes},
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(),
                metric="value",
                mode="min",
                num_samples=trials,
                max_concurrent_trials=SLOTS,
                reuse_actors=reuse,
            ),
            run_config=tune.RunConfig(name="noop", storage_path=folder, verbose=0),
        ).fit()
        assert found.num_errors == 0, f"{found.num_errors} of the peer's trials failed"
    ray.shutdown()


if __name__ == "__main__":
    main()
