"""schemas/README.md says what the code does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from verdictd.contract.codec import MAX_VALUES
from verdictd.contract.events import EVENT_TYPE, Event, EventKind
from verdictd.contract.limits import KIB, MIB, Limits
from verdictd.contract.result import RESULT_TYPE, STATUS_IDS, Cause, Result
from verdictd.contract.submission import SUBMISSION_TYPE
from verdictd.judging.verdicts import INVALID, internal_error
from verdictd.settings import Settings

SCHEMAS = Path(__file__).parents[2] / "schemas"
TEXT = (SCHEMAS / "README.md").read_text()
SUBMISSION, RESULT = (  # those of the code: see test_schemas.py
    json.loads((SCHEMAS / f"{name}.schema.json").read_text()) for name in ("submission", "result")
)
UNITS = {"s": "seconds", "KiB": "KiB"}


def table(heading: str) -> dict[str, dict[str, str]]:
    """The rows below a heading by their first cell, each by the names of its columns."""
    (part,) = re.findall(rf"^#+ {heading}$(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    lines = [line.strip("| ") for line in part.splitlines() if line.startswith("|")]
    columns, _, *rows = ([cell.strip() for cell in re.split(r"\s*\|\s?", line)] for line in lines)
    return {row[0].strip("`"): dict(zip(columns, row, strict=True)) for row in rows}


def size(size_bytes: int) -> str:
    return f"{size_bytes // MIB} MiB" if size_bytes % MIB == 0 else f"{size_bytes // KIB} KiB"


def bounds(field: dict[str, Any]) -> str:
    """The bounds of a number as the table has them; empty where it has none."""
    number = next(iter(field.get("anyOf", [field])))
    return f"{number['minimum']:g} to {number['maximum']:.12g}" if "minimum" in number else ""


FIELDS = table("Fields of a submission")
LIMITS = Limits()
SIZES = {
    "source_code": size(LIMITS.source_code_bytes),
    "additional_files": f"{LIMITS.additional_files} files, {size(LIMITS.additional_files_bytes)} unpacked",
    "compiler_options": f"{LIMITS.words} words, {size(LIMITS.words_bytes)}",
    "command_line_arguments": f"{LIMITS.words} words, {size(LIMITS.words_bytes)}",
    "stdin": size(LIMITS.stdin_bytes),
    "expected_output": size(LIMITS.expected_output_bytes),
    "entry_point": f"1 to {SUBMISSION['properties']['entry_point']['anyOf'][0]['maxLength']} characters",
    "input_file": "255 bytes, 8 parts",
    "output_file": "255 bytes, 8 parts",
    "output_files": (
        f"{LIMITS.output_patterns} names, {LIMITS.output_files} files, {size(LIMITS.output_files_bytes)}"
    ),
    "callback_url": f"{LIMITS.callback_url_length} characters",
    "metadata": size(LIMITS.metadata_bytes),
    "language": f"{SUBMISSION['properties']['language']['maxLength']} characters",
    "tests": f"{LIMITS.tests}",
    "groups": f"{LIMITS.groups}",
    "id": "1 to 128 of `A-Z a-z 0-9 . _ : -`",
    "supersede_key": "1 to 128 of `A-Z a-z 0-9 . _ : -`",
}


def test_table_has_every_field_of_a_submission() -> None:
    """In the order of the code."""
    assert list(SUBMISSION["properties"]) == list(FIELDS)


def test_fields_have_the_defaults_of_the_code() -> None:
    """As JSON, or in words where a field has none."""
    for name, row in FIELDS.items():
        field, default = SUBMISSION["properties"][name], row["default"]

        if "default" in field:
            assert field["default"] == json.loads(default.strip("`")), name
        else:
            assert (name in SUBMISSION["required"]) == (default == "required"), name


def test_fields_have_the_bounds_and_the_units_of_the_code() -> None:
    """Numbers as they are, sizes in the largest unit without a fraction."""
    for name, row in FIELDS.items():
        field = SUBMISSION["properties"][name]

        assert (bounds(field) or SIZES.get(name, "")) == row["bound"], name
        assert [word for word in UNITS.values() if f"in {word}" in field["description"]] == [
            UNITS[unit] for unit in [row["unit"]] if unit
        ], name


def test_table_has_every_field_of_a_file() -> None:
    """Names, defaults and what is required."""
    files, *_ = SUBMISSION["properties"]["additional_files"]["anyOf"]
    rows = table("Files")

    assert list(files["items"]["properties"]) == list(rows)
    assert files["items"]["required"] == [name for name, row in rows.items() if row["default"] == "required"]
    assert '`"utf-8"`' == rows["encoding"]["default"]


def test_table_has_every_field_of_a_result() -> None:
    """In the order of the message."""
    assert list(Result.model_fields) == list(table("Fields of a result"))


def test_tables_have_every_field_and_kind_of_an_event() -> None:
    """In the order of the message."""
    assert list(Event.model_fields) == list(table("Fields of an event"))
    assert set(EventKind) <= set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))


@pytest.mark.parametrize(("heading", "name"), [("Tests", "Test"), ("Groups and points", "Group")])
def test_table_has_every_field_of_a_test_and_of_a_group(heading: str, name: str) -> None:
    """In the order of the code, and says which ones are required."""
    schema, rows = SUBMISSION["$defs"][name], table(heading)

    assert list(schema["properties"]) == list(rows)
    assert schema.get("required", []) == [
        field for field, row in rows.items() if row["default"] == "required"
    ]


@pytest.mark.parametrize(
    ("heading", "name"), [("Outcome of a test", "TestResult"), ("Outcome of a group", "GroupResult")]
)
def test_table_has_every_field_of_an_outcome(heading: str, name: str) -> None:
    """Those that a submission has too are named in the text."""
    assert set(RESULT["$defs"][name]["properties"]) - set(RESULT["properties"]) <= set(table(heading))


def test_table_has_every_status_with_its_number() -> None:
    """In the order of the numbers."""
    numbers = {name: int(row["number"]) for name, row in table("Statuses").items()}

    assert sorted((number, status) for status, number in STATUS_IDS.items()) == [
        (number, name) for name, number in numbers.items()
    ]


def test_table_has_every_cause() -> None:
    """Beside the status that it leads to."""
    rows = table("Statuses")
    causes = {cause for row in rows.values() for cause in re.findall(r"`(\w+)`", row["causes"])}

    assert set(Cause) == causes
    assert f"`{INVALID.cause}`" == rows[INVALID.status]["causes"]
    assert "`sandbox`, `data`, `queue`, `checker`" == rows[internal_error("").status]["causes"]


def test_text_has_the_words_of_the_code() -> None:
    """Numbers and names outside the tables."""
    settings, text = Settings(), " ".join(TEXT.split())
    words = [
        f"`{SUBMISSION_TYPE}`",
        f"`{RESULT_TYPE}`",
        f"`{EVENT_TYPE}`",
        f"`{settings.broker.events_exchange}`",
        f"at most {size(LIMITS.message_bytes)} and {MAX_VALUES} values",
        f"A result has at most {size(LIMITS.result_bytes)}",
        f"({settings.judge.submission_timeout_s:g} seconds)",
        f"`{settings.broker.submissions_queue}`",
        f"`{settings.broker.results_queue}`",
        f"`{settings.broker.dead_queue}`",
    ]

    assert [] == [word for word in words if word not in text]


def test_attempts_are_those_of_the_settings() -> None:
    """In a word, as it is a small number."""
    assert 3 == Settings().judge.max_attempts
    assert "After three attempts" in TEXT


def test_python_in_the_text_compiles() -> None:
    """Each example is a whole program."""
    programs = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)

    assert 2 == len(programs)
    assert all(compile(program, "README.md", "exec") for program in programs)
