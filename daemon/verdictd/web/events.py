"""GET /submissions/{id}/events: the events of a submission, as server-sent events."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web

from verdictd.amqp.following import Followed
from verdictd.amqp.requests import Requests
from verdictd.contract.events import EventKind
from verdictd.contract.fields import Schema
from verdictd.errors import BrokerUnavailable
from verdictd.monitoring.status import StatusReporter
from verdictd.settings import HttpSettings
from verdictd.web.ids import BAD_ID, ID_PARAMETER, submission_id
from verdictd.web.openapi import RETRY_AFTER, Route, response
from verdictd.web.responses import HttpError

_KEEP_ALIVE_S: Final = 15
_NO_NEWS: Final = b": no news\n\n"
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "X-Accel-Buffering": "no",  # of nginx, which would collect events for a while
}

Finished = Callable[[str], bytes | None]
"""Returns the last event of a submission whose result is known here already."""

log = structlog.get_logger()


class EventStreams:
    """Passes events on over HTTP. State: the number of streams."""

    def __init__(
        self, *, settings: HttpSettings, requests: Requests, reporter: StatusReporter, finished: Finished
    ) -> None:
        self._settings = settings
        self._requests = requests
        self._reporter = reporter
        self._finished = finished
        self._open = 0

    def route(self) -> Route:
        """Return the route of the streams."""
        # Not HEAD: it would wait for events that it does not show.
        definition = web.get("/submissions/{id}/events", self.stream, allow_head=False)
        return Route(definition, _operation(self._settings))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send events until the submission is finished, or for as long as a stream may last."""
        wanted = submission_id(request)
        if self._reporter.stopping:
            raise _unavailable("The daemon is stopping.")
        if self._open >= self._settings.max_event_streams:
            raise _unavailable("Too many streams of events are open.")
        self._open += 1
        try:
            async with self._requests.follow(wanted) as followed:
                return await self._answer(request, wanted, followed)
        except BrokerUnavailable as error:
            log.warning("http.not_followed", error=str(error))
            raise _unavailable("RabbitMQ is not available.") from error
        finally:
            self._open -= 1

    async def _answer(
        self, request: web.Request, submission_id: str, followed: Followed
    ) -> web.StreamResponse:
        answer = web.StreamResponse(headers=_HEADERS)
        await answer.prepare(request)
        # Looked at now that nothing is missed any more, so that it cannot finish in between.
        if self._finished(submission_id) is None and await self._pass_on(followed, answer):
            return answer
        finished = self._finished(submission_id)
        if finished is not None:
            await answer.write(_as_sent(EventKind.FINISHED, finished))
        return answer

    async def _pass_on(self, followed: Followed, answer: web.StreamResponse) -> bool:
        """Send events as they come; return True if the last one was sent, False if no more will come."""
        try:
            async with asyncio.timeout(self._settings.event_stream_s):
                while True:
                    event = await followed.next(_KEEP_ALIVE_S)
                    await answer.write(_NO_NEWS if event is None else _as_sent(event.kind, event.body))
                    if event is not None and event.kind == EventKind.FINISHED:
                        return True
        except (BrokerUnavailable, TimeoutError):
            return False  # the head is sent: the end of the stream is all that can be said of it


def _as_sent(kind: str, body: bytes) -> bytes:
    """Return an event as its stream has it. A body in JSON may have line ends, and is one line for each."""
    lines = b"".join(b"data: %b\n" % line for line in body.splitlines())
    return b"event: %b\n%b\n" % (kind.encode(), lines)


def _unavailable(message: str) -> HttpError:
    return HttpError(HTTPStatus.SERVICE_UNAVAILABLE, message, headers={"Retry-After": "5"})


def _operation(settings: HttpSettings) -> Schema:
    stream: Schema = {
        "description": "The events. Its fields `event` and `data` have the kind and the JSON of each.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
    return {
        "operationId": "events",
        "summary": "Events of a submission that asks for them, while it is judged.",
        "description": (
            "None is missed that happens after the head of the response, so open the stream before you send "
            "the submission. It ends after the event `finished`, at once if that is known here already, and "
            f"otherwise after {settings.event_stream_s:g} seconds. The schema `Event` has the fields of each."
        ),
        "parameters": [ID_PARAMETER],
        "responses": {
            "200": stream,
            "400": response(f"{BAD_ID}."),
            "503": response(
                "RabbitMQ is unavailable, too many streams are open, or the daemon is stopping.",
                headers=RETRY_AFTER,
            ),
        },
    }
