"""POST /submissions/new: from a request to the queue, and back with the result where it is waited for."""

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web

from verdictd import metrics
from verdictd.amqp.replies import trace_headers
from verdictd.amqp.requests import Expected, Requests
from verdictd.concurrency import offload
from verdictd.contract.codec import decode
from verdictd.contract.submission import Submission, submission_model
from verdictd.errors import BrokerUnavailable, InvalidSubmission
from verdictd.judging.admission import Admission
from verdictd.monitoring.status import StatusReporter
from verdictd.settings import Settings
from verdictd.web.responses import Accepted, HttpError, json_response

_HELD_MESSAGES: Final = 4  # of the largest size, in memory at once
_RETRY_AFTER: Final = {"Retry-After": "5"}
_WAIT: Final = {"true": True, "1": True, "false": False, "0": False}

log = structlog.get_logger()


class Intake:
    """Takes submissions over HTTP. State: how many requests are in work, and the bytes of their bodies."""

    def __init__(
        self, *, settings: Settings, admission: Admission, requests: Requests, reporter: StatusReporter
    ) -> None:
        self._http = settings.http
        self._model = submission_model(settings.limits)
        self._max_bytes = settings.limits.message_bytes
        self._admission = admission
        self._requests = requests
        self._reporter = reporter
        self._in_flight = 0
        self._held_bytes = 0

    async def submit(self, request: web.Request) -> web.Response:
        """Publish a submission, and wait for its result if wanted; raises HttpError."""
        wait = _wait(request)
        self._check(request)
        self._in_flight += 1
        expected = self._requests.expect() if wait else None
        try:
            submission_id = await self._publish(request, expected)
            if expected is not None:
                await asyncio.wait([expected.result], timeout=self._http.wait_s)
                if expected.result.done() and not expected.result.cancelled():
                    return web.Response(body=expected.result.result(), content_type="application/json")
            return json_response(Accepted(submission_id), HTTPStatus.ACCEPTED)
        except BrokerUnavailable as error:
            log.warning("http.not_published", error=str(error))
            raise _unavailable("RabbitMQ is not available") from error
        except InvalidSubmission as error:
            metrics.INVALID_SUBMISSIONS.labels(metrics.Origin.HTTP).inc()
            raise HttpError(
                HTTPStatus.UNPROCESSABLE_ENTITY, "The submission is invalid.", problems=error.problems
            ) from error
        finally:
            self._in_flight -= 1
            if expected is not None:
                expected.result.cancel()

    def _check(self, request: web.Request) -> None:
        """Refuse what needs no look at the body."""
        if request.content_type != "application/json" or (request.charset or "utf-8").lower() != "utf-8":
            raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Only application/json in UTF-8 is taken.")
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "No content encoding is taken.")
        if (request.content_length or 0) > self._max_bytes:
            raise self._too_large()
        if self._reporter.stopping:
            raise _unavailable("The daemon is stopping.")
        if self._in_flight >= self._http.max_requests:
            raise _unavailable("Too many requests are in work.")

    async def _publish(self, request: web.Request, expected: Expected | None) -> str:
        """Read, check and publish; returns the id. The body is not kept while a result is waited for."""
        if await self._requests.queue_length() >= self._http.max_queue_length:
            raise HttpError(
                HTTPStatus.TOO_MANY_REQUESTS, "Too many submissions are waiting.", headers=_RETRY_AFTER
            )
        received = bytearray()
        try:
            await self._read(request, received)
            submission, body = await offload(partial(_decode, received, self._model), len(received))
            if len(body) > self._max_bytes:
                raise self._too_large()
            self._admission.admit(submission)
            await self._requests.publish(
                body, submission.id, expected, headers=trace_headers(request.headers)
            )
        finally:
            self._held_bytes -= len(received)
        return submission.id

    async def _read(self, request: web.Request, received: bytearray) -> None:
        try:
            async with asyncio.timeout(self._http.request_timeout_s):
                async for chunk in request.content.iter_any():
                    received += chunk
                    self._held_bytes += len(chunk)
                    if len(received) > self._max_bytes:
                        raise self._too_large()
                    if self._held_bytes > _HELD_MESSAGES * self._max_bytes:
                        raise _unavailable("Too many large requests are in work.")
        except TimeoutError as error:
            raise HttpError(HTTPStatus.REQUEST_TIMEOUT, "The body did not come in time.") from error

    def _too_large(self) -> HttpError:
        return HttpError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A submission has {self._max_bytes} bytes at the most."
        )


def _wait(request: web.Request) -> bool:
    given = request.query.getall("wait", ["false"])
    if len(given) > 1 or given[0] not in _WAIT:
        raise HttpError(HTTPStatus.BAD_REQUEST, "wait is true or false.")
    return _WAIT[given[0]]


def _unavailable(message: str) -> HttpError:
    return HttpError(HTTPStatus.SERVICE_UNAVAILABLE, message, headers=_RETRY_AFTER)


def _decode(received: bytearray, model: type[Submission]) -> tuple[Submission, bytes]:
    """The submission, and its body with the id in it: it may be published twice, and is one submission."""
    body = bytes(received)
    submission = decode(body, model)
    if "id" not in submission.model_fields_set:
        body = b'{"id":"%b",' % submission.id.encode() + body.lstrip(b" \t\r\n")[1:]
    return submission, body
