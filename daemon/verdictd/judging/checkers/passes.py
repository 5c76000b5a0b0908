"""Run a test in passes: a program of the problem's author that accepts one may ask for another."""

from dataclasses import dataclass, field, replace
from typing import Protocol

from verdictd.contract.result import Status
from verdictd.files import File
from verdictd.judging.checkers.judgement import Judgement, Run
from verdictd.judging.test_data import OpenData
from verdictd.sandbox.model import Noise, Report, Transcript

TRANSCRIPT_BYTES = 128 * 1024
"""Of what is said in all passes together."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of a test: its input, and what the author's program left in its feedback directory before."""

    given: OpenData
    feedback: tuple[File, ...] = field(default=(), repr=False)


class Passes(Protocol):
    """A test that may have several passes."""

    async def one_pass(self, this: Pass) -> tuple[Report, Judgement]:
        """Run the tested program once, and let the author's program judge that. Raises SandboxBroken."""

    async def following(self, done: int) -> Pass | Judgement | None:
        """Return the pass that the author's program asks for after one that it accepted, if it asks for one.

        `done`: the passes so far. A judgement says that the author's program failed. Raises SandboxBroken.
        """


async def run_in_passes(test: Passes, stdin: OpenData) -> Run:
    """Run as many passes as are asked for; the last one decides. Raises SandboxBroken."""
    report, judged = await test.one_pass(Pass(stdin))
    done = 1
    while judged.verdict.status is Status.ACCEPTED:
        match await test.following(done):
            case None:
                break
            case Judgement() as failed:
                judged = failed
            case Pass() as following:
                last, judged = await test.one_pass(following)
                report, done = _together(report, last), done + 1
    return Run(report, judged if done == 1 else _named(judged, done))


def _named(judged: Judgement, number: int) -> Judgement:
    """Return the judgement on the last of several passes; the message on a failure names it."""
    decided = judged.verdict
    if decided.status is Status.ACCEPTED:
        return judged
    return replace(judged, verdict=replace(decided, message=f"Pass {number}: {decided.message}"))


def _together(earlier: Report, last: Report) -> Report:
    """Return the last run with the largest figures of all passes, and everything that was said."""
    said = Transcript(
        earlier.transcript.said + last.transcript.said,
        truncated=earlier.transcript.truncated or last.transcript.truncated,
    )
    return replace(
        last,
        cpu_time_s=max(earlier.cpu_time_s, last.cpu_time_s),
        wall_time_s=max(earlier.wall_time_s, last.wall_time_s),
        memory_kib=max(earlier.memory_kib, last.memory_kib),
        noise=Noise.worst([earlier.noise, last.noise]),
        transcript=said.cut(TRANSCRIPT_BYTES),
    )
