"""Checkers decide about the output of real programs."""

import os
from pathlib import Path
from typing import Any

import pytest

from judging.conftest import Judge
from verdictd import metrics
from verdictd.contract.result import Cause, Status

pytestmark = pytest.mark.anyio

TESTLIB = os.environ.get("VERDICTD_TEST_TESTLIB", "")


@pytest.mark.parametrize(
    ("checker", "accepted"),
    [
        ({"type": "lines"}, False),
        ({"type": "exact"}, False),
        ({"type": "tokens"}, False),
        ({"type": "floats"}, True),
        ({"type": "unordered_lines"}, False),
    ],
)
async def test_checker_of_the_submission_decides(
    judge: Judge, checker: dict[str, Any], accepted: bool
) -> None:
    """The same output is right by one rule and wrong by others, which say where."""
    result = await judge(
        "bash", "printf '0.5\\n1e3\\n'", expected_output=b"0.5000001 1000\n", checker=checker
    )

    assert (Status.ACCEPTED if accepted else Status.WRONG_ANSWER) == result.status
    assert (None if accepted else Cause.OUTPUT) == result.cause
    assert accepted == ("Line 1, column " not in result.message)


async def test_program_that_failed_keeps_its_verdict(judge: Judge) -> None:
    """Whatever it printed."""
    result = await judge("bash", "echo 1; exit 3", expected_output=b"1", checker={"type": "tokens"})

    assert (Status.RUNTIME_ERROR_NZEC, Cause.EXIT_CODE) == (result.status, result.cause)


@pytest.mark.parametrize(("printed", "status"), [("", Status.ACCEPTED), ("1", Status.WRONG_ANSWER)])
async def test_empty_expectation_is_one(judge: Judge, printed: str, status: Status) -> None:
    """Expecting nothing to be printed is not the same as expecting nothing."""
    result = await judge("bash", f"printf '{printed}'", expected_output=b"")

    assert status == result.status


def bash(source: str, protocol: str = "testlib", **fields: Any) -> dict[str, Any]:
    """A checker program of a few lines."""
    return {"type": "program", "language": "bash", "source_code": source, "protocol": protocol} | fields


COMPARES = """
shown="$(cat "$1") $(cat "$2") $(cat "$3") $4 $PWD"
if [ "$(cat "$2")" = "$(cat "$3")" ]; then echo "ok $shown" >&2; exit 0; fi
echo "wrong answer $shown" >&2
exit 1
"""
VALIDATES = """
echo "$(cat) $(cat "$1") $(cat "$2") $4" > "$3judgemessage.txt"
echo 'think again' > "$3teammessage.txt"
echo 0.5 > "$3/score.txt"
exit $4
"""


@pytest.mark.parametrize(
    ("printed", "status", "word"), [("3", Status.ACCEPTED, "ok"), ("4", None, "wrong answer")]
)
async def test_checker_of_testlib_reads_input_output_and_answer(
    judge: Judge, printed: str, status: Status | None, word: str
) -> None:
    """In this order, and its own arguments last; its standard error is what it says."""
    result = await judge(
        "bash", f"echo {printed}", stdin=b"1 2", expected_output=b"3", checker=bash(COMPARES, arguments=["x"])
    )

    assert (status or Status.WRONG_ANSWER) == result.status
    assert f"{word} 1 2 {printed} 3 x /box" == result.checker_message
    assert f"{printed}\n" == result.stdout


@pytest.mark.parametrize(("code", "status"), [("42", Status.ACCEPTED), ("43", Status.WRONG_ANSWER)])
async def test_validator_of_kattis_has_the_output_as_its_input(
    judge: Judge, code: str, status: Status
) -> None:
    """It writes into its feedback directory; the words for the team are apart."""
    validator = bash(VALIDATES, "kattis", arguments=code)
    result = await judge("bash", "echo 4", stdin=b"1 2", expected_output=b"3", checker=validator)

    assert status == result.status
    assert (f"4 1 2 3 {code}", "think again") == (result.checker_message, result.team_message)


async def test_checker_needs_no_expected_output(judge: Judge) -> None:
    """The answer is an empty file then."""
    result = await judge("bash", "echo 4", checker=bash('[ -f "$3" ] && [ ! -s "$3" ] || exit 9'))

    assert Status.ACCEPTED == result.status


async def test_checker_is_compiled_once_for_all_runs(judge: Judge) -> None:
    """And its files are there, whatever their names."""

    def builds() -> float:
        samples = (sample for metric in metrics.STAGES.collect() for sample in metric.samples)
        return sum(s.value for s in samples if s.labels == {"stage": "build"} and s.name.endswith("_count"))

    source = "printf '#!/bin/bash\\ncat data words >&2' > main; chmod +x main"
    files = [{"name": "data", "content": "one "}, {"name": "words", "content": "two"}]
    checker = {"type": "program", "language": "made", "source_code": source, "protocol": "testlib"}
    before = builds()
    result = await judge("bash", "", number_of_runs=3, checker=checker | {"additional_files": files})

    assert (Status.ACCEPTED, "one two", 3) == (
        result.status,
        result.checker_message,
        result.runs and result.runs.count,
    )
    assert 1 == builds() - before


@pytest.mark.parametrize(
    ("checker", "message", "said"),
    [
        (bash("echo here >&2; kill -SEGV $$"), "Killed by signal 11", "here"),
        (bash("echo here >&2; kill -KILL $$"), "Killed by signal 9", "here"),
        (
            bash("while :; do :; done", limits={"cpu_time_limit": 0.1, "cpu_extra_time": 0}),
            "more than 0.1 s of CPU time",
            "",
        ),
        (bash("sleep 60", limits={"wall_time_limit": 0.3}), "longer than 0.3 s", ""),
        (bash("yes here", limits={"max_output_size": 64}), "more than 64 KiB of output", "here"),
        (bash("exec yes > big", limits={"max_file_size": 64}), "signal 25", ""),
        (bash("f() { f | f; }; f", limits={"cpu_time_limit": 0.1, "wall_time_limit": 1}), "", ""),
        (bash("missing"), "no exit code 127", "missing"),
        (bash("echo here; exit 9"), "no exit code 9", "here"),
        (bash("echo 'here: error' >&2; exit 1"), "does not begin", "here"),
        (bash("echo FAIL here >&2; exit 3"), "blames the problem", "here"),
        (bash("echo here > $3judgemessage.txt", "kattis"), "no exit code 0", "here"),
        (
            bash(
                "head -c 17000000 /dev/zero > $3judgemessage.txt; exit 42",
                "kattis",
                limits={"max_file_size": 65536},
            ),
            "cannot be read",
            "",
        ),
        (bash("", language="made", source_code="echo here; exit 1"), "does not compile", "here"),
        (bash("", language="made", source_code="kill -SEGV $$"), "does not compile", ""),
    ],
)
async def test_fault_of_the_checker_is_no_verdict_on_the_program(
    judge: Judge, checker: dict[str, Any], message: str, said: str
) -> None:
    """It is the problem that is at fault: with what the checker wrote, and the output of the program."""
    result = await judge("bash", "echo 4", checker=checker)
    after = await judge("bash", "echo 4", expected_output=b"4")

    assert (Status.INTERNAL_ERROR, Cause.CHECKER) == (result.status, result.cause)
    assert message in result.message
    assert said in result.checker_message
    assert "4\n" == result.stdout
    assert Status.ACCEPTED == after.status


@pytest.mark.parametrize(
    "source",
    [
        "ln -s /etc/passwd $3judgemessage.txt",
        "mkfifo $3judgemessage.txt",
        "ln $1 $3judgemessage.txt",
        "rm -r $3; ln -s /etc ${3%/}; ln -s /etc/passwd $3judgemessage.txt",
    ],
)
async def test_feedback_is_read_from_regular_files_only(judge: Judge, source: str) -> None:
    """Links and pipes are a fault of the checker, unless the sandbox has removed them before."""
    result = await judge("bash", "", stdin=b"root", checker=bash(f"{source}; exit 42", "kattis"))

    assert "root" not in result.checker_message
    assert result.cause in {None, Cause.CHECKER}


async def test_checker_is_not_asked_about_a_program_that_failed(judge: Judge) -> None:
    """Even one that does not compile costs nothing then."""
    checker = bash("", language="made", source_code="exit 1")
    result = await judge("bash", "exit 3", checker=checker)

    assert (Status.RUNTIME_ERROR_NZEC, "") == (result.status, result.checker_message)


LEAVES = "touch /box/left /tmp/left /dev/shm/left; (sleep 60 & disown); "
LISTS = "ls -A /box /tmp /dev/shm; ps ax 2>/dev/null | grep -c '[s]leep'"


async def test_program_and_checker_leave_nothing_for_each_other(judge: Judge) -> None:
    """Neither files nor processes, in either direction, and nothing for the next submission."""
    checker = bash(f"{{ {LISTS}; ls -A /box/data; }} >&2; {LEAVES}")
    results = [
        await judge("bash", f"{LISTS}; {LEAVES}", expected_output=b"secret", checker=checker)
        for _ in range(2)
    ]

    for result in results:
        assert Status.ACCEPTED == result.status
        assert "/box:\nmain.sh\n\n/dev/shm:\n\n/tmp:\n0\n" == result.stdout
        said = "/box:\ndata\nmain.sh\n\n/dev/shm:\n\n/tmp:\n0\nanswer\nfeedback\ninput\noutput"
        assert said == result.checker_message


async def test_checker_cannot_change_what_it_reads(judge: Judge) -> None:
    """Input, output and answer are read-only files."""
    result = await judge(
        "bash", "echo 4", checker=bash('for f in "$1" "$2" "$3"; do echo x > "$f" && exit 9; done; exit 0')
    )

    assert Status.ACCEPTED == result.status


@pytest.mark.skipif(not TESTLIB, reason="VERDICTD_TEST_TESTLIB does not name a testlib.h")
async def test_testlib_itself_compiles_and_decides(judge: Judge) -> None:
    """As an additional file, unchanged."""
    source = """
        #include "testlib.h"
        int main(int argc, char **argv) {
            registerTestlibCmd(argc, argv);
            int found = ouf.readInt(), wanted = ans.readInt();
            if (found == 7) quitp(0.25, "lucky");
            quitf(found == wanted ? _ok : _wa, "expected %d, found %d", wanted, found);
        }
    """
    header = {"name": "testlib.h", "content": Path(TESTLIB).read_text()}
    checker = bash("", language="cpp", source_code=source, additional_files=[header], compiler_options="-O0")
    outputs = ("5", "6", "7")  # the header takes seconds to compile
    results = [
        await judge("bash", f"echo {output}", expected_output=b"5", checker=checker) for output in outputs
    ]

    assert [Status.ACCEPTED, Status.WRONG_ANSWER, Status.WRONG_ANSWER] == [
        result.status for result in results
    ]
    assert [
        "ok expected 5, found 5",
        "wrong answer expected 5, found 6",
        "points 0.25 lucky",
    ] == [result.checker_message for result in results]
