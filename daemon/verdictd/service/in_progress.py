"""Cache of recent results, so that a redelivered submission is not judged twice."""

from collections import OrderedDict
from dataclasses import dataclass, replace

REMEMBERED_RESULTS = 1_000
_ENTRY_BYTES = 1024  # what a remembered result takes beside its body, generously

Key = tuple[str, bytes]
"""Id of a submission, and the digest of its body."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A result as it is published; `answered` once RabbitMQ has confirmed it."""

    body: bytes
    answered: bool = False

    @property
    def size_bytes(self) -> int:
        """Share of this result in the bytes of the cache."""
        return _ENTRY_BYTES + len(self.body)


class Recent:
    """Cache of recent results, bounded by count and bytes, oldest out first.

    The newest `at_least` always stay: as many can be in flight at once, and when a connection is lost all of
    them are delivered once more.
    """

    def __init__(self, *, size_bytes: int, count: int = REMEMBERED_RESULTS, at_least: int = 1) -> None:
        self._at_least = at_least
        self._count = count
        self._size_bytes = size_bytes
        self._used_bytes = 0
        self._results: OrderedDict[Key, Remembered] = OrderedDict()
        self._digests: dict[str, bytes] = {}

    def add(self, key: Key, body: bytes) -> None:
        """Remember a result, in place of an earlier one of the same submission."""
        self._forget(key)
        self._results[key] = Remembered(body)
        self._digests[key[0]] = key[1]
        self._used_bytes += self._results[key].size_bytes
        while len(self._results) > self._at_least and (
            len(self._results) > self._count or self._used_bytes > self._size_bytes
        ):
            self._forget(next(iter(self._results)))

    def answered(self, key: Key) -> None:
        """Note that the reply was confirmed: any further answer is a duplicate."""
        if key in self._results:
            self._results[key] = replace(self._results[key], answered=True)

    def _forget(self, key: Key) -> None:
        forgotten = self._results.pop(key, None)
        self._used_bytes -= forgotten.size_bytes if forgotten else 0
        if self._digests.get(key[0]) == key[1]:
            del self._digests[key[0]]

    def get(self, key: Key) -> Remembered | None:
        """Return the result of this submission, if it is remembered."""
        return self._results.get(key)

    def has_other(self, key: Key) -> bool:
        """Return True if a submission with this id and another body is remembered."""
        return self._digests.get(key[0], key[1]) != key[1]
