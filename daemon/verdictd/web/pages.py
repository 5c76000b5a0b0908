"""Pages that can only be read: health, status, metrics, languages and documents."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from verdictd.amqp.requests import Requests
from verdictd.errors import BrokerUnavailable
from verdictd.judging.judgehost import Judgehost
from verdictd.judging.languages import Language
from verdictd.monitoring.status import DaemonStatus, QueueStatus, StatusReporter
from verdictd.settings import Settings
from verdictd.web.openapi import Route, get_operation, response
from verdictd.web.responses import Health, Offer, OfferedLanguage, Readiness, json_response

DOCUMENT: Final = web.AppKey("document", dict)
"""Key of the application's OpenAPI document, which is made from all routes."""
_DOCS: Final = Path(__file__).with_name("docs.html")


class Pages:
    """Handlers of the pages that can only be read."""

    def __init__(
        self, settings: Settings, host: Judgehost, requests: Requests, reporter: StatusReporter
    ) -> None:
        self._limits = settings.limits
        self._queues = settings.broker.submission_queues
        self._host = host
        self._requests = requests
        self._reporter = reporter
        self._docs = _DOCS.read_text("utf-8")
        self._asking_versions = asyncio.Lock()
        self._metrics_handler = make_aiohttp_handler()

    def routes(self) -> Sequence[Route]:
        """Return the pages. Probes have no token, and the documents hold no secrets: both are open."""
        readiness = get_operation(
            "readyz", "Whether submissions are accepted and judged here now.", Readiness
        )
        readiness["responses"]["503"] = response("Not ready, and the reasons.", "Readiness")
        return (
            Route(
                web.get("/languages", self.languages),
                get_operation("languages", "Languages on offer, and the limits of a submission.", Offer),
            ),
            Route(
                web.get("/status", self.status),
                get_operation("status", "Boxes and what they run, rates, verdicts, versions.", DaemonStatus),
            ),
            Route(
                web.get("/metrics", self.metrics),
                get_operation("metrics", "Metrics for Prometheus.", None, "text/plain"),
            ),
            Route(
                web.get("/healthz", self.healthz),
                get_operation("healthz", "Whether the daemon answers.", Health),
                needs_token=False,
            ),
            Route(web.get("/readyz", self.readyz), readiness, needs_token=False),
            Route(
                web.get("/openapi.json", self.openapi),
                get_operation("openapi", "This document.", None),
                needs_token=False,
            ),
            Route(
                web.get("/docs", self.docs),
                get_operation("docs", "This document as a page.", None, "text/html"),
                needs_token=False,
            ),
        )

    async def healthz(self, _: web.Request) -> web.Response:
        return json_response(Health())

    async def readyz(self, _: web.Request) -> web.Response:
        problems = self._reporter.problems()
        status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
        return json_response(Readiness(not problems, problems), status)

    async def status(self, _: web.Request) -> web.Response:
        waiting = await self._waiting()
        queues = [QueueStatus(queue.name, queue.weight, waiting.get(queue.name)) for queue in self._queues]
        return json_response(self._reporter.status(queues))

    async def _waiting(self) -> Mapping[str, int]:
        """Return the length of each queue; nothing while RabbitMQ is away."""
        try:
            return await self._requests.queue_lengths()
        except BrokerUnavailable:
            return {}

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        self._reporter.measure(await self._waiting())
        return await self._metrics_handler(request)

    async def languages(self, _: web.Request) -> web.Response:
        # Compilers are asked for their versions one after the other: programs are being judged meanwhile.
        async with self._asking_versions:
            offered = [await self._offered(language) for language in self._host.registry.available]
        return json_response(Offer(offered, self._limits))

    async def _offered(self, language: Language) -> OfferedLanguage:
        return OfferedLanguage(
            name=language.name,
            aliases=sorted(language.words - {language.name.casefold()}),
            version=await self._host.versions.of(language),
            compiled=bool(language.compile_cmd),
            network=language.allow_network,
            extra_processes=language.extra_processes,
            time_factor=language.time_factor,
            extra_memory_kib=language.extra_memory_kib,
            compile_limits=language.compile_limits if language.compile_cmd else None,
        )

    async def openapi(self, request: web.Request) -> web.Response:
        return json_response(request.app[DOCUMENT])

    async def docs(self, _: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": _policy(self._docs)}
        return web.Response(text=self._docs, content_type="text/html", headers=headers)


def _policy(page: str) -> str:
    """Allow the page its own script and style and requests to this daemon, and nothing else."""
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
