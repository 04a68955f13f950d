"""Read committed trial folders that pass their checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from trainables.errors import UserError
from trainables.storage.paths import AnyPath, map_parallel
from trainables.trial.result import NEEDED
from trainables.trial.trial_folder import NotCommittedError, TrialFolder, UnreadableError

T = TypeVar("T")


def committed_results(root: AnyPath, digests: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Read the results of those trials that have a valid committed one, by digest."""
    return each_committed(root, digests, lambda digest: TrialFolder.of(root, digest).result(NEEDED))


def each_committed(
    root: AnyPath, digests: Iterable[str], read: Callable[[str], T | None]
) -> dict[str, T]:
    """Apply `read` to each trial; return the values from valid committed folders, by digest.

    Args:
        root: Root of the trial folders.
        digests: Trials to read.
        read: Reads a trial by its digest; None or `NotCommittedError` leaves the trial out.

    Raises:
        UserError: A file cannot be read now, so its validity is unknown.
    """

    def read_one(digest: str) -> T | None:
        try:
            return read(digest)
        except UnreadableError as unknown:
            raise UserError(f"{unknown}; what it holds would be missing: make it readable") from (
                unknown
            )
        except NotCommittedError:
            return None

    digests = list(digests)
    pairs = zip(digests, map_parallel(root, read_one, digests), strict=True)
    return {digest: value for digest, value in pairs if value is not None}
