"""Submissions: what is taken, and what is refused and why."""

import base64
import io
import json
import re
import zipfile
from datetime import UTC, datetime

import pytest

from support.submissions import MODEL, PROTOTYPE_SAMPLE, UUID, body, problem, problems, raw, take
from verdictd.contract.codec import decode, peek_id
from verdictd.contract.content import ProvidedFile, RemoteFile
from verdictd.contract.limits import KIB, MIB, Bound, Limits
from verdictd.contract.submission import Submission, submission_model
from verdictd.errors import Problem
from verdictd.files import File

BOUNDS = {name: bound for name, bound in Limits() if isinstance(bound, Bound)}
NUMBERS = [name for name, bound in BOUNDS.items() if isinstance(bound.default, float)]
WHOLE_NUMBERS = [name for name, bound in BOUNDS.items() if isinstance(bound.default, int)]
BOOLEANS = [
    "enable_per_process_and_thread_memory_limit",
    "enable_per_process_and_thread_time_limit",
    "redirect_stderr_to_stdout",
    "enable_network",
]
DIGEST = "0123456789abcdef" * 4
NO_CONTENT = 'must be a string, {"base64": "..."}, {"sha256": "...", "url": "..."} or {"file": "..."}'
NOT_BASE64 = "not valid base64: use the standard alphabet, with padding and without line breaks"


def test_sample_of_the_prototype_is_taken_as_it_stands() -> None:
    """Publishers of the prototype need not change their submissions."""
    submission = decode(PROTOTYPE_SAMPLE, MODEL)

    assert b'print("hello world")' == submission.source_code
    assert b"hello world" == submission.expected_output
    assert 1 == submission.cpu_time_limit
    assert 1_000_000 == submission.memory_limit
    assert submission.redirect_stderr_to_stdout


def test_language_and_source_are_enough() -> None:
    """Every other field has a default."""
    submission = take()

    assert {"language", "source_code"} == submission.model_fields_set
    assert re.fullmatch(UUID, submission.id)
    assert (b"", None, (), None) == (
        submission.stdin,
        submission.expected_output,
        submission.additional_files,
        submission.metadata,
    )


def test_limits_have_the_same_defaults_with_and_without_settings() -> None:
    """The class and the default settings say the same."""
    for name in NUMBERS + WHOLE_NUMBERS:
        assert Submission.model_fields[name].default == MODEL.model_fields[name].default, name


def test_operator_sets_defaults_and_bounds() -> None:
    """Defaults and bounds come from the settings, and the bound is in the message."""
    model = submission_model(Limits(memory_limit=Bound[int](default=10, min=5, max=20)))

    assert 10 == decode(body(), model).memory_limit
    assert 20 == decode(body(memory_limit=20), model).memory_limit
    reason = "must be less than or equal to 20"
    assert [Problem("/memory_limit", reason)] == problems(body(memory_limit=21), model=model)


def test_bounds_themselves_are_inside() -> None:
    """The least and the largest value are taken as they are."""
    for name in NUMBERS + WHOLE_NUMBERS:
        bound = getattr(Limits(), name)

        assert bound.min == getattr(take(**{name: bound.min}), name), name
        assert bound.max == getattr(take(**{name: bound.max}), name), name


@pytest.mark.parametrize(
    "value",
    ["NaN", "Infinity", "1e400", "-1e400", "9223372036854775808", "3e9", "-1", '"1"', "true", "[]", "{}"],
)
def test_number_that_is_none_or_out_of_bounds_is_refused(value: str) -> None:
    """A number is finite, within its bounds, and no boolean or string."""
    names = NUMBERS + WHOLE_NUMBERS

    assert [f"/{name}" for name in names] == [problem(raw(name, value)).path for name in names]


@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "cpu_extra_time"])
@pytest.mark.parametrize("value", ["0", "-0", "-0.0", "0.0004", "1e-400"])
def test_time_of_next_to_nothing_is_refused(name: str, value: str) -> None:
    """No program runs in no time; only the extra time may be zero."""
    reason = f"must be greater than or equal to {getattr(Limits(), name).min}"

    assert Problem(f"/{name}", reason) == problem(raw(name, value))


@pytest.mark.parametrize("name", WHOLE_NUMBERS)
@pytest.mark.parametrize("value", ["1.0", "1e0", "1.5"])
def test_whole_number_is_written_as_one(name: str, value: str) -> None:
    """KiB and counts are integers; 1.0 is refused."""
    assert Problem(f"/{name}", "must be an integer") == problem(raw(name, value))


@pytest.mark.parametrize("name", BOOLEANS)
@pytest.mark.parametrize("value", ["1", "0", '"true"', "[]"])
def test_boolean_is_true_or_false(name: str, value: str) -> None:
    """Nothing else is taken for a boolean."""
    assert Problem(f"/{name}", "must be true or false") == problem(raw(name, value))


@pytest.mark.parametrize("name", ["id", "language"])
@pytest.mark.parametrize("value", ["1", "[]", "{}", "true"])
def test_string_is_a_string(name: str, value: str) -> None:
    """Nothing else is taken for a string."""
    assert Problem(f"/{name}", "must be a string") in problems(raw(name, value))


def test_null_stands_for_a_field_that_is_left_out() -> None:
    """Models that are generated from the schema publish null in every field that is not set."""
    nulls = dict.fromkeys(MODEL.model_fields.keys() - {"language", "source_code"})
    submission = decode(body(**nulls), MODEL, message_id="a")

    assert decode(body(), MODEL, message_id="a") == submission
    assert "a" == submission.id


@pytest.mark.parametrize("name", ["language", "source_code"])
def test_null_in_a_required_field_is_refused(name: str) -> None:
    """It has no default."""
    assert f"/{name}" == problem(body(**{name: None})).path


def test_null_in_a_field_of_a_file_is_its_default() -> None:
    """As in the submission itself."""
    files = [{"name": "a", "content": "b", "encoding": None}]

    assert (File("a", b"b"),) == take(additional_files=files).additional_files


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("language_id", "language"),
        ("Language", "language"),
        ("langauge", "language"),
        ("code", "source_code"),
        ("sourceCode", "source_code"),
        ("source-code", "source_code"),
        ("input", "stdin"),
        ("time_limit", "cpu_time_limit"),
        ("memoryLimit", "memory_limit"),
        ("max_processes_and_threads", "max_processes_and_or_threads"),
        ("webhook", "callback_url"),
    ],
)
def test_unknown_field_gets_a_hint_at_the_one_that_is_meant(key: str, meant: str) -> None:
    """Slips, other spellings, and the words of other judges."""
    assert problem(body(**{key: 1})).message.startswith(f'unknown field; did you mean "{meant}"')


@pytest.mark.parametrize("key", ["x", "submit ", "limits", "", "a/b", "~"])
def test_unknown_field_is_refused_by_its_name(key: str) -> None:
    """A misspelt field is an error, not a default; the path is a JSON pointer."""
    pointer = "/" + key.replace("~", "~0").replace("/", "~1")

    assert Problem(pointer, "unknown field") == problem(body(**{key: 1}))


def test_every_problem_is_reported_up_to_twenty() -> None:
    """A sender corrects all fields at once, and a thousand errors make no long answer."""
    unknown = {f"x{number}": 0 for number in range(1_000)}

    found = problems(json.dumps(unknown).encode())

    assert 21 == len(found)
    assert [Problem("/language", "must be given"), Problem("/source_code", "must be given")] == found[:2]
    assert Problem("", "and 982 more problems") == found[-1]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", ()),
        ([], ()),
        ("-O2 '-D A=1'", ("-O2", "-D A=1")),
        (["; rm -rf /", "`id`", "$(id)", "a\nb", "\\", "'", '"', "*", "-", ""],) * 2,
    ],
)
@pytest.mark.parametrize("name", ["compiler_options", "command_line_arguments"])
def test_words_are_a_string_or_a_list(name: str, value: object, words: object) -> None:
    """A string is split as a shell splits it, nothing is expanded; a list is taken as it stands."""
    assert list(words) == list(getattr(take(**{name: value}), name))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("a " * 65, "65 words; at most 64 are allowed"),
        (["a"] * 65, "65 words; at most 64 are allowed"),
        ("a" * 4_097, "4097 bytes; at most 4096 are allowed"),
        (["é" * 1_000, "é" * 1_048], "4097 bytes; at most 4096 are allowed"),
        ("'a", "No closing quotation"),
        (["a", 1], "must be a string or a list of strings"),
        ({"a": "b"}, "must be a string or a list of strings"),
        ("a\0", "a word cannot contain a NUL character"),
    ],
)
@pytest.mark.parametrize("name", ["compiler_options", "command_line_arguments"])
def test_words_beyond_their_bounds_are_refused(name: str, value: object, reason: str) -> None:
    """The words are few and short, with a byte between them."""
    assert Problem(f"/{name}", reason) == problem(body(**{name: value}))


def test_words_of_a_megabyte_are_refused_before_they_are_split() -> None:
    """Splitting takes its time."""
    reason = "16777216 bytes; at most 4096 are allowed"

    assert Problem("/compiler_options", reason) == problem(body(compiler_options="a" * 16 * MIB))


def test_words_that_fill_the_bounds_are_taken() -> None:
    """The bounds themselves are inside."""
    words = ["a" * 63] * 63 + ["a" * 64]

    assert tuple(words) == take(command_line_arguments=words).command_line_arguments
    assert tuple(words) == take(command_line_arguments=" ".join(words)).command_line_arguments


@pytest.mark.parametrize("name", ["stdin", "expected_output"])
@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("", b""),
        ("é\n\0", b"\xc3\xa9\n\0"),
        ({"base64": ""}, b""),
        ({"base64": "/w=="}, b"\xff"),
    ],
)
def test_content_is_a_string_or_base64(name: str, value: object, content: bytes) -> None:
    """Text is sent as it is, bytes in base64."""
    assert content == getattr(take(**{name: value}), name)


@pytest.mark.parametrize("name", ["stdin", "expected_output"])
def test_content_is_a_reference_to_a_file(name: str) -> None:
    """One that the operator provides, or one that is fetched; a digest is the same in either case."""
    remote = {"sha256": DIGEST.upper(), "url": "https://a/b"}

    assert RemoteFile(DIGEST, "https://a/b") == getattr(take(**{name: remote}), name)
    assert ProvidedFile("sums/01.in") == getattr(take(**{name: {"file": "sums/01.in"}}), name)
    assert {f"/{name}": ProvidedFile("a")} == take(**{name: {"file": "a"}}).references()


@pytest.mark.parametrize("name", ["stdin", "expected_output"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1, NO_CONTENT),
        ([], NO_CONTENT),
        ({}, NO_CONTENT),
        ({"base64": 1}, NO_CONTENT),
        ({"base64": "", "x": 1}, NO_CONTENT),
        ({"file": "a", "base64": ""}, NO_CONTENT),
        ({"file": 1}, NO_CONTENT),
        ({"file": "../a"}, 'a file name must be a relative path without empty parts, "." or ".."'),
        ({"file": "/a"}, 'a file name must be a relative path without empty parts, "." or ".."'),
        ({"file": "a\0"}, "a file name cannot contain control characters"),
        ({"sha256": DIGEST}, NO_CONTENT),
        ({"sha256": DIGEST[1:], "url": "https://a/"}, "a sha256 has 64 hexadecimal digits"),
        ({"sha256": DIGEST, "url": "file:///etc/passwd"}, "must be an http or https URL with a host"),
        ({"base64": "/w="}, NOT_BASE64),
        ({"base64": "/w==\n"}, NOT_BASE64),
        ({"base64": "_-=="}, NOT_BASE64),
        ({"base64": "é==="}, NOT_BASE64),
    ],
)
def test_content_of_another_shape_is_refused(name: str, value: object, reason: str) -> None:
    """The standard alphabet, padded, without line breaks."""
    assert Problem(f"/{name}", reason) == problem(body(**{name: value}))


@pytest.mark.parametrize("name", ["stdin", "expected_output"])
def test_content_of_too_many_bytes_is_refused(name: str) -> None:
    """Bytes of UTF-8 count, or those that the base64 stands for."""
    model = submission_model(Limits(stdin_bytes=KIB, expected_output_bytes=KIB))
    full = b"\xc3\xa9" * (KIB // 2)
    reason = "1025 bytes; at most 1024 are allowed"

    for content, found in (full, []), (full + b"x", [Problem(f"/{name}", reason)]):
        assert found == problems(body(**{name: content.decode()}), model=model)
        assert found == problems(body(**{name: {"base64": base64.b64encode(content).decode()}}), model=model)


@pytest.mark.parametrize("source", [b"\xe4", b"", b"\0", "\N{SNOWMAN}".encode()])
def test_source_may_be_bytes(source: bytes) -> None:
    """A source that is not UTF-8 is judged as its bytes."""
    encoded = {"base64": base64.b64encode(source).decode()}

    assert source == take(source_code=encoded).source_code


def test_source_of_too_many_bytes_is_refused() -> None:
    """Bytes of UTF-8 count, not characters."""
    assert "é".encode() * (MIB // 2) == take(source_code="é" * (MIB // 2)).source_code
    reason = "1048578 bytes; at most 1048576 are allowed"
    assert Problem("/source_code", reason) == problem(body(source_code="é" * (MIB // 2 + 1)))


def test_files_are_a_list_with_text_or_base64() -> None:
    """Each file says how its content is to be read."""
    files = [
        {"name": "a.txt", "content": "é"},
        {"name": "d/b.bin", "content": "/w==", "encoding": "base64"},
        {"name": "c", "content": "", "encoding": "utf-8"},
    ]

    expected = (File("a.txt", b"\xc3\xa9"), File("d/b.bin", b"\xff"), File("c", b""))
    assert expected == take(additional_files=files).additional_files


@pytest.mark.parametrize(
    ("files", "path", "reason"),
    [
        ({}, "", "must be a list of files, or a ZIP archive in base64"),
        ([1], "/0", "must be an object"),
        ([{"name": "a"}], "/0/content", "must be given"),
        (
            [{"name": "a", "content": ""}, {"name": "../b", "content": ""}],
            "/1/name",
            'a file name must be a relative path without empty parts, "." or ".."',
        ),
        ([{"name": "a", "content": "", "mode": 1}], "/0/mode", "unknown field"),
        ([{"name": "a", "content": 1}], "/0/content", "must be a string"),
        (
            [{"name": "a", "content": "", "encoding": "hex"}],
            "/0/encoding",
            "must be 'utf-8' or 'base64'",
        ),
        (
            [{"name": "a", "content": "*", "encoding": "base64"}],
            "/0",
            NOT_BASE64,
        ),
        ([{"name": "a", "content": ""}] * 2, "", "two files are named 'a'"),
        ([{}] * 65, "", "65 files; at most 64 are allowed"),
        ("UEs=", "", "the archive is not a readable ZIP file: the end of its directory is missing"),
        ("a.zip", "", NOT_BASE64),
    ],
)
def test_files_that_cannot_be_placed_are_refused(files: object, path: str, reason: str) -> None:
    """The pointer leads to the file, and to the field where there is one."""
    assert Problem(f"/additional_files{path}", reason) == problem(body(additional_files=files))


def test_files_of_too_many_bytes_are_refused() -> None:
    """Unpacked bytes count; an archive that is too large to be unpacked to so few is not even decoded."""
    one = [{"name": "a", "content": "x" * (10 * MIB + 1)}]

    reason = "10485761 bytes in all files; at most 10485760 are allowed"
    assert Problem("/additional_files", reason) == problem(body(additional_files=one))
    reason = "16777216 bytes; at most 14068398 are allowed"
    assert Problem("/additional_files", reason) == problem(body(additional_files="A" * 16 * MIB))


def test_files_of_an_archive_are_taken() -> None:
    """A ZIP archive travels as one string in base64."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("d/a.txt", "content")

    packed = base64.b64encode(buffer.getvalue()).decode()
    assert (File("d/a.txt", b"content"),) == take(additional_files=packed).additional_files


def test_id_is_that_of_the_body_then_the_message_id_then_new() -> None:
    """The sender's key, wherever it stands, is what duplicates are told by."""
    assert "a" == decode(body(id="a"), MODEL, message_id="b").id
    assert "a" == decode(body(id="a"), MODEL, message_id="not an id").id
    assert "b" == decode(body(), MODEL, message_id="b").id
    assert re.fullmatch(UUID, decode(body(), MODEL).id)


BAD_IDS = ["", "a b", "../a", "a\n", "a/b", "é", "x" * 129, "a\0"]


@pytest.mark.parametrize("submission_id", BAD_IDS)
def test_id_that_could_mislead_is_refused(submission_id: str) -> None:
    """An id stands in logs, headers and file names: a few plain characters are enough."""
    assert "/id" == problem(body(id=submission_id)).path
    assert ["/id"] == [found.path for found in problems(body(), message_id=submission_id)]


@pytest.mark.parametrize(
    "url", ["http://a", "https://user@example.org:8443/a?b=c#d", "http://127.0.0.1/", "http://[::1]:80/%20"]
)
def test_callback_url_with_a_host_is_taken(url: str) -> None:
    """The addresses that it may lead to are checked elsewhere."""
    assert url == take(callback_url=url).callback_url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "must be an http or https URL with a host"),
        ("ftp://a/", "must be an http or https URL with a host"),
        ("file:///etc/passwd", "must be an http or https URL with a host"),
        ("http:///a", "must be an http or https URL with a host"),
        ("//a/", "must be an http or https URL with a host"),
        ("http://a:0/", "must be an http or https URL with a host"),
        ("http://a:99999/", "Port out of range 0-65535"),
        ("http://[::1", "Invalid IPv6 URL"),
        ("http://a b/", "a URL can contain only printable ASCII characters; percent-encode all others"),
        ("http://a/\r\nX: y", "a URL can contain only printable ASCII characters; percent-encode all others"),
        ("http://é/", "a URL can contain only printable ASCII characters; percent-encode all others"),
        ("http://a/" + "x" * 2_040, "2049 characters; at most 2048 are allowed"),
    ],
)
def test_callback_url_of_another_kind_is_refused(url: str, reason: str) -> None:
    """http or https, a host, a port that exists, and nothing that could end a header line."""
    assert Problem("/callback_url", reason) == problem(body(callback_url=url))


METADATA = {"user": 7, "é": [1.5, None, True, -(2**63), 2**64 - 1, {"": "\0"}]}


def test_metadata_is_kept_as_it_is() -> None:
    """Metadata that cannot be echoed unchanged are refused; all others come back."""
    assert METADATA == take(metadata=METADATA).metadata


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("[]", "must be an object"),
        ('"{}"', "must be an object"),
        ('{"a": NaN}', "cannot be echoed: the number at /a is nan, which is not finite"),
        ('{"a": [1, 1e400]}', "cannot be echoed: the number at /a/1 is inf, which is not finite"),
        ('{"a": 18446744073709551616}', "cannot be echoed: Integer exceeds 64-bit range"),
        (json.dumps({"a": "é" * 8_190}), "16388 bytes; at most 16384 are allowed"),
    ],
)
def test_metadata_that_cannot_be_echoed_is_refused(value: str, reason: str) -> None:
    """The bound counts its JSON without white space and escapes, as the result carries it."""
    assert Problem("/metadata", reason) == problem(raw("metadata", value))


def test_time_flag_needs_the_memory_flag() -> None:
    """Times of single processes are only known where the box runs without control groups."""
    name = "enable_per_process_and_thread_time_limit"
    both = take(enable_per_process_and_thread_memory_limit=True, **{name: True})

    assert both.enable_per_process_and_thread_time_limit
    reason = "requires enable_per_process_and_thread_memory_limit to be true as well"
    assert Problem(f"/{name}", reason) == problem(body(**{name: True}))


@pytest.mark.parametrize(
    ("fields", "wall_time_s"),
    [({}, 6), ({"cpu_time_limit": 1}, 5), ({"cpu_time_limit": 60}, 180), ({"wall_time_limit": 1}, 1)],
)
def test_wall_time_is_the_larger_of_five_seconds_and_three_times_the_cpu_limit(
    fields: dict[str, float], wall_time_s: float
) -> None:
    """Unless the submission says otherwise."""
    assert wall_time_s == take(**fields).effective_limits().wall_time_limit


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (3, 9, 262_154)),
        ({"cpu_time_limit": 3, "wall_time_limit": 4, "memory_limit": 3_000}, (4.5, 6, 3_010)),
        ({"cpu_time_limit": 50, "wall_time_limit": 250, "memory_limit": 4_194_300}, (60, 300, 4_194_304)),
        ({"language_factors": False}, (2, 6, 262_144)),
    ],
)
def test_factors_of_the_language_apply_within_the_bounds(
    fields: dict[str, object], expected: tuple[float, float, int]
) -> None:
    """Unless the submission does not want them; the default wall time follows."""
    limits = take(**fields).effective_limits(time_factor=1.5, extra_memory_kib=10)

    assert expected == (limits.cpu_time_limit, limits.wall_time_limit, limits.memory_limit)


def test_factor_below_one_stays_above_the_least_limit() -> None:
    """A fast language may have less."""
    assert 0.01 == take(cpu_time_limit=0.02).effective_limits(time_factor=0.1).cpu_time_limit


def test_wall_time_stays_below_the_operators_bound() -> None:
    """No default leads beyond what may be asked for."""
    model = submission_model(Limits(wall_time_limit=Bound[float](default=5, min=1, max=10)))

    assert 10 == decode(body(cpu_time_limit=60), model).effective_limits().wall_time_limit


@pytest.mark.parametrize(
    ("sent", "message_id", "known"),
    [
        (b'{"id": "a", "x": 1}', "b", "a"),
        (b'{"x": 1}', "b", "b"),
        (b'{"id": 1}', "b", "b"),
        (b'{"id": "a b"}', "b", "b"),
        (b'{"id": "a\\n"}', "b", "b"),
        (b'{"x": {"id": "a"}}', "b", "b"),
        (b'["id"]', "b", "b"),
        (b"\xff", "b", "b"),
        (b"", "b", "b"),
        (b"[" * 2_000, "b", "b"),
        (b'{"a":' * 2_000, "b", "b"),
    ],
)
def test_invalid_message_is_answered_under_the_id_that_can_be_found(
    sent: bytes, message_id: str, known: str
) -> None:
    """Its own id if that is valid, else the message_id."""
    assert known == peek_id(sent, message_id)


@pytest.mark.parametrize("message_id", [None, *BAD_IDS])
def test_invalid_message_without_a_usable_id_is_answered_under_a_new_one(message_id: str | None) -> None:
    """A malformed id is not used."""
    assert re.fullmatch(UUID, peek_id(b"{}", message_id))


@pytest.mark.parametrize(
    ("deadline", "meant"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31t12:00:00.5z", datetime(2026, 1, 31, 12, 0, 0, 500_000, UTC)),
        ("2026-01-31T12:00:00.123456789+01:30", datetime(2026, 1, 31, 10, 30, 0, 123_456, UTC)),
        ("2026-01-31T12:00:00-00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_deadline_is_a_time_of_rfc_3339(deadline: str, meant: datetime) -> None:
    """In any zone, with or without a part of a second."""
    assert meant == take(deadline=deadline).deadline


@pytest.mark.parametrize(
    "deadline",
    [
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-01-31",
        "2026-01-31T12:00Z",
        "2026-02-30T12:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:00Z\n",
        "0000-01-01T00:00:00Z",
        "\u0662026-01-31T12:00:00Z",
        "1767323045",
        "",
        1767323045,
        True,
        {},
    ],
)
def test_deadline_that_is_no_time_is_refused(deadline: object) -> None:
    """Without a zone nobody knows when it is."""
    found = problem(body(deadline=deadline))

    assert "/deadline" == found.path
    assert found.message.startswith(("must be a time as in RFC 3339, with a zone", "is not a time: "))
