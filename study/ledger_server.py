"""A ledger on a database server: waiting while it cannot be reached."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from sqlalchemy.exc import InterfaceError, OperationalError

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
