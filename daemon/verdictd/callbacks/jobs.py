"""Callbacks as jobs: on their own queue, on a delay queue between attempts, in the end on the dead queue."""

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, NonNegativeInt, ValidationError

from verdictd.amqp.delivery import Delivery
from verdictd.amqp.publisher import Message, Publisher, json_message
from verdictd.amqp.replies import trace_headers
from verdictd.amqp.topology import retry_queue
from verdictd.contract.validation import explain
from verdictd.settings import CallbackSettings

_JITTER = 0.2
"""Largest part of a retry delay that is taken off at random."""


class NotAJob(Exception):
    """A message on the callbacks queue is not a callback: no daemon has published it."""


def _fits_header(word: str) -> bool:
    """Return whether a text may stand in a header of an HTTP request."""
    return word.isascii() and word.isprintable()


def _checked(word: str) -> str:
    if not _fits_header(word):
        raise ValueError("must be printable ASCII")
    return word


_Word = Annotated[str, AfterValidator(_checked)]


class _Headers(BaseModel):
    """Headers of a message that carries a job; others, such as those of RabbitMQ, are ignored."""

    model_config = ConfigDict(strict=True)

    url: _Word
    submission_id: _Word
    webhook_id: _Word
    tries: NonNegativeInt = 0
    deferrals: NonNegativeInt = 0


@dataclass(frozen=True, slots=True)
class Job:
    """A result to post: the message's body as it was published, and the message's headers."""

    url: str
    body: bytes
    submission_id: str
    webhook_id: str
    trace: Mapping[str, str]
    tries: int = 0
    """Number of attempts so far."""
    deferrals: int = 0
    """Number of times the job was put off since the last attempt, in favour of other hosts."""

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Parse a message; raises NotAJob."""
        try:
            headers = _Headers.model_validate(delivery.headers)
            delivery.body.decode()
        except ValidationError as error:
            raise NotAJob("; ".join(f"header {problem}" for problem in explain(error))) from None
        except UnicodeDecodeError:
            raise NotAJob("the body is not UTF-8") from None
        return cls(
            url=headers.url,
            body=delivery.body,
            submission_id=headers.submission_id,
            webhook_id=headers.webhook_id,
            trace={
                name: word for name, word in trace_headers(delivery.headers).items() if _fits_header(word)
            },
            tries=headers.tries,
            deferrals=headers.deferrals,
        )

    @property
    def headers(self) -> dict[str, str | int]:
        """Return everything but the body, as headers of a message."""
        return {
            "url": self.url,
            "submission_id": self.submission_id,
            "webhook_id": self.webhook_id,
            "tries": self.tries,
            "deferrals": self.deferrals,
            **self.trace,
        }


def webhook_id(submission_id: str, digest: bytes) -> str:
    """Return an id that is the same for each result of a submission, so that receivers detect duplicates."""
    return f"msg_{hashlib.sha256(submission_id.encode() + digest).hexdigest()[:32]}"


class Jobs:
    """Queues of callbacks. Each method returns once RabbitMQ has confirmed, or raises BrokerUnavailable."""

    def __init__(self, publisher: Publisher, settings: CallbackSettings) -> None:
        self._publisher = publisher
        self._settings = settings

    async def add(self, job: Job) -> None:
        """Queue the job, for any daemon to deliver."""
        await self._publish(self._settings.queue, job.body, job.headers)

    async def retry(self, job: Job, retry_after_s: float) -> float | None:
        """Queue a retry after a failed attempt; return the delay, or None after the last step."""
        steps_s = self._settings.retry_delays_s
        if job.tries > len(steps_s):
            return None
        fitting = [number for number, step_s in enumerate(steps_s) if step_s >= retry_after_s]
        step = max(job.tries - 1, fitting[0] if fitting else len(steps_s) - 1)
        return await self._delay(job, steps_s[step], retry_after_s)

    async def defer(self, job: Job) -> float:
        """Put the job off, which does not count as an attempt; return the delay, longer each third time."""
        steps_s = self._settings.retry_delays_s
        step = min(job.deferrals // 3, len(steps_s) - 1)
        return await self._delay(replace(job, deferrals=job.deferrals + 1), steps_s[step], 0)

    async def bury(self, job: Job, reason: str) -> None:
        """Move the job to the dead queue, with the reason in a header."""
        await self._publish(self._settings.dead_queue, job.body, job.headers | {"reason": reason})

    async def bury_message(self, delivery: Delivery, reason: str) -> None:
        """Move a message that is not a job to the dead queue, with the reason in a header."""
        await self._publish(self._settings.dead_queue, delivery.body, {"reason": reason})

    async def _delay(self, job: Job, step_s: float, least_s: float) -> float:
        # RabbitMQ expires messages only at the head of a queue, so one that is due sooner waits for those
        # before it. No message waits longer than the step, which is the time limit of the queue itself.
        jitter_s = step_s * random.uniform(0, _JITTER)  # noqa: S311 - not a secret
        wait_s = min(step_s, max(least_s, step_s - jitter_s))
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
            return json_message(body, headers=headers, expiration_s=expiration_s)

        await self._publisher.publish_to_own(queue, make)
