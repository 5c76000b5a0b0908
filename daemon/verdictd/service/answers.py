"""Answers: results on their way out, as replies, callbacks, history and log lines."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import structlog

from verdictd import metrics
from verdictd.amqp.delivery import Delivery, Settlement
from verdictd.amqp.replies import ReplyRouter, trace_headers
from verdictd.callbacks.jobs import Job, Jobs, webhook_id
from verdictd.concurrency import LARGE_BYTES, offload
from verdictd.contract.codec import TEXTS, as_duplicate, encode
from verdictd.contract.result import Result
from verdictd.contract.submission import Submission
from verdictd.errors import BrokerUnavailable
from verdictd.monitoring.history import History
from verdictd.service.in_progress import Key, Recent
from verdictd.service.progress import SubmissionEvents

log = structlog.get_logger()


class Answers:
    """Encodes results and publishes them; a callback follows a reply that is confirmed."""

    def __init__(
        self,
        *,
        replies: ReplyRouter,
        recent: Recent,
        history: History,
        callbacks: Jobs | None,
        result_bytes: int,
    ) -> None:
        self._replies = replies
        self._recent = recent
        self._history = history
        self._callbacks = callbacks
        self._result_bytes = result_bytes

    async def encode(self, result: Result, delivery: Delivery) -> tuple[Result, bytes]:
        """Return the result, without its texts if they are large, and its bytes with them."""
        created_at = delivery.timestamp
        queue_time = (result.started_at - created_at).total_seconds() if created_at else None
        result = result.model_copy(
            update={
                "created_at": created_at,
                # The timestamp comes from another clock, and may have whole seconds only.
                "queue_time": None if queue_time is None else max(0.0, queue_time),
                "attempt": delivery.attempt,
                "redelivered": delivery.redelivered,
            }
        )
        size = sum(len(getattr(result, name)) for name in TEXTS)
        size += sum(len(file.content) for part in (result, *result.tests) for file in part.files)
        size += sum(len(test.stdout) + len(test.stderr) for test in result.tests)
        body = await offload(partial(encode, result, self._result_bytes), size)
        if size >= LARGE_BYTES:
            result = result.model_copy(update=dict.fromkeys(TEXTS, "") | {"files": ()})
        return result, body

    async def publish(
        self,
        delivery: Delivery,
        result: Result,
        body: bytes,
        settlement: Settlement,
        *,
        key: Key | None = None,
        job: Job | None = None,
        events: SubmissionEvents | None = None,
    ) -> Settlement:
        """Publish the result, then its callback; requeue the delivery if that fails."""

        async def again() -> bytes:
            return await offload(partial(as_duplicate, body), len(body))

        try:
            with metrics.STAGES.labels(metrics.Stage.REPLY).time():
                await self._replies.reply(body, delivery=delivery, submission_id=result.id, again=again)
            if key is not None:
                self._recent.answered(key)
                delivery.on_settled.append(partial(self._recent.settled, key))
            if events is not None:
                events.finished(result)
            if job is not None and self._callbacks is not None:
                await self._callbacks.add(replace(job, body=body))
        except BrokerUnavailable as error:
            log.error("submission.not_answered", attempt=delivery.attempt, error=str(error))
            settlement = Settlement.REQUEUE
        else:
            self._history.add(result)
            _count(result, delivery.queue)
        _log(result, delivery.queue, settlement, (datetime.now(UTC) - delivery.received_at).total_seconds())
        return settlement


def callback_job(submission: Submission, delivery: Delivery, digest: bytes) -> Job | None:
    """Return the callback that a submission asks for, still without the result."""
    if submission.callback_url is None:
        return None
    return Job(
        url=submission.callback_url,
        body=b"",
        submission_id=submission.id,
        webhook_id=webhook_id(submission.id, digest),
        trace=trace_headers(delivery.headers),
    )


def _count(result: Result, queue: str) -> None:
    metrics.SUBMISSIONS.labels(result.language.name if result.language else "", result.status).inc()
    if result.queue_time is not None and not result.duplicate:
        metrics.QUEUE_TIME.labels(queue).observe(result.queue_time)


def _log(result: Result, queue: str, settlement: Settlement, total_s: float) -> None:
    """Log the canonical line of a submission: everything about it, and nothing that it wrote."""
    log.info(
        "submission.answered",
        id=result.id,
        status=result.status,
        cause=result.cause,
        language=result.language.name if result.language else None,
        time=result.time,
        wall_time=result.wall_time,
        memory=result.memory,
        box=result.worker.box,
        attempt=result.attempt,
        redelivered=result.redelivered,
        duplicate=result.duplicate,
        queue=queue,
        queue_time=result.queue_time,
        total_s=round(total_s, 3),
        settlement=settlement,
    )
