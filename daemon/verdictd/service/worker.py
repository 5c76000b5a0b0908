"""Worker: takes one delivery from its bytes to its settlement."""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

import structlog
from cachetools import LRUCache

from verdictd import metrics
from verdictd.amqp.delivery import Delivery, Settlement
from verdictd.amqp.replies import ReplyRouter
from verdictd.callbacks.jobs import Jobs
from verdictd.concurrency import KeyedLock, offload
from verdictd.contract.codec import LARGE_BODY_BYTES, decode, peek_id
from verdictd.contract.result import Cause, Result, Status
from verdictd.contract.submission import Submission
from verdictd.errors import (
    DataUnavailable,
    InvalidSubmission,
    Problem,
    SandboxBroken,
    SandboxUnusable,
)
from verdictd.judging.admission import Admission, Admitted
from verdictd.judging.judge import Judge
from verdictd.judging.verdicts import INVALID, internal_error
from verdictd.monitoring.history import History
from verdictd.sandbox.pool import Draining
from verdictd.service.answers import Answers, callback_job
from verdictd.service.control import Control, Withdrawn
from verdictd.service.envelope import opened
from verdictd.service.given_up import given_up_reason
from verdictd.service.in_progress import Key, Recent
from verdictd.service.progress import EventFeed, SubmissionEvents
from verdictd.settings import JudgeSettings

FAULT_PAUSE_S = 1
"""Wait before a submission is requeued for a fault of ours, so that it does not spin."""
_EXCUSED = 1_000  # submissions

log = structlog.get_logger()


class _TooLate(Exception):
    """RabbitMQ would not wait until the submission has been judged."""


class Worker:
    """Turns deliveries into replies.

    State: the submissions in flight, recent results, and how often each submission was requeued because this
    host could not run any, or had no time for it: up to `excuses` of those deliveries do not count as
    attempts. A delivery that has cost a box counts.
    """

    def __init__(
        self,
        *,
        admission: Admission,
        judge: Judge,
        replies: ReplyRouter,
        model: type[Submission],
        settings: JudgeSettings,
        recent: Recent,
        history: History,
        callbacks: Jobs | None = None,
        control: Control | None = None,
        events: EventFeed | None = None,
        changed: asyncio.Event | None = None,
        ack_timeout_s: float,
        excuses: int = 0,
        fault_pause_s: float = FAULT_PAUSE_S,
    ) -> None:
        self._admission = admission
        self._judge = judge
        self._replies = replies
        self._model = model
        self._settings = settings
        self._recent = recent
        self._answers = Answers(
            replies=replies,
            recent=recent,
            history=history,
            callbacks=callbacks,
            result_bytes=model.limits.result_bytes,
        )
        self._control = control
        self._events = events
        self._ack_timeout_s = ack_timeout_s
        self._excuses = excuses
        self._fault_pause_s = fault_pause_s
        self._changed = changed or asyncio.Event()
        self._in_work = KeyedLock(self._changed)
        self._answering = 0
        self._excused: LRUCache[Key, int] = LRUCache(_EXCUSED)

    @property
    def waiting(self) -> int:
        """Deliveries that wait for an equal one. `changed` is set whenever this may have changed."""
        return self._in_work.waiting

    @property
    def answering(self) -> int:
        """Deliveries that need no box any more, and wait until RabbitMQ has their results."""
        return self._answering

    async def handle(self, delivery: Delivery) -> Settlement:
        """Judge and reply; return the settlement of the delivery."""
        if delivery.redelivered:
            metrics.REDELIVERIES.labels(delivery.queue).inc()
        try:
            delivery = await opened(delivery, self._model.limits.message_bytes)
            admitted = await self._admit(delivery)
        except InvalidSubmission as error:
            return await self._refuse(delivery, error.problems)
        submission = admitted.submission
        structlog.contextvars.bind_contextvars(id=submission.id)
        digest = await offload(partial(_digest, delivery.body), len(delivery.body))
        key = (submission.id, digest)
        events = self._events_of(submission, delivery)
        async with self._in_work.hold(key):  # what another delivery of it comes to is remembered
            try:
                told, body = await self._answers.encode(
                    await self._result(key, admitted, delivery, events), delivery
                )
            except Draining:
                return Settlement.REQUEUE
            except InvalidSubmission as error:  # its test data is missing
                return await self._refuse(delivery, error.problems, events)
            except (SandboxBroken, DataUnavailable) as error:
                log.error("submission.not_judged", attempt=delivery.attempt, error=str(error))
                await asyncio.sleep(self._fault_pause_s)
                # If it has cost a box, it counts, whoever else is unusable: it may have cost the others too.
                if isinstance(error, SandboxUnusable):
                    self._excuse(key)
                return Settlement.REQUEUE
            except _TooLate:
                self._excuse(key)
                log.warning(
                    "submission.waited_too_long", attempt=delivery.attempt, needs_s=admitted.timeout_s
                )
                return Settlement.REQUEUE
            # A checker that fails does so again, on whatever host: the fault of its problem is an answer.
            given_up = told.status is Status.INTERNAL_ERROR and told.cause is not Cause.CHECKER
            wanted = Settlement.DEAD_LETTER if given_up else Settlement.ACK
            job = callback_job(submission, delivery, digest)
            if not given_up:
                self._recent.add(key, body)
            with self._boxless():
                return await self._answers.publish(
                    delivery, told, body, wanted, key=key, job=job, events=events
                )

    @contextmanager
    def _boxless(self) -> Iterator[None]:
        """Count a delivery that needs no box any more: another one may be taken in its place."""
        self._answering += 1
        self._changed.set()
        try:
            yield
        finally:
            self._answering -= 1

    async def answer_given_up(self, delivery: Delivery) -> Settlement:
        """Answer what RabbitMQ gave up by itself, if nobody here has; it is dead-lettered then."""
        reason = given_up_reason(delivery.headers)
        if reason is None:
            return Settlement.DEAD_LETTER
        try:
            delivery = await opened(delivery, self._model.limits.message_bytes)
            submission = (await self._admit(delivery)).submission
        except InvalidSubmission as error:
            return await self._refuse(delivery, error.problems)
        digest = await offload(partial(_digest, delivery.body), len(delivery.body))
        key = (submission.id, digest)
        async with self._in_work.hold(key):
            known = self._recent.get(key)
            if known is not None and known.answered:
                return Settlement.DEAD_LETTER
            verdict = internal_error(f"RabbitMQ gave the submission up: {reason}.", Cause.QUEUE)
            if self._control is not None:
                verdict = self._control.verdict(submission, key) or verdict
            result = self._judge.unjudged(submission.id, verdict, metadata=submission.metadata)
            told, body = await self._answers.encode(result, delivery)
            job = callback_job(submission, delivery, digest)
            events = self._events_of(submission, delivery)
            return await self._answers.publish(
                delivery, told, body, Settlement.DEAD_LETTER, job=job, events=events
            )

    def _events_of(self, submission: Submission, delivery: Delivery) -> SubmissionEvents | None:
        return None if self._events is None else self._events.of(submission, delivery)

    async def _refuse(
        self, delivery: Delivery, problems: Sequence[Problem], events: SubmissionEvents | None = None
    ) -> Settlement:
        metrics.INVALID_SUBMISSIONS.labels(metrics.Origin.AMQP).inc()
        peek = partial(peek_id, delivery.body, delivery.message_id)
        submission_id = await offload(peek, len(delivery.body))
        told, body = await self._answers.encode(
            self._judge.unjudged(submission_id, INVALID, problems), delivery
        )
        return await self._answers.publish(delivery, told, body, Settlement.DEAD_LETTER, events=events)

    async def _admit(self, delivery: Delivery) -> Admitted:
        refused = self._replies.problem(delivery.reply_to)
        if refused is not None:
            raise InvalidSubmission([Problem("", f"reply_to: {refused}")])
        decoding = partial(decode, delivery.body, self._model, message_id=delivery.message_id)
        submission = await offload(decoding, len(delivery.body), large=LARGE_BODY_BYTES)
        return self._admission.admit(submission)

    async def _result(
        self, key: Key, admitted: Admitted, delivery: Delivery, events: SubmissionEvents | None
    ) -> Result:
        """Return the recent result of this submission, or judge it."""
        known = self._recent.get(key)
        if known is not None:
            result = await offload(partial(Result.model_validate_json, known.body), len(known.body))
            return result.model_copy(update={"duplicate": result.duplicate or known.answered})
        if self._control is None:
            return await self._judged(key, admitted, delivery, events)
        submission = admitted.submission
        try:
            async with self._control.heeded(submission, key, delivery):
                return await self._judged(key, admitted, delivery, events)
        except Withdrawn as withdrawn:
            return self._judge.unjudged(submission.id, withdrawn.verdict, metadata=submission.metadata)

    async def _judged(
        self, key: Key, admitted: Admitted, delivery: Delivery, events: SubmissionEvents | None
    ) -> Result:
        """Judge the submission, unless it was tried too often or there is no time for it."""
        submission = admitted.submission
        attempts = delivery.attempt - min(self._excused.get(key, 0), self._excuses)
        if attempts > self._settings.max_attempts:
            given_up = internal_error(f"Gave up after {attempts - 1} attempts.")
            return self._judge.unjudged(submission.id, given_up, metadata=submission.metadata)
        waited_s = (datetime.now(UTC) - delivery.received_at).total_seconds()
        if waited_s + admitted.timeout_s > self._ack_timeout_s:
            raise _TooLate
        try:
            result = await self._judge.judge(
                admitted,
                spare_boxes=1 if attempts == 1 else 0,  # one that costs a box each time shall not cost many
                observe=None if events is None else events.step,
            )
        except DataUnavailable as error:
            if attempts < self._settings.max_attempts:
                raise
            given_up = internal_error(f"Gave up after {attempts} attempts: {error}.", Cause.DATA)
            return self._judge.unjudged(submission.id, given_up, metadata=submission.metadata)
        if self._recent.has_other(key):
            message = f"{result.message} The id was used before, with another body."
            result = result.model_copy(update={"message": message})
        return result

    def _excuse(self, key: Key) -> None:
        self._excused[key] = self._excused.get(key, 0) + 1


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()
