"""schemas/*.json: equal to the code, and true of every example."""

import json
from pathlib import Path
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from support.submissions import MINIMAL, MODEL, PROTOTYPE_SAMPLE, body, problems
from verdictd.contract.codec import decode
from verdictd.contract.events import Event, EventKind
from verdictd.contract.result import STATUS_IDS, Result, Status
from verdictd.contract.schema import write
from verdictd.files import check_name

DIRECTORY = Path(__file__).parents[2] / "schemas"
EXAMPLES = DIRECTORY / "examples"
SUBMISSIONS = sorted(file.name for file in EXAMPLES.glob("submission-*.json"))
RESULTS = sorted(file.name for file in EXAMPLES.glob("result-*.json"))
FILES_OF_SCHEMAS = sorted(DIRECTORY.glob("*.schema.json"))
SCHEMAS: dict[str, Any] = {file.name: json.loads(file.read_bytes()) for file in FILES_OF_SCHEMAS}
"""Those of the code, as the first test proves."""
VALIDATORS = {name: Draft202012Validator(schema) for name, schema in SCHEMAS.items()}
SUBMISSION, RESULT = VALIDATORS["submission.schema.json"], VALIDATORS["result.schema.json"]
EVENT = VALIDATORS["event.schema.json"]


def read(name: str) -> bytes:
    return (EXAMPLES / name).read_bytes()


def faults(validator: Draft202012Validator, document: Any) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(document)]


def test_schemas_in_the_repository_are_those_of_the_code(tmp_path: Path) -> None:
    """`verdictd schema` makes them in a new directory, byte by byte; run it after a change."""
    write(tmp_path / "new")

    written = {file.name: file.read_bytes() for file in (tmp_path / "new").iterdir()}
    assert {file.name: file.read_bytes() for file in FILES_OF_SCHEMAS} == written


def test_schemas_are_such_and_describe_every_field() -> None:
    """JSON Schema 2020-12, with a description of each field."""
    for name, schema in SCHEMAS.items():
        Draft202012Validator.check_schema(schema)

        assert "https://json-schema.org/draft/2020-12/schema" == schema["$schema"], name
        assert [] == [
            field for field, described in schema["properties"].items() if "description" not in described
        ], name


def test_submission_examples_are_taken() -> None:
    """By the schema as by the daemon."""
    for name in SUBMISSIONS:
        assert [] == problems(read(name)), name
        assert [] == faults(SUBMISSION, json.loads(read(name))), name


def test_result_examples_are_results() -> None:
    """With every field, and the number that belongs to the status."""
    for name in RESULTS:
        document = json.loads(read(name))
        result = Result.model_validate_json(read(name))

        assert [] == faults(RESULT, document), name
        assert set(Result.model_fields) == set(document), name
        assert STATUS_IDS[result.status] == result.status_id, name


def test_event_examples_are_events() -> None:
    """There is one of every kind, with every field."""
    for kind in EventKind:
        document = json.loads(read(f"event-{kind}.json"))
        event = Event.model_validate_json(read(f"event-{kind}.json"))

        assert [] == faults(EVENT, document), kind
        assert list(Event.model_fields) == list(document), kind
        assert kind == event.kind


def test_there_is_a_result_of_every_status() -> None:
    """Consumers can try their code on each; tests and groups alone are skipped."""
    assert set(Status) - {Status.SKIPPED} == {json.loads(read(name))["status"] for name in RESULTS}


def test_there_is_a_submission_with_every_field() -> None:
    """And one that is as short as can be, and the prototype's sample as it stands."""
    assert set(MODEL.model_fields) == set(json.loads(read("submission-full.json")))
    assert {"language", "source_code"} == set(json.loads(read("submission-minimal.json")))
    assert json.loads(PROTOTYPE_SAMPLE) == json.loads(read("submission-prototype.json"))


INTERACTOR = {"language": "c", "source_code": "", "protocol": "kattis"}
PROGRAM = INTERACTOR | {"type": "program"}


REFUSED: list[dict[str, Any]] = [
    {"unknown": 1},
    {"id": "a b"},
    {"language": ""},
    {"cpu_time_limit": 0},
    {"cpu_time_limit": "1"},
    {"wall_time_limit": 301},
    {"memory_limit": 1.5},
    {"number_of_runs": True},
    {"enable_network": 1},
    {"source_code": None},
    {"language": None},
    {"stdin": {"base64": "", "x": ""}},
    {"expected_output": []},
    {"compiler_options": ["a"] * 65},
    {"compiler_options": "a" * 4_097},
    {"command_line_arguments": ["a\0"]},
    {"additional_files": [{"name": "a", "content": ""}] * 65},
    {"additional_files": [{"name": "a"}]},
    {"additional_files": [{"name": "a", "content": "", "x": 1}]},
    {"additional_files": [{"name": "a", "content": "", "encoding": "hex"}]},
    {"checker": "lines"},
    {"checker": {}},
    {"checker": {"type": "other"}},
    {"checker": {"type": "lines", "case_sensitive": True}},
    {"checker": {"type": "tokens", "case_sensitive": 1}},
    {"checker": {"type": "floats", "absolute": -1}},
    {"checker": {"type": "floats", "relative": 1e10}},
    {"checker": {"type": "program", "language": "c", "source_code": ""}},
    {"checker": PROGRAM | {"protocol": "x"}},
    {"checker": PROGRAM | {"source_code": 1}},
    {"checker": PROGRAM | {"limits": {"cpu_time_limit": 61}}},
    {"checker": PROGRAM | {"limits": {"number_of_runs": 1}}},
    {"checker": PROGRAM | {"arguments": ["a"] * 65}},
    {"interactor": INTERACTOR | {"type": "program"}},
    {"interactor": INTERACTOR | {"protocol": None}},
    {"interactor": INTERACTOR | {"limits": {"cpu_time_limit": 61}}},
    {"transcript": 1},
    {"callback_url": "ftp://a/"},
    {"callback_url": "http://" + "a" * 2_048},
    {"metadata": []},
    {"tests": []},
    {"tests": [{"name": "a/b"}]},
    {"tests": [{"limits": {"number_of_runs": 2}}]},
    {"tests": [{"points": -1}]},
    {"tests": [{}], "groups": [{}]},
    {"tests": [{}], "groups": [{"name": "a", "scoring": "max"}]},
    {"tests": [{}], "parallel_tests": 17},
    {"return_output": "some"},
    {"enable_per_process_and_thread_time_limit": True},
]


def test_schema_refuses_what_the_daemon_refuses() -> None:
    """As far as JSON Schema can tell; what it cannot is said in the descriptions."""
    for fields in REFUSED:
        assert 1 == len(problems(body(**fields))), fields
        assert [] != faults(SUBMISSION, MINIMAL | fields), fields


CONTENTS = st.text(max_size=4) | st.fixed_dictionaries({"base64": st.sampled_from(["", "AA==", "A"])})
WORDS = st.text(max_size=8) | st.lists(st.text(max_size=4), max_size=3)
FILES = st.lists(
    st.fixed_dictionaries(
        {"name": st.text("ab./\\\n~", max_size=9), "content": st.text(max_size=4)},
        optional={"encoding": st.sampled_from(["utf-8", "base64", "x"])},
    ),
    max_size=3,
)
NUMBERS = st.integers(-1, 5_000) | st.floats(0, 70) | st.none()
TESTS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text("a b/.", max_size=3) | st.none(),
        "stdin": CONTENTS | st.none(),
        "command_line_arguments": WORDS | st.none(),
        "limits": st.fixed_dictionaries({}, optional={"memory_limit": NUMBERS}) | st.none(),
        "points": NUMBERS,
    },
)
CHECKERS = st.fixed_dictionaries(
    {"type": st.sampled_from(["lines", "exact", "tokens", "floats", "unordered_lines", "x"])},
    optional={"absolute": NUMBERS, "relative": NUMBERS, "case_sensitive": st.booleans() | st.none()},
)
PROGRAMS = st.fixed_dictionaries(
    {key: st.just(value) for key, value in PROGRAM.items()} | {"source_code": CONTENTS},
    optional={
        "additional_files": FILES | st.none(),
        "arguments": WORDS | st.none(),
        "limits": st.fixed_dictionaries(
            {}, optional={"cpu_time_limit": NUMBERS, "wall_time_limit": NUMBERS, "memory_limit": NUMBERS}
        )
        | st.none(),
    },
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "source_code": CONTENTS,
        "stdin": CONTENTS | st.none(),
        "expected_output": CONTENTS | st.none(),
        "compiler_options": WORDS | st.none(),
        "additional_files": FILES | st.none(),
        "tests": st.lists(TESTS, max_size=2) | st.none(),
        "checker": CHECKERS | PROGRAMS | st.none(),
        "cpu_time_limit": NUMBERS,
        "wall_time_limit": NUMBERS,
        "memory_limit": NUMBERS,
        "callback_url": st.from_regex(r"(http|HTTPS|ftp)://[a-z:/%é ]{0,5}", fullmatch=True) | st.none(),
        "metadata": st.dictionaries(st.text(max_size=3), NUMBERS, max_size=2) | st.none(),
        "enable_per_process_and_thread_memory_limit": st.booleans(),
        "enable_per_process_and_thread_time_limit": st.booleans(),
    },
)


@given(FIELDS)
@example({"callback_url": "hTTp://a"})
@example({"additional_files": [{"name": "...", "content": ""}]})
def test_schema_takes_whatever_the_daemon_takes(fields: dict[str, Any]) -> None:
    """A publisher that validates first never refuses a good submission."""
    taken = problems(body(**fields)) == []

    assert not taken or [] == faults(SUBMISSION, MINIMAL | fields)


@given(st.text("ab./\n\x7fé", max_size=20))
@example("1/2/3/4/5/6/7/8")
@example("1/2/3/4/5/6/7/8/9")
@example(".../..a/a..")
def test_schema_and_daemon_agree_on_file_names(name: str) -> None:
    """The pattern says the whole rule, but for the bound in bytes."""
    assume(not name.endswith("\n"))  # "$" means more in Python than in JSON Schema
    try:
        check_name(name)
    except ValueError:
        taken = False
    else:
        taken = True

    files = [{"name": name, "content": ""}]
    assert taken == (faults(SUBMISSION, MINIMAL | {"additional_files": files}) == [])


def test_null_is_taken_in_every_optional_field() -> None:
    """By the schema as by the daemon: generated models publish it."""
    nulls = dict.fromkeys(MODEL.model_fields.keys() - {"language", "source_code"})

    assert [] == problems(body(**nulls))
    assert [] == faults(SUBMISSION, MINIMAL | nulls)


def test_every_field_of_a_result_is_required() -> None:
    """Every field is always there, so that generated types are not all optional."""
    schema = SCHEMAS["result.schema.json"]
    for part in (schema, *(part for part in schema["$defs"].values() if part["type"] == "object")):
        assert set(part["properties"]) == set(part["required"])


def test_defaults_in_the_schema_are_those_of_the_daemon() -> None:
    """Sending every default is the same as sending none."""
    properties = SCHEMAS["submission.schema.json"]["properties"]
    defaults = {name: field["default"] for name, field in properties.items() if "default" in field}

    explicit, implicit = decode(body(id="a", **defaults), MODEL), decode(body(id="a"), MODEL)
    assert explicit == implicit
    assert {*defaults, "id", "language", "source_code"} == set(properties)
