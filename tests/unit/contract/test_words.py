"""Words: what a shell would split, with nothing expanded."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdictd.contract.fields import split_words

WORD = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.lists(WORD))
def test_quoted_words_come_back_as_they_were(words: list[str]) -> None:
    """Whatever a shell would pass on as one word is one word."""
    assert tuple(words) == split_words(shlex.join(words))


@given(st.lists(WORD))
def test_list_is_taken_as_it_stands(words: list[str]) -> None:
    """Words in a list are not split again, whatever they hold."""
    assert tuple(words) == split_words(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        (" \t\n ", ()),
        ("-O2  -Wall", ("-O2", "-Wall")),
        ("'a b' \"c d\"", ("a b", "c d")),
        (r"a\ b", ("a b",)),
        ("a''b ''", ("ab", "")),
        ("a # b", ("a", "#", "b")),
        ("$HOME `id` $(id) *.c ~ ; | & > x", ("$HOME", "`id`", "$(id)", "*.c", "~", ";", "|", "&", ">", "x")),
        ("--x='; rm -rf /'", ("--x=; rm -rf /",)),
    ],
)
def test_string_is_split_and_nothing_is_expanded(text: str, words: tuple[str, ...]) -> None:
    """Quotes and backslashes group; variables, globs, comments, separators and redirections mean nothing."""
    assert words == split_words(text)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("'a", "No closing quotation"),
        ("a\\", "No escaped character"),
        ("a\0b", "a word cannot contain a NUL character"),
        (["a\0b"], "a word cannot contain a NUL character"),
        (["a", 1], "must be a string or a list of strings"),
        (None, "must be a string or a list of strings"),
        (True, "must be a string or a list of strings"),
        ({"a": "b"}, "must be a string or a list of strings"),
    ],
)
def test_anything_else_is_refused_with_the_reason(value: object, reason: str) -> None:
    """An open quote, a NUL or another type makes no words."""
    try:
        words = split_words(value)
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = f"none: {words}"

    assert reason == refusal
