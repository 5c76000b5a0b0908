"""DELETE /submissions/{id}: cancel a submission, wherever it is."""

from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web

from verdictd.amqp.control import ControlChannel
from verdictd.contract.control import ControlMessage
from verdictd.contract.fields import Schema
from verdictd.errors import BrokerUnavailable
from verdictd.monitoring.status import StatusReporter
from verdictd.web.ids import BAD_ID, ID_PARAMETER, submission_id
from verdictd.web.openapi import RETRY_AFTER, Route, response
from verdictd.web.responses import Cancelling, HttpError, json_response

_RETRY_LATER: Final = {"Retry-After": "5"}

log = structlog.get_logger()


class CancelHandler:
    """Cancels submissions over HTTP."""

    def __init__(self, control: ControlChannel, reporter: StatusReporter) -> None:
        self._control = control
        self._reporter = reporter

    def route(self) -> Route:
        """Return the route that cancels submissions."""
        return Route(web.delete("/submissions/{id}", self.cancel), _operation())

    async def cancel(self, request: web.Request) -> web.Response:
        """Tell all daemons; raises HttpError."""
        wanted = submission_id(request)
        seen = self._reporter.seen(wanted)
        try:
            await self._control.tell(ControlMessage(cancel=wanted))
        except BrokerUnavailable as error:
            log.warning("http.not_cancelled", id=wanted, error=str(error))
            message = "RabbitMQ is not available."
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, message, headers=_RETRY_LATER) from error
        return json_response(Cancelling(wanted, seen.state, seen.status), HTTPStatus.ACCEPTED)


def _operation() -> Schema:
    return {
        "operationId": "cancel",
        "summary": "Cancel a submission, wherever it is.",
        "description": (
            "All daemons are told. The submission is answered with cancelled where its result goes anyway, "
            "unless it is answered with its verdict by then. For as long as the operator has set, every "
            "submission with this id is."
        ),
        "parameters": [ID_PARAMETER],
        "responses": {
            "202": response("All daemons are told; with what this one knows.", "Cancelling"),
            "400": response(f"{BAD_ID}."),
            "503": response("RabbitMQ is unavailable.", headers=RETRY_AFTER),
        },
    }
