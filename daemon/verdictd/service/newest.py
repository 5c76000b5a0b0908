"""The newest submission of each `supersede_key`, as far as daemons have told of them."""

import time
from dataclasses import dataclass

from cachetools import TTLCache

from verdictd.contract.control import Taken

_KEYS = 100_000
_OF_A_KEY = 32
"""Submissions: those that are left out are older ones, and known as such by their times."""

Identity = tuple[str, str]
"""Id of a submission, and the digest of its body in hexadecimal."""


@dataclass(frozen=True, slots=True)
class _Rank:
    """Times by which submissions are compared; 0 is unknown, and older than all that is known."""

    published_ms: int
    taken_ms: int

    def with_other(self, other: "_Rank") -> "_Rank":
        """Return what is known of a submission after it was told of twice: its first times."""
        return _Rank(
            _first(self.published_ms, other.published_ms),
            _first(self.taken_ms, other.taken_ms),
        )


def _first(one: int, other: int) -> int:
    return min(one, other) if one and other else one or other


class Newest:
    """Submissions by `supersede_key`. State: the times of each, for `age_s` after the last one of its key.

    The order in which daemons tell of them makes no difference, and neither does telling twice: all who know
    of the same ones agree. A submission that comes again keeps its first times, so that it does not
    supersede its successor.
    """

    def __init__(self, *, age_s: float) -> None:
        self._keys: TTLCache[str, dict[Identity, _Rank]] = TTLCache(_KEYS, age_s, timer=time.monotonic)

    def add(self, taken: Taken) -> None:
        """Take in a submission that a daemon has told of."""
        known = self._keys.get(taken.key, {})
        identity, rank = (taken.id, taken.body_sha256), _Rank(taken.published_ms, taken.taken_ms)
        known[identity] = rank.with_other(known[identity]) if identity in known else rank
        if len(known) > _OF_A_KEY:
            del known[min(known, key=lambda one: _order(one, known[one]))]
        self._keys[taken.key] = known

    def successor(self, key: str, identity: Identity) -> str | None:
        """Return the id of the submission that supersedes this one; None if there is none."""
        known = self._keys.get(key, {})
        if not known:
            return None
        newest = max(known, key=lambda one: _order(one, known[one]))
        return None if newest == identity else newest[0]


def _order(identity: Identity, rank: _Rank) -> tuple[int, int, Identity]:
    return rank.published_ms, rank.taken_ms, identity
