"""What is remembered of results: how much, and for whom."""

from verdictd.service.in_progress import Recent, Remembered


def settled(recent: Recent, *results: tuple[str, int]) -> list[bool]:
    """Whether each of these results, of so many bytes, is remembered after all were settled."""
    for name, size in results:
        recent.add((name, b""), b"x" * size)
        recent.settled((name, b""))
    return [recent.get((name, b"")) is not None for name, _ in results]


def test_memory_of_results_is_bounded_by_count() -> None:
    """The oldest go first."""
    recent = Recent(count=2, size_bytes=1_000_000)

    assert [False, True, True] == settled(recent, ("a", 2), ("b", 2), ("c", 2))


def test_memory_of_results_is_bounded_by_bytes() -> None:
    """A large result pushes out what came before it, but stays itself for who waits for it."""
    recent = Recent(count=10, size_bytes=100_000)

    assert [False, False, True] == settled(recent, ("a", 10), ("b", 90_000), ("c", 500_000))


def test_memory_keeps_what_may_come_once_more() -> None:
    """Results that are not settled stay, however large: all may be delivered again at once."""
    recent = Recent(count=0, size_bytes=0, most_unsettled=3)
    for name in "abcd":
        recent.add((name, b""), b"x" * 100_000)
    kept = [recent.get((name, b"")) is not None for name in "abcd"]
    for name in "abcd":
        recent.answered((name, b""))
    answered = [recent.get((name, b"")) is not None for name in "abcd"]
    for name in "abcd":
        recent.settled((name, b""))
    left = [recent.get((name, b"")) is not None for name in "abcd"]

    assert [False, True, True, True] == kept == answered
    assert [False, False, False, True] == left


def test_memory_tells_one_body_from_another() -> None:
    """The same id with another body is another submission."""
    recent = Recent(count=2, size_bytes=1_000_000)
    recent.add(("a", b"one"), b"{}")

    assert recent.get(("a", b"two")) is None
    assert recent.has_other(("a", b"two"))
    assert not recent.has_other(("a", b"one"))
    assert not recent.has_other(("b", b"one"))


def test_memory_knows_what_was_confirmed() -> None:
    """Whatever is answered after that was answered before; what was forgotten meanwhile is no matter."""
    recent = Recent(count=2, size_bytes=1_000_000)
    recent.add(("a", b""), b"{}")
    unconfirmed = recent.get(("a", b""))
    recent.answered(("a", b""))
    recent.answered(("b", b""))

    assert (Remembered(b"{}"), Remembered(b"{}", answered=True)) == (unconfirmed, recent.get(("a", b"")))
