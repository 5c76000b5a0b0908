"""The live view of submissions: what is drawn, as far as there is room."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from support.submissions import MODEL
from verdictd.cli.batch import Entry, asking_for_events
from verdictd.cli.live import LiveView
from verdictd.contract.codec import decode
from verdictd.contract.events import EventKind, Step
from verdictd.contract.result import Status

STARTED = Step(kind=EventKind.STARTED, tests=4)
COMPILED = Step(kind=EventKind.COMPILED, tests=4, ok=True)


def done(number: int, status: Status = Status.ACCEPTED, **fields: Any) -> Step:
    return Step(kind=EventKind.TEST, tests=4, number=number, status=status, name=f"test-{number}", **fields)


def drawn(view: LiveView, *, height: int = 24, width: int = 80) -> list[str]:
    """The lines of a terminal of this size."""
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_one_submission_shows_its_tests_as_they_are_done() -> None:
    """In the order of their numbers, with points where there are any, and the one that runs in a bar."""
    view = LiveView(["sum.py"], shown=True)
    for step in (
        STARTED,
        COMPILED,
        done(2, Status.WRONG_ANSWER, done=1, points=0.0),
        done(1, done=2, points=2.5),
    ):
        view.step(0, step)
    lines = drawn(view)

    assert [
        "test    status        points",
        "test-1  Accepted         2.5",
        "test-2  Wrong answer       0",
    ] == lines[:3]
    assert "sum.py" in lines[3]
    assert lines[3].endswith("test 3 of 4")
    assert 4 == len(lines)


def test_each_of_several_has_a_bar_while_it_runs() -> None:
    """Neither before it has a box nor after its result; all together have one."""
    view = LiveView(["waits.py", "runs.py", "done.py"], shown=True)
    view.step(1, STARTED)
    view.step(2, STARTED)
    view.step(2, Step(kind=EventKind.FINISHED, tests=4, done=4, status=Status.ACCEPTED))
    view.result(2)
    lines = drawn(view)

    assert 2 == len(lines)
    assert lines[0].startswith("runs.py ")
    assert lines[0].endswith(" compiling")
    assert lines[1].startswith("waiting for results ")
    assert lines[1].endswith(" 1 of 3")


@pytest.mark.parametrize("count", [1, 50])
def test_view_fits_its_terminal(count: int) -> None:
    """Of many tests the last ones are shown; submissions that are left out are counted."""
    view = LiveView([f"{number}.py" for number in range(count)], shown=True)
    for at in range(count):
        view.step(at, STARTED)
        for number in range(1, 41):
            view.step(at, done(number, done=number))
    lines = drawn(view, height=12)

    assert len(lines) <= 12
    assert any("test-40" in line for line in lines) is (count == 1)
    assert any("more are judged" in line for line in lines) is (count == 50)


def test_submission_that_is_begun_anew_forgets_its_tests() -> None:
    """Those of an attempt that came to no end count no more."""
    view = LiveView(["sum.py"], shown=True)
    for step in (STARTED, COMPILED, done(1, done=1), STARTED):
        view.step(0, step)

    assert "test-1" not in "\n".join(drawn(view))


def test_names_of_strangers_are_only_text() -> None:
    """A name of a file or of a test is not obeyed by the terminal."""
    view = LiveView(["a\x1b[2J[red]b"], shown=True)
    view.step(0, STARTED)

    assert "a [2J[red]b" in drawn(view)[0]


@pytest.mark.parametrize(
    ("body", "events", "key"),
    [
        (b' \n{"id": "a", "language": "c", "source_code": ""}', True, "a"),
        (b'{"id": "a", "language": "c", "source_code": "", "events": false}', False, "a"),
        (b'{"language": "c", "source_code": ""}', True, None),
        (b'{"id": null, "language": "c", "source_code": ""}', True, None),
    ],
)
def test_submission_asks_for_events_unless_it_says_otherwise(
    body: bytes, events: bool, key: str | None
) -> None:
    """With an id, as its events are known by it; everything else stays as it was written."""
    ids, (sent,) = asking_for_events([Entry("a.json", "a.json", body)])
    submission = decode(sent, MODEL)

    assert events is submission.events
    assert key is None or {key} == ids == {submission.id}
    assert sent.endswith(body.lstrip(b" \n")[1:])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b"42", b"\xff"])
def test_what_is_no_submission_stays_as_it_is(body: bytes) -> None:
    """The daemon says what is wrong, and where."""
    assert (set(), [body]) == asking_for_events([Entry("a.json", "a.json", body)])


def test_id_that_is_not_valid_is_left_to_the_daemon() -> None:
    """It is refused there, and nothing is bound to it."""
    body = json.dumps({"id": "a *.#", "language": "c", "source_code": ""}).encode()
    ids, _ = asking_for_events([Entry("a.json", "a.json", body)])

    assert set() == ids
