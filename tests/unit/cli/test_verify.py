"""Submissions of a problem package, shown with the verdicts that their folders stand for."""

from datetime import UTC, datetime

import pytest

from verdictd.cli.batch import Entry
from verdictd.cli.verify import VERDICTS, Expected, show
from verdictd.contract.result import STATUS_IDS, Result, Status, WorkerIdentity
from verdictd.errors import Problem

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def expected(folder: str, name: str) -> Expected:
    return Expected(Entry(f"{folder}/{name}", name, b""), VERDICTS[folder])


def result(status: Status, *problems: Problem) -> Result:
    return Result(
        id="x",
        status=status,
        status_id=STATUS_IDS[status],
        message="Because.",
        started_at=NOW,
        finished_at=NOW,
        errors=problems,
        worker=WorkerIdentity(host="h", box=0, sandbox="isolate", sandbox_version="2.6", verdictd="0.1.0"),
    )


def test_submission_that_is_not_as_expected_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """A package that the judge refuses has its reasons below the table, harmless to a terminal."""
    cases = [expected("accepted", "a.py"), expected("rejected", "\x1b[2Jb.py")]
    refused = result(Status.INVALID_SUBMISSION, Problem("/tests", "too\x1b many"))
    agrees = show(cases, {1: result(Status.WRONG_ANSWER), 0: refused}, as_json=False)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    assert not agrees
    assert [
        "as expected  submission         verdict             test  CPU time",
        "no           accepted/a.py      Invalid submission",
        "yes          rejected/ [2Jb.py  Wrong answer",
        "",
        "accepted/a.py: Because.",
        "  /tests: too  many",
        "",
        "1 of 2 as expected",
    ] == lines


def test_submission_without_a_result_is_not_as_expected(capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, and counts as one that differs."""
    cases = [expected("accepted", "a.py"), expected("accepted", "b.py")]
    agrees = show(cases, {0: result(Status.ACCEPTED)}, as_json=False)
    out, err = capsys.readouterr()

    assert (False, "verdictd: no result in time for accepted/b.py\n") == (agrees, err)
    assert out.endswith("\n1 of 2 as expected\n")


@pytest.mark.parametrize("as_json", [True, False])
def test_all_as_expected_is_true(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Memory counts as a run-time error; JSON has the results alone."""
    cases = [expected("accepted", "a.py"), expected("run_time_error", "b.py")]
    results = {0: result(Status.ACCEPTED), 1: result(Status.MEMORY_LIMIT_EXCEEDED)}

    assert show(cases, results, as_json=as_json)
    assert as_json == capsys.readouterr().out.startswith("{")
