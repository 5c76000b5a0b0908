"""Test data on servers, downloaded over HTTP. Imported where the operator allows that: it takes megabytes."""

from collections.abc import AsyncGenerator
from concurrent.futures import Executor

import aiohttp

from verdictd import __version__
from verdictd.egress.client import Resolver, session
from verdictd.egress.rules import Egress, EgressDenied
from verdictd.errors import DataUnavailable
from verdictd.judging.data_cache import WrongData
from verdictd.logs import printable
from verdictd.settings import DataSettings

_CHUNK_BYTES = 256 * 1024
_MISSING = {404, 410}
_REDIRECTS = {301, 302, 303, 307, 308}


class Downloads:
    """Files on the servers that the operator allows. Their names are looked up in the threads of `names`."""

    def __init__(self, settings: DataSettings, names: Executor) -> None:
        self._egress = Egress(
            networks=settings.allow_networks, hosts=settings.allow_hosts, ports=settings.allow_ports
        )
        self._resolver = Resolver(names)

    def problem(self, url: str) -> str | None:
        """Return the reason why such a URL is never fetched, or None."""
        try:
            self._egress.target(url)
        except EgressDenied as error:
            return str(error)
        return None

    async def download(self, url: str) -> AsyncGenerator[bytes, None]:
        """Yield the body of a response as it comes, without redirects.

        Raises WrongData if the address is not allowed or has no such file, DataUnavailable if the server
        fails.
        """
        headers = {"Accept-Encoding": "identity", "User-Agent": f"verdictd/{__version__}"}
        try:
            target = self._egress.target(url)
            async with (
                session(self._egress, target, self._resolver, read_bufsize=_CHUNK_BYTES) as client,
                client.get(target, headers=headers, allow_redirects=False) as response,
            ):
                if response.status in _MISSING:
                    missing = f"the server answered with status {response.status}: there is no such file"
                    raise WrongData(missing)
                if response.status != 200:
                    hint = "; redirects are not followed" if response.status in _REDIRECTS else ""
                    raise DataUnavailable(f"{target.host} answered with status {response.status}{hint}")
                async for chunk in response.content.iter_any():
                    yield chunk
        except EgressDenied as error:
            raise WrongData(str(error)) from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, EgressDenied):
                raise WrongData(str(error.os_error)) from error
            reason = printable(str(error.os_error))
            raise DataUnavailable(f"cannot connect to {error.host}: {reason}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise DataUnavailable(printable(f"{type(error).__name__}: {error}"[:300])) from error
