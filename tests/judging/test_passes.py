"""A checker program asks for another pass of the tested program, each in a real box."""

from typing import Any

import pytest

from judging.conftest import Judge
from verdictd.contract.result import Cause, Status

pytestmark = pytest.mark.anyio


def kattis(source: str, **fields: Any) -> dict[str, Any]:
    """A checker program in a few lines of bash, for up to two passes."""
    program = {"type": "program", "language": "bash", "source_code": source, "protocol": "kattis"}
    return program | {"passes": 2} | fields


ENCODED = """
read -r said
if [ -f "$3word" ]; then
    [ "$said" = "$(<"$3word") $(<"$2")" ] && exit 42
    echo "came back as $said" > "$3judgemessage.txt"; exit 43
fi
{ read -r mode; read -r word; } < "$1"
[ "$said" = "$word" ] && exit 43
echo "$word" > "$3word"; printf 'decode\\n%s\\n' "$said" > "$3nextpass.in"; exit 42
"""
"""Has a word encoded, and what came of that decoded: it must be the word, and the expected output."""
ENCODES = "read -r mode; read -r word; [ $mode = encode ] && { echo x$word; exit; };"


async def encode(judge: Judge, program: str, **fields: Any) -> Any:
    given: dict[str, Any] = {"stdin": b"encode\nword\n", "expected_output": b"end"} | fields
    return await judge("bash", program, **({"checker": kattis(ENCODED)} | given))


ACCEPTED = "The checker accepted the output."
REJECTED = "The checker rejected the output."


@pytest.mark.parametrize(
    ("program", "status", "message", "printed"),
    [
        (f"{ENCODES} echo ${{word#x}} end", Status.ACCEPTED, ACCEPTED, "word end"),
        (f"mkdir left || exit; {ENCODES} echo ${{word#x}} end", Status.ACCEPTED, ACCEPTED, "word end"),
        ("echo word", Status.WRONG_ANSWER, REJECTED, "word"),
        (f"{ENCODES} echo $word", Status.WRONG_ANSWER, f"Pass 2: {REJECTED}", "xword"),
        ("exit 3", Status.RUNTIME_ERROR_NZEC, "Exited with code 3 instead of 0.", ""),
        (f"{ENCODES} exit 3", Status.RUNTIME_ERROR_NZEC, "Pass 2: Exited with code 3 instead of 0.", ""),
        (
            f"{ENCODES} exec yes >&2",
            Status.OUTPUT_LIMIT_EXCEEDED,
            "Pass 2: Wrote more than 64 KiB of output.",
            "",
        ),
    ],
)
async def test_first_pass_that_fails_decides(
    judge: Judge, program: str, status: Status, message: str, printed: str
) -> None:
    """Its message names the pass, unless it is the first; the output is that of the last one."""
    result = await encode(judge, program, max_output_size=64)

    assert (status, message, printed) == (result.status, result.message, result.stdout.strip())
    assert ("came back as xword" if printed == "xword" else "") == result.checker_message


async def test_each_pass_has_its_input_and_its_output_in_files(judge: Judge) -> None:
    """If the submission names them."""
    program = f"exec < in > out; {ENCODES} echo ${{word#x}} end"
    result = await encode(judge, program, input_file="in", output_file="out")

    assert (Status.ACCEPTED, "") == (result.status, result.stdout)


async def test_each_run_of_a_test_has_all_passes(judge: Judge) -> None:
    """`number_of_runs` asks for as many."""
    result = await encode(judge, f"{ENCODES} echo ${{word#x}} end", number_of_runs=2)

    assert (Status.ACCEPTED, 2) == (result.status, result.runs and result.runs.count)


COUNTS = """
read -r said; read -r given < "$1"; read -r answer < "$2"
echo "$given $said $answer" >> "$3judgemessage.txt"
[ -d "$3nested" ] || mkdir "$3nested"; echo >> "$3nested/passes"
mapfile -t passes < "$3nested/passes"
[ ${#passes[*]} -lt $4 ] && echo ${#passes[*]} > "$3nextpass.in"
echo 0.${#passes[*]} > "$3score.txt"; exit 42
"""


@pytest.mark.parametrize(("passes", "wanted", "done"), [(1, 3, 1), (3, 1, 1), (3, 2, 2), (3, 3, 3)])
async def test_feedback_of_the_checker_is_kept_from_pass_to_pass(
    judge: Judge, passes: int, wanted: int, done: int
) -> None:
    """As many passes as it wants, without `passes` a single one; the last one gives the points."""
    checker = kattis(COUNTS, passes=passes, arguments=f"{wanted}")
    test = {"stdin": b"first\n", "expected_output": b"answer\n", "points": 1}
    result = await judge("bash", "read -r line; echo got $line", checker=checker, tests=[test])
    said = ["first got first answer", "1 got 1 answer", "2 got 2 answer"]

    assert (Status.ACCEPTED, said[:done]) == (result.status, result.checker_message.splitlines())
    assert done / 10 == result.points


@pytest.mark.parametrize(
    ("checker", "message"),
    [
        ('touch "$3nextpass.in"; exit 42', "Pass 2: The checker failed: it asks for more than 2 passes."),
        (
            'touch "$3nextpass.in"; ln "$3nextpass.in" "$3other"; exit 42',
            "The checker failed: its feedback cannot be read: ",
        ),
        (
            '[ -f "$3other" ] && exit 9; touch "$3other" "$3nextpass.in"; exit 42',
            "Pass 2: The checker failed: its protocol has no exit code 9.",
        ),
    ],
)
async def test_fault_of_the_checker_in_any_pass_is_not_that_of_the_program(
    judge: Judge, checker: str, message: str
) -> None:
    """It asks for too many passes, or for one with a file that cannot be trusted, or crashes."""
    result = await judge("bash", "", checker=kattis(checker))

    assert (Status.INTERNAL_ERROR, Cause.CHECKER) == (result.status, result.cause)
    assert result.message.startswith(message)
