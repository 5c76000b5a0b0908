"""What was judged a moment ago, for who asks for it again."""

from collections import OrderedDict

from verdictd.messages import Result

_ENTRY_BYTES = 4 * 1024  # what a remembered result takes beside its texts, generously

Key = tuple[str, bytes]
"""The id of a submission, and the digest of its body."""


class Recent:
    """The results of submissions judged a moment ago, bounded by count and bytes, oldest out first.

    The newest `at_least` always stay: as many can be in work at once, and when a connection is lost all of
    them are delivered once more.
    """

    def __init__(self, *, count: int, size_bytes: int, at_least: int = 1) -> None:
        self._at_least = at_least
        self._count = count
        self._size_bytes = size_bytes
        self._used_bytes = 0
        self._results: OrderedDict[Key, tuple[Result, int]] = OrderedDict()
        self._digests: dict[str, bytes] = {}

    def add(self, key: Key, result: Result) -> None:
        """Remember a result, in place of an earlier one of the same submission."""
        self._forget(key)
        size_bytes = _ENTRY_BYTES + text_length(result)
        self._results[key] = (result, size_bytes)
        self._digests[key[0]] = key[1]
        self._used_bytes += size_bytes
        while len(self._results) > self._at_least and (
            len(self._results) > self._count or self._used_bytes > self._size_bytes
        ):
            self._forget(next(iter(self._results)))

    def answered(self, key: Key) -> None:
        """The reply was confirmed: the next answer is a duplicate, whatever becomes of this delivery."""
        if key in self._results:
            result, size_bytes = self._results[key]
            self._results[key] = (result.model_copy(update={"duplicate": True}), size_bytes)

    def _forget(self, key: Key) -> None:
        _, freed_bytes = self._results.pop(key, (None, 0))
        self._used_bytes -= freed_bytes
        if self._digests.get(key[0]) == key[1]:
            del self._digests[key[0]]

    def get(self, key: Key) -> Result | None:
        """The remembered result of this very submission."""
        entry = self._results.get(key)
        return entry[0] if entry else None

    def has_other(self, key: Key) -> bool:
        """Whether a submission with this id and another body is remembered."""
        return self._digests.get(key[0], key[1]) != key[1]


def text_length(result: Result) -> int:
    """About how many bytes of programs and compilers a result carries."""
    return len(result.stdout) + len(result.stderr) + len(result.compile_output)
