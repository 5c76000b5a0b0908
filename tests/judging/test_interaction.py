"""A program and an interactor talk to each other, each in a real box; exact blame for what goes wrong."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from judging.conftest import Judge
from verdictd.contract.result import Cause, Status

pytestmark = pytest.mark.anyio

TESTLIB = os.environ.get("VERDICTD_TEST_TESTLIB", "")

GAME = """
secret=$(<"$1")
for ((left = $(<"$2"); left > 0; left--)); do
    if ! read -r guess; then echo 'wrong answer: the program ended' > "$3judgemessage.txt"; exit 43; fi
    if [ "$guess" = "$secret" ]; then echo found; echo "$left left" > "$3judgemessage.txt"; exit 42; fi
    if [ "$guess" -lt "$secret" ]; then echo more; else echo less; fi
done
echo 'too many guesses' > "$3judgemessage.txt"
echo 'halve the range' > "$3teammessage.txt"
exit 43
"""
"""Its input is a number from 1 to 100, its answer the number of guesses that are allowed."""
HALVES = """
low=1 high=100
while guess=$(((low + high) / 2)); echo $guess; read -r said; do
    case $said in more) low=$((guess + 1)) ;; less) high=$((guess - 1)) ;; *) exit ;; esac
done
"""
COUNTS = "for ((guess = 1; ; guess++)); do echo $guess; read -r said || exit 0; done"


def kattis(source: str, **fields: Any) -> dict[str, Any]:
    """An interactor in a few lines of bash, with Kattis' protocol."""
    return {"language": "bash", "source_code": source, "protocol": "kattis"} | fields


def of_testlib(source: str, **fields: Any) -> dict[str, Any]:
    """One with the protocol of testlib.h."""
    return kattis(source, protocol="testlib") | fields


QUICK = {"wall_time_limit": 0.5}
BRIEF = {"cpu_time_limit": 0.1, "cpu_extra_time": 0}
READS = "while read -r line; do :; done; echo 'wrong answer end' >&2; exit 1"
"""Waits for the end of what the program says."""


async def play(
    judge: Judge, program: str, interactor: dict[str, Any], *, language: str = "bash", **fields: Any
) -> Any:
    given: dict[str, Any] = {"stdin": b"63", "expected_output": b"7", "wall_time_limit": 10} | fields
    return await judge(language, program, interactor=interactor, **given)


@pytest.mark.parametrize(
    ("program", "status", "said", "to_team"),
    [
        (HALVES, Status.ACCEPTED, "2 left", ""),
        (COUNTS, Status.WRONG_ANSWER, "too many guesses", "halve the range"),
        ("echo 50; read -r said; exit 0", Status.WRONG_ANSWER, "the program ended", ""),
    ],
)
async def test_interactor_decides_about_a_game(
    judge: Judge, program: str, status: Status, said: str, to_team: str
) -> None:
    """Won, over its queries, given up: with what the interactor said; nothing is in stdout."""
    result = await play(judge, program, kattis(GAME))

    assert status == result.status
    assert (None if status is Status.ACCEPTED else Cause.OUTPUT) == result.cause
    assert said in result.checker_message
    assert (to_team, "") == (result.team_message, result.stdout)


PYTHON_GAME = """
import sys
secret = int(open(sys.argv[1]).read())
for guess in sys.stdin:
    print("found" if int(guess) == secret else "other", flush=True)
    if int(guess) == secret:
        open(sys.argv[2], "w").write("log")
        print("ok", open(sys.argv[3]).read(), sys.argv[4], file=sys.stderr)
        sys.exit(0)
print("wrong answer no guess", file=sys.stderr)
sys.exit(1)
"""


async def test_interactor_of_testlib_may_write_an_output_file(judge: Judge) -> None:
    """It is started with the names of input, output and answer, and its own arguments."""
    interactor = of_testlib(PYTHON_GAME, language="python", arguments="x")
    result = await play(judge, "for guess in 5 63; do echo $guess; read -r said; done", interactor)

    assert (Status.ACCEPTED, "ok 7 x") == (result.status, result.checker_message)


CPP_GAME = """
#include <cstdio>
int main(int, char **arguments) {
    int secret, guess;
    if (std::fscanf(std::fopen(arguments[1], "r"), "%d", &secret) != 1) return 1;
    while (std::scanf("%d", &guess) == 1) {
        if (guess == secret) return 42;
        std::puts(guess < secret ? "more" : "less");
        std::fflush(stdout);
    }
    return 43;
}
"""


TESTLIB_GAME = """
#include "testlib.h"
using namespace std;
int main(int argc, char **argv) {
    registerInteraction(argc, argv);
    int secret = inf.readInt(), allowed = ans.readInt();
    for (int used = 1; used <= allowed; used++) {
        int guess = ouf.readInt(1, 100);
        tout << guess << endl;
        if (guess == secret) { cout << "found" << endl; quitf(_ok, "%d guesses", used); }
        cout << (guess < secret ? "more" : "less") << endl;
    }
    quitf(_wa, "too many guesses");
}
"""


@pytest.mark.skipif(not TESTLIB, reason="VERDICTD_TEST_TESTLIB does not name a testlib.h")
async def test_interactor_made_with_testlib_decides(judge: Judge) -> None:
    """With the header as an additional file, unchanged."""
    header = {"name": "testlib.h", "content": Path(TESTLIB).read_text()}
    interactor = of_testlib(TESTLIB_GAME, language="cpp", additional_files=[header], compiler_options="-O0")
    programs = (HALVES, COUNTS, "exit 0", "echo 101", "echo 50; exit 3")
    tests = [
        {"stdin": "63", "expected_output": "7", "command_line_arguments": [program]} for program in programs
    ]
    result = await judge("bash", 'eval "$1"', tests=tests, interactor=interactor, stop_on_failure=False)

    assert [
        (Status.ACCEPTED, "ok 6 guesses"),
        (Status.WRONG_ANSWER, "wrong answer too many guesses"),
        (Status.WRONG_ANSWER, "wrong output format Unexpected end of file - int32 expected"),
        (Status.WRONG_ANSWER, "wrong answer Integer 101 violates the range [1, 100]"),
        (Status.RUNTIME_ERROR_NZEC, "wrong output format Unexpected end of file - int32 expected"),
    ] == [(test.status, test.checker_message) for test in result.tests]


async def test_interactor_is_compiled_once_for_all_tests(judge: Judge) -> None:
    """In the second box; groups and points are counted as always."""
    tests = [{"stdin": number, "expected_output": "7", "points": 5} for number in ("63", "1", "100")]
    interactor = kattis(CPP_GAME, language="cpp", compiler_options="-O0")
    result = await judge("bash", HALVES, tests=tests, interactor=interactor, return_output="all")

    assert (Status.ACCEPTED, 15, 15) == (result.status, result.points, result.max_points)
    assert [Status.ACCEPTED] * 3 == [test.status for test in result.tests]


@pytest.mark.parametrize(
    ("interactor", "status", "points"),
    [
        (kattis('echo 2.5 > "$3score.txt"; exit 42'), Status.ACCEPTED, 2.5),
        (of_testlib("echo 'points 4' >&2; exit 7"), Status.WRONG_ANSWER, 4),
    ],
)
async def test_interactor_may_give_a_part_of_the_points(
    judge: Judge, interactor: dict[str, Any], status: Status, points: float
) -> None:
    """As a checker program may."""
    result = await judge("bash", "cat", tests=[{"points": 5}], interactor=interactor)

    assert (status, points) == (result.status, result.points)


@pytest.mark.parametrize(
    ("program", "status", "cause", "message"),
    [
        ("echo 50; kill -SEGV $$", Status.RUNTIME_ERROR_SIGSEGV, Cause.SIGNAL, "signal 11"),
        ("echo 50; read -r said; exit 3", Status.RUNTIME_ERROR_NZEC, Cause.EXIT_CODE, "code 3"),
        ("exit 0", Status.WRONG_ANSWER, Cause.OUTPUT, "rejected"),
        ("exec >&-; while read -r said; do :; done; exit 3", Status.WRONG_ANSWER, Cause.OUTPUT, "rejected"),
        ("exec <&-; echo 50; echo 63; sleep 0.1; echo 1", Status.ACCEPTED, None, "accepted"),
        ("yes 2>&-; exit 3", Status.WRONG_ANSWER, Cause.OUTPUT, "rejected"),
        ("yes >&2", Status.OUTPUT_LIMIT_EXCEEDED, Cause.OUTPUT, "64 KiB"),
        ("while :; do :; done", Status.TIME_LIMIT_EXCEEDED, Cause.CPU_TIME, "0.2 s of CPU"),
        ("missing", Status.RUNTIME_ERROR_NZEC, Cause.EXIT_CODE, "code 127"),
    ],
)
async def test_program_that_fails_is_at_fault(
    judge: Judge, program: str, status: Status, cause: Cause | None, message: str
) -> None:
    """It dies, floods, closes a stream, ends without reading, breaks a limit: its own failure comes first."""
    limits: dict[str, Any] = {"cpu_time_limit": 0.2, "cpu_extra_time": 0.1, "max_output_size": 64}
    result = await play(judge, program, kattis(GAME), **limits)

    assert (status, cause) == (result.status, result.cause)
    assert message in result.message


async def test_program_that_cannot_be_executed_says_so(judge: Judge) -> None:
    """What the sandbox says goes to standard error, and not to the interactor."""
    result = await play(judge, "nothing that can be executed", kattis(GAME), language="direct")

    assert (Status.EXEC_FORMAT_ERROR, Cause.EXEC) == (result.status, result.cause)


ACCEPTS = kattis("read -r line; exit 42")


@pytest.mark.parametrize(
    ("program", "status", "message"),
    [
        ("echo 1; sleep 0.2; echo 2; echo 3", Status.ACCEPTED, "accepted"),
        ("echo 1; sleep 0.2; exec yes", Status.ACCEPTED, "accepted"),
        ("trap '' PIPE; echo 1; head -c 1M /dev/zero 2>&-; exit 9", Status.ACCEPTED, "accepted"),
        ("echo 1; read -r said; exit 3", Status.RUNTIME_ERROR_NZEC, "code 3"),
        ("echo 1; read -r said; kill -ABRT $$", Status.RUNTIME_ERROR_SIGABRT, "signal 6"),
        ("echo 1; read -r said; while :; do :; done", Status.TIME_LIMIT_EXCEEDED, "CPU time"),
        ("echo 1; sleep 60", Status.TIME_LIMIT_EXCEEDED, "longer than 1.5 s"),
    ],
)
async def test_interactor_that_is_done_breaks_nothing_but_the_pipe(
    judge: Judge, program: str, status: Status, message: str
) -> None:
    """The program goes on to its own end: what nobody reads is nobody's fault, a crash is the program's."""
    limits: dict[str, Any] = {
        "wall_time_limit": 1.5,
        "cpu_time_limit": 0.1,
        "cpu_extra_time": 0,
        "max_output_size": 256,
    }
    result = await play(judge, program, ACCEPTS, **limits)

    assert status == result.status
    assert message in result.message


@pytest.mark.parametrize("fails", ["read -r said; exit 3", "sleep 60"])
async def test_program_is_ended_once_it_was_rejected(judge: Judge, fails: str) -> None:
    """What becomes of it then changes nothing."""
    result = await play(judge, f"echo 1; {fails}", kattis("read -r line; exit 43"))

    assert (Status.WRONG_ANSWER, Cause.OUTPUT) == (result.status, result.cause)
    assert result.wall_time < 5


@pytest.mark.parametrize(
    ("interactor", "message", "said"),
    [
        (kattis("echo here >&2; kill -SEGV $$"), "Killed by signal 11", "here"),
        (kattis("read -r line; echo here >&2; exit 9"), "no exit code 9", "here"),
        (of_testlib("echo here: error >&2; exit 1"), "does not begin", "here"),
        (kattis("read -r line; sleep 60", limits=QUICK), "longer than 1.5 s", ""),
        (kattis("while :; do :; done", limits=BRIEF), "0.1 s of CPU time", ""),
        (kattis("exec yes here >&2", limits={"max_output_size": 64}), "64 KiB of output", "here"),
        (kattis("exec yes"), "went on writing after the program had ended", ""),
        (kattis("", language="made"), "does not compile", ""),
    ],
)
async def test_fault_of_the_interactor_is_no_verdict_on_the_program(
    judge: Judge, interactor: dict[str, Any], message: str, said: str
) -> None:
    """It ends first, crashes, never answers, floods: whatever the program does meanwhile."""
    program = "echo 1; read -r said; sleep 0.1; read -r said"
    result = await play(judge, program, interactor, wall_time_limit=0.5)

    assert (Status.INTERNAL_ERROR, Cause.CHECKER) == (result.status, result.cause)
    assert message in result.message
    assert said in result.checker_message


async def test_program_that_makes_the_interactor_fail_is_at_fault(judge: Judge) -> None:
    """One that reads a flood to the end exceeds its own limit."""
    interactor = kattis("cat > /dev/null", limits=BRIEF)
    result = await play(judge, "exec yes", interactor, cpu_time_limit=10)

    assert (Status.OUTPUT_LIMIT_EXCEEDED, Cause.OUTPUT) == (result.status, result.cause)


@pytest.mark.parametrize(
    ("program", "interactor", "message"),
    [
        ("read -r said", READS, "Both waited: each had read all that the other had written."),
        ("sleep 60", f"echo 12345; {READS}", "The program had left 6 bytes of its input unread."),
        (
            "echo 12345; read -r said",
            "sleep 1; exit 42",
            "The interactor had left 6 bytes of its input unread.",
        ),
    ],
)
async def test_message_says_who_waited(judge: Judge, program: str, interactor: str, message: str) -> None:
    """At the wall time limit of the program, by what lies unread between both."""
    result = await play(judge, program, of_testlib(interactor), wall_time_limit=0.7)

    assert (Status.TIME_LIMIT_EXCEEDED, Cause.WALL_TIME) == (result.status, result.cause)
    assert message in result.message


async def test_interactor_may_end_its_output_before_it_ends(judge: Judge) -> None:
    """And read on: the program reads to the end, and answers then."""
    interactor = kattis('echo 1; echo 2; exec >&-; read -r sum; [ "$sum" = 3 ] && exit 42; exit 43')
    program = "total=0; while read -r number; do total=$((total + number)); done; echo $total"
    result = await play(judge, program, interactor)

    assert Status.ACCEPTED == result.status


async def test_program_sees_neither_input_nor_answer_nor_the_other_box(judge: Judge) -> None:
    """And what it has as streams can be neither removed nor replaced."""
    program = """
        ls -A /box /pipes >&2
        rm /pipes/in /pipes/out 2>/dev/null && exit 9
        echo first > /dev/stdout
        read -r said < /dev/stdin
        echo "$said" >&2
    """
    interactor = kattis('read -r line; echo "$line second"; read -r line; exit 42')
    result = await play(judge, program, interactor)

    assert Status.ACCEPTED == result.status
    assert "/box:\nmain.sh\n\n/pipes:\nerr\nin\nout\nfirst second\n" == result.stderr


async def test_transcript_says_who_said_what(judge: Judge) -> None:
    """In order, with what nobody read any more."""
    interactor = kattis("for word in one two; do read -r line; echo $word; done; exit 42")
    program = "for word in a b; do echo $word; read -r said; done; printf '\\xff'"
    result = await play(judge, program, interactor, transcript=True)

    assert Status.ACCEPTED == result.status
    assert [
        ("program", "a\n"),
        ("interactor", "one\n"),
        ("program", "b\n"),
        ("interactor", "two\n"),
        ("program", "/w=="),
    ] == [(said.speaker, said.text) for said in result.transcript]
    assert ("base64", False) == (result.transcript[-1].encoding, result.transcript_truncated)


@pytest.mark.parametrize(
    ("program", "interactor", "status"),
    [
        ("exec yes", ACCEPTS, Status.ACCEPTED),
        ("exec yes", kattis("cat > /dev/null"), Status.TIME_LIMIT_EXCEEDED),
        ("echo 1; read -r said", kattis("exec yes"), Status.INTERNAL_ERROR),
        ("exec >&-; while read -r said; do :; done", kattis(GAME), Status.WRONG_ANSWER),
        ("echo 50; kill -SEGV $$", kattis(GAME), Status.RUNTIME_ERROR_SIGSEGV),
    ],
)
async def test_transcript_changes_no_verdict(
    judge: Judge, program: str, interactor: dict[str, Any], status: Status
) -> None:
    """Floods, ends and closed streams pass through the daemon, and the record is bounded."""
    limits: dict[str, Any] = {"wall_time_limit": 0.5, "max_output_size": 256}
    result = await play(judge, program, interactor, transcript=True, **limits)

    assert status == result.status
    assert sum(len(said.text) for said in result.transcript) <= 128 * 1024
    assert result.transcript_truncated == ("yes" in f"{program}{interactor}")


TWO_PASSES = """
read -r line; echo "$line" >> "$3said"
[ -f "$3nested/first" ] && { cat "$1" "$2" "$3said" > "$3judgemessage.txt"; exit $4; }
mkdir "$3nested"; touch "$3nested/first"; printf 'next ' > "$3nextpass.in"; exit 42
"""


@pytest.mark.parametrize(
    ("passes", "code", "status"),
    [(2, 42, Status.ACCEPTED), (2, 43, Status.WRONG_ANSWER), (1, 42, Status.ACCEPTED)],
)
async def test_interactor_may_ask_for_another_pass(
    judge: Judge, passes: int, code: int, status: Status
) -> None:
    """With an input of its choice: both begin anew, and its feedback directory is as it left it."""
    interactor = kattis(TWO_PASSES, passes=passes, arguments=f"{code}")
    program = "[ -f left ] && exit 9; touch left; echo talks"
    result = await play(judge, program, interactor, transcript=True)

    assert status == result.status
    assert (code == 43) == result.message.startswith("Pass 2: ")
    assert ("" if passes == 1 else "next 7talks\ntalks") == result.checker_message
    assert "talks\n" * passes == "".join(said.text for said in result.transcript)


@pytest.mark.parametrize(
    ("interactor", "message"),
    [
        ('touch "$3nextpass.in"; exit 42', "it asks for more than 2 passes"),
        ('ln -s /etc/passwd "$3nextpass.in"; ln "$1" "$3two"; exit 42', "its feedback cannot be read"),
    ],
)
async def test_passes_without_end_are_a_fault_of_the_interactor(
    judge: Judge, interactor: str, message: str
) -> None:
    """And so is what is no file to go on with."""
    result = await play(judge, "read -r said; exit 0", kattis(interactor, passes=2))

    assert (Status.INTERNAL_ERROR, Cause.CHECKER) == (result.status, result.cause)
    assert message in result.message


async def test_each_run_is_a_conversation_of_its_own(judge: Judge) -> None:
    """`number_of_runs` asks for as many; the times are those of the program alone."""
    interactor = kattis("for ((i = 0; i < 50000; i++)); do :; done; exit 42")
    result = await play(judge, "read -r said; exit 0", interactor, number_of_runs=2)

    assert (Status.ACCEPTED, 2) == (result.status, result.runs and result.runs.count)
    assert result.time < result.wall_time / 2


async def test_many_conversations_at_once_do_not_wait_for_each_other(judge: Judge) -> None:
    """On two boxes, with submissions of other kinds between them, and tests side by side."""
    tests = [{"stdin": "63", "expected_output": "7"}] * 2
    games = [judge("bash", HALVES, tests=tests, interactor=kattis(GAME), parallel_tests=2) for _ in range(3)]
    others = [judge("bash", "echo 4", expected_output=b"4") for _ in range(2)]
    async with asyncio.timeout(60):
        results = await asyncio.gather(*games, *others)

    assert [Status.ACCEPTED] * 5 == [result.status for result in results]
