"""HTTP in: the application, its routes, and what holds for all of them."""

import asyncio
import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from http import HTTPStatus
from math import nan
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client.aiohttp import make_aiohttp_handler
from pydantic import SecretStr

from verdictd import metrics
from verdictd.amqp.requests import Requests
from verdictd.errors import BrokerUnavailable
from verdictd.judging.judgehost import Judgehost
from verdictd.judging.languages import Language
from verdictd.monitoring.status import QueueStatus, StatusReporter
from verdictd.settings import Settings
from verdictd.web.openapi import OPEN_PATHS, document
from verdictd.web.responses import Health, HttpError, Offer, OfferedLanguage, Readiness, json_response
from verdictd.web.submissions import Intake

_DOCS: Final = Path(__file__).with_name("docs.html")
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Server": "verdictd",  # or aiohttp tells its version, and that of Python
    "X-Content-Type-Options": "nosniff",
}

log = structlog.get_logger()


def application(
    *, settings: Settings, host: Judgehost, requests: Requests, reporter: StatusReporter
) -> web.Application:
    """The application; it publishes through `requests`, and looks at the rest."""
    tokens = settings.http.tokens
    app = web.Application(middlewares=[_errors_as_json, *([_token_check(tokens)] if tokens else [])])
    app.on_response_prepare.append(_add_headers)
    intake = Intake(settings=settings, admission=host.admission, requests=requests, reporter=reporter)
    pages = _Pages(settings, host, requests, reporter)
    app.router.add_post("/submissions/new", intake.submit)
    app.router.add_get("/languages", pages.languages)
    app.router.add_get("/status", pages.status)
    app.router.add_get("/metrics", pages.metrics)
    app.router.add_get("/healthz", pages.healthz)
    app.router.add_get("/readyz", pages.readyz)
    app.router.add_get("/openapi.json", pages.openapi)
    app.router.add_get("/docs", pages.docs)
    return app


class _Pages:
    """What can only be read."""

    def __init__(
        self, settings: Settings, host: Judgehost, requests: Requests, reporter: StatusReporter
    ) -> None:
        self._limits = settings.limits
        self._submissions_queue = settings.broker.submissions_queue
        self._host = host
        self._requests = requests
        self._reporter = reporter
        self._document = document(settings)
        self._docs = _DOCS.read_text("utf-8")
        self._asking_versions = asyncio.Lock()
        self._measured = make_aiohttp_handler()

    async def healthz(self, _: web.Request) -> web.Response:
        return json_response(Health())

    async def readyz(self, _: web.Request) -> web.Response:
        problems = self._reporter.problems()
        status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
        return json_response(Readiness(not problems, problems), status)

    async def status(self, _: web.Request) -> web.Response:
        return json_response(
            self._reporter.status(QueueStatus(self._submissions_queue, await self._waiting()))
        )

    async def _waiting(self) -> int | None:
        try:
            return await self._requests.queue_length()
        except BrokerUnavailable:
            return None

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        waiting = await self._waiting()
        metrics.WAITING.set(nan if waiting is None else waiting)
        self._reporter.measure()
        return await self._measured(request)

    async def languages(self, _: web.Request) -> web.Response:
        # One compiler after the other, once, for programs are being judged meanwhile.
        async with self._asking_versions:
            offered = [await self._offered(language) for language in self._host.registry.available]
        return json_response(Offer(offered, self._limits))

    async def _offered(self, language: Language) -> OfferedLanguage:
        return OfferedLanguage(
            name=language.name,
            aliases=sorted(language.words - {language.name.casefold()}),
            version=await self._host.judge.version(language),
            compiled=bool(language.compile_cmd),
            network=language.allow_network,
            extra_processes=language.extra_processes,
            compile_limits=language.compile_limits if language.compile_cmd else None,
        )

    async def openapi(self, _: web.Request) -> web.Response:
        return json_response(self._document)

    async def docs(self, _: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": _policy(self._docs)}
        return web.Response(text=self._docs, content_type="text/html", headers=headers)


def _policy(page: str) -> str:
    """Allow the page its own script and style, and to read from this daemon; nothing else."""
    script, style = (_hashes(page, tag) for tag in ("script", "style"))
    rules = {
        "default-src": "'none'",
        "script-src": script,
        "style-src": style,
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hashes(page: str, tag: str) -> str:
    blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except HttpError as refused:
        return refused.response()
    except web.HTTPException as error:  # the router's: 404 and 405
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return HttpError(HTTPStatus(error.status), f"{error.reason}.", headers=allow).response()
    except ConnectionError:
        raise
    except Exception:
        log.exception("http.failed", method=request.method, path=request.path)
        return HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "A fault of the daemon.").response()


def _token_check(tokens: Iterable[SecretStr]) -> Middleware:
    known = [token.get_secret_value().encode() for token in tokens]

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        token = given.strip().encode(errors="surrogateescape")
        # Each is compared, so that the time tells nothing.
        matches = [hmac.compare_digest(token, other) for other in known]
        if request.path in OPEN_PATHS or (scheme.lower() == "bearer" and any(matches)):
            return await handler(request)
        raise HttpError(HTTPStatus.UNAUTHORIZED, "A token is needed.", headers={"WWW-Authenticate": "Bearer"})

    return check


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
