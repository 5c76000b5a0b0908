"""Ask the checker of a submission about an output: one of the built-in rules."""

from dataclasses import dataclass
from io import BytesIO

from verdictd.concurrency import offload
from verdictd.contract.checker import Checker
from verdictd.contract.result import Cause, Status
from verdictd.judging.checkers.comparison import compare
from verdictd.judging.checkers.difference import Difference
from verdictd.judging.test_data import OpenData
from verdictd.judging.verdicts import Verdict

_RIGHT = Verdict(Status.ACCEPTED, None, "The output matches the expected output.")


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer of a checker about one output."""

    verdict: Verdict
    fraction: float
    """Of the points of a test: 1 if it is accepted, 0 if it is not."""


async def check(checker: Checker, output: bytes, expected: OpenData) -> Judgement:
    """Return the judgement on the output of a program that ended well."""

    def work() -> Difference | None:
        with expected.open() as stream:
            return compare(checker, BytesIO(output), stream)

    difference = await offload(work, len(output) + expected.size_bytes)
    if difference is None:
        return Judgement(_RIGHT, 1)
    return Judgement(Verdict(Status.WRONG_ANSWER, Cause.OUTPUT, str(difference)), 0)
