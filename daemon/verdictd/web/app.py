"""HTTP in: the application, and the middlewares that hold for all of its routes."""

import hmac
from collections.abc import Collection, Iterable
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import SecretStr

from verdictd.amqp.control import ControlChannel
from verdictd.amqp.requests import Requests
from verdictd.judging.judgehost import Judgehost
from verdictd.monitoring.status import StatusReporter
from verdictd.settings import Settings
from verdictd.web.cancelling import CancelHandler
from verdictd.web.events import EventStreams, Finished
from verdictd.web.hosts import host_check
from verdictd.web.openapi import document
from verdictd.web.pages import DOCUMENT, Pages
from verdictd.web.responses import HttpError
from verdictd.web.submissions import SubmissionHandler

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Server": "verdictd",  # aiohttp would add its own version, and that of Python
    "X-Content-Type-Options": "nosniff",
}

log = structlog.get_logger()


def application(
    *,
    settings: Settings,
    host: Judgehost,
    requests: Requests,
    control: ControlChannel,
    reporter: StatusReporter,
    finished: Finished,
) -> web.Application:
    """Make the application; it publishes through `requests` and `control`, and only reads from the others."""
    submissions = SubmissionHandler(
        settings=settings, admission=host.admission, requests=requests, reporter=reporter
    )
    cancelling = CancelHandler(control, reporter)
    streams = EventStreams(settings=settings.http, requests=requests, reporter=reporter, finished=finished)
    routes = [
        submissions.route(),
        cancelling.route(),
        streams.route(),
        *Pages(settings, host, requests, reporter).routes(),
    ]
    middlewares: list[Middleware] = [_errors_as_json, host_check(settings.http)]
    if tokens := settings.http.tokens:
        open_paths = ["/", *(route.definition.path for route in routes if not route.needs_token)]
        middlewares.append(_token_check(tokens, open_paths))
    app = web.Application(middlewares=middlewares)
    app.on_response_prepare.append(_add_headers)
    app.router.add_routes([route.definition for route in routes])
    app.router.add_get("/", _to_docs)
    app[DOCUMENT] = document(settings, routes)
    return app


async def _to_docs(_: web.Request) -> web.Response:
    # Relative, for a proxy that serves the daemon below a path.
    return web.Response(status=HTTPStatus.FOUND, headers={"Location": "docs"})


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except HttpError as refused:
        return refused.response()
    except web.HTTPException as error:  # from the router: 404 and 405
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return HttpError(HTTPStatus(error.status), f"{error.reason}.", headers=allow).response()
    except ConnectionError:
        raise
    except Exception:
        log.exception("http.failed", method=request.method, path=request.path)
        return HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error of the daemon.").response()


def _token_check(tokens: Iterable[SecretStr], open_paths: Collection[str]) -> Middleware:
    known = [token.get_secret_value().encode() for token in tokens]

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        token = given.strip().encode(errors="surrogateescape")
        # All tokens are compared, so that the time taken reveals nothing.
        matches = [hmac.compare_digest(token, other) for other in known]
        if request.path in open_paths or (scheme.lower() == "bearer" and any(matches)):
            return await handler(request)
        raise HttpError(
            HTTPStatus.UNAUTHORIZED,
            "A valid bearer token is required.",
            headers={"WWW-Authenticate": "Bearer"},
        )

    return check


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
