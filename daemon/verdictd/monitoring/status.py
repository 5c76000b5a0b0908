"""Status of the daemon: ready or not and why, its boxes, rates, versions."""

import asyncio
import platform
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from math import nan

from pydantic import AwareDatetime

from verdictd import __version__, metrics
from verdictd.amqp.consumer import Consumer
from verdictd.amqp.control import ControlChannel
from verdictd.amqp.publisher import Publisher
from verdictd.amqp.requests import Requests
from verdictd.contract.result import Status
from verdictd.judging.judge import Running
from verdictd.judging.judgehost import Judgehost
from verdictd.monitoring.history import History, Rate, ResultSummary
from verdictd.sandbox.model import BoxId
from verdictd.sandbox.pool import BoxState


@dataclass(frozen=True, slots=True)
class BoxStatus:
    """A box, and the submission that runs in it."""

    box: BoxId
    state: BoxState
    running: Running | None


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """Queue of submissions, which all judge boxes share; `messages` wait, those in flight are not counted."""

    name: str
    weight: int
    messages: int | None
    """Null while RabbitMQ is away."""


class SeenState(StrEnum):
    """State of a submission, as far as this daemon has seen it lately."""

    RUNNING = "running"
    ANSWERED = "answered"
    UNKNOWN = "unknown"
    """It may be in the queue, with another daemon, or nowhere."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A submission, as far as this daemon has seen it lately; the status if it was answered."""

    state: SeenState
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class Versions:
    """Versions of everything that takes part in a verdict, except the languages."""

    verdictd: str
    sandbox: str
    python: str
    kernel: str


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """A daemon at one moment."""

    host: str
    at: AwareDatetime
    started_at: AwareDatetime
    ready: bool
    problems: list[str]
    """Reasons why it is not ready; empty if it is."""
    queues: list[QueueStatus]
    boxes: list[BoxStatus]
    rates: list[Rate]
    verdicts: list[ResultSummary]
    """Newest first."""
    versions: Versions


def _because(problem: str, reason: str) -> str:
    return f"{problem}: {reason}" if reason else problem


class StatusReporter:
    """Looks at the parts of the service, and says how they are."""

    def __init__(
        self,
        host: Judgehost,
        history: History,
        stop: asyncio.Event,
        *,
        publisher: Publisher,
        consumers: Sequence[Consumer],
        control: ControlChannel,
        requests: Requests | None,
    ) -> None:
        self._host = host
        self._history = history
        self._stop = stop
        self._started_at = datetime.now(UTC)
        self._publisher = publisher
        self._submissions = consumers[0]
        self._readers: list[Consumer | ControlChannel] = [*consumers, control]
        self._requests = requests
        metrics.INFO.info(
            {
                "version": __version__,
                "sandbox": host.sandbox.name,
                "sandbox_version": host.sandbox.version,
                "control_groups": str(host.sandbox.control_groups).lower(),
            }
        )

    @property
    def consuming(self) -> bool:
        """True while RabbitMQ delivers submissions to us."""
        return self._submissions.consuming

    @property
    def stopping(self) -> bool:
        """True once the daemon was asked to stop."""
        return self._stop.is_set()

    def hung(self) -> Iterator[str]:
        """Yield what neither works over RabbitMQ nor tries to."""
        for reader in self._readers:
            if reader.overdue:
                yield f"the consumer of {reader.name} neither consumes nor tries to"
        if self._publisher.overdue:
            yield "the publisher of results is not connected and does not try to be"

    def problems(self) -> list[str]:
        """Return why submissions are not taken and judged here now; empty if they are."""
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        if self.stopping:
            yield "stopping"
        publisher, submissions = self._publisher, self._submissions
        told = publisher.failure
        if not publisher.connected:
            yield _because("not connected to RabbitMQ", told)
        elif not publisher.confirming:
            yield "RabbitMQ takes no results now"
        if not submissions.consuming:
            yield _because(
                "not consuming submissions", "" if told == submissions.failure else submissions.failure
            )
        if not self._host.pool.usable:
            yield _because("no box is usable", self._host.pool.failure)
        if self._requests is not None and not self._requests.connected:
            told_already = not publisher.connected or not submissions.consuming
            yield _because("not taking submissions over HTTP", "" if told_already else self._requests.failure)

    def measure(self, waiting: Mapping[str, int]) -> None:
        """Set the metrics that are states, for a scrape; `waiting` has the lengths of queues, if known."""
        for queue in self._submissions.queues:
            length = waiting.get(queue, nan)
            metrics.WAITING.labels(queue).set(length)
            metrics.OLDEST.labels(queue).set(self._submissions.backlog.oldest_s(queue, length))
        metrics.READY.set(not self.problems())
        metrics.BROKER_CONNECTED.set(self._publisher.confirming)
        for reader in self._readers:
            for queue in reader.queues:
                metrics.CONSUMING.labels(queue).set(reader.consuming)
        metrics.DRAINING.set(self.stopping)
        states = Counter(self._host.pool.states.values())
        for state in BoxState:
            metrics.BOXES.labels(state).set(states[state])

    @property
    def boxes(self) -> list[BoxStatus]:
        """State of each box."""
        running = self._host.judge.running
        return [BoxStatus(box, state, running.get(box)) for box, state in self._host.pool.states.items()]

    @property
    def rates(self) -> list[Rate]:
        """Rates of the last minutes, shortest window first."""
        return self._history.rates

    def seen(self, submission_id: str) -> Seen:
        """Return what this daemon has seen of a submission lately."""
        if any(running.id == submission_id for running in self._host.judge.running.values()):
            return Seen(SeenState.RUNNING)
        statuses = (verdict.status for verdict in self._history.verdicts if verdict.id == submission_id)
        status = next(statuses, None)
        return Seen(SeenState.UNKNOWN if status is None else SeenState.ANSWERED, status)

    def status(self, queues: list[QueueStatus]) -> DaemonStatus:
        """Return the whole status."""
        problems = self.problems()
        sandbox = self._host.sandbox
        return DaemonStatus(
            host=socket.gethostname(),
            at=datetime.now(UTC),
            started_at=self._started_at,
            ready=not problems,
            problems=problems,
            queues=queues,
            boxes=self.boxes,
            rates=self.rates,
            verdicts=self._history.verdicts,
            versions=Versions(
                verdictd=__version__,
                sandbox=f"{sandbox.name} {sandbox.version}",
                python=platform.python_version(),
                kernel=platform.release(),
            ),
        )
