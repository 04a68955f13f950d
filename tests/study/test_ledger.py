from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from study import ledger_file
from study.ledger import Ledger
from study.ledger_rows import NewRow, insert_rows
from trainables.errors import UserError


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


def test_rows_go_through_their_states(url: str) -> None:
    ledger = Ledger(url, "s")
    for number, digest in enumerate(("a", "b", "c")):
        ledger.add(digest, number, {"alpha": 0.5, "sampling": "hybrid"})
    a, b, _ = ledger.rows()
    ledger.claim(a)
    ledger.complete(a, 0.25)
    ledger.claim(b)
    ledger.fail(b, "nan: the loss of step 3 is nan")
    rows = {row.digest: row for row in Ledger(url, "s").rows()}
    assert {digest: row.state for digest, row in rows.items()} == {
        "a": "complete",
        "b": "failed",
        "c": "planned",
    }
    assert rows["b"].reason == "nan: the loss of step 3 is nan"
    assert rows["a"].params == {"alpha": 0.5, "sampling": "hybrid"}
    assert [row.seed for row in rows.values()] == [0, 1, 2]


def test_rows_of_a_dead_driver_are_planned_again(url: str) -> None:
    ledger = Ledger(url, "s")
    ledger.add("a", 0, {})
    ledger.claim(ledger.rows()[0])
    again = Ledger(url, "s")
    assert sum(row.state == "running" for row in again.rows()) == 1
    assert [row.state for row in again.requeue_stale()] == [row.state for row in again.rows()]
    assert [row.state for row in again.rows()] == ["planned"]


def test_a_retry_is_a_new_row_and_the_latest_counts(url: str) -> None:
    ledger = Ledger(url, "s")
    ledger.add("a", 0, {"alpha": 1})
    ledger.claim(ledger.rows()[0])
    ledger.fail(ledger.rows()[0], "error: x")
    ledger.retry(ledger.rows())
    assert [(row.digest, row.state, row.params) for row in ledger.rows()] == [
        ("a", "planned", {"alpha": 1})
    ]


def test_studies_in_one_storage_do_not_meet(url: str) -> None:
    Ledger(url, "one").add("a", 0, {})
    assert Ledger(url, "two").rows() == []


def test_rows_added_at_once_are_those_that_optuna_adds_one_by_one(url: str) -> None:
    cell = {"alpha": 0.5, "batch_size": 32, "symmetric": True, "sampling": "hybrid"}
    shown: dict[str, BaseDistribution] = {
        "alpha": FloatDistribution(-1e12, 1e12),
        "batch_size": FloatDistribution(-1e12, 1e12),
        "symmetric": CategoricalDistribution([False, True]),
    }
    rows: list[NewRow] = [
        (TrialState.WAITING, cell, {"digest": "a", "seed": None}, None),
        (TrialState.RUNNING, cell, {"digest": "b", "seed": 1}, None),
        (TrialState.COMPLETE, cell, {"digest": "c", "seed": 0}, 0.25),
        (TrialState.COMPLETE, {}, {"digest": "d", "seed": 0}, None),
        (TrialState.PRUNED, cell, {"digest": "e"}, None),
        (TrialState.FAIL, cell, {"digest": "f", "reason": "nan"}, None),
    ]
    storage = RDBStorage(url)
    ours, theirs = (
        storage.create_new_study([StudyDirection.MAXIMIZE], name) for name in ("ours", "theirs")
    )
    ids = [number for part in (rows, rows[:2]) for number in insert_rows(storage, ours, part)]
    for state, params, attrs, value in [*rows, *rows[:2]]:
        done = state is TrialState.COMPLETE
        silent = {"objective": "none: no validation benchmark"} if done and value is None else {}
        kept = {name: setting for name, setting in params.items() if name in shown}
        template = create_trial(
            state=state,
            value=(value or 0.0) if done else None,
            params=kept,
            distributions={name: shown[name] for name in kept},
            user_attrs={**attrs, **silent},
        )
        storage.create_new_trial(theirs, template)
    mine, expected = (storage.get_all_trials(study) for study in (ours, theirs))
    assert [trial._trial_id for trial in mine] == ids
    for one, other in zip(mine, expected, strict=True):
        for name in ("number", "state", "params", "distributions", "user_attrs", "values"):
            assert getattr(one, name) == getattr(other, name), name
        times = one.datetime_start is None, one.datetime_complete is None
        waits = one.state is TrialState.WAITING
        assert times == (waits, not one.state.is_finished())


def test_a_trial_without_validation_still_completes(url: str) -> None:
    ledger = Ledger(url, "s")
    ledger.add("a", None, {"steps": 0})
    ledger.complete(ledger.rows()[0], None)
    assert ledger.rows()[0].state == "complete"


def test_a_storage_that_cannot_be_opened_is_named_without_its_password() -> None:
    with pytest.raises(UserError, match="--storage") as caught:
        Ledger("postgresql://me:secret@127.0.0.1:1/none", "s")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("kind", "refused"), [("nfs4", True), ("ext4", False)])
def test_a_network_filesystem_is_refused_for_sqlite(
    tmp_path: Path, kind: str, refused: bool
) -> None:
    mounts, folder = tmp_path / "mounts", tmp_path / "with blank" / "state"
    place = str(tmp_path / "with blank").replace(" ", "\\040")
    mounts.write_text(
        f"server:/x / {'ext4' if refused else 'nfs4'} rw 0 0\na {place} {kind} rw 0 0\n"
    )
    with pytest.raises(UserError, match="nfs4, a network") if refused else nullcontext():
        ledger_file.refuse_network(folder, mounts)


def test_many_studies_may_make_the_same_database_at_once(url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        ledgers = list(pool.map(lambda number: Ledger(url, f"s{number}"), range(6)))
    assert [note for ledger in ledgers for note in ledger.notes] == []
    for number, ledger in enumerate(ledgers):
        ledger.add(f"d{number}", 0, {})
    assert [[row.digest for row in ledger.rows()] for ledger in ledgers] == [
        [f"d{number}"] for number in range(6)
    ]


def test_a_study_of_another_owner_is_refused(url: str) -> None:
    Ledger(url, "s", "one").add("a", 0, {})
    assert len(Ledger(url, "s", "one").rows()) == len(Ledger(url, "s").rows()) == 1
    with pytest.raises(UserError, match=r"belongs to another --root \(one\)"):
        Ledger(url, "s", "two")
    assert Ledger(url, "t", "two").rows() == []


def test_a_file_that_is_no_database_is_set_aside_and_said_to_be(url: str, tmp_path: Path) -> None:
    Ledger(url, "s").add("a", 0, {})
    path = tmp_path / "ledger.db"
    path.write_bytes(b"no database\nat all" * 1000)
    ledger = Ledger(url, "s")
    assert ledger.rows() == []
    (note,) = ledger.notes
    assert "no result is lost" in note
    assert "\n" not in note
    (aside,) = tmp_path.glob("ledger.db.damaged-*")
    assert str(aside) in note
    assert aside.read_bytes().startswith(b"no database")
    assert Ledger(url, "s").notes == []


def test_a_database_that_loses_its_tables_is_empty_from_then_on(url: str, tmp_path: Path) -> None:
    ledger = Ledger(url, "s")
    ledger.add("a", 0, {})
    with ledger.storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trial_user_attributes SET value_json = '{torn'")
    assert ledger.rows() == []
    assert len(ledger.notes) == 1
    ledger.add("b", 1, {"alpha": 0.5})
    assert [(row.digest, row.seed, row.params) for row in ledger.rows()] == [
        ("b", 1, {"alpha": 0.5})
    ]


def test_a_row_without_an_objective_says_so(url: str) -> None:
    ledger = Ledger(url, "s")
    rows = [ledger.add(digest, None, {}) for digest in "ab"]
    ledger.complete(rows[0], None)
    ledger.complete(rows[1], 0.25)
    found = ledger.storage.get_all_trials(ledger.study_id)
    assert [trial.value for trial in found] == [0.0, 0.25]
    said = [trial.user_attrs.get("objective") for trial in found]
    assert said == ["none: no validation benchmark", None]
