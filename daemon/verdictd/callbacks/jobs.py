"""Callbacks as jobs: on their queue, on a delay queue between two tries, on the dead queue in the end."""

import hashlib
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Self

from aio_pika import DeliveryMode, Message

from verdictd.amqp.consumer import Broker
from verdictd.amqp.delivery import Delivery
from verdictd.amqp.replies import trace_headers
from verdictd.amqp.topology import retry_queue
from verdictd.settings import CallbackSettings

_JITTER = 0.2  # of a step: the part that chance may take off


class NotAJob(Exception):
    """A message on the callbacks queue that none of us has put there."""


@dataclass(frozen=True, slots=True)
class Job:
    """A result to be posted: the body of the message, as it was published; all else is in its headers."""

    url: str
    body: bytes
    submission_id: str
    webhook_id: str
    trace: Mapping[str, str]
    tries: int = 0
    """Deliveries that were tried."""
    deferrals: int = 0
    """How often it has made room for the callbacks to other hosts since the last try."""

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Read a message; raises NotAJob."""
        words = {name: delivery.headers.get(name) for name in ("url", "submission_id", "webhook_id")}
        counts = {name: delivery.headers.get(name, 0) for name in ("tries", "deferrals")}
        if not all(isinstance(word, str) and _fits(word) for word in words.values()):
            raise NotAJob("a header is missing: url, submission_id or webhook_id")
        if not all(isinstance(count, int) and count >= 0 for count in counts.values()):
            raise NotAJob("a header is no count: tries or deferrals")
        try:
            delivery.body.decode()
        except UnicodeDecodeError:
            raise NotAJob("the body is not UTF-8") from None
        trace = {name: value for name, value in trace_headers(delivery.headers).items() if _fits(value)}
        return cls(body=delivery.body, trace=trace, **words, **counts)  # type: ignore[arg-type]

    @property
    def headers(self) -> dict[str, str | int]:
        """All of it but the body, as headers of a message."""
        return {
            "url": self.url,
            "submission_id": self.submission_id,
            "webhook_id": self.webhook_id,
            "tries": self.tries,
            "deferrals": self.deferrals,
            **self.trace,
        }


def _fits(word: str) -> bool:
    """Whether it may stand in a header of a request."""
    return word.isascii() and word.isprintable()


def webhook_id(submission_id: str, digest: bytes) -> str:
    """The same for each result of a submission, so that receivers recognize what they have had."""
    return f"msg_{hashlib.sha256(submission_id.encode() + digest).hexdigest()[:32]}"


class Jobs:
    """The queues of callbacks. Each method returns when RabbitMQ has the job, or raises BrokerUnavailable."""

    def __init__(self, broker: Broker, settings: CallbackSettings) -> None:
        self._broker = broker
        self._settings = settings

    async def add(self, job: Job) -> None:
        """Have it delivered by any daemon."""
        await self._publish(self._settings.queue, job.body, job.headers)

    async def retry(self, job: Job, retry_after_s: float) -> float | None:
        """Have it delivered again after a failed try; the seconds until then, None where no step is left."""
        steps_s = self._settings.retry_delays_s
        if job.tries > len(steps_s):
            return None
        fitting = [number for number, step_s in enumerate(steps_s) if step_s >= retry_after_s]
        step = max(job.tries - 1, fitting[0] if fitting else len(steps_s) - 1)
        return await self._delay(job, steps_s[step], retry_after_s)

    async def defer(self, job: Job) -> float:
        """Have it come again later, which is no try; the more often, the later. The seconds until then."""
        steps_s = self._settings.retry_delays_s
        step = min(job.deferrals // 3, len(steps_s) - 1)
        return await self._delay(replace(job, deferrals=job.deferrals + 1), steps_s[step], 0)

    async def bury(self, job: Job, reason: str) -> None:
        """Keep it with the reason why it was not delivered."""
        await self._publish(self._settings.dead_queue, job.body, job.headers | {"reason": reason})

    async def bury_message(self, delivery: Delivery, reason: str) -> None:
        """Keep what is no job."""
        await self._publish(self._settings.dead_queue, delivery.body, {"reason": reason})

    async def _delay(self, job: Job, step_s: float, least_s: float) -> float:
        # RabbitMQ lets messages go in the order of their queue: one that could go sooner than those before
        # waits for them. None waits longer than the step, which is the queue's own limit.
        wait_s = min(step_s, max(least_s, step_s * (1 - random.uniform(0, _JITTER))))  # noqa: S311 - no secret
        await self._publish(retry_queue(self._settings, step_s), job.body, job.headers, wait_s)
        return wait_s

    async def _publish(
        self,
        queue: str,
        body: bytes,
        headers: Mapping[str, str | int],
        expiration_s: float | None = None,
    ) -> None:
        async def make() -> Message:
            return _message(body, headers, expiration_s)

        await self._broker.publish(queue, make)


def _message(body: bytes, headers: Mapping[str, str | int], expiration_s: float | None = None) -> Message:
    return Message(
        body,
        content_type="application/json",
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=str(uuid.uuid4()),  # fresh for each try: two of a name confuse returns and confirms
        timestamp=datetime.now(UTC),
        headers=dict(headers),
        expiration=expiration_s,
    )
