"""Messages that attack: each is refused with reasons, soon, and at little cost."""

import json
import re
import subprocess
import sys
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.submissions import MINIMAL, MODEL, PROTOTYPE_SAMPLE, body, problem, problems, raw, take
from verdictd.contract.codec import MAX_VALUES, decode, peek_id
from verdictd.contract.limits import KIB, MIB, Limits
from verdictd.contract.submission import submission_model
from verdictd.errors import Problem


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"no JSON",
        b"{} {}",
        b"{'id': 1}",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"[" * 300,
        raw("metadata", '{"a":' * 300 + "0" + "}" * 300),
    ],
)
def test_what_is_no_json_is_refused_as_a_whole(sent: bytes) -> None:
    """The body is JSON in UTF-8, without a byte order mark, nested at most 200 deep."""
    assert "" == problem(sent).path
    assert problem(sent).message.startswith("Invalid JSON: ")


SURROGATE = "a lone surrogate (\\ud800 to \\udfff) is not a character"


@pytest.mark.parametrize(
    ("sent", "path", "reason"),
    [
        (raw("stdin", '"a\\ud800"'), "/stdin", SURROGATE),
        (raw("stdin", '"\\udc00\\ud800"'), "/stdin", SURROGATE),
        (
            raw("additional_files", '[{"name": "a", "content": "\\udfff"}]'),
            "/additional_files/0/content",
            SURROGATE,
        ),
        (raw("metadata", '{"a": {"\\ud800": 1}}'), "/metadata/a", SURROGATE),
        (raw("stdin", '"\xe9"').decode().encode("latin-1"), "/stdin", "its bytes are not UTF-8"),
        (raw("stdin", '"a\nb"'), "/stdin", "control character"),
        (raw("stdin", '"\\x41"'), "/stdin", "invalid escape"),
        (raw("memory_limit", "0x10"), "/memory_limit", "expected"),
        (raw("memory_limit", "01"), "/memory_limit", "invalid number"),
        (raw("enable_network", "True"), "/enable_network", "expected"),
        (raw("expected_output", "undefined"), "/expected_output", "expected"),
        (raw("id", '"a",'), "/id", "trailing comma"),
        (raw("stdin", '"a')[:-2], "/stdin", "EOF"),
    ],
)
def test_what_makes_invalid_json_is_named(sent: bytes, path: str, reason: str) -> None:
    """The sender reads the field in which the fault is."""
    assert path == problem(sent).path
    assert problem(sent).message.startswith(f"Invalid JSON: {reason}")


@pytest.mark.parametrize(
    "sent",
    [
        b'{"id": "a", "cpu_time_limit": NaN}',
        b'{"cpu_time_limit": -Infinity, "id": "a"}',
        b'{"metadata": {"id": "b", "x": [1e400]}, "id": "a"}',
        b'{"stdin": "\\ud800", "id": "a"}',
        b'{"\\udc00": "{", "id": "a"}',
        b'\xef\xbb\xbf{"id": "a"}',
        '{"stdin": "\N{SNOWMAN}", "id": "a"}'.encode("utf-16"),
        '{"stdin": "\N{SNOWMAN}", "id": "a"}'.encode("utf-32-le"),
        '{"stdin": "\xe9", "id": "a"}'.encode("latin-1"),
        b'{"stdin": "line\nline", "id": "a"}',
        b'{"stdin": "\\x41", "id": "a",}',
        b'{"stdin": "\\"id\\": 7, {", "id" : "a" // sic\n}',
        b'{"id": "a", "stdin": "cut of',
        b'{"id": "a", "stdin": "cut off\\',
        b'{"id": "a"} {"id": "b"}',
        b'{"id": "b", "id": "\\u0061"}',
        b'{"id": "a", "id2": {"id": "b"}, "x": [{"id": "c"}]}',
        b'{"id": "a", "language": 5, "source_code": ["id", "b"]}',
    ],
)
def test_id_is_found_where_a_person_would_find_it(sent: bytes) -> None:
    """An answer under a new id is one that its sender waits for in vain."""
    assert problems(sent)
    assert "a" == peek_id(sent, "b")


@pytest.mark.parametrize(("message_id", "known"), [(None, "17"), ("b", "b")])
def test_number_is_answered_as_its_sender_would_write_it(message_id: str | None, known: str) -> None:
    """A number is not an id, but better than a new one."""
    assert known == peek_id(b'{"id": 17}', message_id)


@pytest.mark.parametrize("sent", [b"null", b"[]", b'"{}"', b"1", b"true", b"NaN"])
def test_what_is_no_object_is_refused_as_a_whole(sent: bytes) -> None:
    """A submission is one JSON object."""
    assert Problem("", "must be an object") == problem(sent)


def test_message_beyond_its_bound_is_refused_unread() -> None:
    """The bound is the operator's."""
    model = submission_model(Limits(message_bytes=KIB))

    assert [] == problems(body().ljust(KIB), model=model)
    reason = "the message has 1025 bytes; at most 1024 are allowed"
    assert [Problem("", reason)] == problems(body().ljust(KIB + 1), model=model)


@pytest.mark.parametrize("character", ["k", "~", "/", "\u0001"])
def test_name_of_a_megabyte_is_not_echoed(character: str) -> None:
    """The answer to a large message is small."""
    assert 450 > len(problem(body(**{character * MIB: 1})).path)


TOO_MANY = Problem("", f"the message has more than {MAX_VALUES} JSON values")


@pytest.mark.parametrize(
    ("start", "repeated", "end"),
    [
        ('{"a":0', ',"a":0', "}"),
        ('{"additional_files":[{}', ",{}", "]}"),
        ('{"additional_files":[{"name":"a","content":""', ',"x":0', "}]}"),
        ('{"compiler_options":[0', ",0", "]}"),
        ('{"metadata":{"a":[[]', ",[]", "]}}"),
        ('{"metadata":', '{"":', ""),
        ("", "[", ""),
        ("", '"', ""),
        ("", "\\", ""),
    ],
)
def test_message_of_millions_of_values_is_refused_within_a_second_or_two(
    start: str, repeated: str, end: str
) -> None:
    """Counting is quick; an object and an error for each would take minutes, and gigabytes."""
    sent = (start + repeated * (31 * MIB // len(repeated)) + end).encode()
    started_s = time.process_time()

    found = problem(sent)

    assert "" == found.path
    assert 2.5 > time.process_time() - started_s


NEEDS_LITTLE_MEMORY = """
import resource
from verdictd.errors import InvalidSubmission
from verdictd.contract.limits import Limits
from verdictd.contract.codec import decode, peek_id
from verdictd.contract.submission import submission_model

body = b"{" + b'"a":{},' * (9 * 2**20) + b'"id":"a"}'
model = submission_model(Limits(message_bytes=128 * 2**20))
resource.setrlimit(resource.RLIMIT_AS, (512 * 2**20, 512 * 2**20))
try:
    decode(body, model)
except InvalidSubmission as error:
    print(error, peek_id(body, "b"))
"""


def test_message_of_millions_of_values_needs_little_memory() -> None:
    """Nine million fields are refused, and an id is found to say so, within 512 MiB in all."""
    ended = subprocess.run(
        [sys.executable, "-c", NEEDS_LITTLE_MEMORY], capture_output=True, text=True, timeout=60, check=False
    )

    assert (f"/: {TOO_MANY.message} b\n", "") == (ended.stdout, ended.stderr)


@pytest.mark.parametrize("repeated", [",", '"', "\\", '\\"', "[{", "\n"])
def test_only_what_stands_outside_strings_is_counted(repeated: str) -> None:
    """An input of 4 MiB may hold commas, quotes and brackets as it likes."""
    content = repeated * (4 * MIB // len(repeated))

    assert content.encode() == take(stdin=content).stdin


def test_as_many_values_as_are_allowed_are_taken() -> None:
    """The bound itself is inside: 65,536 values, with the object and what separates them."""
    limits = Limits(metadata_bytes=MIB, result_bytes=2 * MIB)
    others = 5  # two objects, the list, and the commas between three fields

    def sent(count: int) -> bytes:
        return raw("metadata", '{"a":[' + ",".join("0" * count) + "]}")

    found = problems(sent(MAX_VALUES - others + 1), model=submission_model(limits))
    assert [] == found
    assert [TOO_MANY] == problems(sent(MAX_VALUES - others + 2), model=submission_model(limits))


def test_large_message_is_answered_under_its_id_unless_it_has_too_many_values() -> None:
    """Its bytes do no harm, millions of objects would."""
    assert "a" == peek_id(b'{"id": "a", "stdin": "' + b"x" * (65 * MIB) + b'"}', "b")
    assert "b" == peek_id(b'{"id": "a"' + b',"x": 0' * MAX_VALUES + b"}", "b")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.sampled_from(sorted(MODEL.model_fields)) | st.text(max_size=8), JSON, max_size=8)
BODIES = st.one_of(
    st.binary(max_size=200),
    JSON.map(lambda value: json.dumps(value).encode()),
    OBJECTS.map(lambda fields: json.dumps(MINIMAL | fields).encode()),
    OBJECTS.map(lambda fields: json.dumps(MINIMAL | fields, ensure_ascii=False).encode(errors="replace")),
)


@given(BODIES, st.none() | st.text(max_size=8))
@example(PROTOTYPE_SAMPLE, None)
def test_any_body_is_a_submission_or_refused_with_reasons(sent: bytes, message_id: str | None) -> None:
    """No message raises anything else, and each can be answered under an id."""
    found = problems(sent, message_id=message_id)

    assert 21 >= len(found)
    assert [] == [text for text in found if len(text.path) > 1_700 or len(text.message) > 200]
    assert re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", peek_id(sent, message_id))
    if not found:
        assert decode(sent, MODEL, message_id="a").effective_limits()
