"""Spaces that nobody would write: one message, exit 2, at once and in little memory."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from study.cli.app import main
from study.planning.build import make_plan
from study.spaces.schema import MOST_TRIALS, load_space
from study.spaces.yaml_file import LONGEST_NUMBER, MOST_BYTES, read_yaml
from tests.study.inline import SPACE, write_space
from trainables.errors import UserError

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
LONG = "x" * 100_000
QUESTION = "question: Does anything get lost?"

HOSTILE = {
    "bomb beside": SPACE + BOMB,
    "bomb as a value": BOMB + SPACE.replace(QUESTION, "question: *a9"),
    "bomb in a claim": SPACE.replace(
        "better: {alpha: 0.5}",
        "better: {a: &a [1,1,1,1,1,1,1,1,1,1], b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a], "
        "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b], d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c], "
        "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d], f: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]}",
    ),
    "one long text, many times": f"a: &a {LONG}\nb: [{','.join(['*a'] * 1000)}]\n{SPACE}",
    "merged": "a: &a {k: 1}\n"
    + "".join(
        f"{chr(i)}: &{chr(i)} {{<<: [{','.join(['*' + chr(i - 1)] * 10)}]}}\n"
        for i in range(ord("b"), ord("k"))
    ),
    "deep": SPACE + "deep: " + "[" * 20_000 + "]" * 20_000,
    "deep by lines": SPACE + "".join(" " * i + "k:\n" for i in range(500)),
    "holds itself": SPACE.replace("better: {alpha: 0.5}", "better: &q {alpha: 0.5, me: *q}"),
    "merges itself": "&q\n<<: *q\n" + SPACE.lstrip(),
    "no such date": SPACE.replace("seeds: 1", "seeds: 2026-13-45"),
    "digits": SPACE.replace("seeds: 1", "seeds: " + "9" * 5000),
    "hexadecimal": SPACE.replace("seeds: 1", "seeds: 0x" + "f" * 5000),
    "sexagesimal": SPACE.replace("seeds: 1", "seeds: 1" + ":59" * 5000),
    "no number": SPACE.replace("seeds: 1", "seeds: !!int x"),
    "no timestamp": SPACE.replace("seeds: 1", "seeds: !!timestamp x"),
    "no truth": SPACE.replace("seeds: 1", "seeds: !!bool x"),
    "a key that is no number": SPACE.replace("fixed:", "fixed:\n  .nan: 1\n  .NaN: 2", 1),
    "a list as a key": SPACE.replace("fixed:", "fixed:\n  ? [1, 2]\n  : 2", 1),
    "many": f"{SPACE}junk: [{'1,' * 40_000}1]\n",
    "too many seeds": SPACE.replace("seeds: 1", f"seeds: {10**8}"),
    "far too many seeds": SPACE.replace("seeds: 1", "seeds: " + "9" * LONGEST_NUMBER),
    "too many cells": SPACE.replace("[0, 0.5]", "{low: 0, high: 1, step: 0.000001}"),
    "endless steps": SPACE.replace("[0, 0.5]", "{low: 0, high: 1e+308, step: 1e-300}"),
    "too many drawn": SPACE.partition("hypotheses:")[0]
    + f"optimize: {{sampler: random, trials: {10**8}}}\ntiers: {{demo: {{}}, full: {{}}}}\n",
    "half a character": SPACE.replace(QUESTION, 'question: "\\uD800"'),
    "empty": "",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_space_is_refused_at_once(name: str, tmp_path: Path) -> None:
    space = write_space(tmp_path, HOSTILE[name])
    began = time.process_time()
    code = main(["run", "--space", str(space), "--root", str(tmp_path / "r"), "--dry-run"])
    assert code == 2
    assert time.process_time() - began < 5, "a second of a quiet machine"
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("text", ["", HOSTILE["bomb beside"], HOSTILE["too many seeds"]])
def test_a_gigabyte_of_memory_is_enough(text: str, tmp_path: Path) -> None:
    space = write_space(tmp_path, text)
    if not text:
        with space.open("wb") as file:
            file.truncate(10_000 * MOST_BYTES)
    limit = (resource.RLIMIT_DATA, (1 << 30, 1 << 30))
    command = [sys.executable, "study/run.py", "--space", str(space), "--dry-run"]
    ended = subprocess.run(
        command, capture_output=True, preexec_fn=lambda: resource.setrlimit(*limit), check=False
    )
    assert ended.returncode == 2
    assert b"Traceback" not in ended.stderr


def test_aliases_that_a_person_would_write_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: &a {x: 1, y: [1, 2]}\nb: {<<: *a, x: 2}\nc: [*a, *a]\n", encoding="utf-8")
    a = {"x": 1, "y": [1, 2]}
    assert read_yaml(path) == {"a": a, "b": a | {"x": 2}, "c": [a, a]}


def test_seeds_of_the_command_line_are_limited_too(tmp_path: Path) -> None:
    space = load_space(str(write_space(tmp_path)))
    with pytest.raises(UserError):
        make_plan(space, "s", "demo", {}, seeds=MOST_TRIALS)


@pytest.mark.parametrize("option", ["--space", "--benchmark", "--encoder", "--root", "--set"])
@pytest.mark.parametrize("name", ["n" * 300, "a/" * 3000, "n" * 300 + ".yaml"])
def test_names_longer_than_a_file_may_have(option: str, name: str, tmp_path: Path) -> None:
    space, value = write_space(tmp_path), f"encoder={name}" if option == "--set" else name
    command = ["run", "--space", str(space), "--root", str(tmp_path / "r"), option, value]
    assert main([*command, "--dry-run"]) == 2


@pytest.mark.parametrize("command", [["status"], ["report"], ["export"], ["clean"]])
def test_studies_of_such_names(command: list[str], tmp_path: Path) -> None:
    assert main([*command, "n" * 300, "--root", str(tmp_path)]) == 2


@pytest.mark.parametrize("text", [json.dumps("x" * 900_000), "'" + "y " * 400_000 + "'"])
def test_a_long_value_is_not_repeated_whole(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = write_space(tmp_path, SPACE.replace("seeds: 1", f"seeds: {text}"))
    assert main(["run", "--space", str(space), "--dry-run"]) == 2
    assert len(capsys.readouterr().err) < 2000
