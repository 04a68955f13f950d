from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from study import ledger_file
from study.ledger import Ledger
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
