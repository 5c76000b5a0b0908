"""Problem packages become the fields of submissions; parts that change nothing are named."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from support.submissions import MODEL
from verdictd.cli.contents import TestData, UnusableFiles
from verdictd.cli.package import Package, read_package
from verdictd.cli.problem_yaml import built_in_checker
from verdictd.cli.verify import submissions
from verdictd.judging.languages import Registry

REGISTRY = Registry.load()
BOUND = 1 << 20
NO_TIME_LIMIT = "problem.yaml: no limits.time_limit: the default of the judge is in force"
PROGRAM = {"language": "c", "source_code": ""}
SUM = {
    "problem.yaml": "name: Sum\nlimits: {time_limit: 1.5, memory: 512, output: 2}\n",
    "data/sample/1.in": "1 2\n",
    "data/sample/1.ans": "3\n",
    "data/secret/2.in": "2 2\n",
    "data/secret/2.ans": "4\n",
    "submissions/accepted/sum.py": "print(sum(map(int, input().split())))\n",
}


def written(path: Path, *changes: dict[str, str]) -> Path:
    """A package of the files of `SUM`, changed; a file without content is left out."""
    files: dict[str, str] = dict(SUM)
    for change in changes:
        files |= change
    for name, content in files.items():
        if content:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(content)
    return path


def package(path: Path, *changes: dict[str, str]) -> Package:
    return read_package(written(path, *changes), REGISTRY, TestData(BOUND))


def test_package_is_tests_limits_and_checker(tmp_path: Path) -> None:
    """Samples come first, MiB become KiB, and the default validator tells no upper from lower case."""
    found = package(tmp_path)

    assert () == found.warnings
    assert {
        "tests": [
            {"name": "sample-1", "stdin": "1 2\n", "expected_output": "3\n"},
            {"name": "secret-2", "stdin": "2 2\n", "expected_output": "4\n"},
        ],
        "checker": {"type": "tokens", "case_sensitive": False},
        "cpu_time_limit": 1.5,
        "memory_limit": 524_288,
        "max_output_size": 2_048,
    } == found.fields


def test_sub_folders_of_secret_tests_are_groups(tmp_path: Path) -> None:
    """Files of the same name in two folders are two tests."""
    change = {f"data/secret/{folder}/1.{end}": "5" for folder in ("a", "b") for end in ("in", "ans")}
    tests: Any = package(tmp_path, change).fields["tests"]

    assert [
        ("sample-1", "sample"),
        ("secret-2", "secret"),
        ("secret-a-1", "secret-a"),
        ("secret-b-1", "secret-b"),
    ] == [(test["name"], test["group"]) for test in tests]


def test_parts_that_change_nothing_are_named(tmp_path: Path) -> None:
    """Nobody believes that something was tried which was not; what is for readers alone is passed over."""
    change = {
        "problem.yaml": "type: scoring\nlanguages: [c]\nlimits: {time_multiplier: 5}\nvalidator_flags: odd\n",
        "problem_statement/problem.en.tex": "x",
        "input_validators/v.py": "x",
        "output_validators/v.py": "x",
        "data/sample/1.desc": "x",
        "data/secret/testdata.yaml": "x",
        "data/testdata.yaml": "x",
        "data/invalid_input/1.in": "x",
        "domjudge-problem.ini": "timelimit = 5",
        "submissions/slow/a.py": "x",
    }
    found = package(tmp_path, change)
    _, more = submissions(found, REGISTRY, max_bytes=BOUND)

    assert [
        "problem.yaml: languages is not used",
        "problem.yaml: limits.time_multiplier is not used",
        "problem.yaml: scoring: verdicts are compared, points are not counted",
        "domjudge-problem.ini is not used",
        "input_validators is not used",
        "data/invalid_input is not used",
        "data/testdata.yaml is not used",
        "data/secret/testdata.yaml is not used",
        NO_TIME_LIMIT,
        "output_validators is not used: validation is not custom",
        "problem.yaml: validator_flags: odd is not used",
        "submissions/slow is not used: it stands for no verdict",
    ] == [*found.warnings, *more]


@pytest.mark.parametrize(
    ("flags", "checker", "warnings"),
    [
        ("", {"type": "tokens", "case_sensitive": False}, 0),
        ("case_sensitive", {"type": "tokens", "case_sensitive": True}, 0),
        (
            "float_tolerance 1e-4",
            {"type": "floats", "absolute": 1e-4, "relative": 1e-4, "case_sensitive": False},
            0,
        ),
        (
            "float_absolute_tolerance 1e-4 case_sensitive",
            {"type": "floats", "absolute": 1e-4, "relative": 0.0, "case_sensitive": True},
            0,
        ),
        (
            "float_relative_tolerance 2 space_change_sensitive",
            {"type": "floats", "absolute": 0.0, "relative": 2.0, "case_sensitive": False},
            1,
        ),
        ("case_sensitive space_change_sensitive", {"type": "exact"}, 0),
        ("space_change_sensitive", {"type": "exact"}, 1),
        ("other", {"type": "tokens", "case_sensitive": False}, 1),
    ],
)
def test_flags_of_the_default_validator_choose_the_checker(
    flags: str, checker: dict[str, Any], warnings: int
) -> None:
    """A rule that no checker has is named."""
    found, said = built_in_checker(tuple(flags.split()))

    assert (checker, warnings) == (found, len(said))
    MODEL.model_validate({**PROGRAM, "checker": found})


def test_time_limit_may_be_in_a_file_of_its_own(tmp_path: Path) -> None:
    """Tools of the format write it there."""
    found = package(tmp_path, {"problem.yaml": "name: x\n", ".timelimit": "3\n"})

    assert (3.0, ()) == (found.fields["cpu_time_limit"], found.warnings)


CUSTOM = {
    "problem.yaml": "validation: custom\nvalidator_flags: a 'b c'\n"
    "limits: {time_limit: 1, validation_time: 3}\n",
    "output_validators/check/validate.cc": "int main() { return 42; }",
    "output_validators/check/validate.h": "// header",
}


@pytest.mark.parametrize("folder", ["output_validators/check", "output_validator"])
def test_validator_of_the_package_is_a_checker_program(folder: str, tmp_path: Path) -> None:
    """Both names of its folder, its sources, arguments and limits are as the format says."""
    change = {name.replace("output_validators/check", folder): text for name, text in CUSTOM.items()}
    found = package(tmp_path, change)

    assert {
        "type": "program",
        "protocol": "kattis",
        "language": "cc",
        "source_code": "int main() { return 42; }",
        "additional_files": [{"name": "validate.h", "content": "// header"}],
        "arguments": ["a", "b c"],
        "limits": {"cpu_time_limit": 3.0},
    } == found.fields["checker"]


@pytest.mark.parametrize(
    ("key", "passes"),
    [
        ("validation: custom interactive", 1),
        ("validation: custom\ntype: [interactive]", 1),
        ("validation: custom interactive multi-pass", 2),
    ],
)
def test_validator_of_an_interactive_problem_is_its_interactor(key: str, passes: int, tmp_path: Path) -> None:
    """There is no checker then; the conversation of a sample is for people."""
    yaml = CUSTOM["problem.yaml"].replace("validation: custom", key)
    found = package(tmp_path, CUSTOM | {"problem.yaml": yaml, "data/sample/1.interaction": ">1\n<2\n"})

    interactor = found.fields["interactor"]
    assert isinstance(interactor, dict)
    assert ("kattis", "cc", ["a", "b c"], passes) == tuple(
        interactor.get(name, 1) for name in ("protocol", "language", "arguments", "passes")
    )
    assert ("checker" not in found.fields, ()) == (True, found.warnings)
    MODEL.model_validate({**PROGRAM, **found.fields})


@pytest.mark.parametrize(
    ("key", "limit", "passes"),
    [
        ("validation: custom multi-pass", "", 2),
        ("type: multi-pass", "", 2),
        ("validation: custom\ntype: [multi-pass, scoring]", ", validation_passes: 3", 3),
    ],
)
def test_validator_of_a_multi_pass_problem_may_ask_for_passes(
    key: str, limit: str, passes: int, tmp_path: Path
) -> None:
    """As many as the package says, or 2."""
    yaml = CUSTOM["problem.yaml"].replace("validation: custom", key).replace("_time: 3", f"_time: 3{limit}")
    single = package(tmp_path / "single", CUSTOM).fields["checker"]
    found = package(tmp_path / "several", CUSTOM | {"problem.yaml": yaml})

    assert isinstance(single, dict)
    assert single | {"passes": passes} == found.fields["checker"]
    MODEL.model_validate({**PROGRAM, **found.fields})


def test_validator_of_the_package_is_a_valid_checker(tmp_path: Path) -> None:
    """A daemon accepts the submission as it is sent."""
    found = package(tmp_path, CUSTOM)

    MODEL.model_validate({**PROGRAM, **found.fields})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"problem.yaml": ""}, ": not a problem package: no problem.yaml in it"),
        ({"problem.yaml": "a: [b"}, "/problem.yaml: not YAML: while parsing a flow sequence"),
        ({"problem.yaml": "when: 2020-99-99"}, "/problem.yaml: not YAML: month must be in 1..12"),
        ({"problem.yaml": "[1, 2]"}, "/problem.yaml: as a whole: must be an object"),
        ({"problem.yaml": "limits: {memory: much}"}, "/problem.yaml: limits.memory: must be an integer"),
        (
            {"problem.yaml": "validation: custom interactive submit-answer"},
            "/problem.yaml: submit-answer problems cannot be judged",
        ),
        ({"problem.yaml": "type: multi-pass"}, "/output_validators: 0 output validators; one is possible"),
        ({"problem.yaml": "validation: custom"}, "/output_validators: 0 output validators; one is possible"),
        ({"problem.yaml": "validator_flags: float_tolerance x"}, "float_tolerance needs a number, not 'x'"),
        ({"data/secret/2.ans": ""}, "/data: no .ans beside secret/2.in"),
        ({"data/sample/1.in": "", "data/secret/2.in": ""}, "/data: no *.in in sample or secret"),
        (
            {"data/secret/2.in": "x" * BOUND},
            "/data: 1 MiB together; a message may have 1 MiB (limits.message_bytes)",
        ),
        ({**CUSTOM, "output_validators/other.py": "x"}, "/output_validators: 2 output validators; one is"),
    ],
)
def test_package_that_cannot_be_judged_says_why(change: dict[str, str], said: str, tmp_path: Path) -> None:
    """An error names the file."""
    with pytest.raises(UnusableFiles) as raised:
        package(tmp_path, change)

    assert said in str(raised.value)


def test_submissions_have_the_verdicts_of_their_folders(tmp_path: Path) -> None:
    """A folder of several files is one program, and its main file is the source."""
    change = {
        "submissions/run_time_error/two/main.cpp": "main",
        "submissions/run_time_error/two/lib/more.cpp": "more",
        "submissions/wrong_answer/Bad.java": "bad",
    }
    found, _ = submissions(package(tmp_path, change), REGISTRY, max_bytes=BOUND)
    bodies = [orjson.loads(one.entry.body) for one in found]

    assert ["accepted/sum.py", "run_time_error/two", "wrong_answer/Bad.java"] == [
        one.entry.name for one in found
    ]
    assert [("py", "accepted"), ("cpp", "run_time_error"), ("java", "wrong_answer")] == [
        (body["language"], body["metadata"]["expected"]) for body in bodies
    ]
    assert ("main", [{"name": "lib/more.cpp", "content": "more"}]) == (
        bodies[1]["source_code"],
        bodies[1]["additional_files"],
    )
    assert {"runtime_error_nzec", "memory_limit_exceeded"} < found[1].verdicts


@pytest.mark.parametrize(
    "change",
    [{"submissions/accepted/sum.py": ""}, {"submissions/accepted/sum.py": "", "submissions/odd/a.py": "x"}],
)
def test_package_without_submissions_cannot_be_verified(change: dict[str, str], tmp_path: Path) -> None:
    """Nothing was judged, so nothing is as expected."""
    with pytest.raises(UnusableFiles, match="no submissions in folders named after a verdict"):
        submissions(package(tmp_path, change), REGISTRY, max_bytes=BOUND)
