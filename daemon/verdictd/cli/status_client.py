"""What daemons say of themselves when they are asked over HTTP."""

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
from verdictd.monitoring.status import DaemonStatus
from verdictd.settings import HttpSettings

TIMEOUT_S = 5
_MAX_BYTES = 4 * 1024 * 1024  # a thousand boxes take a twentieth
_STATUS = TypeAdapter(DaemonStatus)


@dataclass(frozen=True, slots=True)
class DaemonReport:
    """A daemon at one moment, or the reason why nothing is known of it."""

    daemon: URL
    status: DaemonStatus | None = None
    reason: str = ""

    @property
    def ready(self) -> bool:
        """Whether submissions are judged there now."""
        return self.status is not None and self.status.ready

    @property
    def problems(self) -> list[str]:
        """Why it is not ready, in words that may be another's; empty where it is."""
        return [self.reason] if self.status is None else self.status.problems


class StatusClient:
    """Asks daemons for their status; made by `asking`."""

    def __init__(self, session: aiohttp.ClientSession, *, token: bool) -> None:
        self._session = session
        self._token = token

    async def ask(self, daemon: URL) -> DaemonReport:
        """The status of a daemon, within `TIMEOUT_S`; whatever goes wrong is the reason why there is none."""
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
        # Another place is not asked: it would not be the daemon that was named.
        async with self._session.get(daemon / "status", allow_redirects=False) as response:
            if response.status == HTTPStatus.UNAUTHORIZED:
                refusal = "does not know our token" if self._token else "wants a token"
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
async def asking(token: SecretStr | None) -> AsyncIterator[StatusClient]:
    """An asker, which keeps its connections open while the block lasts."""
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


def parse(text: str) -> URL:
    """The address of a daemon, for which `host:port` is enough; raises ValueError with what is wrong."""
    daemon = URL(text if "://" in text else f"http://{text}")
    if daemon.scheme not in {"http", "https"} or not daemon.host:
        raise ValueError("must be an http or https URL")
    if daemon.user is not None or daemon.password is not None:
        raise ValueError("every user of this host could read a password here; see http.tokens")
    if daemon.query_string or daemon.fragment:
        raise ValueError("must end with the host, the port or a path")
    return daemon


def own(settings: HttpSettings) -> URL:
    """The daemon that these settings are for, as it is reached from its own host."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - not bound
    return URL.build(scheme="http", host=here, port=settings.port)


def _why(error: OSError) -> str:
    # asyncio tells the call instead of its fault.
    if isinstance(error, ConnectionError) and error.errno is not None:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg']}" if where else problem["msg"]
