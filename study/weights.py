"""Which fine-tuned encoders a study keeps, where `--keep best` asked for the best alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.search.history import front
from study.search.seen import history_of
from trainables.evaluation.names import best_value
from trainables.trial_folder import TrialFolder

if TYPE_CHECKING:
    from study.driver import Driver


def drop_all_but_best(driver: Driver) -> None:
    """Of the encoders that this study made, keep the one ahead on the validation benchmark.

    Without a validation benchmark nothing may be selected (law 5), and nothing is dropped.
    """
    if driver.plan.search is not None:
        _drop_losers(driver)
        return
    primary = driver.plan.primary
    values = {
        digest: value
        for digest, result in driver.results.items()
        if (value := result["validation"].get(primary)) is not None
        and driver.plan.specs[digest].steps
    }
    if not values:
        return
    best = best_value(primary, values.values())
    for digest in driver.ran:
        if values.get(digest) != best:
            TrialFolder.of(driver.root, digest).drop_weights()


def _drop_losers(driver: Driver) -> None:
    """Of a search, keep the encoders of the cells that it is confirmed with."""
    plan, seen = driver.plan, driver.seen()
    assert plan.search is not None
    best = front(plan.search, history_of(plan, seen.results, seen.ended))
    kept = [cell.params for cell in best[: max(1, plan.search.confirm.top)]]
    dropped = {t.digest for cell in plan.cells if cell.params not in kept for t in cell.trials}
    for digest in driver.ran if kept else ():
        if digest in dropped:
            TrialFolder.of(driver.root, digest).drop_weights()
