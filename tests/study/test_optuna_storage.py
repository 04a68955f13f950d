"""Rows of a study in an Optuna storage."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from study.tracking import StudyInfo, TrialView
from study.tracking.optuna_storage import LOST, ForeignStudyError, OptunaStore

INFO = StudyInfo("s", "space", "demo", "?")
TRIAL = TrialView(
    digest="a",
    name="alpha=0.5 seed 0",
    state="complete",
    reason="",
    params={},
    cell={"alpha": 0.5, "batch_size": 8, "symmetric": True, "sampling": "hybrid"},
    seed=0,
    metrics={},
    values=(0.25,),
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/optuna.db"


def rows(url: str, name: str = "s") -> list[FrozenTrial]:
    """As Optuna itself reads them."""
    return optuna.load_study(study_name=name, storage=url).trials


def test_a_row_says_what_a_trial_is(url: str) -> None:
    OptunaStore(url, INFO, "one").write(TRIAL)
    [row] = rows(url)
    assert (row.state, row.values) == (TrialState.COMPLETE, [0.25])
    assert row.params == {"alpha": 0.5, "batch_size": 8, "symmetric": True}
    assert row.user_attrs["digest"] == "a"
    study = optuna.load_study(study_name="s", storage=url)
    assert study.best_trial.number == row.number
    assert len(study.trials_dataframe()) == 1


def test_a_trial_has_one_row_while_it_runs_and_when_it_has_ended(url: str) -> None:
    store = OptunaStore(url, INFO, "one")
    store.write(replace(TRIAL, state="running", values=()))
    assert [row.state for row in rows(url)] == [TrialState.RUNNING]
    pruned = replace(TRIAL, state="pruned", reason="low", reached={8: 0.1, 16: 0.2}, values=())
    store.write(pruned)
    store.write(pruned)
    [row] = rows(url)
    assert (row.state, row.user_attrs["reason"]) == (TrialState.PRUNED, "low")
    assert row.intermediate_values == {8: 0.1, 16: 0.2}
    store.write(TRIAL)
    assert [row.state for row in rows(url)] == [TrialState.PRUNED, TrialState.COMPLETE]
    OptunaStore(url, INFO, "one").write(TRIAL)
    assert len(rows(url)) == 2, "what a storage has is not told twice"


def test_what_a_dead_driver_left_running_runs_no_more(url: str) -> None:
    OptunaStore(url, INFO, "one").write(replace(TRIAL, state="running", values=()))
    again = OptunaStore(url, INFO, "one")
    [row] = rows(url)
    assert (row.state, row.user_attrs["reason"]) == (TrialState.FAIL, LOST)
    again.write(replace(TRIAL, state="running", values=()))
    again.finish()
    assert [row.state for row in rows(url)] == [TrialState.FAIL] * 2


def test_a_row_whose_end_was_not_answered_is_ended_once(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = OptunaStore(url, INFO, "one")
    store.write(replace(TRIAL, state="running", values=()))
    end = RDBStorage.set_trial_state_values

    def lost(*arguments: Any, **more: Any) -> bool:
        end(*arguments, **more)
        raise OSError("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr(RDBStorage, "set_trial_state_values", lost)
        with pytest.raises(OSError, match="lost"):
            store.write(TRIAL)
    store.write(TRIAL)
    store.finish()
    [row] = rows(url)
    assert (row.state, row.values) == (TrialState.COMPLETE, [0.25])


def test_a_trial_without_validation_says_so(url: str) -> None:
    OptunaStore(url, INFO, "one").write(replace(TRIAL, values=(None,)))
    [row] = rows(url)
    assert row.values == [0.0]
    assert "objective" in row.user_attrs


def test_directions_are_the_searchs(url: str) -> None:
    both = replace(INFO, directions=("maximize", "minimize"))
    OptunaStore(url, both, "one").write(replace(TRIAL, values=(0.25, 30.0)))
    study = optuna.load_study(study_name="s", storage=url)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert [row.values for row in study.best_trials] == [[0.25, 30.0]]


def test_a_study_of_another_root_is_left_alone(url: str) -> None:
    OptunaStore(url, INFO, "one").write(TRIAL)
    with pytest.raises(ForeignStudyError):
        OptunaStore(url, INFO, "two")
    OptunaStore(url, replace(INFO, name="t"), "two").write(TRIAL)
    assert len(rows(url)) == len(rows(url, "t")) == 1


def test_many_studies_may_make_the_same_database_at_once(url: str) -> None:
    names = [f"s{number}" for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda name: OptunaStore(url, replace(INFO, name=name), "o"), names))
    for store in stores:
        store.write(TRIAL)
    assert [len(rows(url, name)) for name in names] == [1] * 6
