"""Order in which several queues are asked for a message, in proportion to their weights."""

from collections.abc import Iterator, Mapping


class Turns:
    """Stride scheduling: while none is empty, each queue is served in proportion to its weight.

    A queue that was empty when it was asked saves nothing up: the others had its share meanwhile, and it has
    the very next turn when it fills again.

    State: the time on a common clock at which each queue is due; a message moves that by one over the weight.
    """

    def __init__(self, weights: Mapping[str, int]) -> None:
        self._weights = dict(weights)
        heaviest_first = sorted(weights, key=lambda queue: -weights[queue])
        self._due = dict.fromkeys(heaviest_first, 0.0)

    def __iter__(self) -> Iterator[str]:
        """Yield each queue, the one that is due first at the front."""
        return iter(sorted(self._due, key=lambda queue: self._due[queue]))

    def took(self, queue: str) -> None:
        """Count a message of this queue; those that were asked before it were empty."""
        now = self._due[queue]
        for other, due in self._due.items():
            self._due[other] = max(due, now)
        self._due[queue] = now + 1 / self._weights[queue]
