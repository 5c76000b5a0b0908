"""Very many messages, and messages of every shape."""

import asyncio
import json
from collections import Counter
from contextlib import suppress
from typing import Final

import pika  # type: ignore[import-untyped]
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from harness.chaos.ledger import Ledger
from harness.chaos.mixture import Case, bash
from harness.chaos.outages import MIB
from harness.chaos.rig import Rig
from harness.chaos.row import Row
from support.amqp import DEAD, SUBMISSIONS, broker_settings, peer
from support.processes import memory_kib
from support.waiting import wait_until
from verdictd.amqp import topology
from verdictd.amqp.connection import connect
from verdictd.contract.result import Status
from verdictd.contract.submission import Submission

BOXES = 8
JUDGED = 20_000
JUDGED_EMBEDDED = 2_000  # which is slower
LARGE_EVERY = 50
LARGE_OUTPUT = "head -c 262144 /dev/zero | tr '\\0' x"


async def long_queue(rig: Rig, row: Row) -> None:
    """A hundred thousand submissions wait; eight boxes judge the first of them."""
    queued = 100_000
    judged = JUDGED if rig.full or rig.sandbox != "embedded" else JUDGED_EMBEDDED
    url = await rig.vhost()
    async with connect(broker_settings(url), "chaos") as connection:
        settings = broker_settings(url)
        await topology.declare(connection, settings, topology.queues(settings))
    await asyncio.to_thread(flood, url, queued)
    async with peer(url) as client:
        async with asyncio.timeout(120):
            while await client.count(SUBMISSIONS) < queued:
                await asyncio.sleep(0.2)
        async with rig.daemon(url, boxes=BOXES) as running:

            def done() -> int:
                return len(running.logged("submission.answered"))

            # By then what it remembers has reached its bound of a thousand results.
            await wait_until(lambda: done() >= judged // 2, within_s=600)
            before_kib = memory_kib(running.process.pid)
            await wait_until(lambda: done() >= judged, within_s=600)
            row.note("queued, judged", f"{queued}, {done()} (of {JUDGED}, with isolate or FULL=1)")
            row.at_most("memory at most", 120, memory_kib(running.process.pid, "VmHWM") / MIB, " MiB")
            row.at_most(
                "growth over the second half", 2, (memory_kib(running.process.pid) - before_kib) / MIB, " MiB"
            )
            row.equal("exit code", 0, await running.end(within_s=90))
        await client.channel.queue_delete(SUBMISSIONS)


def flood(url: str, count: int) -> None:
    """Publish fast, a large output among many small ones; the length of the queue tells what has arrived."""
    small = json.loads(bash("echo 42", expected_output="42").body)
    large = json.loads(bash(LARGE_OUTPUT).body)
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        properties = pika.BasicProperties(delivery_mode=2)
        for number in range(count):
            body = (small if number % LARGE_EVERY else large) | {"id": f"{number}"}
            channel.basic_publish("", SUBMISSIONS, json.dumps(body).encode(), properties)


VALID: Final = {"language": "bash", "source_code": "echo 42"}
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
FIELDS: Final = sorted(Submission.model_fields)
TOUCHED: Final = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=12), JSON, max_size=3)


def bodies(count: int, number: int) -> list[bytes]:
    """So many different bodies: bytes, any JSON, submissions with some fields of any kind, torn ones."""
    touched = TOUCHED.map(lambda fields: json.dumps(VALID | fields).encode())
    torn = st.builds(lambda body, cut: body[: cut % (len(body) + 1)], touched, st.integers(0, 2_000))
    anything = st.one_of(
        st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode()), touched, torn
    )
    made: dict[bytes, None] = {}

    @seed(number)
    @settings(
        max_examples=2 * count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(anything)
    def make(body: bytes) -> None:
        made[body] = None

    make()
    return list(made)[:count]


async def fuzzed(rig: Rig, row: Row) -> None:
    """Ten thousand bodies of every shape, hardly any of them a submission."""
    count = 10_000
    made = await asyncio.to_thread(bodies, count, rig.random.randrange(2**32))
    cases = [Case(f"fuzz-{number}", body, None, None) for number, body in enumerate(made)]
    url = await rig.vhost()
    async with (
        Ledger.open(url) as ledger,
        peer(url) as client,
        rig.daemon(url) as running,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(ledger.publish_all(cases))
        await wait_until(lambda: ledger.answered >= count // 5, within_s=120)
        before_kib = memory_kib(running.process.pid)
        await wait_until(lambda: ledger.answered == count, within_s=300)
        statuses = Counter(answer.status for entry in ledger.entries.values() for answer in entry.answers)
        row.equal("bodies", count, len(cases))
        row.equal("answers", count, statuses.total())
        row.none("answers to nobody", ledger.strangers)
        with suppress(TimeoutError):  # a reply comes before its dead letter
            await client.until_waiting(DEAD, statuses[Status.INVALID_SUBMISSION])
        row.equal(
            "dead letters, the invalid ones", statuses[Status.INVALID_SUBMISSION], await client.count(DEAD)
        )
        row.note("judged", count - statuses[Status.INVALID_SUBMISSION])
        row.equal("internal errors", 0, statuses[Status.INTERNAL_ERROR])
        row.equal("restarts", None, running.process.returncode)
        row.at_most(
            "growth of memory from the first fifth on",
            8,
            (memory_kib(running.process.pid) - before_kib) / MIB,
            " MiB",
        )
