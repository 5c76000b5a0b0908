"""Limits of an interactor beside a program, and fields of a submission that cannot be beside one."""

from collections.abc import Iterator

from verdictd.contract.checker import LINES
from verdictd.contract.submission import EffectiveLimits, Submission
from verdictd.errors import Problem

_LAST_WORD_S = 1  # for an interactor after a program that took all of its time


def interactor_limits(own: EffectiveLimits, program: EffectiveLimits) -> EffectiveLimits:
    """Return the limits of an interactor beside a program: it is there until after that has ended."""
    longest_s = max(own.wall_time_limit, program.wall_time_limit) + _LAST_WORD_S
    return own.model_copy(update={"wall_time_limit": longest_s})


def problems_beside_interactor(submission: Submission) -> Iterator[Problem]:
    """Yield a problem for each field that cannot be together with an interactor."""
    if submission.checker != LINES:
        yield Problem("/checker", "the interactor decides; give one or the other")
    for name in ("input_file", "output_file"):
        if getattr(submission, name) is not None:
            yield Problem(f"/{name}", "with an interactor, the program has its standard input and output")
    if submission.redirect_stderr_to_stdout:
        message = "with an interactor, standard error would be a part of what the program says to it"
        yield Problem("/redirect_stderr_to_stdout", message)
