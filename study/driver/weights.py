"""Drop fine-tuned encoders that `--keep best` does not keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.search.history import front, history_of
from trainables.evaluation.metric_names import best_value
from trainables.trial.trial_folder import TrialFolder

if TYPE_CHECKING:
    from study.driver.driver import Driver


def drop_all_but_best(driver: Driver) -> None:
    """Drop the encoders left by launches with `--keep best`, except those best on validation.

    Killed launches count too. Without a validation benchmark nothing may be selected (law 5),
    and only the plan's first trained trial has left an encoder (`Driver.lone`).
    """
    best = _best_of_search(driver) if driver.plan.search is not None else _best_of_grid(driver)
    if not best:
        return
    for digest in sorted(driver.record.best_kept & driver.results.keys() - best):
        TrialFolder.of(driver.root, digest).drop_weights()


def drop_beaten(driver: Driver, digest: str) -> None:
    """Drop encoders of a grid that are not the best so far, after one of its trials has ended.

    So the disk holds only the best encoders so far and those of running trials.
    """
    if driver.keep != "best" or driver.plan.search is not None or driver.lone is not None:
        return
    if not driver.plan.specs[digest].steps:
        return
    best = _best_of_grid(driver)
    for dropped in {digest, *driver.left} - best if best else ():
        TrialFolder.of(driver.root, dropped).drop_weights()
    driver.left = {digest, *driver.left} & best


def lone_encoder(driver: Driver, keep: str) -> str:
    """Return a note if the kept encoder is the plan's first and not the best; else empty."""
    if keep != "best" or driver.lone is None:
        return ""
    digest, label = driver.lone
    if digest not in driver.results or TrialFolder.of(driver.root, digest).weights() is None:
        return ""
    return (
        f"The encoder of {label} ({digest}) is kept, as the first: without a validation benchmark "
        "none can be called the best. Of any other trial: python -m study export DIGEST --again "
        "--to FOLDER; --keep all keeps all."
    )


def _best_of_grid(driver: Driver) -> set[str]:
    """Return the trials with the best validation value of the primary metric."""
    primary = driver.plan.primary
    values = {
        digest: value
        for digest, result in driver.results.items()
        if (value := result["validation"].get(primary)) is not None
        and driver.plan.specs[digest].steps
    }
    best = best_value(primary, values.values()) if values else None
    return {digest for digest, value in values.items() if value == best}


def _best_of_search(driver: Driver) -> set[str]:
    """Return the trials of the cells that the search confirms."""
    plan, observed = driver.plan, driver.observations()
    assert plan.search is not None
    best = front(plan.search, history_of(plan, observed.results, observed.ended))
    cells = [cell.params for cell in best[: max(1, plan.search.confirm.top)]]
    return {t.digest for cell in plan.cells if cell.params in cells for t in cell.trials}
