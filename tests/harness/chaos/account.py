"""The account of what was sent, judged and answered: lost, wrong, duplicate, run again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from harness.chaos.mixture import Case
from verdictd.contract.result import Result


@dataclass(slots=True)
class Entry:
    """A submission, how often it was published (again where the confirm was lost), and its answers."""

    case: Case
    published: int = 0
    answers: list[Result] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Account:
    """What a checker can say of all entries."""

    sent: int
    lost: list[str]
    """Ids without an answer."""
    wrong: list[str]
    """What was answered in place of what was due."""
    unflagged: list[str]
    """Ids with more answers than publications that look like the only one."""
    duplicates: int
    """Answers beyond the first of an id."""
    reruns: int
    """Runs that were begun beyond one for each publication."""
    unseen: list[str]
    """Ids with outputs of more runs than were begun: the evidence for `reruns` is incomplete."""


def settle(entries: Iterable[Entry], starts: Mapping[str, int]) -> Account:
    """Balance the books; `starts` counts the runs that were begun of each id.

    It comes from the event `submission.started`. A daemon writes that line with one system call, before the
    sandbox is started, so that no death of it can lose a run. The programs testify against it: each run says
    another random number, so an id with more numbers than starts shows that the log has lied.
    """
    entries = list(entries)
    numbers = {entry.case.id: {said(answer) for answer in entry.answers} - {None} for entry in entries}
    return Account(
        sent=len(entries),
        lost=[entry.case.id for entry in entries if not entry.answers],
        wrong=[
            wrong for entry in entries for answer in entry.answers if (wrong := mistake(entry.case, answer))
        ],
        unflagged=[
            entry.case.id
            for entry in entries
            if sum(not flagged(answer) for answer in entry.answers) > entry.published
        ],
        duplicates=sum(len(entry.answers) - 1 for entry in entries if entry.answers),
        reruns=sum(max(0, starts.get(entry.case.id, 0) - entry.published) for entry in entries),
        unseen=[name for name, found in numbers.items() if len(found) > starts.get(name, 0)],
    )


def flagged(answer: Result) -> bool:
    """Whether an answer tells its reader that there may be another one."""
    return answer.duplicate or answer.redelivered or answer.attempt > 1


def mistake(case: Case, answer: Result) -> str | None:
    """What is wrong with an answer; None where it is the one that is due."""
    if case.status is not None and (answer.id, answer.status) != (case.id, case.status):
        return f"{case.id}: {answer.id} is {answer.status}, not {case.status}: {answer.message}"
    if case.stdout is not None and answer.stdout != case.stdout:
        return f"{case.id}: printed {answer.stdout!r}, not {case.stdout!r}"
    return None


def said(answer: Result) -> str | None:
    """The number of the run that an answer comes from, where its program said one."""
    first = answer.stderr.partition("\n")[0]
    return first if first.isdigit() else None
