"""What the daemon is doing now, for those who look: ready or not and why, its boxes, rates, versions."""

import asyncio
import platform
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import AwareDatetime

from verdictd import __version__, metrics
from verdictd.amqp.consumer import Broker
from verdictd.amqp.requests import Submitter
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
    """The queue of submissions, which all judge boxes share; `messages` wait and are in nobody's hands."""

    name: str
    messages: int | None
    """Null while the broker is away."""


@dataclass(frozen=True, slots=True)
class Versions:
    """Of everything that takes part in a verdict, but for the languages."""

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
    """Why it is not ready; empty where it is."""
    queue: QueueStatus
    boxes: list[BoxStatus]
    rates: list[Rate]
    verdicts: list[ResultSummary]
    """The newest first."""
    versions: Versions


class Consumer:
    """Who takes messages from a queue. State: the broker, as soon as there was a connection; else why not."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.broker: Broker | None = None
        self.unavailable = ""

    @property
    def consuming(self) -> bool:
        """Whether RabbitMQ delivers to us now."""
        return self.broker is not None and self.broker.consuming

    @property
    def hangs(self) -> bool:
        """Whether it neither consumes nor tries to."""
        return self.broker is not None and self.broker.liveness.overdue

    def problems(self) -> Iterator[str]:
        """Why it does not do its work now."""
        cannot_publish, cannot_consume = self.broker.failures if self.broker else (self.unavailable,) * 2
        if self.broker is None or not self.broker.connected:
            yield _because("not connected to RabbitMQ", cannot_publish)
        elif not self.broker.taking:
            yield "RabbitMQ takes no results now"
        if not self.consuming:
            told = cannot_consume == cannot_publish
            yield _because("not consuming submissions", "" if told else cannot_consume)


def _because(problem: str, reason: str) -> str:
    return f"{problem}: {reason}" if reason else problem


class StatusReporter:
    """Looks at the parts of the service."""

    def __init__(
        self,
        host: Judgehost,
        history: History,
        stop: asyncio.Event,
        *,
        submissions: Consumer,
        callbacks: Consumer | None,
    ) -> None:
        self._host = host
        self._history = history
        self._stop = stop
        self._started_at = datetime.now(UTC)
        self._submissions = submissions
        self.submitter: Submitter | None = None
        """HTTP's way to the queue, where there is one."""
        self.consumers = [consumer for consumer in (submissions, callbacks) if consumer]
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
        """Whether RabbitMQ delivers submissions to us now."""
        return self._submissions.consuming

    @property
    def stopping(self) -> bool:
        """Whether the daemon was asked to stop."""
        return self._stop.is_set()

    def problems(self) -> list[str]:
        """Why submissions are not taken and judged here now; empty where they are."""
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        if self.stopping:
            yield "stopping"
        told = list(self._submissions.problems())
        yield from told
        if not self._host.pool.usable:
            yield _because("no box is usable", self._host.pool.failure)
        if self.submitter is not None and not self.submitter.connected:
            yield _because("not taking submissions over HTTP", "" if told else self.submitter.failure)

    def measure(self) -> None:
        """Set the metrics that are states, for a scrape."""
        broker = self._submissions.broker
        metrics.READY.set(not self.problems())
        metrics.BROKER_CONNECTED.set(broker is not None and broker.taking)
        for consumer in self.consumers:
            metrics.CONSUMING.labels(consumer.queue).set(consumer.consuming)
        metrics.DRAINING.set(self.stopping)
        states = Counter(self._host.pool.states.values())
        for state in BoxState:
            metrics.BOXES.labels(state).set(states[state])

    @property
    def boxes(self) -> list[BoxStatus]:
        """Each box now."""
        running = self._host.judge.running
        return [BoxStatus(box, state, running.get(box)) for box, state in self._host.pool.states.items()]

    @property
    def rates(self) -> list[Rate]:
        """Of what was answered lately, the shortest time first."""
        return self._history.rates

    def status(self, queue: QueueStatus) -> DaemonStatus:
        """All that there is to see."""
        problems = self.problems()
        sandbox = self._host.sandbox
        return DaemonStatus(
            host=socket.gethostname(),
            at=datetime.now(UTC),
            started_at=self._started_at,
            ready=not problems,
            problems=problems,
            queue=queue,
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
