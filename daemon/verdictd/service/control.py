"""Control: submissions that are cancelled or superseded, before they are judged and while they are."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import structlog
from cachetools import TTLCache

from verdictd.amqp.control import ControlChannel
from verdictd.amqp.delivery import Delivery
from verdictd.amqp.reconnecting import ReconnectingConnection
from verdictd.contract.control import ControlMessage, Taken
from verdictd.contract.submission import Submission
from verdictd.errors import BrokerUnavailable
from verdictd.judging.verdicts import CANCELLED, Verdict, superseded
from verdictd.service.in_progress import Key
from verdictd.service.newest import Newest

_CANCELS = 100_000
_TELLING_S = 5
_AGE_WITHOUT_STREAM_S = 86_400

log = structlog.get_logger()


class Withdrawn(Exception):
    """The submission is not judged, or not any more: answer it with the verdict."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


@dataclass(slots=True)
class _Judged:
    """A submission that is judged now. State: the verdict for which that was ended."""

    submission: Submission
    key: Key
    scope: asyncio.Timeout
    withdrawn: Verdict | None = None


class Withdrawals:
    """Memory of what was cancelled and superseded.

    State: cancelled ids, the newest submission of each `supersede_key`, and the submissions that are judged
    now, which are ended as soon as one of both is said of them. Bounded by age and number, oldest out first.
    """

    def __init__(self, *, age_s: float) -> None:
        self._cancelled: TTLCache[str, None] = TTLCache(_CANCELS, age_s, timer=time.monotonic)
        self._newest = Newest(age_s=age_s)
        self._judged: dict[Key, _Judged] = {}

    def hear(self, message: ControlMessage) -> None:
        """Take in what was said to all daemons; to hear it twice makes no difference."""
        if message.cancel is not None:
            self._cancelled[message.cancel] = None
        if message.supersede is not None:
            self._newest.add(message.supersede)
        for judged in self._judged.values():
            verdict = self.verdict(judged.submission, judged.key)
            if verdict is not None and judged.withdrawn is None:
                log.info("submission.withdrawn", id=judged.submission.id, status=verdict.status)
                judged.withdrawn = verdict
                judged.scope.reschedule(0)  # which is now

    def verdict(self, submission: Submission, key: Key) -> Verdict | None:
        """Return the verdict of a submission that is not to be judged; None for all others."""
        if submission.id in self._cancelled:
            return CANCELLED
        if submission.supersede_key is None:
            return None
        successor = self._newest.successor(submission.supersede_key, (key[0], key[1].hex()))
        return None if successor is None else superseded(successor)

    @asynccontextmanager
    async def heeded(self, submission: Submission, key: Key) -> AsyncIterator[None]:
        """Run the block unless the submission is withdrawn; if it is meanwhile, cancel the block.

        Raises Withdrawn then. The cancellation of the task itself passes.
        """
        verdict = self.verdict(submission, key)
        if verdict is not None:
            raise Withdrawn(verdict)
        judged = None
        try:
            async with asyncio.timeout(None) as scope:
                judged = self._judged[key] = _Judged(submission, key, scope)
                try:
                    yield
                finally:
                    del self._judged[key]
        except TimeoutError:
            if judged is None or judged.withdrawn is None or not scope.expired():
                raise
            raise Withdrawn(judged.withdrawn) from None


class Control:
    """Control messages to all daemons, and the part of this one in them."""

    def __init__(self, channel: ControlChannel, withdrawals: Withdrawals) -> None:
        self.channel = channel
        self._withdrawals = withdrawals

    @classmethod
    @asynccontextmanager
    async def open(
        cls, consuming: ReconnectingConnection, publishing: ReconnectingConnection
    ) -> AsyncIterator[Self]:
        """Read control messages until the block ends."""
        # Without a stream they are remembered nevertheless.
        age_s = consuming.settings.control_age_s or _AGE_WITHOUT_STREAM_S
        withdrawals = Withdrawals(age_s=age_s)
        async with ControlChannel.open(consuming, publishing, hear=withdrawals.hear) as channel:
            yield cls(channel, withdrawals)

    def verdict(self, submission: Submission, key: Key) -> Verdict | None:
        """Return the verdict of a submission that is not to be judged; None for all others."""
        return self._withdrawals.verdict(submission, key)

    @asynccontextmanager
    async def heeded(self, submission: Submission, key: Key, delivery: Delivery) -> AsyncIterator[None]:
        """Run the block unless the submission is withdrawn, or until it is; raise Withdrawn then.

        Waits first until this daemon knows what was said before it was connected, and tells the others of a
        submission that may supersede theirs.
        """
        await self.channel.caught_up()
        taken = None
        if submission.supersede_key is not None:
            taken = ControlMessage(supersede=_taken(submission.supersede_key, key, delivery))
            self._withdrawals.hear(taken)
        async with self._withdrawals.heeded(submission, key):
            if taken is not None:
                await self._tell(taken)
            yield

    async def _tell(self, message: ControlMessage) -> None:
        try:
            async with asyncio.timeout(_TELLING_S):
                await self.channel.tell(message)
        except (BrokerUnavailable, TimeoutError) as error:
            log.warning("control.not_told", reason=str(error), effect="others may judge an older submission")


def _taken(supersede_key: str, key: Key, delivery: Delivery) -> Taken:
    """Return what others have to know of a delivery; a time that is ahead of our clock is that of now."""
    now_ms = round(delivery.received_at.timestamp() * 1000)
    first_ms = 0 if delivery.redelivered else now_ms
    published_ms = first_ms
    if delivery.timestamp is not None:
        published_ms = min(max(0, round(delivery.timestamp.timestamp() * 1000)), now_ms)
    return Taken(
        key=supersede_key,
        id=key[0],
        body_sha256=key[1].hex(),
        published_ms=published_ms,
        taken_ms=first_ms,
    )
