"""Which fine-tuned encoders a study keeps, where `--keep best` asked for the best alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.search.history import front, history_of
from trainables.evaluation.metric_names import best_value
from trainables.trial.trial_folder import TrialFolder

if TYPE_CHECKING:
    from study.driver.driver import Driver


def drop_all_but_best(driver: Driver) -> None:
    """Of the encoders that launches with `--keep best` left, keep what is ahead on validation.

    Those of launches that were killed count too. Without a validation benchmark nothing may be
    selected (law 5), and only the plan's first trial has left one (`Driver.lone`).
    """
    ahead = _of_search(driver) if driver.plan.search is not None else _of_grid(driver)
    if not ahead:
        return
    for digest in sorted(driver.record.best_kept & driver.results.keys() - ahead):
        TrialFolder.of(driver.root, digest).drop_weights()


def drop_beaten(driver: Driver, digest: str) -> None:
    """Of a grid, drop what a trial that ended has beaten, or its own encoder where it is beaten.

    So a disk holds no more encoders than run at once, and the best so far.
    """
    if driver.keep != "best" or driver.plan.search is not None or driver.lone is not None:
        return
    if not driver.plan.specs[digest].steps:
        return
    ahead = _of_grid(driver)
    for beaten in {digest, *driver.left} - ahead if ahead else ():
        TrialFolder.of(driver.root, beaten).drop_weights()
    driver.left = {digest, *driver.left} & ahead


def lone_encoder(driver: Driver, keep: str) -> str:
    """What to say where the encoder that is kept is not the best one; else empty."""
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


def _of_grid(driver: Driver) -> set[str]:
    """The trials ahead by the primary metric."""
    primary = driver.plan.primary
    values = {
        digest: value
        for digest, result in driver.results.items()
        if (value := result["validation"].get(primary)) is not None
        and driver.plan.specs[digest].steps
    }
    best = best_value(primary, values.values()) if values else None
    return {digest for digest, value in values.items() if value == best}


def _of_search(driver: Driver) -> set[str]:
    """The trials of the cells that the search is confirmed with."""
    plan, observed = driver.plan, driver.observations()
    assert plan.search is not None
    best = front(plan.search, history_of(plan, observed.results, observed.ended))
    cells = [cell.params for cell in best[: max(1, plan.search.confirm.top)]]
    return {t.digest for cell in plan.cells if cell.params in cells for t in cell.trials}
