"""Events of submissions while what publishes them dies."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from aio_pika.abc import AbstractIncomingMessage

from harness.chaos.ledger import Ledger
from harness.chaos.mixture import Case, bash, mixture
from harness.chaos.rig import BOXES, Phoenix, Rig
from harness.chaos.row import Row
from support.amqp import Peer, peer
from support.waiting import wait_until
from verdictd.contract.events import Event, EventKind
from verdictd.contract.result import Status

KILLS: Final = 6
SUBMISSIONS: Final = 240


async def killed_while_telling(rig: Rig, row: Row) -> None:
    """SIGKILL of the daemon at any moment while it tells of the submissions that it judges."""
    url = await rig.vhost()
    cases = [
        telling(case) for case in (*mixture(SUBMISSIONS, rig.random), *(many_tests() for _ in range(20)))
    ]
    rig.random.shuffle(cases)
    async with (
        Ledger.open(url) as ledger,
        peer(url) as client,
        Phoenix(partial(rig.daemon, url)) as daemon,
        hearing(client) as events,
    ):
        await ledger.publish_all(cases)
        for _ in range(KILLS):
            await ledger.more_answers(rig.random.randint(5, SUBMISSIONS // KILLS // 2), within_s=60)
            await daemon.kill()
        await ledger.complete(within_s=180)
        code = await daemon.running.end()  # which publishes what still waits
        await quiet(events)
    row.books(ledger.account(rig.starts()), reruns=KILLS * BOXES)
    row.equal("exit code of the last daemon", 0, code)
    answered = {key: {answer.status for answer in entry.answers} for key, entry in ledger.entries.items()}
    tell(row, events, answered)


def telling(case: Case) -> Case:
    """The same submission, which asks for events; an invalid one stays so."""
    return replace(case, body=json.dumps(json.loads(case.body) | {"events": True}).encode())


def many_tests() -> Case:
    """A submission that tells much."""
    return bash("cat", tests=[{"stdin": f"{number}", "expected_output": f"{number}"} for number in range(20)])


@asynccontextmanager
async def hearing(client: Peer) -> AsyncIterator[list[Event]]:
    """Hear all events, in the order in which RabbitMQ has them."""
    heard: list[Event] = []

    async def hear(message: AbstractIncomingMessage) -> None:
        heard.append(Event.model_validate_json(message.body))

    queue = await client.channel.declare_queue(exclusive=True)
    await queue.bind("verdictd.events", "#")
    tag = await queue.consume(hear, no_ack=True)
    yield heard
    await queue.cancel(tag)


async def quiet(events: Sequence[Event]) -> None:
    """Wait until no more events come."""
    seen, since_s = -1, time.monotonic()

    def still() -> bool:
        nonlocal seen, since_s
        if len(events) != seen:
            seen, since_s = len(events), time.monotonic()
        return time.monotonic() - since_s > 1

    await wait_until(still)


def tell(row: Row, events: Sequence[Event], answered: dict[str, set[Status]]) -> None:
    """What holds for events, however many of them were lost."""
    runs: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        runs[event.run].append(event)
    numbers = {run: [event.sequence for event in told] for run, told in runs.items()}
    attempts = Counter((told[0].id, told[0].attempt) for told in runs.values())
    ended = [event for event in events if event.kind is EventKind.FINISHED]
    row.at_least("events", SUBMISSIONS, len(events))
    row.note(
        "runs, of these cut off by a death", f"{len(runs)}, {len(runs) - len({one.run for one in ended})}"
    )
    row.none("runs out of order, or with a number twice", [n for n in numbers.values() if n != sorted({*n})])
    row.note("runs with a gap", sum(n != list(range(1, len(n) + 1)) for n in numbers.values()))
    row.none("attempts that were told twice", [key for key, count in attempts.items() if count > 1])
    row.none(
        "finished without such a result", [e for e in ended if e.status not in answered.get(e.id, set())]
    )
    row.none(
        "something after the end",
        [t for t in runs.values() if EventKind.FINISHED in {e.kind for e in t[:-1]}],
    )
