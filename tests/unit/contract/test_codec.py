"""Results: captured bytes as text, and a message that always fits."""

import base64
import json
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from support.submissions import problems
from verdictd.contract.codec import Text, encode, to_text
from verdictd.contract.limits import KIB, MIB, Limits
from verdictd.contract.result import STATUS_IDS, Result, ReturnedFile, Status, WorkerIdentity

LEAST_BYTES = 256 * KIB
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TEXTS = ("stdout", "stderr", "compile_output")


def result(**fields: Any) -> Result:
    given: dict[str, Any] = {
        "id": "a",
        "status": Status.ACCEPTED,
        "status_id": STATUS_IDS[Status.ACCEPTED],
        "message": "The output matches the expected output.",
        "started_at": NOW,
        "finished_at": NOW,
        "worker": WorkerIdentity(host="h", box=0, sandbox="isolate", sandbox_version="2.6", verdictd="0.1.0"),
    }
    return Result(**(given | fields))


def captured(document: dict[str, Any], name: str) -> bytes:
    """The bytes that a consumer reads from the three fields of a text."""
    text: str = document[name]
    return base64.b64decode(text) if document[f"{name}_encoding"] == "base64" else text.encode()


def text_fields(name: str, text: Text) -> dict[str, Any]:
    """The three fields of a result that hold a text."""
    return {name: text.text, f"{name}_encoding": text.encoding, f"{name}_truncated": text.truncated}


def test_every_status_has_a_number_of_its_own() -> None:
    """3 to 14 are those that Judge0's users know, ours start at 101."""
    assert set(Status) == set(STATUS_IDS)
    assert [*range(3, 15), *range(101, 108)] == sorted(STATUS_IDS.values())


def test_times_are_utc_in_rfc_3339() -> None:
    """Seconds have a fraction only where there is one; the zone is Z."""
    sent = json.loads(encode(result(finished_at=NOW.replace(microsecond=500_000)), MIB))

    assert ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.500000Z") == (
        sent["started_at"],
        sent["finished_at"],
    )


def test_time_without_zone_is_refused() -> None:
    """A result never leaves its readers to guess."""
    with pytest.raises(ValidationError, match="timezone"):
        result(started_at=NOW.replace(tzinfo=None))


def test_result_has_every_field() -> None:
    """Consumers find null, false or an empty text where there is nothing to say."""
    assert set(Result.model_fields) == set(json.loads(encode(result(), MIB)))


@given(st.binary() | st.text().map(lambda text: text.encode(errors="replace")))
def test_captured_bytes_come_back_whole(data: bytes) -> None:
    """UTF-8 travels as text, anything else in base64."""
    text = to_text(data, truncated=False)

    assert data == captured(text_fields("stdout", text), "stdout")
    assert text.truncated is False


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (b"", "", "utf-8"),
        (b"a\r\n\0\x1b[1m", "a\r\n\0\x1b[1m", "utf-8"),
        (b"\xef\xbb\xbfa", "\ufeffa", "utf-8"),
        (b"a\xc3\xa9", "aé", "utf-8"),
        (b"\xff", "/w==", "base64"),
        (b"a\xc3", "YcM=", "base64"),
        (b"\xed\xa0\x80", "7aCA", "base64"),
    ],
)
def test_text_is_text_and_bytes_are_base64(data: bytes, text: str, encoding: str) -> None:
    """One byte that is not UTF-8 turns all into base64, so that none is lost."""
    made = to_text(data, truncated=False)

    assert (text, encoding, False) == (made.text, made.encoding, made.truncated)


@pytest.mark.parametrize("cut", [b"a\xc3", b"a\xe2\x82", b"a\xf0\x9f\x98"])
def test_text_that_was_cut_within_a_character_stays_text(cut: bytes) -> None:
    """The half character is ours, not the program's, and goes."""
    assert Text("a", "utf-8", truncated=True) == to_text(cut, truncated=True)


def test_bytes_that_were_cut_stay_base64() -> None:
    """Only the end of a text is forgiven."""
    assert "base64" == to_text(b"\xff\xc3", truncated=True).encoding


PIECES = st.sampled_from([b"a", b"\n", b"\0", b"\xff", "é".encode(), "😀".encode(), b'"\\'])
OUTPUTS = st.builds(lambda piece, kib: piece * kib * KIB, PIECES, st.integers(0, 500))


@settings(max_examples=60)
@given(OUTPUTS, OUTPUTS, OUTPUTS)
def test_result_always_fits_and_says_what_was_cut(
    stdout: bytes, stderr: bytes, compile_output: bytes
) -> None:
    """
    Whatever was captured, the message is JSON within its bound; a text is whole or marked, and never garbled.
    """
    outputs = dict(zip(TEXTS, (stdout, stderr, compile_output), strict=True))
    fields: dict[str, Any] = {}
    for name, data in outputs.items():
        fields |= text_fields(name, to_text(data, truncated=False))

    body = encode(result(**fields), LEAST_BYTES)

    assert len(body) <= LEAST_BYTES
    sent = json.loads(body)
    assert all(data.startswith(captured(sent, name)) for name, data in outputs.items())
    assert {name: sent[f"{name}_truncated"] for name in TEXTS} == {
        name: data != captured(sent, name) for name, data in outputs.items()
    }
    assert Result.model_validate_json(body)


def test_text_is_cut_no_more_than_it_must() -> None:
    """A little too much costs a little."""
    body = encode(result(stdout="x" * LEAST_BYTES, stderr="kept"), LEAST_BYTES)

    assert LEAST_BYTES - 8 < len(body) <= LEAST_BYTES
    assert "kept" == json.loads(body)["stderr"]


def test_mark_of_a_text_that_was_cut_before_is_kept() -> None:
    """A text that fits may have been cut while it was captured."""
    assert json.loads(encode(result(stdout="a", stdout_truncated=True), MIB))["stdout_truncated"]


def test_output_of_64_mib_is_cut_in_little_memory() -> None:
    """A text that will be cut is cut before it becomes JSON, where a control character takes six bytes."""
    large = result(stdout="\1" * (64 * MIB), stderr="\1" * (64 * MIB))
    tracemalloc.start()
    try:
        body = encode(large, MIB)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert MIB // 2 < len(body) <= MIB
    assert 64 * MIB > peak_bytes


def test_worst_answer_to_an_invalid_submission_fits_the_least_bound() -> None:
    """
    The uncut fields are small enough: twenty problems with names of a megabyte, and metadata at its bound.
    """
    unknown = {f"{number}" + "\1" * KIB: 0 for number in range(100)}
    found = problems(json.dumps(unknown).encode())
    metadata = {"a": "\1" * (LEAST_BYTES // 2 // 6 - 2)}

    body = encode(result(errors=tuple(found), metadata=metadata, stdout="\1" * MIB), LEAST_BYTES)

    assert 21 == len(json.loads(body)["errors"])
    assert metadata == json.loads(body)["metadata"]
    assert len(body) <= LEAST_BYTES


def test_metadata_that_could_not_be_sent_back_is_a_wrong_setting() -> None:
    """Nothing cuts metadata, so its bound leaves room for the rest of a result."""
    with pytest.raises(ValidationError, match="metadata_bytes must be at most half of result_bytes"):
        Limits(metadata_bytes=LEAST_BYTES // 2 + 1, result_bytes=LEAST_BYTES)


def test_files_are_cut_before_texts() -> None:
    """The longest first, and marked; base64 can still be decoded."""
    files = (
        ReturnedFile(name="small", content="x" * 10 * KIB),
        ReturnedFile(name="large", content="A" * 900 * KIB, encoding="base64"),
    )
    sent = encode(result(stdout="o" * 100 * KIB, files=files), LEAST_BYTES)
    document = json.loads(sent)
    small, large = document["files"]

    assert LEAST_BYTES - 8 <= len(sent) <= LEAST_BYTES
    assert (100 * KIB, False) == (len(document["stdout"]), document["stdout_truncated"])
    assert (10 * KIB, False, True) == (len(small["content"]), small["truncated"], large["truncated"])
    assert base64.b64decode(large["content"], validate=True)


def test_files_leave_all_their_room_to_texts() -> None:
    """Where texts alone are too large, nothing of a file is left but its name."""
    sent = encode(result(stdout="o" * MIB, files=(ReturnedFile(name="a", content="x" * MIB),)), LEAST_BYTES)
    document = json.loads(sent)

    assert len(sent) <= LEAST_BYTES
    assert ("", True, True) == (
        document["files"][0]["content"],
        document["files"][0]["truncated"],
        document["stdout_truncated"],
    )
