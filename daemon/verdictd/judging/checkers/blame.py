"""Decide between a program and its interactor by what both did: pure functions."""

import signal
from dataclasses import replace

from verdictd.contract.result import Cause, Status
from verdictd.contract.submission import EffectiveLimits
from verdictd.judging.checkers.judgement import Judgement
from verdictd.judging.verdicts import Verdict, output_exceeded
from verdictd.sandbox.model import Ending, Report
from verdictd.sandbox.pair import Meeting, Part

_LIMITS = {Ending.CPU_TIME, Ending.WALL_TIME, Ending.OUT_OF_MEMORY, Ending.OUTPUT, Ending.DISK}
_LIMIT_CAUSES = {Cause.CPU_TIME, Cause.WALL_TIME, Cause.MEMORY, Cause.OUTPUT, Cause.DISK}
_IDLE = 0.1  # of the wall time


def blame(meeting: Meeting, alone: Verdict, decided: Judgement, limits: EffectiveLimits) -> Judgement:
    """Return the judgement on a program.

    `alone`: the verdict on its run by itself; `decided`: what the interactor decided, or that it failed.
    """
    failed = alone.status is not Status.ACCEPTED
    own = replace(decided, verdict=_explained(meeting, alone), fraction=0)
    if decided.verdict.status is Status.INTERNAL_ERROR:
        return _after_fault(meeting, own, decided, limits)
    if not failed:
        return decided
    if meeting.program_first or alone.cause in _LIMIT_CAUSES:
        return own
    # What happens to a program after the interactor has rejected it is nobody's fault.
    rejected = decided.verdict.status is not Status.ACCEPTED
    return decided if rejected or _was_cut_off(meeting.program) else own


def _after_fault(meeting: Meeting, own: Judgement, decided: Judgement, limits: EffectiveLimits) -> Judgement:
    """Return the judgement after the interactor failed: the program may have made it fail, or the reverse."""
    exceeded = meeting.partner.report.ending in _LIMITS
    if not meeting.program_first:
        floods = exceeded and meeting.program.broken
        return replace(decided, verdict=output_exceeded(limits)) if floods else decided
    # An interactor that never answers makes a program wait, one that writes without end makes it fail.
    held_up = exceeded and own.verdict.cause is Cause.WALL_TIME
    if meeting.partner.broken:
        message = "The interactor failed: it went on writing after the program had ended."
        return replace(decided, verdict=replace(decided.verdict, message=message))
    return decided if held_up or own.verdict.status is Status.ACCEPTED else own


def _was_cut_off(program: Part) -> bool:
    """Return True if the program may have failed because nobody read what it wrote any more."""
    report = program.report
    return report.signal == signal.SIGPIPE or (program.broken and report.ending is Ending.EXITED)


def _explained(meeting: Meeting, alone: Verdict) -> Verdict:
    """Return the verdict on a program; if it took too long, with who waited for whom."""
    if alone.cause is not Cause.WALL_TIME:
        return alone
    program, partner = meeting.program, meeting.partner
    if program.unread_bytes:
        more = f"The program had left {program.unread_bytes} bytes of its input unread."
    elif partner.unread_bytes:
        more = f"The interactor had left {partner.unread_bytes} bytes of its input unread."
    elif not _was_idle(program.report):
        return alone
    elif _was_idle(partner.report):
        more = "Both waited: each had read all that the other had written."
    else:
        used_s = partner.report.cpu_time_s
        more = f"The program waited for the interactor, which used {used_s:.2f} s of CPU time."
    return replace(alone, message=f"{alone.message} {more}")


def _was_idle(report: Report) -> bool:
    return report.cpu_time_s < _IDLE * report.wall_time_s
