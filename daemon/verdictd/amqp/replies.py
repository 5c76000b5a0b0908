"""Replies: where a result may go, and what its message carries."""

import itertools
import re
from collections.abc import Awaitable, Callable, Mapping

import structlog

from verdictd.amqp.delivery import Delivery
from verdictd.amqp.publisher import (
    DIRECT_REPLY_TO,
    Message,
    MessageFactory,
    Publisher,
    json_message,
)
from verdictd.contract.result import RESULT_TYPE
from verdictd.settings import BrokerSettings

_TRACE_HEADERS = ("traceparent", "tracestate")
_TRACE_MAX_LENGTH = 512
_SHORT_STRING_BYTES = 255

log = structlog.get_logger()


class ReplyRouter:
    """Publishes each result to where its submission asked for it, else to the results queue."""

    def __init__(self, publisher: Publisher, settings: BrokerSettings) -> None:
        self._publisher = publisher
        self._settings = settings
        self._reply_to_pattern = re.compile(settings.reply_to_pattern)

    async def reply(
        self,
        body: bytes,
        *,
        delivery: Delivery,
        submission_id: str,
        again: Callable[[], Awaitable[bytes]] | None = None,
    ) -> None:
        """Publish a result until RabbitMQ confirms it, across reconnects; a lost confirm makes a duplicate.

        `again` makes the body of every try but the first, which may have arrived: it says what it is. If the
        `reply_to` is refused or nobody is there, the results queue gets the result, with headers that say so.
        Waits for that queue if it is missing too. Raises BrokerUnavailable after the limit of the publisher.
        """
        headers = {"submission_id": submission_id, **trace_headers(delivery.headers)}

        def tries() -> MessageFactory:
            numbers = itertools.count()

            async def make() -> Message:
                repeated = next(numbers) > 0 and again is not None
                return _message(await again() if repeated and again else body, delivery, headers)

            return make

        problem = self.problem(delivery.reply_to)
        if delivery.reply_to and not problem:
            problem = await self._publisher.publish(delivery.reply_to, tries())
            if problem is None:
                return
        if problem:
            log.warning("reply.undelivered", reply_to=delivery.reply_to, reason=problem)
            headers["undelivered_reply_to"] = delivery.reply_to or ""
            headers["undelivered_reason"] = problem
        await self._publisher.publish_to_own(self._settings.results_queue, tries())

    def problem(self, reply_to: str | None) -> str | None:
        """Return why a submission may not ask for its result there; None if it may."""
        settings = self._settings
        if not reply_to or reply_to == settings.results_queue:
            return None
        if len(reply_to.encode()) > _SHORT_STRING_BYTES:
            return f"longer than {_SHORT_STRING_BYTES} bytes"
        if reply_to in settings.own_queues | {settings.control_queue}:
            return "a queue of the daemon itself"
        if reply_to.startswith(DIRECT_REPLY_TO) or self._reply_to_pattern.fullmatch(reply_to):
            return None
        return f"does not match {settings.reply_to_pattern}"


def trace_headers(headers: Mapping[str, object]) -> dict[str, str]:
    """Return those headers that follow a submission through several programs (W3C Trace Context)."""
    found = {name: headers.get(name) for name in _TRACE_HEADERS}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, str) and len(value) <= _TRACE_MAX_LENGTH
    }


def correlation_id_of(delivery: Delivery, submission_id: str) -> str:
    """Return the correlation id of a submission, or its id if there is none that can be published."""
    correlation_id = delivery.correlation_id or ""
    return correlation_id if 0 < len(correlation_id.encode()) <= _SHORT_STRING_BYTES else submission_id


def _message(body: bytes, delivery: Delivery, headers: Mapping[str, str]) -> Message:
    return json_message(
        body,
        type=RESULT_TYPE,
        correlation_id=correlation_id_of(delivery, headers["submission_id"]),
        priority=delivery.priority,
        headers=headers,
    )
