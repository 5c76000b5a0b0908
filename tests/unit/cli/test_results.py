"""Results on a terminal of 80 columns: a card for one, one line each for several."""

import base64
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console, RenderableType

from verdictd.cli.batch import Entry
from verdictd.cli.results import card, lines, show, whole
from verdictd.contract.limits import Limits
from verdictd.contract.result import (
    STATUS_IDS,
    Cause,
    GroupResult,
    LanguageUsed,
    Result,
    ReturnedFile,
    Runs,
    Spread,
    Status,
    TestResult,
    WorkerIdentity,
)
from verdictd.contract.submission import EffectiveLimits, submission_model
from verdictd.errors import Problem

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UUID = "3f2b8c1e-9a4d-4e52-8f0b-1c2d3e4f5a6b"


def limits() -> EffectiveLimits:
    return submission_model(Limits())(language="c", source_code=b"").effective_limits()


def result(name: str = "hello.c", status: Status = Status.ACCEPTED, **fields: Any) -> Result:
    """A result with the fields that every result has."""
    given = {"id": name, "message": "The output is as expected."} | fields
    return Result(
        status=status,
        status_id=STATUS_IDS[status],
        started_at=NOW,
        finished_at=NOW,
        worker=WorkerIdentity(host="h", box=0, sandbox="isolate", sandbox_version="2.6", verdictd="0.1.0"),
        **given,
    )


def judged(name: str = "hello.c", status: Status = Status.ACCEPTED, **fields: Any) -> Result:
    """The result of a program that ran."""
    figures = {"time": 0.0042, "wall_time": 0.0081, "memory": 1_536, "limits": limits()}
    language = {"language": LanguageUsed(name="c", version="gcc 12.2.0")}
    return result(name, status, **(figures | language | fields))


def drawn(found: RenderableType, width: int = 80) -> str:
    """Return what a console of this width prints, without the spaces at the ends of lines."""
    console = Console(file=io.StringIO(), width=width, soft_wrap=True)
    console.print(found)
    assert isinstance(console.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().split("\n")[:-1])


FIGURES = """\
CPU time   0.004 s (limit 2 s)
Wall time  0.008 s (limit 6 s)
Memory     1.5 MiB (limit 256 MiB)
"""
LANGUAGE = "Language   c, gcc 12.2.0\n"


CARDS = {
    "accepted": (
        judged(stdout="hello,\tworld\n\nend"),
        f"""\
Accepted  hello.c
The output is as expected.
{FIGURES}{LANGUAGE}
Output
  hello,  world

  end
""",
    ),
    "all streams": (
        judged(
            status=Status.RUNTIME_ERROR_NZEC,
            message="Exited with code 3.",
            cause=Cause.EXIT_CODE,
            exit_code=3,
            stdout="out\n",
            stderr="err\n",
            compile_output="warning: unused\n",
        ),
        f"""\
Runtime error (NZEC)  hello.c
Exited with code 3.
{FIGURES}Exit code  3
{LANGUAGE}
Output
  out

Errors
  err

Compiler
  warning: unused
""",
    ),
    "files": (
        judged(
            files=(
                ReturnedFile(name="out/1.txt", content="1\n", truncated=True),
                ReturnedFile(name="no\x1bne", problem="is missing"),
            )
        ),
        f"""\
Accepted  hello.c
The output is as expected.
{FIGURES}{LANGUAGE}
File out/1.txt (truncated)
  1

File no ne
  is missing
""",
    ),
    "signal": (
        judged(
            status=Status.RUNTIME_ERROR_OTHER,
            message="Killed by signal 15 (Terminated).",
            cause=Cause.SIGNAL,
            exit_signal=15,
        ),
        f"""\
Runtime error  hello.c
Killed by signal 15 (Terminated).
{FIGURES}Signal     15 (SIGTERM)
{LANGUAGE}""",
    ),
    "signal without a name": (
        judged(status=Status.RUNTIME_ERROR_OTHER, message="Killed.", cause=Cause.SIGNAL, exit_signal=42),
        f"Runtime error  hello.c\nKilled.\n{FIGURES}Signal     42\n{LANGUAGE}",
    ),
    "end by the sandbox": (
        judged(status=Status.MEMORY_LIMIT_EXCEEDED, message="Too much.", cause=Cause.MEMORY, exit_signal=9),
        f"Memory limit exceeded  hello.c\nToo much.\n{FIGURES}{LANGUAGE}",
    ),
    "compilation error": (
        result(
            status=Status.COMPILATION_ERROR,
            message="The compiler exited with code 1.",
            language=LanguageUsed(name="c", version=None),
            compile_output="main.c:1: error\n",
        ),
        """\
Compilation error  hello.c
The compiler exited with code 1.
Language   c

Compiler
  main.c:1: error
""",
    ),
    "invalid": (
        result(
            status=Status.INVALID_SUBMISSION,
            message="The submission is invalid; see errors.",
            errors=(
                Problem(path="", message="not JSON"),
                Problem(path="/x", message="unknown field"),
            ),
        ),
        """\
Invalid submission  hello.c
The submission is invalid; see errors.
  not JSON
  /x: unknown field
""",
    ),
    "several runs, and an id of its own": (
        judged(
            id=UUID,
            runs=Runs(
                count=3,
                near_limit=(),
                **dict.fromkeys(
                    ("time", "wall_time", "memory"),
                    Spread(min=0.001, max=0.009, mean=0.004, standard_deviation=0),
                ),
            ),
        ),
        f"""\
Accepted  hello.c
The output is as expected.
{FIGURES}Runs       3, CPU time from 0.001 s to 0.009 s; means are shown
{LANGUAGE}Id         {UUID}
""",
    ),
    "a run near the limit": (
        judged(
            runs=Runs(
                count=1,
                near_limit=(2.125,),
                **dict.fromkeys(
                    ("time", "wall_time", "memory"), Spread(min=1, max=1, mean=1, standard_deviation=0)
                ),
            )
        ),
        f"""\
Accepted  hello.c
The output is as expected.
{FIGURES}Run again  as 2.125 s of CPU time was little more than the limit
{LANGUAGE}""",
    ),
    "bytes that are not text": (
        judged(
            stdout=base64.b64encode(b"caf\xe9 \x00\n").decode(),
            stdout_encoding="base64",
            stdout_truncated=True,
        ),
        f"""\
Accepted  hello.c
The output is as expected.
{FIGURES}{LANGUAGE}
Output (not UTF-8 text, truncated)
  caf\ufffd \ufffd
""",
    ),
    "hostile text": (
        judged(
            "a\x1b[2J\nAccepted",
            status=Status.WRONG_ANSWER,
            message="\u202eno",
            stdout="\x1b[31m[red]x\n\nErrors\n  none",
        ),
        f"""\
Wrong answer  a [2J Accepted
 no
{FIGURES}{LANGUAGE}
Output
  \ufffd[31m[red]x

  Errors
    none
""",
    ),
}


@pytest.mark.parametrize(("found", "shown"), CARDS.values(), ids=CARDS)
def test_card_shows_the_verdict_its_figures_and_what_was_printed(found: Result, shown: str) -> None:
    """Everything that a person wants to know of one submission, and nothing that is empty."""
    name = "hello.c" if found.id == UUID else found.id

    assert shown == drawn(card(name, found))


@pytest.mark.parametrize(
    ("stdout", "shown", "left_out"), [("y\n" * 5_000, 100, 9_800), ("y" * 10_000, 1, 2_000)]
)
def test_card_shows_the_beginning_of_a_flood(stdout: str, shown: int, left_out: int) -> None:
    """Its verdict stays on the terminal, and the rest is counted."""
    text = drawn(card("flood.py", judged("flood.py", stdout=stdout)))

    assert shown == sum(line.startswith("  y") for line in text.splitlines())
    assert f"  ... {left_out:,} more characters; --output json shows all\n" in text


def test_lines_are_one_for_each_result() -> None:
    """Statuses in words, and the message cut before anything else; problems stand below."""
    results = [
        judged("hello.c"),
        judged(
            "crash.cpp", Status.RUNTIME_ERROR_SIGSEGV, message="Killed by signal 11 (Segmentation fault)."
        ),
        result("bad.c", Status.COMPILATION_ERROR, message="The compiler exited with code 1."),
        result("bad.json", Status.INVALID_SUBMISSION, errors=(Problem(path="/x", message="unknown field"),)),
    ]

    assert """\
status                   name       CPU time   memory  message
Accepted                 hello.c     0.004 s  1.5 MiB  The output is as expecte…
Runtime error (SIGSEGV)  crash.cpp   0.004 s  1.5 MiB  Killed by signal 11 (Seg…
Compilation error        bad.c                         The compiler exited with…
Invalid submission       bad.json                      The output is as expecte…

bad.json
  /x: unknown field
""" == drawn(lines([(result.id, result) for result in results], 80))


def with_tests(**fields: Any) -> Result:
    """The result of a submission whose tests are in groups."""
    tests = [
        ("sample", Status.ACCEPTED, 0.001, 640, 10.0),
        ("1-two-are-not-enough", Status.RUNTIME_ERROR_SIGSEGV, 0.25, 1_536, 0.0),
        ("2", Status.SKIPPED, None, None, 0.0),
    ]
    given: dict[str, Any] = {
        "tests": tuple(
            TestResult(
                name=name,
                status=status,
                status_id=STATUS_IDS[status],
                message="Killed by signal 11 (Segmentation fault).",
                time=time_s,
                memory=memory,
                points=points,
            )
            for name, status, time_s, memory, points in tests
        ),
        "groups": (
            GroupResult(name="small", status=Status.ACCEPTED, points=10, max_points=10),
            GroupResult(name="large", status=Status.RUNTIME_ERROR_SIGSEGV, points=0, max_points=32.5),
        ),
        "points": 10,
        "max_points": 42.5,
    }
    return judged(status=Status.RUNTIME_ERROR_SIGSEGV, message="Killed.", **(given | fields))


def test_result_with_tests_is_a_line_each_above_the_card() -> None:
    """Messages are those of tests that failed, and are cut before anything else."""
    assert f"""\
test                  status                   CPU time   memory  points
sample                Accepted                  0.001 s  640 KiB      10
1-two-are-not-enough  Runtime error (SIGSEGV)   0.250 s  1.5 MiB       0
2                     Skipped                                          0

group  status                      points
small  Accepted                  10 of 10
large  Runtime error (SIGSEGV)  0 of 32.5

Runtime error (SIGSEGV)  hello.c
Killed.
Tests      1 of 3 accepted
Points     10 of 42.5
{FIGURES}{LANGUAGE}""" == drawn(whole("hello.c", with_tests(), 80))


def test_tests_that_were_all_skipped_are_not_listed() -> None:
    """A program that cannot be built has one thing to say."""
    skipped = tuple(test.model_copy(update={"status": Status.SKIPPED}) for test in with_tests().tests)
    text = drawn(whole("hello.c", with_tests(tests=skipped, groups=(), points=None), 80))

    assert text.startswith("Runtime error (SIGSEGV)  hello.c\n")
    assert "\nTests      0 of 3 accepted\n" in text


@pytest.mark.parametrize("width", [40, 80])
def test_names_of_tests_are_cut_last(width: int) -> None:
    """The status stays, and every test has one line."""
    text = drawn(whole("hello.c", with_tests(), width))
    table = text.split("\n\n")[0].splitlines()

    assert 4 == len(table)
    assert max(map(len, table)) <= width
    assert "Runtime error (SIGSEGV)" in table[2]


@pytest.mark.parametrize("length", [1, 20, 36, 50, 128])
def test_lines_fit_80_columns_with_status_and_name(length: int) -> None:
    """The message goes first, then the figures; a name is only cut if nothing else is left."""
    name = "n" * length
    text = drawn(lines([(name, judged(name, Status.RUNTIME_ERROR_SIGSEGV))], 80))

    assert max(map(len, text.splitlines())) <= 80
    assert "Runtime error (SIGSEGV)" in text
    assert name[:54] in text


def entry(name: str) -> Entry:
    return Entry(name, name, b"")


def test_missing_results_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A result that did not come is a failure, also where all others are accepted."""
    complete = show([entry("a.c"), entry("b\x1b.c"), entry("c.c")], {0: judged("a.c")}, as_json=False)
    out, err = capsys.readouterr()

    assert (False, "verdictd: no result in time for b .c, c.c\n") == (complete, err)
    assert "1 of 3 accepted" in out


def test_json_is_as_harmless_as_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    """What a program prints does not reach the terminal as it is, and means the same to a script."""
    shown = judged("a.c", stdout="\x1b[2J\x9b\u202e")
    show([entry("a.c")], {0: shown}, as_json=True)
    out, _ = capsys.readouterr()

    assert out.removesuffix("\n").isprintable()
    assert shown == Result.model_validate_json(out)


def test_many_missing_results_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Ten names are enough."""
    assert not show([entry(f"{number}.c") for number in range(100)], {}, as_json=False)
    out, err = capsys.readouterr()

    assert ("", True) == (
        out,
        err.endswith("for 0.c, 1.c, 2.c, 3.c, 4.c, 5.c, 6.c, 7.c, 8.c, 9.c and 90 more\n"),
    )
