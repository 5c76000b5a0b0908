"""Progress of submissions: each step of those that asked for events becomes one."""

import itertools
import secrets
import socket
from datetime import UTC, datetime

from cachetools import LRUCache

from verdictd.amqp.delivery import Delivery
from verdictd.amqp.events import EventPublisher, OutgoingEvent
from verdictd.amqp.replies import correlation_id_of
from verdictd.contract.events import Event, EventKind, Step
from verdictd.contract.result import Result
from verdictd.contract.submission import Submission

_REMEMBERED = 1_000  # submissions


class EventFeed:
    """Makes events, and hands them on without waiting.

    State: the last event of each submission that finished here lately, for those who begin to watch too late.
    """

    def __init__(self, publisher: EventPublisher) -> None:
        self.host = socket.gethostname()
        self._publisher = publisher
        self._finished: LRUCache[str, bytes] = LRUCache(_REMEMBERED)

    def of(self, submission: Submission, delivery: Delivery) -> "SubmissionEvents | None":
        """Return the events of a delivery; None if its submission asked for none."""
        return SubmissionEvents(self, submission.id, delivery) if submission.events else None

    def finished(self, submission_id: str) -> bytes | None:
        """Return the last event of a submission whose result is known here."""
        return self._finished.get(submission_id)

    def publish(self, event: Event, correlation_id: str) -> None:
        """Publish an event."""
        body = event.model_dump_json().encode()
        if event.kind is EventKind.FINISHED:
            self._finished[event.id] = body
        elif event.kind is EventKind.STARTED:
            self._finished.pop(event.id, None)
        self._publisher.offer(OutgoingEvent(event.id, event.kind, body, correlation_id))


class SubmissionEvents:
    """Events of one delivery of a submission. State: the number of the next one."""

    def __init__(self, feed: EventFeed, submission_id: str, delivery: Delivery) -> None:
        self._feed = feed
        self._id = submission_id
        self._attempt = delivery.attempt
        self._correlation_id = correlation_id_of(delivery, submission_id)
        self._run = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._judged: Step | None = None

    def step(self, step: Step) -> None:
        """Tell of a step of the judge."""
        self._judged = step
        event = Event(
            id=self._id,
            run=self._run,
            sequence=next(self._numbers),
            attempt=self._attempt,
            at=datetime.now(UTC),
            host=self._feed.host,
            **dict(step),
        )
        self._feed.publish(event, self._correlation_id)

    def finished(self, result: Result) -> None:
        """Tell that the result is published."""
        tests = len(result.tests) or (self._judged.tests if self._judged else 0)
        step = Step(
            kind=EventKind.FINISHED, tests=tests, done=tests, status=result.status, points=result.points
        )
        self.step(step)
