"""The /etc of a box: files that programs expect there, made here. Nothing of the host's own /etc is in it.

With the network, the name servers of the host and the certificates of public authorities are there too.
"""

import os
import re
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from verdictd.sandbox.model import Command

HOME = "/tmp"  # noqa: S108 - the box's own
USER = "box"

_FILES = {
    "hosts": "127.0.0.1 localhost {host}\n::1 localhost ip6-localhost ip6-loopback {host}\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files{dns}\nservices: files\nprotocols: files\n",
    "protocols": "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6 41 IPv6\nipv6-icmp 58 IPv6-ICMP\n",
    "services": "ssh 22/tcp\nsmtp 25/tcp\ndomain 53/tcp\ndomain 53/udp\nhttp 80/tcp\nhttps 443/tcp\n",
    "timezone": "Etc/UTC\n",
    "passwd": "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n{user}"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "group": "root:x:0:\n{group}nogroup:x:65534:\n",
    "resolv.conf": "{servers}",
}
_LINKS = {"localtime": "/usr/share/zoneinfo/Etc/UTC", "os-release": "../usr/lib/os-release"}

_TLS = "ssl"
_RESOLVER = Path("/etc/resolv.conf")
_CERTIFICATES = Path("/etc/ssl/certs")
_BUNDLES = (_CERTIFICATES / "ca-certificates.crt", Path("/etc/pki/tls/certs/ca-bundle.crt"))
_JAVA_BUNDLE = Path("java/cacerts")
_HASHED = "[0-9a-f]" * 8 + ".[0-9]"  # the names by which OpenSSL finds an authority
_CERTIFICATE, _PRIVATE = b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----"


class Etc:
    """Directory of the daemon that one box sees, read-only, as its /etc.

    State: the user of the box, once it is known, and the files as they were written last.
    """

    def __init__(self, directory: Path, host_name: str) -> None:
        self._directory = directory
        self._host_name = host_name
        self._written: tuple[Mapping[str, str], list[str]] | None = None
        self.ids: tuple[int, int] | None = None
        """User and group id of the programs in the box."""

    def rules(self, command: Command) -> list[str]:
        """Write what this command needs; return the directory rules that come before those of the command."""
        servers = _name_servers() if command.network else None
        wanted = (_contents(self._host_name, self.ids, servers), _mount_points(command))
        # Whoever cleans old files from temporary directories may have removed them.
        if wanted != self._written or not os.path.exists(f"{self._directory}/passwd"):  # noqa: PTH110 - for each run
            self._write(*wanted)
        rules = [f"etc={self._directory}"]
        if command.network:
            rules.append(f"etc/{_TLS}={_authorities(self._directory.with_name(_TLS))}")
        return rules

    def _write(self, files: Mapping[str, str], mount_points: list[str]) -> None:
        self._written = None
        shutil.rmtree(self._directory, ignore_errors=True)
        _make_directory(self._directory)
        for name, text in files.items():
            _write(self._directory / name, text.encode())
        for name, target in _LINKS.items():
            (self._directory / name).symlink_to(target)
        for path in mount_points:
            _make_directory(self._directory, *path.split("/"))
        self._written = (files, mount_points)


@lru_cache
def _contents(host_name: str, ids: tuple[int, int] | None, servers: str | None) -> Mapping[str, str]:
    """Return the files by name; `servers`: the part of /etc/resolv.conf, None without the network."""
    uid, gid = ids or (None, None)
    values = {
        "host": host_name,
        "dns": "" if servers is None else " dns",
        "user": "" if uid is None else f"{USER}:x:{uid}:{gid}:{USER}:{HOME}:/bin/bash\n",
        "group": "" if gid is None else f"{USER}:x:{gid}:\n",
        "servers": servers or "",
    }
    return {name: text.format(**values) for name, text in _FILES.items()}


def _mount_points(command: Command) -> list[str]:
    """Return the directories below /etc that other rules bind there: the sandboxes do not make them."""
    bound = [rule.removesuffix(":maybe") for rule in command.directories]
    below = [path for path in bound if path.startswith("/etc/")]
    found = [path.removeprefix("/etc/") for path in below if os.path.isdir(path)]  # noqa: PTH112 - as above
    return [*found, _TLS] if command.network else found


def _name_servers() -> str:
    """Return the part of the host's configuration that a resolver needs."""
    try:
        lines = _RESOLVER.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "".join(f"{line}\n" for line in lines if re.match(r"(nameserver|search|options)\s", line))


def _authorities(directory: Path) -> Path:
    """Return a directory with the certificates of the host's authorities; it is made once."""
    if not directory.exists():
        unfinished = directory.with_name(f"{directory.name}-unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        _make_directory(unfinished, "certs", "java")
        certs = unfinished / "certs"
        for source in sorted(_CERTIFICATES.glob(_HASHED)):
            _copy(source, certs / source.name)
        for bundle in _BUNDLES:
            _copy(bundle, certs / "ca-certificates.crt")
        _copy(_CERTIFICATES / _JAVA_BUNDLE, certs / _JAVA_BUNDLE, text=False)
        (unfinished / "cert.pem").symlink_to("certs/ca-certificates.crt")
        unfinished.rename(directory)
    return directory


def _copy(source: Path, target: Path, *, text: bool = True) -> None:
    """Copy a file that all may read and that holds certificates only, if it exists."""
    try:
        content = source.read_bytes()
        public = source.stat().st_mode & 0o004
    except OSError:
        return
    if public and (not text or (_CERTIFICATE in content and _PRIVATE not in content)):
        _write(target, content)


def _make_directory(top: Path, *names: str) -> None:
    """Make directories that every user can enter, whatever the umask of the service."""
    for directory in (top, *(top.joinpath(*names[: end + 1]) for end in range(len(names)))):
        if not directory.exists():
            directory.mkdir()
            directory.chmod(0o755)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o644)
