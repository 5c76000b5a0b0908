"""Addresses that callbacks may reach, and every spelling of one that is refused."""

import ipaddress
from contextlib import suppress
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdictd.egress.rules import Egress, EgressDenied

PORTS = (80, 443, 8080, 8443)
STRICT = Egress(networks=(), hosts=(), ports=PORTS)

REFUSED_URLS = [
    # Loopback and this host
    "http://127.0.0.1/",
    "http://127.0.0.1:8080/hook",
    "http://127.255.255.254/",
    "http://0.0.0.0/",
    "http://0.1.2.3/",
    "http://[::1]/",
    "http://[::]/",
    "http://[0:0:0:0:0:0:0:1]/",
    # Private, shared, link-local, multicast, broadcast, reserved
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://224.0.0.1/",
    "http://239.255.255.250/",
    "http://255.255.255.255/",
    "http://240.0.0.1/",
    "http://192.0.0.8/",
    "http://192.0.2.1/",
    "http://198.18.0.1/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://192.88.99.1/",
    "http://[fc00::1]/",
    "http://[fd12:3456::1]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25lo]/",
    "http://[2606:4700::1%25lo]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[100::1]/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[2001:10::1]/",
    # IPv4 within IPv6: mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:8.8.8.8]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1::127.0.0.1]/",
    "http://[2002:7f00:1::1]/",
    "http://[2002:a00:1::]/",
    "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "http://[fe80::5efe:127.0.0.1]/",
    # Decimal, octal, hexadecimal, short and other spellings
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0X7F000001/",
    "http://0177.0.0.1/",
    "http://0x7f.0.0.1/",
    "http://0x7f.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.0.0.01/",
    "http://0/",
    "http://0x/",
    "http://127.0.0.0x1/",
    "http://4294967296/",
    "http://256.256.256.256/",
    "http://1.2.3.4.5/",
    "http://8.8.2056/",
    "http://127.0.0.1./",
    "http://127.0.0.1../",
    "http://localhost./",
    "http://example.org./",
    "http://.example.org/",
    "http://a..b/",
    "http://%31%32%37.0.0.1/",
    "http://127.0.0.1%00.example.org/",
    "http://①②⑦.0.0.1/",
    "http://127。0。0。1/",
    "http://[::1/",
    "http://::1/",
    "http://[127.0.0.1]/",
    "http://exa mple/",
    "http://" + "a" * 64 + ".example.org/",
    # A user before the host
    "http://user@example.org/",
    "http://user:password@example.org/",
    "http://example.org@127.0.0.1/",
    "http://:@example.org/",
    "http://example.org\\@127.0.0.1/",
    "http://127.0.0.1\\@example.org/",
    # Other ports and schemes, or none
    "http://example.org:22/",
    "http://example.org:25/",
    "http://example.org:5672/",
    "http://example.org:0/",
    "http://example.org:65536/",
    "http://example.org:-1/",
    "http://example.org:\uff18\uff10/",
    "ftp://example.org/",
    "file:///etc/passwd",
    "gopher://example.org/",
    "ws://example.org/",
    "unix:///run/docker.sock",
    "//example.org/",
    "example.org",
    "http:///hook",
    "http:example.org",
    "",
]

REFUSED_ADDRESSES = sorted(
    {
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.20.0.1", "192.168.0.1", "100.127.0.1"),  # noqa: S104
        *("169.254.169.254", "224.0.0.1", "255.255.255.255", "192.0.0.1", "192.88.99.1", "198.19.0.1"),
        *("::1", "::", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::7f00:1", "64:ff9b::7f00:1", "2002:7f00:1::"),
        *("64:ff9b:1::1", "2001::1", "2001:db8::1", "fc00::1", "fe80::1", "fe80::1%lo", "ff02::1", "100::1"),
        *("fec0::1", "3fff::1", "5f00::1", "not an address", ""),
    }
)


def test_url_is_refused_where_it_is_seen() -> None:
    """The text of the URL decides, so that the submission can be refused at once."""
    taken = []
    for url in REFUSED_URLS:
        with suppress(EgressDenied):
            taken.append(STRICT.target(url))

    assert [] == taken


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://example.org/", "http://example.org/"),
        ("https://Example.ORG:8443/Hook?a=1#b", "https://example.org:8443/Hook?a=1#b"),
        ("http://sub_domain.example-1.org:8080/", "http://sub_domain.example-1.org:8080/"),
        ("http://xn--bcher-kva.example/", "http://xn--bcher-kva.example/"),
        ("http://8.8.8.8/", "http://8.8.8.8/"),
        ("http://[2606:4700:4700::1111]/", "http://[2606:4700:4700::1111]/"),
        ("http://1.2.3.4.example.org/", "http://1.2.3.4.example.org/"),
        ("http://example.org:443/", "http://example.org:443/"),
        ("http://localhost/", "http://localhost/"),
    ],
)
def test_public_url_is_taken(url: str, expected: str) -> None:
    """Names are looked up when the callback is delivered, not before."""
    assert expected == str(STRICT.target(url))


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_refused_address_is_refused_whatever_name_led_to_it(address: str) -> None:
    """Checked for what a look-up found, too."""
    with pytest.raises(EgressDenied):
        STRICT.check("example.org", address)


@given(st.ip_addresses())
def test_what_is_not_global_is_refused(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """The table contains at least the special addresses that Python knows."""
    try:
        STRICT.check("example.org", str(address))
    except EgressDenied:
        return
    assert address.is_global
    assert not address.is_multicast


@pytest.mark.parametrize(
    ("address", "allowed"),
    [("127.0.0.2", True), ("127.0.0.1", False), ("fd00::5", True), ("::ffff:127.0.0.2", False)],
)
def test_allowed_network_is_reached(address: str, allowed: bool) -> None:
    """It and no other: the same address in another form stays refused."""
    egress = Egress(networks=[ip_network("127.0.0.2/32"), ip_network("fd00::/64")], hosts=(), ports=PORTS)
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"

    if allowed:
        assert url == str(egress.target(url))
        egress.check("example.org", address)
    else:
        with pytest.raises(EgressDenied):
            egress.target(url)
        with pytest.raises(EgressDenied):
            egress.check("example.org", address)


def test_allowed_host_is_reached_at_any_address() -> None:
    """The operator answers for it; other names with that address stay refused, and so do other ports."""
    egress = Egress(networks=(), hosts=["hooks.internal", "10.0.0.5"], ports=PORTS)

    assert "http://hooks.internal/" == str(egress.target("http://HOOKS.internal/"))
    assert "http://10.0.0.5/" == str(egress.target("http://10.0.0.5/"))
    egress.check("hooks.internal", "10.0.0.5")
    with pytest.raises(EgressDenied):
        egress.check("other.internal", "10.0.0.5")
    with pytest.raises(EgressDenied, match="port 22 is not allowed"):
        egress.target("http://hooks.internal:22/")
