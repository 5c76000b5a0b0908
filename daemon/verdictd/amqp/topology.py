"""Queues and the exchange of events: arguments, declaration, and the look whether a queue exists."""

import asyncio
from collections.abc import Mapping
from typing import cast

import aiormq
from aio_pika import ExchangeType, exceptions
from aio_pika.abc import AbstractConnection
from pamqp import commands, common

from verdictd.amqp.connection import CLOSE_TIMEOUT_S, amqp_errors
from verdictd.settings import BrokerSettings, CallbackSettings

Queues = Mapping[str, common.FieldTable]
"""Arguments of queues by their names."""


def queues(settings: BrokerSettings, callbacks: CallbackSettings | None = None) -> Queues:
    """Return each queue that the daemon needs, dead letters before what they come from."""
    if callbacks is None or not callbacks.enabled:
        return _submission_queues(settings)
    return _submission_queues(settings) | _callback_queues(callbacks, settings)


def _submission_queues(settings: BrokerSettings) -> dict[str, common.FieldTable]:
    limit: common.FieldTable = {"x-delivery-limit": settings.delivery_limit}
    wanted: dict[str, common.FieldTable] = {}
    for queue in settings.submission_queues:
        wanted |= {
            queue.dead: _QUORUM,
            queue.unanswered: _dead_letters_to(queue.dead),
            queue.name: limit | _dead_letters_to(queue.unanswered),
        }
    return wanted | {settings.results_queue: _QUORUM}


def _callback_queues(settings: CallbackSettings, broker: BrokerSettings) -> dict[str, common.FieldTable]:
    limit: common.FieldTable = {"x-delivery-limit": broker.delivery_limit}
    delays = {
        retry_queue(settings, step_s): {"x-message-ttl": round(step_s * 1000)}
        | _dead_letters_to(settings.queue)
        for step_s in settings.retry_delays_s
    }
    return {
        settings.dead_queue: _QUORUM,
        settings.queue: limit | _dead_letters_to(settings.dead_queue),
        **delays,
    }


def retry_queue(settings: CallbackSettings, step_s: float) -> str:
    """Return the queue where callbacks wait this long; its name has the time, which cannot be changed."""
    return f"{settings.queue}.retry.{step_s:.12g}s"


_QUORUM: common.FieldTable = {"x-queue-type": "quorum"}


def _dead_letters_to(queue: str) -> common.FieldTable:
    return _QUORUM | {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
        # RabbitMQ keeps a dead letter until its queue has confirmed it, which needs reject-publish.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


async def declare(connection: AbstractConnection, settings: BrokerSettings, wanted: Queues) -> None:
    """Make the queues that are missing, or only look for them; raises BrokerUnavailable with the reason."""
    with amqp_errors("cannot open a channel"):
        async with asyncio.timeout(settings.connect_timeout_s):
            # A channel of its own: an operation that fails or times out closes it.
            channel = await connection.channel(publisher_confirms=False)
    async with channel:
        for name, arguments in wanted.items():
            with amqp_errors(f"queue {name!r} cannot be used"):
                async with asyncio.timeout(settings.connect_timeout_s):
                    await channel.declare_queue(
                        name, durable=True, passive=not settings.declare, arguments=arguments
                    )


async def declare_events(connection: AbstractConnection, settings: BrokerSettings) -> None:
    """Make the exchange of events, or only look for it; raises BrokerUnavailable with the reason.

    It is apart from the queues, as judging does not need it.
    """
    name = settings.events_exchange
    with amqp_errors(f"exchange {name!r} cannot be used"):
        async with (
            asyncio.timeout(settings.connect_timeout_s),
            connection.channel(publisher_confirms=False) as channel,
        ):
            passive = not settings.declare
            await channel.declare_exchange(name, ExchangeType.TOPIC, durable=True, passive=passive)


async def has_queue(connection: aiormq.abc.AbstractConnection, name: str) -> bool:
    """Return True if a queue, or a client that waits for a direct reply, is there."""
    # A channel of aio-pika leaves 4 KB behind on its connection, and this opens one for each direct reply.
    channel = await connection.channel()
    try:
        await cast(aiormq.Channel, channel).rpc(_LookFor(queue=name, passive=True))
    except exceptions.ChannelNotFoundEntity:
        return False
    finally:
        await channel.close()
    return True


class _LookFor(commands.Queue.Declare):
    """Passive declaration of any name: pamqp refuses the "=" that direct reply addresses have."""

    def validate(self) -> None:
        """Accept every name."""


def try_limit_s(settings: BrokerSettings, wanted: Queues) -> float:
    """Return how long a try to connect takes at most, with every step at its deadline and the pause after it.

    Steps: connect, open a channel, declare each queue, consume. The same again is left for a busy machine.
    """
    steps = 3 + len(wanted)
    return 2 * (steps * settings.connect_timeout_s + CLOSE_TIMEOUT_S + settings.reconnect_max_s)
