"""Decide if a submission can be judged on this host, before it takes a box."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from verdictd.contract.checker import ProgramChecker
from verdictd.contract.submission import EffectiveLimits, Submission
from verdictd.errors import InvalidSubmission, Problem
from verdictd.files import matches
from verdictd.judging.languages import Language, Registry, refused_option
from verdictd.judging.sources import source_name
from verdictd.settings import Settings

CallbackProblem = Callable[[str], str | None]
"""Returns the reason why a callback URL is refused, or None if it is allowed."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A submission that passed every check, with its language and the limits in force."""

    submission: Submission
    language: Language
    limits: EffectiveLimits
    checker: "Admitted | None" = None
    """The program that checks the output, as a submission of its own."""


class Admission:
    """Checks submissions against the languages of this host and the operator's settings."""

    def __init__(self, *, registry: Registry, settings: Settings, callback_problem: CallbackProblem) -> None:
        self._registry = registry
        self._timeout_s = settings.judge.submission_timeout_s
        self._allow_network = settings.sandbox.allow_network
        self._callback_problem = callback_problem

    def admit(self, submission: Submission) -> Admitted:
        """Return the submission, ready to be judged; raise InvalidSubmission with all its problems."""
        admitted = self._admitted(submission)
        if isinstance(submission.checker, ProgramChecker):
            program = checker_program(submission, submission.checker)
            admitted = replace(admitted, checker=self._admitted(program, "/checker"))
        problems = list(self._problems(admitted))
        if problems:
            raise InvalidSubmission(problems)
        return admitted

    def _admitted(self, submission: Submission, at: str = "") -> Admitted:
        language = self._registry.get(submission.language)
        if language is None or language.missing:
            available = ", ".join(sorted(language.name for language in self._registry.available))
            message = f"unknown language {submission.language!r}; available: {available or 'none'}"
            raise InvalidSubmission([Problem(f"{at}/language", message)])
        return Admitted(submission, language, submission.effective_limits())

    def _problems(self, admitted: Admitted) -> Iterator[Problem]:
        submission, language = admitted.submission, admitted.language
        yield from _problems_of_program(admitted)
        if admitted.checker is not None:
            yield from _problems_of_program(admitted.checker, "/checker")
        if submission.enable_network and not (self._allow_network or language.allow_network):
            yield Problem(
                "/enable_network", f"network access is not allowed for {language.name} on this judge"
            )
        if submission.callback_url is not None:
            refused = self._callback_problem(submission.callback_url)
            if refused is not None:
                yield Problem("/callback_url", refused)
        too_long = self._too_long(admitted)
        if too_long is not None:
            yield Problem("/number_of_runs", too_long)

    def _too_long(self, admitted: Admitted) -> str | None:
        """Return a message if all runs at their wall time limit would exceed the time of one submission."""
        limits = admitted.limits
        left_s, run_s = self._timeout_s, 0.0
        for program in filter(None, (admitted, admitted.checker)):
            run_s += program.limits.wall_time_limit
            if program.language.compile_cmd:
                left_s -= program.language.compile_limits.wall_time_s
        if limits.number_of_runs * run_s <= left_s:
            return None
        runs = f"{limits.number_of_runs} runs of up to {run_s:g} s each"
        return f"{runs} do not fit into the {left_s:g} s that a submission may run"


def checker_program(submission: Submission, checker: ProgramChecker) -> Submission:
    """Return a checker as the submission of a program, whose fields were validated with it."""
    return type(submission).model_construct(
        language=checker.language,
        source_code=checker.source_code,
        additional_files=checker.additional_files,
        compiler_options=checker.compiler_options,
        **checker.limits.model_dump(),
    )


def _problems_of_program(admitted: Admitted, at: str = "") -> Iterator[Problem]:
    submission, language = admitted.submission, admitted.language
    option = refused_option(language, submission.compiler_options)
    if option is not None:
        yield Problem(f"{at}/compiler_options", f"{option!r} is not an allowed option for {language.name}")
    overwrites = _overwrites(admitted)
    if overwrites is not None:
        yield Problem(f"{at}/additional_files", overwrites)


def _overwrites(admitted: Admitted) -> str | None:
    """Return a message if an additional file would take the place of the source or of an artifact."""
    submission, language = admitted.submission, admitted.language
    if not submission.additional_files:
        return None
    source = source_name(language, submission.source_code)
    for file in submission.additional_files:
        parts = file.name.split("/")
        taken = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        if source in taken:
            return f"{file.name!r} would overwrite the source file"
        if any(matches(name, pattern) for name in taken for pattern in language.artifacts):
            return f"{file.name!r} would overwrite the compiled program"
    return None
