"""A ledger on a database server: waiting while it cannot be reached."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError

from trainables.errors import NotNowError, redacted

WAIT_SECONDS = 600.0
"""How long a server may be away before the driver gives up; running trials go on meanwhile."""

PAUSE_SECONDS = 1.0

GONE = (OperationalError, InterfaceError, StorageInternalError)
"""What SQLAlchemy and Optuna raise when the server does not answer."""

Result = TypeVar("Result")


def outlast(
    change: Callable[[], Result], away: Callable[[Exception], bool] = lambda _: True
) -> Result | None:
    """Do `change`, again and again while the server cannot be reached.

    Args:
        change: What is to be done once.
        away: Whether an error is one that passes; of a server each of `GONE` is.

    Returns:
        What `change` returns; None where an earlier try had been carried out and only its answer
        was lost: Optuna then refuses to finish the row a second time.

    Raises:
        OperationalError: It stayed away for `WAIT_SECONDS` (or what Optuna makes of that).
    """
    began, tried = time.monotonic(), False
    while True:
        try:
            return change()
        except GONE as error:
            if not away(error) or time.monotonic() - began > WAIT_SECONDS:
                raise
        except UpdateFinishedTrialError:
            if not tried:
                raise
            return None
        tried = True
        time.sleep(PAUSE_SECONDS)


def is_away(error: Exception) -> bool:
    """Whether a server may answer later; one that lacks the tables has answered."""
    return not isinstance(error.__cause__ or error, ProgrammingError)


def refusal(url: str, study: str, error: Exception) -> NotNowError:
    """What to say of a server that stays away, or whose database was dropped."""
    said = str(getattr(error.__cause__ or error, "orig", None) or error).strip()
    return NotNowError(
        f"--storage {redacted(url)}: study {study} cannot be written there now "
        f"({redacted(said.splitlines()[0]) if said else type(error).__name__}). Nothing is lost: "
        "once the server answers and has the database, empty or not, run the same command again"
    )
