"""Decide if a submission can be judged on this host, before it takes a box."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from verdictd.contract import tests
from verdictd.contract.checker import AuthorProgram, ProgramChecker
from verdictd.contract.content import Reference
from verdictd.contract.submission import EffectiveLimits, Submission
from verdictd.errors import InvalidSubmission, Problem
from verdictd.files import matches
from verdictd.judging.interactive import interactor_limits, problems_beside_interactor
from verdictd.judging.languages import Language, Registry, refused_option
from verdictd.judging.sources import Program, is_source, source_name
from verdictd.settings import Settings

_CLASS_NAME = re.compile(r"[^\W\d][\w$]*(\.[^\W\d][\w$]*)*")

CallbackProblem = Callable[[str], str | None]
"""Returns the reason why a callback URL is refused, or None if it is allowed."""
DataProblem = Callable[[Reference], str | None]
"""Returns the reason why a file of test data is never fetched, or None if it may be."""


_SETTLING_S = 60  # of RabbitMQ's patience, kept for the reply
_MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class AdmittedTest:
    """One test, with everything that it takes from its submission."""

    name: str
    stdin: bytes | Reference
    expected_output: bytes | Reference | None
    arguments: tuple[str, ...]
    limits: EffectiveLimits
    group: str | None = None
    points: float | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A submission that passed every check, with its language and the limits in force.

    A submission without `tests` is one test. `timeout_s`: for all its steps, while it has a box. `checker`,
    `interactor`: the program that checks its outputs, or talks to it, as a submission of its own.
    """

    submission: Submission
    language: Language
    limits: EffectiveLimits
    tests: tuple[AdmittedTest, ...]
    timeout_s: float
    checker: "Admitted | None" = None
    interactor: "Admitted | None" = None

    @property
    def passes(self) -> int:
        """The passes that a run of a test may have."""
        author = self.submission.interactor or self.submission.checker
        return author.passes if isinstance(author, AuthorProgram) else 1

    @property
    def program(self) -> Program:
        """The part that the compiler is given."""
        submission = self.submission
        return Program(
            self.language,
            submission.source_code,
            submission.additional_files,
            submission.compiler_options,
            submission.entry_point,
        )


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
        self._test_timeout_s = settings.judge.test_timeout_s
        self._longest_s = max(self._timeout_s, settings.broker.ack_timeout_s - _SETTLING_S)
        self._allow_network = settings.sandbox.allow_network
        self._callback_problem = callback_problem
        self._data_problem = data_problem

    def admit(self, submission: Submission) -> Admitted:
        """Return the submission, ready to be judged; raise InvalidSubmission with all its problems."""
        admitted = self._admitted(submission)
        if isinstance(submission.checker, ProgramChecker):
            program = authored_program(submission, submission.checker)
            admitted = replace(admitted, checker=self._admitted(program, "/checker"))
        if submission.interactor is not None:
            program = authored_program(submission, submission.interactor)
            admitted = replace(admitted, interactor=self._admitted(program, "/interactor"))
        problems = list(islice(self._problems(admitted), _MAX_PROBLEMS))
        if problems:
            raise InvalidSubmission(problems)
        return admitted

    def _admitted(self, submission: Submission, at: str = "") -> Admitted:
        language = self._registry.get(submission.language)
        if language is None or language.missing:
            available = ", ".join(sorted(language.name for language in self._registry.available))
            message = f"unknown language {submission.language!r}; available: {available or 'none'}"
            raise InvalidSubmission([Problem(f"{at}/language", message)])
        limits = _limits(submission, language)
        cases = admitted_tests(submission, language, limits)
        timeout_s = min(self._timeout_s + (len(cases) - 1) * self._test_timeout_s, self._longest_s)
        return Admitted(submission, language, limits, cases, timeout_s)

    def _problems(self, admitted: Admitted) -> Iterator[Problem]:
        submission, language = admitted.submission, admitted.language
        single = [
            name for name in ("stdin", "expected_output") if getattr(submission, name) not in {None, b""}
        ]
        yield from tests.problems(submission.tests, submission.groups, single)
        yield from _problems_of_program(admitted)
        if admitted.checker is not None:
            yield from _problems_of_program(admitted.checker, "/checker")
        if submission.transcript and submission.interactor is None:
            yield Problem("/transcript", "needs an interactor")
        if admitted.interactor is not None:
            yield from _problems_of_program(admitted.interactor, "/interactor")
            yield from problems_beside_interactor(submission)
        yield from _problems_of_passes(submission)
        no_entry = _no_entry_point(admitted)
        if no_entry is not None:
            yield Problem("/entry_point", no_entry)
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
        yield from _too_long(admitted)


def _limits(
    submission: Submission, language: Language, own: tests.RunLimits | None = None
) -> EffectiveLimits:
    return submission.effective_limits(
        own,
        time_factor=language.time_factor,
        extra_memory_kib=language.extra_memory_kib,
    )


def admitted_tests(
    submission: Submission, language: Language, limits: EffectiveLimits
) -> tuple[AdmittedTest, ...]:
    """Return the tests of a submission with these limits; one that has none is a test itself."""
    arguments = submission.command_line_arguments
    if submission.tests is None:
        return (AdmittedTest("1", submission.stdin, submission.expected_output, arguments, limits),)
    return tuple(
        AdmittedTest(
            name=tests.test_name(test, index),
            stdin=test.stdin,
            expected_output=test.expected_output,
            arguments=arguments if test.command_line_arguments is None else test.command_line_arguments,
            limits=limits if test.limits is None else _limits(submission, language, test.limits),
            group=test.group,
            points=test.points,
        )
        for index, test in enumerate(submission.tests)
    )


def path_of_test(admitted: Admitted, index: int) -> str:
    """Return the JSON pointer of a test; of the whole message if the submission is a test itself."""
    return "" if admitted.submission.tests is None else f"/tests/{index}"


def _too_long(admitted: Admitted) -> Iterator[Problem]:
    """Yield a problem if all runs at their wall time limits would exceed the time of the submission."""
    submission, limits = admitted.submission, admitted.limits
    left_s = admitted.timeout_s
    for program in filter(None, (admitted, admitted.checker, admitted.interactor)):
        if program.language.compile_cmd:
            left_s -= program.language.compile_limits.wall_time_s
    run_s = [_run_s(admitted, test) for test in admitted.tests]
    needed_s = limits.number_of_runs * sum(run_s)
    if needed_s <= left_s:
        return
    if submission.tests is None:
        path, runs = (
            "/number_of_runs",
            f"{limits.number_of_runs} runs of up to {run_s[0]:g} s each",
        )
    else:
        path, runs = (
            "/tests",
            f"all runs of {len(admitted.tests)} tests, {needed_s:g} s by their wall_time_limit,",
        )
    yield Problem(path, f"{runs} do not fit into the {left_s:g} s that a submission may run")


def _run_s(admitted: Admitted, test: AdmittedTest) -> float:
    """Return the longest that one run of a test can take."""
    if admitted.interactor is not None:
        return admitted.passes * interactor_limits(admitted.interactor.limits, test.limits).wall_time_limit
    checking_s = 0.0 if admitted.checker is None else admitted.checker.limits.wall_time_limit
    return admitted.passes * (test.limits.wall_time_limit + checking_s)


def _no_entry_point(admitted: Admitted) -> str | None:
    """Return a message if the entry point is nothing that can be run or compiled as the main one."""
    submission, language, name = admitted.submission, admitted.language, admitted.submission.entry_point
    match language.entry_point:
        case _ if name is None:
            return None
        case None:
            return f"an entry point is not possible in {language.name}"
        case "class":
            return None if _CLASS_NAME.fullmatch(name) else f"{name!r} is not the name of a class"
        case "file":
            if not any(file.name == name for file in submission.additional_files):
                return f"{name!r} is not an additional file"
            if language.compile_cmd and not is_source(language, name):
                return f"{name!r} is not a source file of {language.name}"
            return None


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


def authored_program(submission: Submission, program: AuthorProgram) -> Submission:
    """Return a checker or an interactor as the submission of a program; its fields were validated with it."""
    return type(submission).model_construct(
        language=program.language,
        source_code=program.source_code,
        additional_files=program.additional_files,
        compiler_options=program.compiler_options,
        **program.limits.model_dump(),
    )


def _problems_of_program(admitted: Admitted, at: str = "") -> Iterator[Problem]:
    submission, language = admitted.submission, admitted.language
    option = refused_option(language, submission.compiler_options)
    if option is not None:
        yield Problem(f"{at}/compiler_options", f"{option!r} is not an allowed option for {language.name}")
    overwrites = _overwrites(admitted)
    if overwrites is not None:
        yield Problem(f"{at}/additional_files", overwrites)


def _problems_of_passes(submission: Submission) -> Iterator[Problem]:
    for name in ("checker", "interactor"):
        program = getattr(submission, name)
        if isinstance(program, AuthorProgram) and program.passes > 1 and program.protocol != "kattis":
            yield Problem(f"/{name}/passes", "needs the protocol kattis")


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
