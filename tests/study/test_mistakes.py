"""A user's mistake is one clear message and exit code 2, and nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from study.cli.app import main
from study.cli.arguments import SpaceArguments
from study.planning.build import make_plan
from study.spaces.schema import load_space
from study.state.study_folder import StudyFolder
from tests.checkpoints import make_checkpoint
from tests.trainables.data.test_absent_languages import jsonl as one_language

XQUAD = ["--benchmark", "xquad_r"]


@pytest.fixture
def lareqa(tmp_path: Path) -> Path:
    """Two languages in LAReQA's format, two articles each."""
    folder = tmp_path / "data"
    folder.mkdir()
    for language in ("de", "en"):
        articles = []
        for number in range(2):
            sentences = [f"{language} first {number}.", f"{language} second {number}."]
            context = " ".join(sentences)
            start = len(sentences[0]) + 1
            question = {
                "id": f"question-{number}",
                "question": f"{language} which {number}?",
                "answers": [{"text": "second", "answer_start": start}],
            }
            paragraph = {
                "context": context,
                "sentences": sentences,
                "sentence_breaks": [[0, len(sentences[0])], [start, len(context)]],
                "qas": [question],
            }
            articles.append({"paragraphs": [paragraph]})
        content = json.dumps({"version": "1.1", "data": articles})
        (folder / f"{language}.json").write_text(content, encoding="utf-8")
    return folder


def refused(
    capsys: pytest.CaptureFixture[str],
    root: Path,
    arguments: list[str],
    words: list[str],
    code: int = 2,
) -> None:
    """Assert that `run` ends with `code` and one message with `words`, and writes nothing."""
    before = sorted(root.rglob("*")) if root.exists() else None
    assert main(["run", *arguments, "--root", str(root)]) == code
    message = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in message
    missing = [word for word in words if word not in message]
    assert not missing, message
    assert (sorted(root.rglob("*")) if root.exists() else None) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--space", "batch_size", ".yaml"]),
        (["--space", "batchsize"], ["batchsize", "did you mean batch_size"]),
        (["--space", "batch_size", "--benchmark", "jsnol"], ["did you mean jsonl"]),
        (["--space", "batch_size", "--benchmark", "squad"], ["squad", "xquad_r"]),
        (["--space", "batch_size", "--encoder", "embedded/huge"], ["embedded/huge", "small"]),
        (
            ["--space", "batch_size", "--encoder", "org/none", "--benchmark", "synthetic"],
            ["org/none", "no such folder"],
        ),
        (["--space", "batch_size", "--set", "stepz=1"], ["stepz", "did you mean steps"]),
        (["--space", "batch_size", "--set", "steps"], ["KEY=VALUE"]),
        (["--space", "batch_size", "--set", "steps=many"], ["steps", "many"]),
        (["--space", "batch_size", "--set", "steps=1", "--set", "steps=2"], ["steps", "twice"]),
        (
            ["--space", "mixing_ratio", "--set", "alpha=0,0.7,1"],
            ["searched over 0, 0.25", "study/spaces/mixing_ratio.yaml", "[0,0.7,1]"],
        ),
        (["--space", "mixing_ratio", "--set", "sampling=[hybrid, X-X]"], ["[hybrid, X-X]"]),
        (["--space", "mixing_ratio", "--set", "encoder=embedded/small,embedded/base"], ["search:"]),
        (["--space", "mixing_ratio", "--set", "eval_languages=[qaa,qab]"], ["no brackets"]),
        (
            ["--space", "mixing_ratio", "--encoder", "embedded/base", "--set", "encoder=x"],
            ["--encoder embedded/base", "encoder=x"],
        ),
        (["--space", "mixing_ratio", "--set", "alpha=1.3"], ["alpha", "1.3", "1"]),
        (["--space", "mixing_ratio", "--set", "alpha=nan"], ["alpha"]),
        (["--space", "mixing_ratio", "--set", "batch_size=5000000"], ["5000000", "at most"]),
        (
            ["--space", "mixing_ratio", "--set", "languages=qaa"],
            ["at least two", "qaa", "sampling=X-X"],
        ),
        (["--space", "mixing_ratio", "--set", "eval_languages=qaa,xx"], ["xx", "qab"]),
        (["--space", "batch_size", "--tier", "huge"], ["huge", "demo"]),
        (["--space", "batch_size", "--seeds", "0"], ["seeds"]),
        (["--space", "batch_size", "--flag"], ["--flag"]),
        (["--space", "mixing_ratio", *XQUAD], ["--data-dir"]),
        (["--space", "mixing_ratio", *XQUAD, "--data-dir", "/nowhere"], ["/nowhere"]),
    ],
)
def test_a_mistake_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    refused(capsys, tmp_path / "runs", arguments, words)


OWN_SPACE = """
question: q?
fixed: {{sampling: hybrid, alpha: 0.5, batch_size: 8, steps: 2}}
search: {{temperature: [0.02, 0.05]}}
hypotheses:
  - {{name: h, metric: {metric}, better: {{temperature: {level}}}, than: {{temperature: 0.05}},
     margin: 0.01, why: test}}
tiers: {{demo: {{fixed: {{learning_rate: 0.005}}}}}}
"""


def own_space(folder: Path, metric: str = "map/multi", level: float = 0.02) -> str:
    path = folder / "own.yaml"
    path.write_text(OWN_SPACE.format(metric=metric, level=level), encoding="utf-8")
    return str(path)


def test_mistakes_in_a_space_of_one_s_own_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    # a lone tier is taken, so that what is missing is the data
    refused(capsys, root, ["--space", own_space(tmp_path), *XQUAD], ["--data-dir"])
    words = ["it has no tier full", "--tier demo"]
    refused(capsys, root, ["--space", own_space(tmp_path), "--tier", "full"], words)
    words = ["own.yaml", "map/mutli", "'mutli' is none of mono, cross, multi"]
    refused(capsys, root, ["--space", own_space(tmp_path, metric="map/mutli")], words)
    absent = str(tmp_path / "absent.yaml")
    refused(capsys, root, ["--space", absent], [absent, "no such file"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("fixed: {alpha: 0.5, alpha: 0.7}", ["'alpha' is given twice"]),
        ("fixed: {alpha: [0.5, 0.7]}", ["alpha", "under search"]),
        ("fixed: {alpha: 0.5}\nfixed: {alpha: 0.7}", ["'fixed' is given twice"]),
        ("fixed: {eval_languages: [no, sv]}", ["eval_languages", "False", "'no'"]),
        ("fixed: {alpha: 2026-13-45}", ["2026-13-45"]),
        (f"fixed: {'[' * 9999}", ["line 2"]),
    ],
)
def test_a_space_that_cannot_be_read_one_way_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str, words: list[str]
) -> None:
    path = tmp_path / "own.yaml"
    text = f"question: q?\n{line}\nsearch: {{temperature: [0.02, 0.05]}}\ntiers: {{demo: {{}}}}\n"
    path.write_text(text, encoding="utf-8")
    refused(capsys, tmp_path / "runs", ["--space", str(path)], ["own.yaml", *words])


def test_a_hypothesis_about_cells_that_no_space_has_is_refused_and_one_set_aside_is_said_to_be(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root, space = tmp_path / "runs", own_space(tmp_path, level=0.03)
    refused(capsys, root, ["--space", space], ["'h'", "temperature=0.03", "temperature=0.02"])
    words = OWN_SPACE.format(metric="map/multi", level=0.02).replace(
        "{temperature: 0.05},", "{temprature: 0.05},"
    )
    Path(space).write_text(words, encoding="utf-8")
    refused(capsys, root, ["--space", space], ["'h'", "did you mean temperature"])
    arguments = ["--dry-run", "--root", str(root), "--space", own_space(tmp_path)]
    for more, said in (([], False), (["--set", "temperature=0.02"], True)):
        assert main(["run", *arguments, *more]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert ("will not be known: temperature=0.02 minus temperature=0.05" in shown) == said


def test_a_bad_row_of_one_s_own_data_is_named_not_said_to_be_away(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, encoder: Path
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    rows = {
        "queries": [{"id": "q1", "language": "de", "text": "wo?"}],
        "corpus": [{"id": "c1", "language": "de", "text": "hier"}],
        "qrels": [{"query": "q1", "candidate": "nope"}],
    }
    for name, lines in rows.items():
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    arguments = ["--space", "mixing_ratio", "--benchmark", "jsonl", "--data-dir", str(folder)]
    arguments += ["--encoder", str(encoder), "--set", "steps=0", "--dry-run"]
    refused(capsys, tmp_path / "runs", arguments, ["qrels.jsonl", "nope"])


def test_ones_own_training_rows_are_read_from_the_same_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, encoder: Path
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    files: dict[str, list[Any]] = {
        "queries": [{"id": "q1", "language": "de", "text": "wo?"}],
        "corpus": [{"id": "c1", "language": "de", "text": "hier"}],
        "qrels": [{"query": "q1", "candidate": "c1"}],
        "train": [{"id": n, "queries": {"de": f"{n}?"}, "passages": {"de": f"{n}."}} for n in "ab"],
    }
    for name, rows in files.items():
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    arguments = ["--set", "sampling=X-X", "--set", "batch_size=2", "--set", "alpha=1"]
    arguments += ["--benchmark", "jsonl", "--data-dir", str(folder), "--encoder", str(encoder)]
    typed = SpaceArguments.read("mixing_ratio", None, None, None, arguments[1:6:2])
    settings = typed.settings | {"benchmark": "jsonl", "encoder": str(encoder)}
    for train in ({}, {"train": "jsonl"}):
        plan, _ = make_plan(typed.space, "s", "full", settings | train, data_dir=folder, seeds=1)
        [trained] = [spec for spec in plan.specs.values() if spec.steps]
        assert trained.train is not None
        assert (trained.train.name, trained.train.part) == ("jsonl", None)
    (folder / "train.jsonl").unlink()
    words = [f"no file train.jsonl in {folder};", "--set train=NAME"]
    refused(capsys, tmp_path / "runs", ["--space", "mixing_ratio", *arguments], words)


def damage_missing(folder: Path) -> None:
    (folder / "de.json").unlink()


def damage_truncated(folder: Path) -> None:
    file = folder / "de.json"
    file.write_bytes(file.read_bytes()[:-40])


def damage_shape(folder: Path) -> None:
    (folder / "de.json").write_text('{"rows": []}', encoding="utf-8")


@pytest.mark.parametrize("damage", [damage_missing, damage_truncated, damage_shape])
def test_a_damaged_file_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, lareqa: Path, encoder: Path, damage: object
) -> None:
    assert callable(damage)
    damage(lareqa)
    arguments = ["--space", "mixing_ratio", *XQUAD, "--data-dir", str(lareqa)]
    arguments += ["--encoder", str(encoder), "--set", "eval_languages=de,en", "--set", "steps=0"]
    refused(capsys, tmp_path / "runs", arguments, ["de.json"])


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A checkpoint folder that is never loaded."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    config = {"model_type": "bert", "max_position_embeddings": 64}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_an_unwritable_root_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    refused(capsys, blocker / "runs", ["--space", "mixing_ratio"], ["--root", "cannot write"])


def test_a_full_disk_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = os.statvfs_result((4096, 4096, 10**6, 10, 10, 10**6, 10**6, 10**6, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    refused(capsys, tmp_path / "runs", ["--space", "mixing_ratio"], ["MB free", "--root"], code=130)


def test_a_changed_plan_is_refused_with_what_changed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    plan, _ = make_plan(load_space("mixing_ratio"), "mixing_ratio", "demo", {}, name="mine")
    StudyFolder.of(root, "mine").save_plan(plan)
    arguments = ["--space", "mixing_ratio", "--name", "mine", "--set", "temperature=0.2"]
    refused(capsys, root, arguments, ["planned differently", "0.05 → 0.2", "--extend cannot"])
    arguments = ["--space", "mixing_ratio", "--name", "mine", "--seeds", "9"]
    refused(capsys, root, arguments, ["planned differently", "seeds", "use --extend"])
    shutil.rmtree(root)


def test_status_of_an_unknown_study_names_those_there_are(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["status", "none", "--root", str(tmp_path)]) == 2
    assert "none yet" in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["eval_languages=de", "eval_languages=de,EN", "languages=de"])
def test_a_plan_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str
) -> None:
    one_language(tmp_path / "data")
    make_checkpoint("bert", tmp_path / "encoder", seed=0)
    space = tmp_path / "small.yaml"
    space.write_text(
        "question: Is it there?\n"
        "fixed: {benchmark: jsonl, train: jsonl, validation: null, steps: 1, batch_size: 2,\n"
        "        sampling: X-X, learning_rate: 0.001}\n"
        "search: {temperature: [0.05]}\n"
        "seeds: 1\n"
        "tiers: {full: {}}\n"
    )
    root = tmp_path / "root"
    arguments = ["run", "--space", str(space), "--tier", "full", "--root", str(root)]
    arguments += ["--data-dir", str(tmp_path / "data"), "--encoder", str(tmp_path / "encoder")]
    assert main([*arguments, "--set", setting]) == 2
    said = capsys.readouterr().err
    assert "'de'" in said
    assert "Traceback" not in said
    assert not list(root.glob("studies/*"))
