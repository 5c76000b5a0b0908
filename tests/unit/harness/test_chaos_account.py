"""The checker of `make chaos`: whatever goes wrong with a submission is found."""

from datetime import UTC, datetime
from typing import Any

import pytest

from harness.chaos.account import Account, Entry, settle
from harness.chaos.mixture import Case
from harness.chaos.row import Row
from verdictd.contract.result import STATUS_IDS, Result, Status, WorkerIdentity

CASE = Case("s-1", b"{}", Status.ACCEPTED, "42\n")
WORKER = WorkerIdentity(host="h", box=1, sandbox="embedded", sandbox_version="1", verdictd="1")


def answer(status: Status = Status.ACCEPTED, **fields: Any) -> Result:
    """An answer to the case, right but for these fields."""
    now = datetime.now(UTC)
    right: dict[str, Any] = {"id": "s-1", "stdout": "42\n", "stderr": "7\n", "message": "", "worker": WORKER}
    times = {"started_at": now, "finished_at": now}
    return Result(**(right | times | {"status": status, "status_id": STATUS_IDS[status]} | fields))


def books(*answers: Result, published: int = 1, starts: int = 1) -> Account:
    return settle([Entry(CASE, published, list(answers))], {"s-1": starts})


def passes(account: Account) -> bool:
    row = Row("books")
    row.books(account, reruns=0)
    return row.passed


def test_right_answer_passes() -> None:
    """One run, one answer, the verdict that is due."""
    assert passes(books(answer()))


@pytest.mark.parametrize("flag", [{"duplicate": True}, {"redelivered": True}, {"attempt": 2}])
def test_duplicate_with_a_flag_passes(flag: dict[str, Any]) -> None:
    """A second answer is allowed where it says what it is."""
    account = books(answer(), answer(**flag))

    assert (1, True) == (account.duplicates, passes(account))


@pytest.mark.parametrize(
    ("what", "account"),
    [
        ("lost", books()),
        ("wrong", books(answer(Status.WRONG_ANSWER))),
        ("wrong", books(answer(Status.INTERNAL_ERROR))),
        ("wrong", books(answer(stdout="41\n"))),
        ("wrong", books(answer(id="s-2"))),
        ("unflagged", books(answer(), answer())),
        ("reruns", books(answer(), starts=2)),
        ("unseen", books(answer(), answer(stderr="8\n", attempt=2))),
        ("unseen", books(answer(), starts=0)),
    ],
)
def test_fault_is_found(what: str, account: Account) -> None:
    """Each kind of fault is in the books, and fails the row."""
    assert getattr(account, what)
    assert not passes(account)


def test_publication_that_is_in_doubt_explains_a_second_answer() -> None:
    """A ledger that had to publish twice may be answered twice."""
    assert passes(books(answer(), answer(), published=2, starts=2))


def test_row_without_a_check_has_not_passed() -> None:
    """A scenario that measured nothing has proved nothing."""
    assert not Row("empty").passed
