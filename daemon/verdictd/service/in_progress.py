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
    """Cache of recent results, oldest out first.

    Those whose message is not settled stay, the newest `most_unsettled` of them, however large: when a
    connection is lost, all of them are delivered once more. The others are bounded by count and bytes; the
    newest stays.
    """

    def __init__(self, *, size_bytes: int, count: int = REMEMBERED_RESULTS, most_unsettled: int = 1) -> None:
        self._most_unsettled = most_unsettled
        self._count = count
        self._size_bytes = size_bytes
        self._used_bytes = 0
        self._unsettled: OrderedDict[Key, Remembered] = OrderedDict()
        self._settled: OrderedDict[Key, Remembered] = OrderedDict()
        self._digests: dict[str, bytes] = {}

    def add(self, key: Key, body: bytes) -> None:
        """Remember a result, in place of an earlier one of the same submission."""
        self._forget(key)
        self._unsettled[key] = Remembered(body)
        self._digests[key[0]] = key[1]
        if len(self._unsettled) > self._most_unsettled:
            self._forget(next(iter(self._unsettled)))

    def answered(self, key: Key) -> None:
        """Note that the reply was confirmed: any further answer is a duplicate."""
        for results in (self._unsettled, self._settled):
            if key in results:
                results[key] = replace(results[key], answered=True)

    def settled(self, key: Key) -> None:
        """Note that the message will not be delivered again."""
        result = self._unsettled.pop(key, None)
        if result is None:
            return
        self._settled[key] = result
        self._used_bytes += result.size_bytes
        while len(self._settled) > 1 and (
            len(self._settled) > self._count or self._used_bytes > self._size_bytes
        ):
            self._forget(next(iter(self._settled)))

    def _forget(self, key: Key) -> None:
        self._unsettled.pop(key, None)
        settled = self._settled.pop(key, None)
        self._used_bytes -= settled.size_bytes if settled else 0
        if self._digests.get(key[0]) == key[1]:
            del self._digests[key[0]]

    def get(self, key: Key) -> Remembered | None:
        """Return the result of this submission, if it is remembered."""
        return self._unsettled.get(key) or self._settled.get(key)

    def has_other(self, key: Key) -> bool:
        """Return True if a submission with this id and another body is remembered."""
        return self._digests.get(key[0], key[1]) != key[1]
