"""Input and output in files of the working directory, and files that come back with the result."""

import base64
from typing import Any

import pytest

from judging.conftest import Judge
from verdictd.contract.result import Cause, ReturnedFile, Status
from verdictd.errors import InvalidSubmission, Problem

pytestmark = pytest.mark.anyio

FILES = {"input_file": "sum.in", "output_file": "out/sum.out"}
SUM = """
import os, sys
numbers = map(int, open("sum.in").read().split())
os.mkdir("out")
print(sum(numbers), file=open("out/sum.out", "w"))
print("debug", repr(sys.stdin.read()))
"""


async def test_input_and_output_are_in_files(judge: Judge) -> None:
    """Standard input is empty then, standard output comes back and is not compared."""
    result = await judge("python", SUM, **FILES, stdin="20 22\n", expected_output="42\n")

    assert (Status.ACCEPTED, "debug ''\n") == (result.status, result.stdout)


@pytest.mark.parametrize(
    ("source", "status", "cause", "message"),
    [
        (
            "",
            Status.WRONG_ANSWER,
            Cause.OUTPUT,
            "The output file 'out/sum.out' is missing, or not a regular file",
        ),
        (
            "cd /; ln -s /etc/passwd /box/out/sum.out",
            Status.WRONG_ANSWER,
            Cause.OUTPUT,
            "The output file 'out/sum.out'",
        ),
        (
            "echo 43 > out/sum.out",
            Status.WRONG_ANSWER,
            Cause.OUTPUT,
            'Line 1, column 2: expected "42", got "43"',
        ),
        (
            "head -c 2000 /dev/zero > out/sum.out",
            Status.OUTPUT_LIMIT_EXCEEDED,
            Cause.OUTPUT,
            "Wrote more than 1 KiB",
        ),
        ("echo 42 > out/sum.out; exit 3", Status.RUNTIME_ERROR_NZEC, Cause.EXIT_CODE, "Exited with code 3"),
    ],
)
async def test_output_file_decides(
    judge: Judge, source: str, status: Status, cause: Cause | None, message: str
) -> None:
    """One that is missing is a wrong answer, one that is too large exceeds the limit of the output."""
    result = await judge(
        "bash", f"mkdir out\n{source}", **FILES, expected_output="42\n", max_output_size=1, stdin="x"
    )

    assert (status, cause) == (result.status, result.cause)
    assert result.message.startswith(message)


async def test_files_come_back_with_the_result(judge: Judge) -> None:
    """By name or pattern, as text or in base64, also if the program failed; what is missing is said."""
    source = r"mkdir out; echo one > out/1.txt; printf '\xff' > out/2.txt; ln -s /etc/passwd link; exit 1"
    result = await judge("bash", source, output_files=["out/*.txt", "link", "none"])
    problem = "is missing, or not a regular file that can be read"

    assert Status.RUNTIME_ERROR_NZEC == result.status
    assert (
        ReturnedFile(name="out/1.txt", content="one\n"),
        ReturnedFile(name="out/2.txt", content=base64.b64encode(b"\xff").decode(), encoding="base64"),
        ReturnedFile(name="link", problem=problem),
        ReturnedFile(name="none", problem=problem),
    ) == result.files


async def test_name_that_is_not_text_is_escaped(judge: Judge) -> None:
    """A program chooses it, and every result is JSON."""
    result = await judge("bash", r"touch $'a\xff.txt'", output_files=["*.txt"])

    assert ["a\\xff.txt"] == [file.name for file in result.files]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"input_file": "main.py"}, Problem("/input_file", "would take the place of 'main.py'")),
        ({"input_file": "data"}, Problem("/input_file", "would take the place of 'data/x'")),
        (
            {"input_file": "a", "output_file": "a"},
            Problem("/output_file", "is the input file; the program may only read that"),
        ),
    ],
)
async def test_input_file_takes_no_place_of_another(
    judge: Judge, fields: dict[str, Any], problem: Problem
) -> None:
    """It is refused before it is judged."""
    with pytest.raises(InvalidSubmission) as refused:
        await judge("python", "", additional_files=[{"name": "data/x", "content": ""}], **fields)

    assert [problem] == refused.value.problems
