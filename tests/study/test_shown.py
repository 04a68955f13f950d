"""Text of a person is shown as it was written, on every terminal, and never obeyed."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from study.cli.app import main
from study.console import PlainConsole, decoded, marked, typed, visible
from study.driver.progress import StudyProgress
from study.state.record import TrialState
from study.tracking.observer import EndedTrial
from trainables.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
STYLE = re.compile(r"\[(?:/|/?(?:bold|dim|italic|red|green|yellow|blue|cyan|magenta))\]")

TEXTS = ("[INST] q [/INST]", "[red]x", "runs [v2]", "[/b]", ":smile: (c)", "[link=file:x]y")
OBEYED = {
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "a\x9b31mb": r"a\x9b31mb",
    "up\x0d\x08": r"up\r\x08",
    "x\u202eabc": r"x\u202eabc",
    "half \ud800": r"half \ud800",
}


def printed(*objects: object) -> str:
    console = PlainConsole(io.StringIO(), force_terminal=True, color_system=None, width=100)
    console.print(*objects)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("text", TEXTS)
def test_brackets_and_colons_are_text(text: str) -> None:
    table = Table(title=text, caption=text)
    table.add_column(text, no_wrap=True)
    table.add_row(text)
    assert printed(text).rstrip("\n") == text
    assert printed(marked(text, f" {text}")).rstrip("\n") == f"{text} {text}"
    assert printed(table).count(text) == 4


@pytest.mark.parametrize("text", OBEYED)
def test_what_a_terminal_would_obey_is_made_visible(text: str) -> None:
    table = Table(text)
    table.add_row(text)
    for shown in (printed(text), printed(marked("", text)), printed(table)):
        assert OBEYED[text] in shown
        assert not set(text) & set(shown) - set("".join(map(chr, range(32, 127))))
    assert printed(Text(f"\x1b[2J{text}")).count("\x1b") == 0


def test_ordinary_text_of_any_script_is_left_alone() -> None:
    text = "Wie heißt es? ما هذا\u200f؟ 何ですか。\t👩\u200d💻\n"
    assert visible(text) == text


def test_progress_shows_labels_as_they_are() -> None:
    console = PlainConsole(io.StringIO(), width=100)
    with StudyProgress(console, {"a": 1.0}) as progress:
        failed = TrialState("failed")
        progress.ended(EndedTrial("a", "query_prefix=[/INST]", failed, note="[v2] \x1b[2J"))
    assert isinstance(console.file, io.StringIO)
    assert r"failed  query_prefix=[/INST]  [v2] \x1b[2J" in console.file.getvalue()


@pytest.mark.parametrize(
    "word", ["plain", "query: ", "it's $HOME", "a\tb\nc", "\x1b[31m", "é\u202e\\n", "", "-rf"]
)
def test_a_command_is_shown_so_that_it_can_be_typed_again(word: str) -> None:
    line = typed(["printf", "%s", word])
    assert "\n" not in line
    assert visible(line) == line
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    again = subprocess.run(["bash", "-c", line], capture_output=True, check=True, env=environment)
    assert again.stdout.decode() == word


def test_arguments_are_utf_8_whatever_the_locale() -> None:
    assert decoded("é") == "é"
    with pytest.raises(UserError):
        decoded("\udcff")


def test_an_argument_that_is_not_utf_8_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--space", "batch_size", "--set", "query_prefix=\udcff", "--dry-run"]) == 2
    assert r"\udcff" in capsys.readouterr().err


SPACE = """
question: "Does an instruction in [brackets] or [/INST] help? \\e]0;x\\a é"
fixed: {{sampling: X-X, batch_size: 8, steps: 0, benchmark: synthetic, encoder: embedded/small}}
search: {{query_prefix: ["", "[INST] q [/INST]", "[red]x{more}"]}}
seeds: 1
primary: map/mono
tiers: {{demo: {{}}}}
"""


def test_a_plan_is_shown_as_its_space_is_written_in_any_locale(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE.format(more=""), encoding="utf-8")
    command = [sys.executable, "study/run.py", "--space", str(path), "--dry-run"]
    command += ["--root", str(tmp_path / "runs [v2]"), "--name", "[b]"]
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    shown = subprocess.run(
        command, cwd=ROOT, env=os.environ | plain, capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    first = r"[b]: Does an instruction in [brackets] or [/INST] help? \x1b]0;x\x07 \xe9"
    assert shown.stdout.startswith(first)
    assert "untrained query_prefix=[INST] q [/INST]:" in shown.stdout
    assert "untrained query_prefix=[red]x:" in shown.stdout


@pytest.mark.slow
def test_a_study_runs_in_any_locale(tmp_path: Path) -> None:
    space = "question: q?\nfixed: {steps: 0}\ntiers: {demo: {fixed: {encoder: embedded/small}}}\n"
    path = tmp_path / "space.yaml"
    path.write_text(space, encoding="utf-8")
    command = [sys.executable, "-m", "study", "run", "--space", str(path), "--workers", "1"]
    command += ["--root", str(tmp_path / "runs"), "--set", "query_prefix=日本 "]
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ | plain, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr


def test_help_is_shown_in_any_locale() -> None:
    command = [sys.executable, "-m", "study", "run", "--help"]
    plain = {"PYTHONIOENCODING": "ascii"}
    shown = subprocess.run(command, cwd=ROOT, env=os.environ | plain, capture_output=True)
    assert shown.returncode == 0
    assert b"--dry-run" in shown.stdout


def test_half_a_character_in_a_space_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE.format(more="\\ud800"), encoding="utf-8")
    assert main(["run", "--space", str(path), "--dry-run"]) == 2
    assert str(path) in capsys.readouterr().err.replace("\n", "")


def test_nothing_shows_text_but_plain_consoles_and_no_text_has_markup() -> None:
    """Only `study/console.py` makes a console; whoever forgets it is found here."""
    for path in sorted((ROOT / "study").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not STYLE.search(node.value), f"{path}:{node.lineno}: {node.value!r}"
            if isinstance(node, ast.ImportFrom):
                assert node.module != "rich.markup", f"{path}:{node.lineno}"
            if isinstance(node, ast.Call) and path.name != "shown.py":
                name = ast.unparse(node.func)
                assert name not in ("Console", "print", "rich.print"), f"{path}:{node.lineno}"
                assert not name.endswith("from_markup"), f"{path}:{node.lineno}"
                if name == "typer.echo":
                    assert "json.dumps" in ast.unparse(node), f"{path}:{node.lineno}"
