"""Table of commands; a user's mistake ends one with a message and exit code 2, no traceback."""

from __future__ import annotations

import gc
import sys
from contextlib import nullcontext

import typer
from typer.exceptions import TyperException

from study.cli import (
    clean,
    compare,
    data,
    doctor,
    export,
    keys,
    report,
    reproduce,
    run,
    status,
    track,
    ui,
)
from study.cli.messages import resume_command
from study.console import PlainConsole, decoded, escape_what_is_lacking, marked
from study.interrupts import saving, silence
from trainables.errors import UserError
from trainables.failures import lacking

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Studies of how training choices change multilingual retrieval.",
)
app.command("run")(run.run)
app.command("status")(status.status)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("reproduce")(reproduce.reproduce)
app.command("keys")(keys.show_keys)
app.command("export")(export.export)
app.command("clean")(clean.clean)
app.command("doctor")(doctor.doctor)
app.command("track")(track.track)
app.add_typer(data.app, name="data")
app.command("ui")(ui.ui)


def main(arguments: list[str]) -> int:
    """Run one command.

    Returns:
        Exit code: 0 success, 1 a trial or check failed, 2 the user's mistake, 130 interrupted.
    """
    # Ten thousand trials are a million objects without cycles: collect garbage less often
    gc.set_threshold(100_000, 20, 20)
    escape_what_is_lacking(sys.stdout)
    errors = PlainConsole(stderr=True, soft_wrap=True)
    if sys.platform not in ("linux", "darwin"):
        errors.print("This runs on Linux; on Windows use WSL2.", style="red")
        return 2
    if sys.platform == "darwin":
        errors.print("macOS is supported as well as we can without testing it; Linux is tested.")
    runs = arguments[:1] == ["run"]
    try:
        command, words = typer.main.get_command(app), [*map(decoded, arguments)]
        # command.main() would turn interrupts and broken pipes into its own exit codes
        with (
            saving() if runs else nullcontext(),
            command.make_context("study", words) as context,
        ):
            outcome = command.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(errors, runs, "interrupted")
    except Exception as error:
        if isinstance(error, BrokenPipeError):  # the reader of stdout has gone
            silence(sys.stdout.fileno())
            return 130
        cause = error.__cause__ if isinstance(error, UserError) else error
        if cause is not None and (lacks := lacking(cause)):
            return _interrupted(errors, runs, f"interrupted: {lacks}; what is done is kept")
        if (problem := _mistake(error)) is None:
            raise
        errors.print(marked("error:", f" {problem}", "red"))
        code = error.exit_code if isinstance(error, UserError) else 2
        if code == 130 and runs:
            errors.print(f"resume with\n  {resume_command()}")
        return code
    return outcome if isinstance(outcome, int) else 0


def _interrupted(errors: PlainConsole, runs: bool, why: str) -> int:
    errors.print(why)
    if runs:
        errors.print(f"resume with\n  {resume_command()}")
    return 130


def _mistake(error: Exception) -> str | None:
    """Return the message of an exception that the user can fix; None for a bug of this project."""
    if isinstance(error, UnicodeEncodeError):
        text = error.object[error.start : error.end]
        return f"{text!r} cannot be written in this locale's {error.encoding}; set PYTHONUTF8=1"
    if isinstance(error, TyperException):
        return str(getattr(error, "format_message", error.__str__)())
    if isinstance(error, PermissionError) and error.filename is not None:
        return (
            f"{error.filename}: {error.strerror}; let this user in (those who share a root need a "
            "group, chmod g+rwxs on its folders and umask 0002), or choose another folder"
        )
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) if isinstance(error, UserError) else None
