"""The queues: what each is declared with, and whether they are there."""

import asyncio
from collections.abc import Mapping
from typing import Final, cast

import aiormq
from aio_pika import exceptions
from aio_pika.abc import AbstractConnection
from pamqp import commands, common

from verdictd.amqp.connection import CLOSE_TIMEOUT_S, amqp_errors
from verdictd.settings import BrokerSettings, CallbackSettings

Queues = Mapping[str, common.FieldTable]
"""The arguments of queues by their names."""

NO_QUEUES: Final[Queues] = {}


def queues(settings: BrokerSettings) -> Queues:
    """Each queue that the daemon needs, dead letters before what they come from."""
    limit: common.FieldTable = {"x-delivery-limit": settings.delivery_limit}
    return {
        settings.dead_queue: _QUORUM,
        settings.results_queue: _QUORUM,
        settings.submissions_queue: limit | _dead_letters_to(settings.dead_queue),
    }


def callback_queues(settings: CallbackSettings, broker: BrokerSettings) -> Queues:
    """Each queue that callbacks need beside; none where they are not enabled."""
    if not settings.enabled:
        return {}
    limit: common.FieldTable = {"x-delivery-limit": broker.delivery_limit}
    delays: Queues = {
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
    """The queue where callbacks wait for so long; its name has the time, which nobody can change."""
    return f"{settings.queue}.retry.{step_s:.12g}s"


_QUORUM: common.FieldTable = {"x-queue-type": "quorum"}


def _dead_letters_to(queue: str) -> common.FieldTable:
    return _QUORUM | {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
        # A dead letter is kept until its queue has confirmed it, which needs reject-publish.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


async def declare(connection: AbstractConnection, settings: BrokerSettings, more: Queues = NO_QUEUES) -> None:
    """Make the queues that are missing, or only look for them; raises BrokerUnavailable with the reason."""
    for name, arguments in {**queues(settings), **more}.items():
        with amqp_errors(f"queue {name!r} cannot be used"):
            # A channel for one operation: one that fails or times out closes its channel.
            async with asyncio.timeout(settings.connect_timeout_s), connection.channel() as channel:
                await channel.declare_queue(
                    name, durable=True, passive=not settings.declare, arguments=arguments
                )


async def has_queue(connection: aiormq.abc.AbstractConnection, name: str) -> bool:
    """Whether a queue, or a client that waits for a direct reply, is there."""
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
    """Without the check of names, which refuses the "=" that RabbitMQ puts into direct reply addresses."""

    def validate(self) -> None:
        """Take any name."""


def try_limit_s(settings: BrokerSettings, more: Queues = NO_QUEUES) -> float:
    """How long one try of `keep` takes at the most, with every step at its deadline and the pause after it.

    The steps: connect, declare each queue, consume. The same again is left for a busy machine.
    """
    steps = 2 + len(queues(settings)) + len(more)
    return 2 * (steps * settings.connect_timeout_s + CLOSE_TIMEOUT_S + settings.reconnect_max_s)
