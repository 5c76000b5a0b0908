"""Delivery of callbacks: post a job from the callbacks queue; then drop, retry, defer or bury it."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Self, assert_never

import structlog
from yarl import URL

from verdictd import metrics
from verdictd.amqp.delivery import Delivery, Settlement
from verdictd.amqp.publisher import Publisher
from verdictd.callbacks.host_limits import HostLimits
from verdictd.callbacks.jobs import Job, Jobs, NotAJob
from verdictd.callbacks.webhook import Response, Sender
from verdictd.egress.client import Resolver
from verdictd.egress.rules import Egress, EgressDenied
from verdictd.errors import BrokerUnavailable
from verdictd.metrics import Outcome
from verdictd.settings import CallbackSettings

log = structlog.get_logger()


class Deliverer:
    """Posts jobs as webhooks, with a limit on concurrent requests to each host."""

    def __init__(self, *, jobs: Jobs, sender: Sender, egress: Egress, per_host: int) -> None:
        self._jobs = jobs
        self._sender = sender
        self._egress = egress
        self._hosts = HostLimits(per_host)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: CallbackSettings, publisher: Publisher, egress: Egress
    ) -> AsyncIterator[Self]:
        """Make a deliverer with threads of its own for DNS look-ups."""
        threads = ThreadPoolExecutor(settings.max_deliveries, thread_name_prefix="callback-names")
        sender = Sender(
            egress=egress,
            resolver=Resolver(threads),
            secrets=[secret.get_secret_value() for secret in settings.secrets],
            timeout_s=settings.timeout_s,
        )
        try:
            yield cls(
                jobs=Jobs(publisher, settings), sender=sender, egress=egress, per_host=settings.per_host
            )
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    async def handle(self, delivery: Delivery) -> Settlement:
        """Attempt one delivery. An acknowledged job was delivered, or is on another queue by then."""
        try:
            await self._handle(delivery)
        except BrokerUnavailable as error:
            log.error("callback.not_settled", error=str(error))
            return Settlement.REQUEUE
        return Settlement.ACK

    async def _handle(self, delivery: Delivery) -> None:
        try:
            job = Job.of(delivery)
        except NotAJob as error:
            log.error("callback.malformed", reason=str(error))
            metrics.CALLBACKS.labels(Outcome.MALFORMED).inc()
            await self._jobs.bury_message(delivery, str(error))
            return
        structlog.contextvars.bind_contextvars(id=job.submission_id)
        try:
            target = self._egress.target(job.url)
        except EgressDenied as error:
            await self._give_up(job, "", Outcome.REFUSED, str(error))
            return
        async with self._hosts.enter(target.raw_host or "") as entered:
            if entered:
                await self._attempt(job, target)
                return
        again_in_s = await self._jobs.defer(job)
        log.debug("callback.deferred", host=target.raw_host, again_in_s=round(again_in_s, 1))
        metrics.CALLBACKS.labels(Outcome.DEFERRED).inc()

    async def _attempt(self, job: Job, target: URL) -> None:
        host = target.raw_host or ""
        response = await self._sender.post(target, job.body, webhook_id=job.webhook_id, headers=job.trace)
        job = replace(job, tries=job.tries + 1, deferrals=0)
        match response.outcome:
            case Outcome.DELIVERED:
                log.info("callback.delivered", host=host, tries=job.tries, reason=response.reason)
                metrics.CALLBACKS.labels(Outcome.DELIVERED).inc()
            case Outcome.FAILED:
                await self._retry(job, host, response)
            case Outcome.GONE | Outcome.REFUSED:
                await self._give_up(job, host, response.outcome, response.reason)
            case _ as unreachable:
                assert_never(unreachable)

    async def _retry(self, job: Job, host: str, response: Response) -> None:
        again_in_s = await self._jobs.retry(job, response.retry_after_s)
        if again_in_s is None:
            await self._give_up(job, host, Outcome.FAILED, response.reason)
            return
        wait_s = round(again_in_s, 1)
        log.info("callback.failed", host=host, tries=job.tries, reason=response.reason, again_in_s=wait_s)
        metrics.CALLBACKS.labels(Outcome.FAILED).inc()

    async def _give_up(self, job: Job, host: str, outcome: Outcome, reason: str) -> None:
        await self._jobs.bury(job, f"{outcome}: {reason}")
        log.error("callback.given_up", host=host, outcome=outcome, tries=job.tries, reason=reason)
        counted = Outcome.EXHAUSTED if outcome is Outcome.FAILED else outcome
        metrics.CALLBACKS.labels(counted).inc()
