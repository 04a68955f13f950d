"""The `data` command, and studies on data that lie in files, from the command to the result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.cli.app import main
from tests.study.test_study import command, results
from tests.trainables.data.samples import write_lines
from tests.trainables.encoders.conftest import checkpoints  # noqa: F401 - a fixture

TYDIQA = "tydiqa-goldp-train"


def test_every_source_is_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    from trainables.data import catalog

    assert main(["data", "list"]) == 0
    listed = capsys.readouterr().out
    for name in catalog.table():
        assert name in listed
        assert main(["data", "show", name]) == 0
        shown = capsys.readouterr().out
        assert all(key in shown for key in ("licence", "it cannot", "files", "from"))
        source = catalog.source(name)
        pinned = [origin.revision for origin in source.origins if origin.revision]
        words = "".join(shown.split())  # a table folds long ones
        assert all(word in words for word in (source.modality, source.reference, *pinned))


def test_files_that_are_whole(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(shared / "data" / TYDIQA)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "swahili_tydiqa_train.json: whole: 1613532 bytes" in said
    assert "part train: whole: queries/candidates: en 3696/3429" in said
    assert "part dev: not at hand" in said


def test_files_that_are_not_whole(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "swahili_tydiqa_train.json"
    source = shared / "data" / TYDIQA / "language_data" / "swahili" / name
    document = json.loads(source.read_text(encoding="utf-8"))
    document["data"].pop()
    (tmp_path / name).write_text(json.dumps(document), encoding="utf-8")
    assert main(["data", "check", str(tmp_path)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert f"{name}: differs" in said
    assert "sw should have 2755 queries" in said
    shutil.copy(source, tmp_path / name)
    content = bytearray((tmp_path / name).read_bytes())
    content[-3] ^= 1
    (tmp_path / name).write_bytes(bytes(content))
    assert main(["data", "check", str(tmp_path), "--name", "tydiqa"]) == 1
    assert "another content, of equal size" in capsys.readouterr().out


def test_ones_own_files_are_counted_once_with_what_can_be_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files: dict[str, list[Any]] = {
        "queries": [
            {"id": f"{x}{n}", "language": x, "text": f"{n}?"} for x in ("de", "en") for n in "123"
        ],
        "corpus": [{"id": x, "language": x, "text": x} for x in ("de", "en")],
        "qrels": [{"query": f"{x}1", "candidate": y} for x in ("de", "en") for y in ("de", "en")],
        "train": [{"id": "1", "queries": {"tr": "?"}, "passages": {"tr": "."}}],
    }
    for name, rows in files.items():
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    assert main(["data", "check", str(tmp_path)]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("jsonl: ")
    assert lines == [
        "  benchmark: 6 queries, 2 passages, parallel in de en",
        "  training: 1 row in tr",
    ]
    again = json.dumps({"id": "again", "language": "de", "text": "1?"})
    with (tmp_path / "queries.jsonl").open("a", encoding="utf-8") as queries:
        queries.write(again)
    assert main(["data", "check", str(tmp_path)]) == 0
    assert "in de en; 2 queries have the text of another one" in capsys.readouterr().out
    (tmp_path / "train.jsonl").write_text('{"id": "1"}\n', encoding="utf-8")
    assert main(["data", "check", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "training: malformed:" in said
    assert "benchmark: 7 queries" in said


def test_mistakes_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in [
        (["show", "nothing"], "unknown benchmark or training data 'nothing'"),
        (["check", str(tmp_path)], "no source has files like these"),
        (["check", str(tmp_path / "gone")], "no such folder"),
        (["check", str(tmp_path), "--name", "synthetic"], "made by this project"),
        (["fetch", "jsonl", "--to", str(tmp_path)], "nothing to fetch"),
        (["fetch", "belebele", "--to", str(tmp_path), "--languages", "xx"], "no language 'xx'"),
    ]:
        assert main(["data", *arguments]) == 2
        assert words in " ".join(capsys.readouterr().err.split())


def test_what_has_no_passages_is_refused_before_anything_is_written(
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    checkpoints: Callable[[str], Path],  # noqa: F811
) -> None:
    root = tmp_path / "root"
    arguments = ["run", "--space", "mixing_ratio", "--benchmark", "mr_tydi", "--set", "steps=0"]
    arguments += ["--data-dir", str(shared / "data" / "mrtydi-dev"), "--root", str(root)]
    assert main([*arguments, "--encoder", str(checkpoints("bert"))]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "mr_tydi cannot be evaluated" in said
    assert "not the passages" in said
    assert not root.exists()


@pytest.fixture
def own_data(tmp_path: Path) -> Path:
    """A benchmark and training data in the documented format, two languages, parallel."""
    folder = tmp_path / "own"
    texts = {"de": ("Was ist {}?", "Das ist Ding {}."), "en": ("What is {}?", "This is thing {}.")}
    queries, corpus, qrels = [], [], []
    for number in range(6):
        for language, (asked, answer) in texts.items():
            queries.append(
                {
                    "id": f"{language}-q{number}",
                    "language": language,
                    "text": asked.format(number),
                    "question": f"q{number}",
                }
            )
            corpus.append(
                {"id": f"{language}-p{number}", "language": language, "text": answer.format(number)}
            )
            qrels += [
                {"query": f"{language}-q{number}", "candidate": f"{other}-p{number}"}
                for other in texts
            ]
    for name, rows in (("queries", queries), ("corpus", corpus), ("qrels", qrels)):
        write_lines(folder / f"{name}.jsonl", rows)
    write_lines(
        folder / "train.jsonl",
        [
            {
                "id": f"t{number}",
                "queries": {la: asked.format(number + 50) for la, (asked, _) in texts.items()},
                "passages": {la: told.format(number + 50) for la, (_, told) in texts.items()},
            }
            for number in range(12)
        ],
    )
    return folder


def run(root: Path, encoder: Path, data: Path, *settings: str) -> list[dict[str, float]]:
    """Metrics on the test benchmark of every trial of a small study through the real command."""
    arguments = ["study/run.py", "--space", "mixing_ratio", "--seeds", "1", "--root", str(root)]
    arguments += ["--encoder", str(encoder), "--data-dir", str(data), *settings]
    done = command(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(content)["metrics"] for content in results(root).values()]


@pytest.mark.slow
def test_a_study_on_tydiqa(
    shared: Path,
    tmp_path: Path,
    checkpoints: Callable[[str], Path],  # noqa: F811
) -> None:
    settings = ["--benchmark", "tydiqa", "--set", "eval_languages=sw", "--set", "languages=sw"]
    settings += ["--set", "sampling=X-X", "--set", "alpha=1", "--set", "steps=2"]
    settings += ["--set", "batch_size=4", "--set", "max_passage_tokens=32"]
    found = run(tmp_path / "root", checkpoints("xlm-roberta"), shared / "data" / TYDIQA, *settings)
    assert len(found) == 2
    assert all(0 < metrics["map/mono/sw"] < 1 for metrics in found)
    assert not any(name.startswith(("map/multi", "map/cross")) for name in found[0])


@pytest.mark.slow
def test_a_study_on_peoples_own_data(
    own_data: Path,
    tmp_path: Path,
    checkpoints: Callable[[str], Path],  # noqa: F811
) -> None:
    settings = ["--benchmark", "jsonl", "--set", "train=jsonl", "--set", "steps=2"]
    settings += ["--set", "alpha=0.5", "--set", "batch_size=4"]
    found = run(tmp_path / "root", checkpoints("bert"), own_data, *settings)
    assert len(found) == 2
    assert {"map/mono/de", "map/cross/de-en", "map/multi/en", "rank_distance"} <= found[0].keys()
