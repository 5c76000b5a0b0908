"""Turns: queues are served in proportion to their weights, and an empty one lends its share."""

from collections import Counter

import pytest

from verdictd.amqp.turns import Turns


def served(turns: Turns, messages: Counter[str], count: int) -> list[str]:
    """The queues of the next messages, which are taken from those that have some."""
    taken: list[str] = []
    for _ in range(count):
        queue = next(queue for queue in turns if messages[queue])
        turns.took(queue)
        messages[queue] -= 1
        taken.append(queue)
    return taken


@pytest.mark.parametrize(
    "weights", [{"a": 8, "b": 1}, {"a": 1, "b": 8}, {"a": 1, "b": 1}, {"a": 5, "b": 3, "c": 2}, {"a": 7}]
)
def test_full_queues_are_served_in_proportion(weights: dict[str, int]) -> None:
    """Each has its share of every round, neither more nor less, and the heaviest begins."""
    rounds = 3
    total = sum(weights.values())
    taken = served(Turns(weights), Counter(dict.fromkeys(weights, rounds * total)), rounds * total)

    assert [Counter(weights)] * rounds == [
        Counter(taken[start : start + total]) for start in range(0, rounds * total, total)
    ]
    assert max(weights.values()) == weights[taken[0]]


def test_empty_queue_lends_its_share_and_has_the_next_turn_when_it_fills() -> None:
    """It saves nothing up: after its turn the shares are as before."""
    turns, messages = Turns({"a": 2, "b": 1}), Counter({"b": 200})
    alone = served(turns, messages, 100)
    messages["a"] = 100
    together = served(turns, messages, 10)

    assert ["b"] * 100 == alone
    assert ("a", Counter(a=6, b=3)) == (together[0], Counter(together[1:]))
