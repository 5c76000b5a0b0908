"""Admission: everything that can make a submission unjudgeable on this host, without a box."""

import re
from typing import Any

import pytest

from verdictd.contract.limits import Limits
from verdictd.contract.submission import submission_model
from verdictd.egress.rules import Egress
from verdictd.errors import InvalidSubmission, Problem
from verdictd.judging.admission import Admission, Admitted
from verdictd.judging.judgehost import callback_problem
from verdictd.judging.languages import CompileLimits, Language, Registry
from verdictd.settings import JudgeSettings, SandboxSettings, Settings

COMPILED = Language(
    name="compiled",
    source_file="main.c",
    compile_cmd=("/bin/cp",),
    run_cmd=("./main",),
    artifacts=("main", "*.class"),
    compiler_options=(re.compile("-O[0-3]"),),
    compile_limits=CompileLimits(wall_time_s=50),
)
SCRIPT = Language(name="script", source_file="main.sh", run_cmd=("/bin/sh", "main.sh"))
NETWORKED = Language(name="networked", source_file="main.sh", run_cmd=("/bin/sh",), allow_network=True)
GRADED = Language(
    name="graded", source_file="main.c", file_extension="c", compile_cmd=("/bin/cp",), run_cmd=("./main",),
    entry_point="file",
)  # fmt: skip
CLASSES = Language(
    name="classes", source_file="A.java", run_cmd=("/bin/sh", "{main_class}"), entry_point="class"
)
SLOW = Language(
    name="slow", source_file="main.sh", run_cmd=("/bin/sh",), time_factor=4, extra_memory_kib=1_000
)
MISSING = Language(name="missing", source_file="main.x", run_cmd=("/usr/bin/no-such-interpreter",))


def admit(*, allow_network: bool = False, **fields: Any) -> Admitted:
    settings = Settings(
        sandbox=SandboxSettings(allow_network=allow_network), judge=JudgeSettings(submission_timeout_s=100)
    )
    admission = Admission(
        registry=Registry([COMPILED, SCRIPT, NETWORKED, SLOW, GRADED, CLASSES, MISSING]),
        settings=settings,
        callback_problem=lambda url: None if url == "https://allowed.example/" else "this URL is refused",
        data_problem=lambda reference: f"{reference} is refused",
    )
    return admission.admit(submission_model(Limits())(source_code=b"", **fields))


def refusal(**fields: Any) -> list[Problem]:
    with pytest.raises(InvalidSubmission) as refused:
        admit(**fields)
    return refused.value.problems


def test_test_data_that_is_never_fetched_is_refused_with_its_path() -> None:
    problem = Problem("/stdin", "ProvidedFile(name='a') is refused")

    assert [problem] == refusal(language="script", stdin={"file": "a"})


def test_admitted_submission_has_its_language_and_limits() -> None:
    admitted = admit(language="script", cpu_time_limit=3)

    assert (SCRIPT, 9) == (admitted.language, admitted.limits.wall_time_limit)


def test_limits_are_those_of_the_language() -> None:
    """All checks are made with them: the runs of a slow language take longer."""
    fields: dict[str, Any] = {"language": "slow", "wall_time_limit": 20, "number_of_runs": 2}
    admitted = admit(**fields, language_factors=False)

    assert (20, 262_144) == (admitted.limits.wall_time_limit, admitted.limits.memory_limit)
    assert 263_144 == admit(language="slow").limits.memory_limit
    assert [
        Problem(
            "/number_of_runs",
            "2 runs of up to 80 s each do not fit into the 100 s that a submission may run",
        )
    ] == refusal(**fields)


@pytest.mark.parametrize("name", ["klingon", "missing"])
def test_unknown_and_missing_languages_are_answered_with_the_available_ones(name: str) -> None:
    reason = f"unknown language {name!r}; available: classes, compiled, graded, networked, script, slow"

    assert [Problem("/language", reason)] == refusal(language=name)


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        ({"compiler_options": "-O2 -o x"}, "/compiler_options", "'-o' is not an allowed option for compiled"),
        (
            {"additional_files": [{"name": "main.c", "content": ""}]},
            "/additional_files",
            "'main.c' would overwrite the source file",
        ),
        (
            {"additional_files": [{"name": "main", "content": ""}]},
            "/additional_files",
            "'main' would overwrite the compiled program",
        ),
        (
            {"additional_files": [{"name": "A.class/data", "content": ""}]},
            "/additional_files",
            "'A.class/data' would overwrite the compiled program",
        ),
        (
            {"enable_network": True},
            "/enable_network",
            "network access is not allowed for compiled on this judge",
        ),
        ({"callback_url": "https://other.example/"}, "/callback_url", "this URL is refused"),
        (
            {"number_of_runs": 6, "wall_time_limit": 10},
            "/number_of_runs",
            "6 runs of up to 10 s each do not fit into the 50 s that a submission may run",
        ),
    ],
)
def test_reason_names_the_field_and_the_value(fields: dict[str, Any], path: str, reason: str) -> None:
    assert [Problem(path, reason)] == refusal(language="compiled", **fields)


FILES = [{"name": "grader.c", "content": ""}, {"name": "grader.h", "content": ""}]


@pytest.mark.parametrize(
    ("language", "entry_point", "reason"),
    [
        ("compiled", "grader.c", "an entry point is not possible in compiled"),
        ("graded", "other.c", "'other.c' is not an additional file"),
        ("graded", "main.c", "'main.c' is not an additional file"),
        ("graded", "../grader.c", "'../grader.c' is not an additional file"),
        ("graded", "grader.h", "'grader.h' is not a source file of graded"),
        ("classes", "Grader.java/", "'Grader.java/' is not the name of a class"),
        ("classes", "-version", "'-version' is not the name of a class"),
        ("classes", "@list", "'@list' is not the name of a class"),
        ("graded", "grader.c", None),
        ("classes", "judge.Grader$Inner", None),
    ],
)
def test_entry_point_is_something_that_can_be_the_main_one(
    language: str, entry_point: str, reason: str | None
) -> None:
    fields: dict[str, Any] = {"language": language, "entry_point": entry_point, "additional_files": FILES}
    if reason is None:
        assert entry_point == admit(**fields).program.entry_point
    else:
        assert [Problem("/entry_point", reason)] == refusal(**fields)


CHECKER = {"type": "program", "language": "compiled", "source_code": "", "protocol": "testlib"}


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        (
            {"language": "missing"},
            "/checker/language",
            "unknown language 'missing'; available: classes, compiled, graded, networked, script, slow",
        ),
        (
            {"compiler_options": "-x"},
            "/checker/compiler_options",
            "'-x' is not an allowed option for compiled",
        ),
        (
            {"additional_files": [{"name": "main", "content": ""}]},
            "/checker/additional_files",
            "'main' would overwrite the compiled program",
        ),
        (
            {"limits": {"wall_time_limit": 40}},
            "/number_of_runs",
            "2 runs of up to 46 s each do not fit into the 50 s that a submission may run",
        ),
        (
            {"protocol": "kattis", "passes": 5},
            "/number_of_runs",
            "2 runs of up to 35 s each do not fit into the 50 s that a submission may run",
        ),
        ({"protocol": "testlib", "passes": 2}, "/checker/passes", "needs the protocol kattis"),
    ],
)
def test_checker_program_is_checked_as_a_submission_is(
    fields: dict[str, Any], path: str, reason: str
) -> None:
    assert [Problem(path, reason)] == refusal(
        language="script", number_of_runs=2, checker=CHECKER | {"limits": {"wall_time_limit": 1}} | fields
    )


INTERACTOR = {"language": "compiled", "source_code": "", "protocol": "kattis"}


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        (
            {"interactor": INTERACTOR | {"compiler_options": "-x"}},
            "/interactor/compiler_options",
            "'-x' is not an allowed option for compiled",
        ),
        ({"checker": {"type": "exact"}}, "/checker", "the interactor decides; give one or the other"),
        (
            {
                "interactor": INTERACTOR
                | {"protocol": "testlib", "passes": 2, "limits": {"wall_time_limit": 1}}
            },
            "/interactor/passes",
            "needs the protocol kattis",
        ),
        (
            {"interactor": INTERACTOR | {"limits": {"wall_time_limit": 20}, "passes": 3}},
            "/number_of_runs",
            "1 runs of up to 63 s each do not fit into the 50 s that a submission may run",
        ),
        (
            {"input_file": "in"},
            "/input_file",
            "with an interactor, the program has its standard input and output",
        ),
        (
            {"output_file": "out"},
            "/output_file",
            "with an interactor, the program has its standard input and output",
        ),
        (
            {"redirect_stderr_to_stdout": True},
            "/redirect_stderr_to_stdout",
            "with an interactor, standard error would be a part of what the program says to it",
        ),
        (
            {"interactor": INTERACTOR | {"limits": {"wall_time_limit": 40}}, "number_of_runs": 2},
            "/number_of_runs",
            "2 runs of up to 41 s each do not fit into the 50 s that a submission may run",
        ),
    ],
)
def test_interactor_is_checked_as_a_submission_is(fields: dict[str, Any], path: str, reason: str) -> None:
    """And what it takes the place of cannot be there too."""
    given = {"interactor": INTERACTOR | {"limits": {"wall_time_limit": 1}}} | fields
    assert [Problem(path, reason)] == refusal(language="script", **given)


def test_admitted_checker_has_its_language_and_limits() -> None:
    checker = admit(language="script", checker=CHECKER | {"limits": {"cpu_time_limit": 4}}).checker

    assert checker is not None
    assert (COMPILED, 4, 12) == (
        checker.language,
        checker.limits.cpu_time_limit,
        checker.limits.wall_time_limit,
    )


def test_all_problems_are_reported_at_once() -> None:
    found = refusal(language="script", compiler_options="-x", enable_network=True, wall_time_limit=101)

    assert ["/compiler_options", "/enable_network", "/number_of_runs"] == [problem.path for problem in found]


@pytest.mark.parametrize(
    "fields",
    [
        {"language": "compiled", "compiler_options": "-O2"},
        {"language": "compiled", "additional_files": [{"name": "main.h", "content": ""}]},
        {"language": "script", "additional_files": [{"name": "main", "content": ""}]},
        {"language": "script", "enable_network": True, "allow_network": True},
        {"language": "networked", "enable_network": True},
        {"language": "script", "callback_url": "https://allowed.example/"},
        {"language": "script", "number_of_runs": 10, "wall_time_limit": 10},
        {"language": "compiled", "number_of_runs": 5, "wall_time_limit": 10},
    ],
)
def test_anything_that_is_allowed_is_admitted(fields: dict[str, Any]) -> None:
    assert fields["language"] == admit(**fields).language.name


@pytest.mark.parametrize(
    ("egress", "problem"),
    [
        (None, "callbacks are disabled on this judge; the result goes to the reply queue"),
        (Egress(networks=(), hosts=(), ports=(80,)), "port 443 is not allowed; allowed: 80"),
        (Egress(networks=(), hosts=(), ports=(443,)), None),
    ],
)
def test_callback_url_is_refused_for_a_reason(egress: Egress | None, problem: str | None) -> None:
    assert problem == callback_problem(egress)("https://example.org/done")
