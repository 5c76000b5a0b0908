"""Decide if a submission can be judged on this host, before it takes a box."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from verdictd.contract.content import Reference
from verdictd.contract.submission import EffectiveLimits, Submission
from verdictd.errors import InvalidSubmission, Problem
from verdictd.files import matches
from verdictd.judging.languages import Language, Registry, refused_option
from verdictd.judging.sources import source_name
from verdictd.settings import Settings

CallbackProblem = Callable[[str], str | None]
"""Returns the reason why a callback URL is refused, or None if it is allowed."""
DataProblem = Callable[[Reference], str | None]
"""Returns the reason why a file of test data is never fetched, or None if it may be."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A submission that passed every check, with its language and the limits in force."""

    submission: Submission
    language: Language
    limits: EffectiveLimits


class Admission:
    """Checks submissions against the languages of this host and the operator's settings."""

    def __init__(
        self,
        *,
        registry: Registry,
        settings: Settings,
        callback_problem: CallbackProblem,
        data_problem: DataProblem,
    ) -> None:
        self._registry = registry
        self._timeout_s = settings.judge.submission_timeout_s
        self._allow_network = settings.sandbox.allow_network
        self._callback_problem = callback_problem
        self._data_problem = data_problem

    def admit(self, submission: Submission) -> Admitted:
        """Return the submission, ready to be judged; raise InvalidSubmission with all its problems."""
        language = self._registry.get(submission.language)
        if language is None or language.missing:
            available = ", ".join(sorted(language.name for language in self._registry.available))
            message = f"unknown language {submission.language!r}; available: {available or 'none'}"
            raise InvalidSubmission([Problem("/language", message)])
        admitted = Admitted(submission, language, submission.effective_limits())
        problems = list(self._problems(admitted))
        if problems:
            raise InvalidSubmission(problems)
        return admitted

    def _problems(self, admitted: Admitted) -> Iterator[Problem]:
        submission, language = admitted.submission, admitted.language
        option = refused_option(language, submission.compiler_options)
        if option is not None:
            yield Problem("/compiler_options", f"{option!r} is not an allowed option for {language.name}")
        overwrites = _overwrites(admitted)
        if overwrites is not None:
            yield Problem("/additional_files", overwrites)
        yield from _misplaced(admitted)
        if submission.enable_network and not (self._allow_network or language.allow_network):
            yield Problem(
                "/enable_network", f"network access is not allowed for {language.name} on this judge"
            )
        if submission.callback_url is not None:
            refused = self._callback_problem(submission.callback_url)
            if refused is not None:
                yield Problem("/callback_url", refused)
        for path, reference in submission.references().items():
            never = self._data_problem(reference)
            if never is not None:
                yield Problem(path, never)
        too_long = self._too_long(admitted)
        if too_long is not None:
            yield Problem("/number_of_runs", too_long)

    def _too_long(self, admitted: Admitted) -> str | None:
        """Return a message if all runs at their wall time limit would exceed the time of one submission."""
        limits, language = admitted.limits, admitted.language
        left_s = self._timeout_s
        if language.compile_cmd:
            left_s -= language.compile_limits.wall_time_s
        if limits.number_of_runs * limits.wall_time_limit <= left_s:
            return None
        runs = f"{limits.number_of_runs} runs of up to {limits.wall_time_limit:g} s each"
        return f"{runs} do not fit into the {left_s:g} s that a submission may run"


def _misplaced(admitted: Admitted) -> Iterator[Problem]:
    """Yield a problem if the input file would take the place of a file that the program needs."""
    submission, language = admitted.submission, admitted.language
    name = submission.input_file
    if name is None:
        return
    if name == submission.output_file:
        yield Problem("/output_file", "is the input file; the program may only read that")
    source = source_name(language, submission.source_code)
    others = [source, *(file.name for file in submission.additional_files)]
    hidden = next((other for other in others if _same_place(name, other)), None)
    if hidden is not None:
        yield Problem("/input_file", f"would take the place of {hidden!r}")
    elif any(matches(name, pattern) for pattern in language.artifacts):
        yield Problem("/input_file", "would take the place of the compiled program")


def _same_place(name: str, other: str) -> bool:
    return name == other or name.startswith(f"{other}/") or other.startswith(f"{name}/")


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
