"""Callbacks over a real RabbitMQ to real receivers: delivered, tried again, or kept as dead."""

import asyncio
import time
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest

from support.callbacks import (
    CALLBACKS,
    DEAD_CALLBACKS,
    RETRY_DELAYS_S,
    callback_settings,
    delivering,
    job,
    left,
    retry_queue,
)
from support.rabbitmq import free_ports
from support.receiver import OTHER_SECRET, SECRET, Behave, Receiver, answers, dies, never_answers
from support.waiting import wait_until
from verdictd.callbacks.jobs import webhook_id

pytestmark = pytest.mark.anyio


async def test_callback_is_delivered_and_leaves_nothing(amqp_url: str) -> None:
    """One request, and empty queues; the trace of the submission goes along."""
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}
    async with Receiver().up() as receiver, delivering(amqp_url, callback_settings(receiver.port)) as running:
        sent = job(receiver, trace=trace)
        await running.jobs.add(sent)
        await wait_until(lambda: receiver.received)
    waiting = await left(amqp_url)
    (received,) = receiver.received

    assert (sent.body, {"id": "1"}) == (received.body, received.verified())
    assert sent.webhook_id == received.headers["webhook-id"]
    assert trace.items() <= received.headers.items()
    assert {} == waiting


async def test_failed_delivery_is_tried_again_after_each_step(amqp_url: str) -> None:
    """Each delay is longer, minus a random part; the id stays, and each request verifies."""
    behaviours = [answers(500), answers(503), dies, answers(200)]
    async with (
        Receiver(*behaviours).up() as receiver,
        delivering(amqp_url, callback_settings(receiver.port)) as running,
    ):
        await running.jobs.add(job(receiver))
        await wait_until(lambda: len(receiver.received) == 4)
        await asyncio.sleep(1)
        steps = running.steps
    waiting = await left(amqp_url)
    waits_s = [later.at_s - sooner.at_s for sooner, later in pairwise(receiver.received)]

    assert (4, {}) == (len(receiver.received), waiting)
    assert [retry_queue(step_s) for step_s in RETRY_DELAYS_S] == steps
    assert [True] * 3 == [
        0.8 * step_s <= wait_s for step_s, wait_s in zip(RETRY_DELAYS_S, waits_s, strict=True)
    ]
    assert 1 == len({received.headers["webhook-id"] for received in receiver.received})
    assert [{"id": "1"}] * 4 == [received.verified() for received in receiver.received]


async def test_receiver_that_is_down_for_a_while_gets_its_callback(amqp_url: str) -> None:
    """While the receiver is down, the callback waits in RabbitMQ."""
    receiver = Receiver()
    async with delivering(amqp_url, callback_settings(receiver.port, retry_delays_s=(1, 2, 4))) as running:
        await running.jobs.add(job(receiver))
        await asyncio.sleep(0.5)
        async with receiver.up():
            await wait_until(lambda: receiver.received)

    assert {"id": "1"} == receiver.received[0].verified()


ENDS: list[tuple[Behave, int, str]] = [
    (answers(500), 4, "failed: status 500"),
    (answers(302, "Location: http://127.0.0.1:1/"), 4, "failed: status 302"),
    (never_answers, 4, "failed: no response within 0.3 s"),
    (answers(410), 1, "gone: status 410"),
]


async def test_callback_that_ends_is_kept_with_its_reason(amqp_url: str) -> None:
    """After the last step of the ladder, or at once if the receiver is gone."""
    ports = free_ports(len(ENDS))
    receivers = [Receiver(behave, port=port) for (behave, _, _), port in zip(ENDS, ports, strict=True)]
    sent = [job(receiver, number) for number, receiver in enumerate(receivers)]
    async with AsyncExitStack() as up:
        for receiver in receivers:
            await up.enter_async_context(receiver.up())
        async with delivering(amqp_url, callback_settings(*ports, timeout_s=0.3)) as running:
            await asyncio.gather(*map(running.jobs.add, sent))
            kept = [await running.peer.take(DEAD_CALLBACKS) for _ in sent]
        waiting = await left(amqp_url)
    kept.sort(key=lambda message: str(message.headers["submission_id"]))

    assert [requests for _, requests, _ in ENDS] == [receiver.connections for receiver in receivers]
    assert ([one.body for one in sent], {}) == ([message.body for message in kept], waiting)
    assert [(reason, tries) for _, tries, reason in ENDS] == [
        (message.headers["reason"], message.headers["tries"]) for message in kept
    ]
    assert [(one.url, one.webhook_id) for one in sent] == [
        (message.headers["url"], message.headers["webhook_id"]) for message in kept
    ]


async def test_trace_that_no_header_can_hold_is_left_out(amqp_url: str) -> None:
    """A submission may have any text there; the callback is delivered without it."""
    trace = {"traceparent": "a\r\nX-Forged: yes", "tracestate": "é"}
    async with Receiver().up() as receiver, delivering(amqp_url, callback_settings(receiver.port)) as running:
        await running.jobs.add(job(receiver, trace=trace))
        await wait_until(lambda: receiver.received)

    assert {"traceparent", "tracestate", "x-forged"}.isdisjoint(receiver.received[0].headers)


async def test_callback_to_a_refused_address_is_kept_and_never_connected_to(amqp_url: str) -> None:
    """Seen in the URL, or only when its name was looked up: it is not tried again."""
    async with Receiver().up() as receiver:
        settings = callback_settings(receiver.port, allow_networks="127.0.0.2/32")
        async with delivering(amqp_url, settings) as running:
            await running.jobs.add(job(receiver))
            seen = await running.peer.take(DEAD_CALLBACKS)
            await running.jobs.add(job(receiver, url=f"http://localhost:{receiver.port}/"))
            found = await running.peer.take(DEAD_CALLBACKS)

    assert "refused: 127.0.0.1 is not an address that may be reached" == seen.headers["reason"]
    assert "refused: the host has an address that may not be reached" == found.headers["reason"]
    assert 0 == receiver.connections


async def test_retry_after_is_honoured(amqp_url: str) -> None:
    """On a later step where the next one is too short; on the last one where all are."""
    settings = {"retry_delays_s": (0.1, 1.5, 2)}
    busy = [answers(503, "Retry-After: 1"), answers(429, "Retry-After: 3600"), answers(200)]
    async with (
        Receiver(*busy).up() as receiver,
        delivering(amqp_url, callback_settings(receiver.port, **settings)) as running,
    ):
        await running.jobs.add(job(receiver))
        await wait_until(lambda: len(receiver.received) == 3)
        steps = running.steps
    first, second, third = (received.at_s for received in receiver.received)

    assert [retry_queue(1.5), retry_queue(2)] == steps
    assert (True, True) == (1.2 <= second - first, 2 <= third - second)


NOT_JOBS: list[tuple[bytes, dict[str, str | int], str]] = [
    (b"{}", {}, "header url: must be given; header submission_id: must be given; header webhook_id: "),
    (
        b"[]",
        {"url": "http://a/", "submission_id": "a", "webhook_id": "a\r\nb: c"},
        "header webhook_id: must be printable ASCII",
    ),
    (
        b"0",
        {"url": "http://a/", "submission_id": "a", "webhook_id": "a", "tries": -1},
        "header tries: must be greater than or equal to 0",
    ),
    (b"\xff", {"url": "http://a/", "submission_id": "a", "webhook_id": "a"}, "the body is not UTF-8"),
]


async def test_message_that_is_not_a_job_is_kept(amqp_url: str) -> None:
    """Somebody else has put it there: it is moved to the dead queue, and the deliverer goes on."""
    async with delivering(amqp_url, callback_settings()) as running:
        for body, headers, _ in NOT_JOBS:
            await running.peer.publish(CALLBACKS, body, headers=dict(headers))
        kept = [await running.peer.take(DEAD_CALLBACKS) for _ in NOT_JOBS]
    said = {message.body: str(message.headers["reason"]) for message in kept}

    assert {body: reason for body, _, reason in NOT_JOBS} == {
        body: said[body][: len(reason)] for body, _, reason in NOT_JOBS
    }


async def test_secrets_are_rotated_without_a_gap(amqp_url: str) -> None:
    """The old one alone, both, the new one alone: a receiver changes over while both sign."""
    async with Receiver().up() as receiver:
        for secrets in (SECRET, f"{SECRET} {OTHER_SECRET}", OTHER_SECRET):
            async with delivering(amqp_url, callback_settings(receiver.port, secrets=secrets)) as running:
                count = len(receiver.received)
                await running.jobs.add(job(receiver))
                await wait_until(lambda count=count: len(receiver.received) > count)  # type: ignore[misc]
    old, both, new = receiver.received

    assert [{"id": "1"}] * 2 == [received.verified(SECRET) for received in (old, both)]
    assert [{"id": "1"}] * 2 == [received.verified(OTHER_SECRET) for received in (both, new)]


async def test_dead_receiver_keeps_no_other_waiting(amqp_url: str) -> None:
    """More than fit to one that never answers, then three to each of nine others: those go at once."""
    dead = Receiver(never_answers, host="127.0.0.2")
    others = [Receiver(host=f"127.0.0.{number}") for number in range(3, 12)]
    ports = [receiver.port for receiver in (dead, *others)]
    settings = callback_settings(*ports, timeout_s=120, per_host=2)
    async with AsyncExitStack() as up, delivering(amqp_url, settings) as running:
        for receiver in (dead, *others):
            await up.enter_async_context(receiver.up())
        await asyncio.gather(*(running.jobs.add(job(dead, number)) for number in range(40)))
        began_s = time.monotonic()
        await asyncio.gather(
            *(running.jobs.add(job(receiver, number)) for number, receiver in enumerate(others * 3))
        )
        await wait_until(lambda: all(len(receiver.received) == 3 for receiver in others), 90)
    delays_s = [received.at_s - began_s for receiver in others for received in receiver.received]

    assert 27 == len(delays_s)
    assert max(delays_s) < 90
    assert 2 == dead.connections


def test_webhook_id_is_that_of_the_submission() -> None:
    """The same for the same submission, another for another body or id; of characters that are safe in it."""
    one = webhook_id("a", b"digest")

    assert one == webhook_id("a", b"digest")
    assert 3 == len({one, webhook_id("b", b"digest"), webhook_id("a", b"other digest")})
    assert (36, True) == (len(one), one.removeprefix("msg_").isalnum())
