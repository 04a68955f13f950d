"""What committed trial folders hold, of those that may be believed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from trainables.errors import UserError
from trainables.storage.paths import AnyPath, map_parallel
from trainables.trial.result import NEEDED
from trainables.trial.trial_folder import NotCommittedError, TrialFolder, UnreadableError

T = TypeVar("T")


def committed_results(root: AnyPath, digests: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Results by digest, of those trials that have one that may be believed."""
    return each_committed(root, digests, lambda digest: TrialFolder.of(root, digest).result(NEEDED))


def each_committed(
    root: AnyPath, digests: Iterable[str], read: Callable[[str], T | None]
) -> dict[str, T]:
    """What `read` finds of each trial by digest, where it has something that may be believed.

    Args:
        root: Of the trial folders.
        digests: Of the trials.
        read: Given a digest; None or `NotCommittedError` is nothing.

    Raises:
        UserError: A file cannot be read now, so that nobody knows whether it may be believed.
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
