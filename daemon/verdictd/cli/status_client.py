"""Client of the status that daemons serve over HTTP."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from pydantic import SecretStr, TypeAdapter, ValidationError
from yarl import URL

from verdictd import __version__
from verdictd.contract.validation import in_words
from verdictd.monitoring.status import DaemonStatus
from verdictd.settings import HttpSettings

TIMEOUT_S = 5
_MAX_BYTES = 4 * 1024 * 1024  # a thousand boxes take a twentieth
_STATUS = TypeAdapter(DaemonStatus)


@dataclass(frozen=True, slots=True)
class DaemonReport:
    """Status of a daemon at one moment, or the reason why it is not known."""

    daemon: URL
    status: DaemonStatus | None = None
    reason: str = ""

    @property
    def ready(self) -> bool:
        """Return True if the daemon is judging submissions now."""
        return self.status is not None and self.status.ready

    @property
    def problems(self) -> list[str]:
        """Return the reasons why it is not ready, none if it is; the text may be a stranger's."""
        return [self.reason] if self.status is None else self.status.problems


class StatusClient:
    """Ask daemons for their status; `open_client` makes one."""

    def __init__(self, session: aiohttp.ClientSession, *, token: bool) -> None:
        self._session = session
        self._token = token

    async def ask(self, daemon: URL) -> DaemonReport:
        """Return the status of a daemon within `TIMEOUT_S`, or the reason why there is none."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._ask(daemon)
        except TimeoutError:
            return DaemonReport(daemon, reason=f"no answer within {TIMEOUT_S} s")
        except aiohttp.ClientConnectorError as error:
            return DaemonReport(daemon, reason=f"cannot connect: {_why(error.os_error)}")
        except ValidationError as error:
            return DaemonReport(daemon, reason=f"not the status of a verdictd {__version__}: {_first(error)}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return DaemonReport(daemon, reason=f"{type(error).__name__}: {error}")

    async def _ask(self, daemon: URL) -> DaemonReport:
        # A redirect is not followed: it would lead to another daemon than the one that was named.
        async with self._session.get(daemon / "status", allow_redirects=False) as response:
            if response.status == HTTPStatus.UNAUTHORIZED:
                refusal = "does not accept our token" if self._token else "wants a token"
                return DaemonReport(daemon, reason=f"{refusal}; see http.tokens")
            if response.status != HTTPStatus.OK:
                return DaemonReport(daemon, reason=f"answers with HTTP status {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(64 * 1024):
                body += chunk
                if len(body) > _MAX_BYTES:
                    return DaemonReport(daemon, reason=f"answers with more than {_MAX_BYTES} bytes")
        return DaemonReport(daemon, _STATUS.validate_json(bytes(body)))


@asynccontextmanager
async def open_client(token: SecretStr | None) -> AsyncIterator[StatusClient]:
    """Make a client that keeps its connections open until the block ends."""
    headers = {"User-Agent": f"verdictd/{__version__}"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token.get_secret_value()}"
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=None),  # `ask` has its own
    ) as session:
        yield StatusClient(session, token=token is not None)


def parse_address(text: str) -> URL:
    """Return the URL of a daemon from a URL or `host:port`; raise ValueError with what is wrong."""
    daemon = URL(text if "://" in text else f"http://{text}")
    if daemon.scheme not in {"http", "https"} or not daemon.host:
        raise ValueError("must be an http or https URL")
    if daemon.user is not None or daemon.password is not None:
        raise ValueError(
            "must not contain a password, which every user of this host could read; set http.tokens"
        )
    if daemon.query_string or daemon.fragment:
        raise ValueError("must not have a query or a fragment")
    return daemon


def local_daemon(settings: HttpSettings) -> URL:
    """Return the URL of the daemon with these settings, as seen from its own host."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - not bound
    return URL.build(scheme="http", host=here, port=settings.port)


def _why(error: OSError) -> str:
    # The text of asyncio names the call that failed, not the reason.
    if isinstance(error, ConnectionError) and error.errno is not None:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {in_words(problem)}" if where else in_words(problem)
