"""Reproducing, extending, keeping and cleaning: what a study promises about what it has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from study.cli.app import main
from study.launch import launch as launcher
from study.planning.build import make_plan
from study.planning.extend import INTERIM_LOOK, POST_HOC, extended, mark
from study.spaces.schema import load_space
from study.state.plan import Plan
from study.state.study_folder import StudyFolder
from tests.study.inline import SPACE, forked, launch_inline, results, study, warm, write_space
from trainables.errors import UserError
from trainables.storage import atomic as storage
from trainables.storage.cache import Cache
from trainables.trial.trial_folder import TrialFolder, read_json


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_space(tmp_path_factory.mktemp("space"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, space: Path) -> Path:
    warm()
    root = tmp_path_factory.mktemp("whole") / "root"
    assert study(root, space) == 0
    return root


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "root"))


def trained(root: Path) -> TrialFolder:
    folders = [TrialFolder(path) for path in sorted(root.glob("trials/*"))]
    return next(folder for folder in folders if folder.spec().steps)


def test_a_trial_reproduces_to_the_last_digit(root: Path) -> None:
    digest = trained(root).digest
    assert forked(lambda: main(["reproduce", digest[:8], "--root", str(root)]), {}) == 0


def test_another_number_is_seen(root: Path) -> None:
    folder = trained(root)
    path = folder.committed() / "result.json"
    result = read_json(path)
    result["metrics"]["map/multi"] += 1e-12
    storage.write_json(path, result)
    manifest = read_json(folder.manifest_path)
    manifest["files"]["result.json"] = storage.sha256(path)
    storage.write(folder.manifest_path, storage.seal(manifest))
    assert forked(lambda: main(["reproduce", folder.digest, "--root", str(root)]), {}) == 1


def test_an_unknown_digest_is_a_mistake(root: Path) -> None:
    assert forked(lambda: main(["reproduce", "ffff", "--root", str(root)]), {}) == 2


def test_a_changed_plan_is_refused_and_extended_on_request(root: Path, tmp_path: Path) -> None:
    more = write_space(tmp_path, SPACE.replace("[0, 0.5]", "[0, 0.5, 1]").replace("0.01", "0.02"))
    before = results(root)
    assert study(root, more) == 2
    assert study(root, more, "--extend") == 0
    after = results(root)
    assert before.items() < after.items()
    assert len(after) == len(before) + 1
    marks = StudyFolder.of(root, "s").record().marks
    assert len(marks) == 1
    assert marks[0].startswith(POST_HOC)
    assert study(root, more, output=tmp_path / "output") == 0
    assert POST_HOC in (tmp_path / "output").read_text(encoding="utf-8")


def test_seeds_added_after_results_are_an_interim_look(space: Path) -> None:
    before, _ = make_plan(load_space(str(space)), str(space), "demo", {}, seeds=1, name="s")
    after, _ = make_plan(load_space(str(space)), str(space), "demo", {}, seeds=2, name="s")
    assert mark(before, before.frozen, after, results=True).startswith(INTERIM_LOOK)
    assert mark(before, before.frozen, after, results=False) == ""
    assert mark(None, before.frozen, after, results=True).startswith(POST_HOC)
    assert extended(after, before).specs.keys() == after.specs.keys()


def test_an_extension_never_replaces_an_experiment(space: Path) -> None:
    before, _ = make_plan(load_space(str(space)), str(space), "demo", {}, name="s")
    other, _ = make_plan(load_space(str(space)), str(space), "demo", {"steps": 5}, name="s")
    with pytest.raises(UserError, match=r"steps: 3 → 5[\s\S]*--name"):
        extended(before, other)


def test_the_best_encoder_is_kept_by_validation(root: Path) -> None:
    values = {d: json.loads(r)["validation"]["map/multi"] for d, r in results(root).items()}
    specs = {digest: TrialFolder.of(root, digest).spec() for digest in values}
    best = max((v, d) for d, v in values.items() if specs[d].steps)[1]
    kept = {path.parents[2].name for path in root.glob("trials/*/*/*/encoder")}
    assert kept == {best}


@pytest.mark.parametrize(("keep", "count"), [("all", 2), ("none", 0)])
def test_all_or_no_encoders_are_kept(tmp_path: Path, space: Path, keep: str, count: int) -> None:
    warm()
    assert study(tmp_path, space, "--keep", keep) == 0
    assert len(list(tmp_path.glob("trials/*/*/*/encoder"))) == count


def test_while_a_grid_runs_its_disk_holds_the_best_encoder_so_far(
    tmp_path: Path, space: Path
) -> None:
    warm()
    root, counts = tmp_path / "root", tmp_path / "counts"

    def counting(jobs: Any, listener: Any, config: Any) -> None:
        finished = listener.finished

        def count(*facts: Any) -> None:
            finished(*facts)
            held = len(list(root.glob("trials/*/*/*/encoder")))
            with counts.open("a", encoding="utf-8") as file:
                file.write(f"{held}\n")

        listener.finished = count
        launch_inline(jobs, listener, config)

    def run() -> int:
        launcher.launch = counting
        return main(["run", "--space", str(space), "--root", str(root), "--seeds", "2"])

    assert forked(run, {}) == 0
    held = list(map(int, counts.read_text(encoding="utf-8").split()))
    assert len(held) == 5
    assert max(held) == held[-1] == 1


def test_without_a_validation_benchmark_the_first_trials_encoder_is_kept_and_said_to_be(
    tmp_path: Path, space: Path
) -> None:
    warm()
    root, output = tmp_path / "root", tmp_path / "output"
    assert study(root, space, "--set", "validation=null", output=output) == 0
    plan = StudyFolder.of(root, "s").plan()
    assert plan is not None
    first = next(digest for digest, spec in plan.specs.items() if spec.steps)
    assert {path.parents[2].name for path in root.glob("trials/*/*/*/encoder")} == {first}
    assert f"({first}) is kept" in " ".join(output.read_text(encoding="utf-8").split())


def test_clean_says_what_would_go_and_then_removes_it(root: Path) -> None:
    result = next(root.glob("trials/*/attempts/001/result.json"))
    result.write_bytes(b"{")
    TrialFolder(result.parents[2]).quarantine()
    aside = result.parents[2] / "damaged"
    cached = Cache(root / "cache").take("one", lambda folder: None)
    left = sorted(root.rglob("*"))
    assert forked(lambda: main(["clean", "--dry-run", "--root", str(root)]), {}) == 0
    assert sorted(root.rglob("*")) == left
    assert forked(lambda: main(["clean", "--root", str(root)]), {}) == 0
    assert not aside.exists()
    assert not cached.exists()
    assert len(results(root)) == 2


@pytest.mark.parametrize("changed", ["data/en.json", "encoder/model.safetensors"])
def test_one_changed_byte_is_named_and_nothing_old_is_reused(
    shared: Path, finished: Path, tmp_path: Path, changed: str
) -> None:
    shutil.copytree(shared / "data" / "xquad-r", tmp_path / "data")
    shutil.copytree(next(finished.glob("trials/*/*/*/encoder")), tmp_path / "encoder")
    settings = {
        "benchmark": "xquad_r",
        "encoder": str(tmp_path / "encoder"),
        "languages": ["en", "es"],
        "eval_languages": ["en", "es"],
    }

    def plan() -> Plan:
        space = load_space("mixing_ratio")
        folder = tmp_path / "data"
        return make_plan(space, "mixing_ratio", "full", settings, data_dir=folder, seeds=1)[0]

    before = plan()
    file = tmp_path / changed
    content = bytearray(file.read_bytes())
    content[content.index(b"the") if "data" in changed else -2] ^= 1  # a letter, or a weight
    file.write_bytes(content)
    after = plan()
    assert not before.specs.keys() & after.specs.keys()
    part = "test.digest" if "data" in changed else "encoder.digest"
    assert any("files changed" in line and part in line for line in before.differences(after))
