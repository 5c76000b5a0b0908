"""The record of what two programs say to each other."""

import pytest

from verdictd.sandbox.model import Transcript, Utterance
from verdictd.sandbox.relay import Record

PIECES = [(0, b"one"), (0, b"two"), (1, b"three"), (0, b"four")]


def said(*texts: bytes, truncated: bool = False) -> Transcript:
    """What both say in turn, the program first."""
    utterances = tuple(Utterance(by_program=index % 2 == 0, text=text) for index, text in enumerate(texts))
    return Transcript(utterances, truncated)


@pytest.mark.parametrize(
    ("most_bytes", "expected"),
    [
        (1_000, said(b"onetwo", b"three", b"four")),
        (3 * 64 + 15, said(b"onetwo", b"three", b"four")),
        (3 * 64 + 14, said(b"onetwo", b"three", b"fou", truncated=True)),
        (64 + 4, said(b"onet", truncated=True)),
        (2 * 64 + 6, said(b"onetwo", truncated=True)),
        (64, said(truncated=True)),
    ],
)
def test_record_is_bounded_with_its_changes_of_speaker(most_bytes: int, expected: Transcript) -> None:
    """What comes after the first missing byte is not in it, even if it is shorter."""
    record = Record(most_bytes)
    for speaker, piece in PIECES:
        record.add(speaker, piece)

    assert expected == record.transcript()


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (9, said(b"onetwo", b"abc")),
        (8, said(b"onetwo", b"ab", truncated=True)),
        (6, said(b"onetwo", truncated=True)),
        (0, said(b"", truncated=True)),
    ],
)
def test_transcript_is_cut_at_its_end(size_bytes: int, expected: Transcript) -> None:
    assert expected == said(b"onetwo", b"abc").cut(size_bytes)
