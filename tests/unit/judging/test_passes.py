"""Passes of a test are one run: the last one decides, and the largest figures count."""

from dataclasses import dataclass, field

import pytest

from verdictd.contract.result import Status
from verdictd.judging.checkers.judgement import Judgement, accepted, fault, wrong
from verdictd.judging.checkers.passes import Pass, run_in_passes
from verdictd.judging.test_data import OpenData
from verdictd.sandbox.model import Captured, Ending, Noise, Report, Transcript, Utterance

pytestmark = pytest.mark.anyio


def report(said: bytes, time_s: float, memory_kib: int, noise: float | None) -> Report:
    spoken = Transcript((Utterance(by_program=True, text=said),))
    return Report(
        Ending.EXITED,
        0,
        None,
        cpu_time_s=time_s,
        wall_time_s=2 * time_s,
        memory_kib=memory_kib,
        stdout=Captured(said),
        stderr=Captured(),
        transcript=spoken,
        noise=Noise(cpu_pressure=noise),
    )


@dataclass
class Recorded:
    """A test with these passes; the author's program then says `last`."""

    passes: list[tuple[Report, Judgement]]
    last: Judgement | None = None
    inputs: list[bytes] = field(default_factory=list)

    async def one_pass(self, this: Pass) -> tuple[Report, Judgement]:
        assert isinstance(this.given.source, bytes)
        self.inputs.append(this.given.source)
        return self.passes[len(self.inputs) - 1]

    async def following(self, done: int) -> Pass | Judgement | None:
        return self.last if done == len(self.passes) else Pass(OpenData(b"%d" % done))


FIRST, SECOND = report(b"a", 2, 1, None), report(b"b", 1, 3, 0.5)


async def test_figures_of_several_passes_are_the_largest() -> None:
    """The output is that of the last one; what was said is all there."""
    test = Recorded([(FIRST, accepted("Fine.")), (SECOND, accepted("Good."))])
    run = await run_in_passes(test, OpenData(b"given"))
    found = run.report

    assert accepted("Good.") == run.judged
    assert [b"given", b"1"] == test.inputs
    assert (2, 4, 3, b"b") == (found.cpu_time_s, found.wall_time_s, found.memory_kib, found.stdout.data)
    assert (0.5, [b"a", b"b"]) == (found.noise.cpu_pressure, [one.text for one in found.transcript.said])


@pytest.mark.parametrize(
    ("judged", "last", "status", "message"),
    [
        ([wrong("No."), accepted("")], None, Status.WRONG_ANSWER, "No."),
        ([accepted(""), wrong("No.")], None, Status.WRONG_ANSWER, "Pass 2: No."),
        ([accepted("")], fault("Failed."), Status.INTERNAL_ERROR, "Failed."),
        ([accepted(""), accepted("")], fault("Failed."), Status.INTERNAL_ERROR, "Pass 2: Failed."),
    ],
)
async def test_message_of_a_failure_names_its_pass(
    judged: list[Judgement], last: Judgement | None, status: Status, message: str
) -> None:
    """Unless it is the first; it is the last one in any case."""
    test = Recorded([(FIRST, one) for one in judged], last)
    found = (await run_in_passes(test, OpenData(b""))).judged

    assert found is not None
    assert (status, message) == (found.verdict.status, found.verdict.message)
