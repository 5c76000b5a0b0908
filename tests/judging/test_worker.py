"""One delivery, with real judging and a broker whose replies can be made to fail."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from verdictd.amqp.delivery import Delivery, Settlement
from verdictd.amqp.replies import ReplyRouter
from verdictd.callbacks.jobs import Job, Jobs
from verdictd.contract.result import Cause, Result
from verdictd.contract.submission import submission_model
from verdictd.errors import (
    BrokerUnavailable,
    DataUnavailable,
    FaultKind,
    InvalidSubmission,
    Problem,
    SandboxUnusable,
)
from verdictd.judging.admission import Admission, Admitted
from verdictd.judging.judge import Judge
from verdictd.judging.judgehost import Judgehost
from verdictd.monitoring.history import History
from verdictd.service.in_progress import Recent
from verdictd.service.worker import Worker
from verdictd.settings import JudgeSettings, Settings

pytestmark = pytest.mark.anyio

NANOSECONDS = {"id": "now", "language": "bash", "source_code": "date +%s%N"}


class Replies:
    """Takes replies, or fails to; a real broker that fails on demand is in the tests of the service."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.failures = 0

    async def reply(
        self, body: bytes, *, delivery: Delivery, submission_id: str, again: Callable[[], Awaitable[bytes]]
    ) -> None:
        self.again = Result.model_validate_json(await again())
        if self.failures:
            self.failures -= 1
            raise BrokerUnavailable(f"no confirm for {submission_id} ({delivery.attempt})")
        self.results.append(Result.model_validate_json(body))

    def problem(self, reply_to: str | None) -> str | None:
        return None if reply_to is None else "not here"


@pytest.fixture
def replies() -> Replies:
    return Replies()


class Callbacks:
    """Fails to take the first job."""

    def __init__(self) -> None:
        self.added: list[Job] = []
        self.failed = False

    async def add(self, job: Job) -> None:
        await asyncio.sleep(0)
        if not self.failed:
            self.failed = True
            raise BrokerUnavailable(f"no confirm for the callback to {job.url}")
        self.added.append(job)


class Unusable:
    """A judge on a host where no program can be run, for a while."""

    def __init__(self, judge: Judge, *, failures: int) -> None:
        self._judge = judge
        self._failures = failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._judge, name)

    async def judge(self, admitted: Admitted, **options: Any) -> Result:
        if self._failures:
            self._failures -= 1
            raise SandboxUnusable("no box is usable", FaultKind.RUN)
        return await self._judge.judge(admitted, **options)


class Dataless:
    """A judge that cannot have the test data of submissions."""

    def __init__(self, judge: Judge, error: Exception) -> None:
        self._judge = judge
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._judge, name)

    async def judge(self, _: Admitted, **__: Any) -> Result:
        raise self._error


def make_worker(host: Judgehost, settings: Settings, replies: Replies, **parts: Any) -> Worker:
    own: dict[str, Any] = {"admission": host.admission, "judge": host.judge} | parts
    return Worker(
        replies=cast(ReplyRouter, replies),
        model=submission_model(settings.limits),
        settings=JudgeSettings(max_attempts=3),
        recent=Recent(count=10, size_bytes=1_000_000),
        history=History(),
        excuses=5,
        fault_pause_s=0.1,
        **{"ack_timeout_s": 1_800, **own},
    )


@pytest.fixture
def worker(host: Judgehost, settings: Settings, replies: Replies) -> Worker:
    return make_worker(host, settings, replies)


def delivery(body: dict[str, Any] | bytes, *, attempt: int = 1) -> Delivery:
    return Delivery(
        queue="verdictd.submissions",
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        message_id=None,
        correlation_id=None,
        reply_to=None,
        type=None,
        content_type="application/json",
        content_encoding=None,
        priority=None,
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
        headers={},
        redelivered=attempt > 1,
        attempt=attempt,
    )


async def test_result_that_could_not_be_sent_is_kept_for_the_next_delivery(
    worker: Worker, replies: Replies
) -> None:
    """It goes back to the queue; it is not judged again, and its first answer is not a duplicate."""
    replies.failures = 1
    first = await worker.handle(delivery(NANOSECONDS))
    second = await worker.handle(delivery(NANOSECONDS, attempt=2))
    third = await worker.handle(delivery(NANOSECONDS, attempt=3))

    assert [Settlement.REQUEUE, Settlement.ACK, Settlement.ACK] == [first, second, third]
    assert 1 == len({result.stdout for result in replies.results})
    assert [(2, False), (3, True)] == [(result.attempt, result.duplicate) for result in replies.results]


async def test_reply_that_was_confirmed_makes_the_next_a_duplicate_though_its_callback_failed(
    host: Judgehost, settings: Settings, replies: Replies
) -> None:
    """The submission comes once more for its callback; the second reply says that it repeats the first."""
    url = "http://127.0.0.1:8080/"
    admission = Admission(
        registry=host.registry,
        settings=settings,
        callback_problem=lambda _url: None,
        data_problem=lambda _reference: None,
    )
    jobs = Callbacks()
    worker = make_worker(host, settings, replies, admission=admission, callbacks=cast(Jobs, jobs))
    first = await worker.handle(delivery(NANOSECONDS | {"callback_url": url}))
    second = await worker.handle(delivery(NANOSECONDS | {"callback_url": url}, attempt=2))

    assert [Settlement.REQUEUE, Settlement.ACK] == [first, second]
    assert [False, True] == [result.duplicate for result in replies.results]
    assert 1 == len(jobs.added)


async def test_host_that_can_run_nothing_uses_up_no_attempts(
    host: Judgehost, settings: Settings, replies: Replies
) -> None:
    """It goes back for that as often as RabbitMQ lets it, and is judged in the end."""
    judge = Unusable(host.judge, failures=5)
    worker = make_worker(host, settings, replies, judge=cast(Judge, judge))
    settlements = [await worker.handle(delivery(NANOSECONDS, attempt=attempt)) for attempt in range(1, 7)]

    assert [*[Settlement.REQUEUE] * 5, Settlement.ACK] == settlements
    assert [("accepted", 6)] == [(result.status, result.attempt) for result in replies.results]


async def test_host_that_never_runs_anything_is_answered_for_in_the_end(
    host: Judgehost, settings: Settings, replies: Replies
) -> None:
    """Before RabbitMQ gives the submission up unanswered; the last three attempts count as always."""
    worker = make_worker(host, settings, replies, judge=cast(Judge, Unusable(host.judge, failures=99)))
    settlements = [await worker.handle(delivery(NANOSECONDS, attempt=attempt)) for attempt in range(1, 10)]

    assert [*[Settlement.REQUEUE] * 8, Settlement.DEAD_LETTER] == settlements
    assert "3 attempts" in replies.results[0].message


async def test_delivery_that_rabbitmq_would_not_wait_for_goes_back(
    host: Judgehost, settings: Settings, replies: Replies
) -> None:
    """It waited for others so long that it cannot be judged and answered in time; the next one is."""
    worker = make_worker(host, settings, replies, ack_timeout_s=600)
    fresh = delivery(NANOSECONDS, attempt=2)
    late = replace(delivery(NANOSECONDS), received_at=datetime.now(UTC) - timedelta(seconds=60))
    settlements = [await worker.handle(late), await worker.handle(fresh)]

    assert [Settlement.REQUEUE, Settlement.ACK] == settlements
    assert ["accepted"] == [result.status for result in replies.results]


async def test_test_data_that_is_unreachable_is_tried_again_and_given_up_with_the_reason(
    host: Judgehost, settings: Settings, replies: Replies
) -> None:
    """As any fault of ours: bounded, and never a verdict."""
    judge = Dataless(host.judge, DataUnavailable("data.example answered with status 503"))
    worker = make_worker(host, settings, replies, judge=cast(Judge, judge))
    settlements = [
        await worker.handle(delivery(NANOSECONDS | {"metadata": {"row": 7}}, attempt=attempt))
        for attempt in range(1, 4)
    ]
    (result,) = replies.results

    assert [Settlement.REQUEUE, Settlement.REQUEUE, Settlement.DEAD_LETTER] == settlements
    assert ("internal_error", "data", {"row": 7}) == (result.status, result.cause, result.metadata)
    assert "Gave up after 3 attempts: data.example answered with status 503." == result.message


async def test_test_data_that_is_missing_makes_the_submission_invalid(
    host: Judgehost, settings: Settings, replies: Replies
) -> None:
    """With the path of its field, as if it had been refused at once."""
    problem = Problem("/stdin", "there is no such file")
    judge = Dataless(host.judge, InvalidSubmission([problem]))
    worker = make_worker(host, settings, replies, judge=cast(Judge, judge))
    settlement = await worker.handle(delivery(NANOSECONDS))
    (result,) = replies.results

    assert (Settlement.DEAD_LETTER, "invalid_submission", "now") == (settlement, result.status, result.id)
    assert (problem,) == result.errors


async def test_delivery_of_a_running_submission_waits_for_its_result(
    worker: Worker, replies: Replies
) -> None:
    """Three at once are judged once, and two of the answers say that they repeat the first."""
    slow = NANOSECONDS | {"source_code": "sleep 0.3; date +%s%N"}
    settlements = await asyncio.gather(*(worker.handle(delivery(slow)) for _ in range(3)))

    assert [Settlement.ACK] * 3 == settlements
    assert 1 == len({result.stdout for result in replies.results})
    assert [False, True, True] == [result.duplicate for result in replies.results]


async def test_remembered_result_comes_before_the_bound_on_attempts(worker: Worker, replies: Replies) -> None:
    """A judged submission is answered, however often its message was delivered."""
    replies.failures = 1
    await worker.handle(delivery(NANOSECONDS))
    settlement = await worker.handle(delivery(NANOSECONDS, attempt=9))

    assert (Settlement.ACK, "accepted") == (settlement, replies.results[0].status)


async def test_too_many_attempts_are_given_up_with_the_metadata(worker: Worker, replies: Replies) -> None:
    """An honest answer, on the dead queue with it; the sender's own data come back."""
    settlement = await worker.handle(delivery(NANOSECONDS | {"metadata": {"row": 7}}, attempt=4))
    (result,) = replies.results

    assert (Settlement.DEAD_LETTER, "internal_error") == (settlement, result.status)
    assert {"row": 7} == result.metadata
    assert "3 attempts" in result.message


async def test_checker_that_failed_is_an_answer(worker: Worker, replies: Replies) -> None:
    """It would fail again: the message is neither kept for the operator, nor judged a second time."""
    checker = {"type": "program", "language": "bash", "source_code": "exit 9", "protocol": "testlib"}
    settled = [await worker.handle(delivery(NANOSECONDS | {"checker": checker})) for _ in range(2)]

    assert [Settlement.ACK, Settlement.ACK] == settled
    assert [Cause.CHECKER] * 2 == [result.cause for result in replies.results]
    assert [False, True] == [result.duplicate for result in replies.results]


async def test_queue_time_is_never_negative(worker: Worker, replies: Replies) -> None:
    """The sender's clock may be ahead of the judge's."""
    ahead = datetime(2999, 1, 1, tzinfo=UTC)
    message = delivery(NANOSECONDS)
    await worker.handle(replace(message, timestamp=ahead))

    assert (ahead, 0) == (replies.results[0].created_at, replies.results[0].queue_time)


async def test_invalid_message_is_answered_under_its_own_id(worker: Worker, replies: Replies) -> None:
    """The id of a message that cannot be judged is found all the same."""
    settlement = await worker.handle(delivery({"id": "mine", "language": 7}))

    assert (Settlement.DEAD_LETTER, "mine") == (settlement, replies.results[0].id)


async def test_result_that_is_sent_again_says_so(worker: Worker, replies: Replies) -> None:
    """Where a confirm was lost the first may have arrived: the second differs by its flag alone."""
    await worker.handle(delivery({"id": "twice", "language": "bash", "source_code": "echo 42"}))
    (first,) = replies.results

    assert not first.duplicate
    assert first.model_copy(update={"duplicate": True}) == replies.again
