"""Patterns of file names."""

import pytest

from verdictd.files import leads_to, matches


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("main", "main", True),
        ("a/main", "main", False),
        ("A.class", "*.class", True),
        ("a/A.class", "*.class", False),
        ("A.class", "**/*.class", True),
        ("a/b/A.class", "**/*.class", True),
        ("a/b/c", "a/**", True),
        ("a/b/c", "**", True),
        ("a/b/c", "a/*/c", True),
        ("a/b/c", "a/?/d", False),
        ("a", "a/**/b", False),
    ],
)
def test_star_stays_in_its_part_and_two_stars_do_not(name: str, pattern: str, *, expected: bool) -> None:
    """`*` and `?` stand within a part of the path, `**` for any number of directories."""
    assert expected == matches(name, pattern)


@pytest.mark.parametrize(
    ("directory", "pattern", "expected"),
    [
        ("a", "main", False),
        ("a", "*.class", False),
        ("a", "**/*.class", True),
        ("a/b", "a/*/c", True),
        ("b", "a/*/c", False),
        ("a/b/c", "a/*/c", False),
    ],
)
def test_only_directories_that_may_hold_a_match_are_entered(
    directory: str, pattern: str, *, expected: bool
) -> None:
    """A pattern without `**` never leads deeper than it is long."""
    assert expected == leads_to(directory, pattern)
