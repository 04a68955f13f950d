"""The commands by name, and how their mistakes are shown: one message, exit 2, no traceback."""

from __future__ import annotations

import gc
import sys

import typer
from typer.exceptions import TyperException

from study.commands import (
    clean,
    compare,
    data,
    doctor,
    export,
    report,
    reproduce,
    run,
    status,
    track,
    ui,
)
from study.commands.end import resume_command
from study.shown import PlainConsole, decoded, escape_what_is_lacking, marked
from trainables.errors import UserError

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
app.command("export")(export.export)
app.command("clean")(clean.clean)
app.command("doctor")(doctor.doctor)
app.command("track")(track.track)
app.add_typer(data.app, name="data")
app.command("ui")(ui.ui)


def main(arguments: list[str]) -> int:
    """Run one command.

    Returns:
        0 no trial failed, 1 some failed, 2 the user's mistake, 130 interrupted.
    """
    # Ten thousand trials are a million objects, none of them a cycle: look for those less often
    gc.set_threshold(100_000, 20, 20)
    escape_what_is_lacking(sys.stdout)
    errors = PlainConsole(stderr=True, soft_wrap=True)
    if sys.platform not in ("linux", "darwin"):
        errors.print("This runs on Linux; on Windows use WSL2.", style="red")
        return 2
    if sys.platform == "darwin":
        errors.print("macOS is supported as well as we can without testing it; Linux is tested.")
    try:
        outcome = typer.main.get_command(app).main(
            [*map(decoded, arguments)], prog_name="study", standalone_mode=False
        )
    except UserError as error:
        errors.print(marked("error:", f" {error}", "red"))
        if error.exit_code == 130 and "run" in arguments[:1]:
            errors.print(f"resume with\n  {resume_command()}")
        return error.exit_code
    except UnicodeEncodeError as error:
        text = error.object[error.start : error.end]
        errors.print(
            marked(
                "error:",
                f" {text!r} cannot be written in this locale's {error.encoding}; set PYTHONUTF8=1",
                "red",
            )
        )
        return 2
    except typer.Exit as stop:
        return stop.exit_code
    except TyperException as error:
        message = getattr(error, "format_message", error.__str__)()
        errors.print(marked("error:", f" {message}", "red"))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        errors.print("interrupted")
        if "run" in arguments[:1]:
            errors.print(f"resume with\n  {resume_command()}")
        return 130
    return outcome if isinstance(outcome, int) else 0
