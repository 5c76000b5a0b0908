"""POST /submissions/new: from a request to the queue, and back with the result if the client waits for it."""

import asyncio
import re
from functools import partial
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web

from verdictd import metrics
from verdictd.amqp.replies import trace_headers
from verdictd.amqp.requests import Expected, Requests
from verdictd.concurrency import offload
from verdictd.contract.codec import LARGE_BODY_BYTES, decode
from verdictd.contract.fields import Schema
from verdictd.contract.submission import Submission, submission_model
from verdictd.errors import BrokerUnavailable, InvalidSubmission
from verdictd.judging.admission import Admission
from verdictd.monitoring.status import StatusReporter
from verdictd.settings import Settings
from verdictd.web.examples import RESULT, SUBMISSION
from verdictd.web.openapi import COMPONENTS, RETRY_AFTER, Route, response
from verdictd.web.responses import Accepted, HttpError, json_response

_HELD_MESSAGES: Final = 4  # number of bodies of the largest size that fit in memory at once
_BROKERS_BOUND: Final = re.compile(r"larger than configured max size (\d+)")
"""RabbitMQ's refusal of a message that exceeds its own bound, which may be less than ours."""
_RETRY_LATER: Final = {"Retry-After": "5"}
_WAIT: Final = {"": True, "true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

log = structlog.get_logger()


class SubmissionHandler:
    """Takes submissions over HTTP. State: the number of requests in flight, and the bytes of their bodies."""

    def __init__(
        self, *, settings: Settings, admission: Admission, requests: Requests, reporter: StatusReporter
    ) -> None:
        self._settings = settings
        self._http = settings.http
        self._model = submission_model(settings.limits)
        self._max_bytes = settings.limits.message_bytes
        self._admission = admission
        self._requests = requests
        self._reporter = reporter
        self._in_flight = 0
        self._held_bytes = 0

    def route(self) -> Route:
        """Return the route that takes submissions."""
        return Route(web.post("/submissions/new", self.submit), _operation(self._settings))

    async def submit(self, request: web.Request) -> web.Response:
        """Publish a submission, and wait for its result if asked to; raises HttpError."""
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
            if (bound := _BROKERS_BOUND.search(str(error))) is not None:
                raise _too_large(int(bound[1])) from error
            raise _unavailable("RabbitMQ is not available.") from error
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
        """Check all that does not need the body; raises HttpError."""
        charset = (request.charset or "utf-8").lower()
        if request.content_type != "application/json" or charset not in {"utf-8", "utf8", "us-ascii"}:
            raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Only application/json in UTF-8 is accepted.")
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A content encoding is not accepted.")
        if (request.content_length or 0) > self._max_bytes:
            raise _too_large(self._max_bytes)
        if self._reporter.stopping:
            raise _unavailable("The daemon is stopping.")
        if self._in_flight >= self._http.max_requests:
            raise _unavailable("Too many requests are in progress.")

    async def _publish(self, request: web.Request, expected: Expected | None) -> str:
        """Read, check and publish; return the id. The body is not kept while waiting for the result."""
        if await self._requests.queue_length() >= self._http.max_queue_length:
            raise HttpError(
                HTTPStatus.TOO_MANY_REQUESTS, "Too many submissions are waiting.", headers=_RETRY_LATER
            )
        received = bytearray()
        try:
            await self._read(request, received)
            decoding = partial(_decode, received, self._model)
            submission, body = await offload(decoding, len(received), large=LARGE_BODY_BYTES)
            if len(body) > self._max_bytes:
                raise _too_large(self._max_bytes)
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
                        raise _too_large(self._max_bytes)
                    if self._held_bytes > _HELD_MESSAGES * self._max_bytes:
                        raise _unavailable("Too many large requests are in progress.")
        except TimeoutError as error:
            raise HttpError(HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time.") from error


def _wait(request: web.Request) -> bool:
    """Return True if the client waits for the result: ?wait=true, in any case, or ?wait alone."""
    unknown = sorted(set(request.query) - {"wait"})
    if unknown:
        message = f"Unknown query parameter {unknown[0][:100]!r}; the only one is wait."
        raise HttpError(HTTPStatus.BAD_REQUEST, message)
    given = [value.lower() for value in request.query.getall("wait", ["false"])]
    if len(given) > 1 or given[0] not in _WAIT:
        raise HttpError(HTTPStatus.BAD_REQUEST, "wait must be true or false.")
    return _WAIT[given[0]]


def _too_large(max_bytes: int) -> HttpError:
    return HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A submission may have at most {max_bytes} bytes.")


def _unavailable(message: str) -> HttpError:
    return HttpError(HTTPStatus.SERVICE_UNAVAILABLE, message, headers=_RETRY_LATER)


def _decode(received: bytearray, model: type[Submission]) -> tuple[Submission, bytes]:
    """Return the submission, and its body with the id in it: if it is published twice, it is still one."""
    body = bytes(received)
    submission = decode(body, model)
    if "id" not in submission.model_fields_set:
        body = b'{"id":"%b",' % submission.id.encode() + body.lstrip(b" \t\r\n")[1:]
    return submission, body


def _operation(settings: Settings) -> Schema:
    wait = {
        "name": "wait",
        "in": "query",
        "description": f"Whether to wait for the result, for at most {settings.http.wait_s:g} seconds.",
        "schema": {"type": "boolean", "default": False},
    }
    return {
        "operationId": "submit",
        "summary": "Publish a submission, and wait for its result if wanted.",
        "description": (
            "With 200 and 202 the submission is in the queue, on disk. After 503 or a lost connection it may "
            "be there too: send it again with the same id. A result that is returned here is not published "
            "to the results queue."
        ),
        "parameters": [wait],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": f"{COMPONENTS}Submission"}, "example": SUBMISSION}
            },
        },
        "responses": {
            "200": response("The result, if it was waited for and came in time.", "Result", example=RESULT),
            "202": response("In the queue.", "Accepted"),
            "400": response("Invalid query parameter."),
            "408": response(f"The request took more than {settings.http.request_timeout_s:g} seconds."),
            "413": response(f"The body has more than {settings.limits.message_bytes} bytes."),
            "415": response("The content type is not application/json, or the body has a content encoding."),
            "422": response("Invalid submission: `errors` has the reasons."),
            "429": response("Too many submissions are waiting in the queue.", headers=RETRY_AFTER),
            "503": response(
                "RabbitMQ is unavailable, or the daemon is too busy or stopping.", headers=RETRY_AFTER
            ),
        },
    }
