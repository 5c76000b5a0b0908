"""Check of the Host and Origin headers: no page of another site speaks to the daemon through a browser.

A browser reaches what its computer reaches, a daemon on 127.0.0.1 too. Its headers tell whose page is asking:
Origin, and Host where the site made a name of its own mean our address (DNS rebinding).
"""

import re
import socket
from collections.abc import Callable, Sequence
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from verdictd.settings import HttpSettings
from verdictd.web.responses import HttpError

_AUTHORITY: Final = re.compile(r"(?:\[(?P<address>[^\[\]/@]+)\]|(?P<name>[^:\[\]/@]+))(?::[0-9]{1,5})?")
_ORIGIN: Final = re.compile(r"https?://(?P<authority>[^/]+)")


def host_check(settings: HttpSettings) -> Middleware:
    """Make the check of requests to a daemon with these settings."""
    is_allowed = allowed_hosts(settings)
    chosen = {_plain(name) for name in settings.allowed_hosts}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        hosts = request.headers.getall("Host", [])  # none: HTTP/1.0, which no browser speaks
        if not all(is_allowed(host_of(host)) for host in hosts):
            raise HttpError(
                HTTPStatus.MISDIRECTED_REQUEST,
                "The Host header names another host than this daemon; see http.allowed_hosts.",
            )
        for origin in request.headers.getall("Origin", []):
            if not _is_own(origin, hosts, chosen):
                raise HttpError(
                    HTTPStatus.FORBIDDEN,
                    "Pages of other sites may not use this daemon; see http.allowed_hosts.",
                )
        return await handler(request)

    return check


def allowed_hosts(settings: HttpSettings) -> Callable[[str], bool]:
    """Return the check of a host without its port: the address bound to, and what the operator allows.

    A loopback address has its other names too. On all addresses it is any address, and the name of this host.
    """
    bound = _plain(settings.host)
    names = {bound, *(_plain(name) for name in settings.allowed_hosts)}
    on_all = _is_address(bound) and ip_address(bound).is_unspecified
    if on_all:
        names.add(_plain(socket.gethostname()))
    if on_all or bound == "localhost" or (_is_address(bound) and ip_address(bound).is_loopback):
        names |= {"localhost", "127.0.0.1", "::1"}
    # A name can be made to mean any address; an address means itself.
    any_address = on_all or not _is_address(bound)
    return lambda host: host in names or (any_address and _is_address(host))


def host_of(authority: str) -> str:
    """Return the host in `host:port`, empty if it is malformed."""
    found = _AUTHORITY.fullmatch(authority)
    return "" if found is None else _plain(found["address"] or found["name"])


def _is_own(origin: str, hosts: Sequence[str], chosen: set[str]) -> bool:
    """Return True for the site that is served here, and for hosts that the operator has named."""
    found = _ORIGIN.fullmatch(origin.lower())
    if found is None:
        return False
    authority = found["authority"]
    return authority in {host.lower() for host in hosts} or host_of(authority) in chosen


def _plain(host: str) -> str:
    """Return a name in lower case without the final dot, and an address in its shortest form."""
    name = host.lower().removesuffix(".")
    return str(ip_address(name)) if _is_address(name) else name


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
