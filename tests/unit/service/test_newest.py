"""The newest submission of a key: by its times, in whatever order daemons tell of it."""

import itertools
from typing import Any

import pytest

from verdictd.contract.control import Taken
from verdictd.service.newest import Newest


def taken(name: str, published_ms: int, taken_ms: int = 0, **fields: Any) -> Taken:
    own = {"key": "k", "id": name, "body_sha256": "0" * 64} | fields
    return Taken(**own, published_ms=published_ms, taken_ms=taken_ms)


def newest(*told: Taken) -> str:
    """The one that no other supersedes; all others give way to it, in whatever order they are told of."""
    found = set()
    for order in itertools.permutations(told):
        memory = Newest(age_s=60)
        for one in order:
            memory.add(one)
        successors = {one.id: memory.successor("k", (one.id, one.body_sha256)) for one in told}
        (last,) = (name for name, successor in successors.items() if successor is None)
        assert {last, None} >= set(successors.values())
        found.add(last)
    (agreed,) = found
    return agreed


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (taken("old", 1_000, 9_000), taken("new", 2_000, 8_000)),
        (taken("old", 1_000, 8_000), taken("new", 1_000, 9_000)),
        (taken("old", 1_000), taken("new", 1_000, 9_000)),
        (taken("old", 0), taken("new", 1)),
    ],
    ids=["published later", "taken later in the same second", "taken before", "without any time"],
)
def test_newest_is_what_was_published_last(first: Taken, second: Taken) -> None:
    """Where that is the same, what was taken last."""
    assert "new" == newest(first, second)


@pytest.mark.parametrize(
    "again",
    [
        taken("old", 3_000, 9_500),
        taken("old", 1_000, 0),
        taken("old", 0, 0),
        taken("old", 9_000, 9_000),
    ],
    ids=["sent twice", "redelivered", "redelivered without a time", "taken again"],
)
def test_submission_that_comes_again_does_not_supersede_its_successor(again: Taken) -> None:
    """It keeps its first times."""
    memory = Newest(age_s=60)
    for one in (taken("old", 1_000, 8_000), taken("new", 2_000, 8_500), again):
        memory.add(one)

    assert (None, "new") == tuple(memory.successor("k", (name, "0" * 64)) for name in ("new", "old"))


def test_newest_that_comes_again_is_still_the_newest() -> None:
    """A redelivery knows less of its times, but what is known stays."""
    memory = Newest(age_s=60)
    for one in (taken("old", 1_000, 8_000), taken("new", 1_000, 9_000), taken("new", 0, 0)):
        memory.add(one)

    assert memory.successor("k", ("new", "0" * 64)) is None


def test_keys_and_bodies_are_told_apart() -> None:
    """Another key is another matter; another body under the same id is another submission."""
    memory = Newest(age_s=60)
    memory.add(taken("a", 1_000))
    memory.add(taken("a", 2_000, body_sha256="1" * 64))
    memory.add(taken("b", 3_000, key="other"))

    assert "a" == memory.successor("k", ("a", "0" * 64))
    assert memory.successor("k", ("a", "1" * 64)) is None
    assert memory.successor("none", ("a", "1" * 64)) is None


def test_memory_of_a_key_is_bounded() -> None:
    """The oldest are forgotten; the newest stays, and what comes again is older still."""
    memory = Newest(age_s=60)
    for number in range(1, 1_001):
        memory.add(taken(f"s-{number}", number))
    memory.add(taken("s-1", 1))

    assert memory.successor("k", ("s-1000", "0" * 64)) is None
    assert ["s-1000"] * 2 == [memory.successor("k", (f"s-{number}", "0" * 64)) for number in (1, 999)]
