"""The /etc of a box: what is copied from the host, and when."""

from pathlib import Path

import pytest

from verdictd.sandbox import etc
from verdictd.sandbox.etc import Etc
from verdictd.sandbox.model import PROBE_LIMITS, Command

PLAIN = Command(argv=("/bin/true",), constraints=PROBE_LIMITS)
NETWORKED = Command(argv=("/bin/true",), constraints=PROBE_LIMITS, network=True)
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"
KEY = b"-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The directory that a box sees as its /etc."""
    return tmp_path / "etc-1"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with name servers and certificates, and with secrets among them."""
    certs = tmp_path / "certs"
    certs.mkdir()
    (certs / "ca-certificates.crt").write_bytes(CERTIFICATE)
    (certs / "0123abcd.0").symlink_to("ca-certificates.crt")
    (certs / "0123abcd.1").write_bytes(CERTIFICATE + KEY)
    (certs / "0123abcd.2").write_bytes(CERTIFICATE)
    (certs / "0123abcd.2").chmod(0o640)
    (certs / "0123abcd.3").write_bytes(b"password = secret")
    (certs / "server.pem").write_bytes(KEY)
    (tmp_path / "resolv.conf").write_text("# secret\nnameserver 192.0.2.1\nsearch a.test\nsortlist 1\n")
    monkeypatch.setattr(etc, "_CERTIFICATES", certs)
    monkeypatch.setattr(etc, "_BUNDLES", (tmp_path / "missing", certs / "ca-certificates.crt"))
    monkeypatch.setattr(etc, "_RESOLVER", tmp_path / "resolv.conf")
    return tmp_path


@pytest.mark.usefixtures("host")
def test_only_public_certificates_are_copied(made: Path) -> None:
    """Neither keys, nor what not everybody may read, nor other files come along; links are followed."""
    rules = Etc(made, "box").rules(NETWORKED)

    copied = made.with_name("ssl")
    assert [f"etc={made}", f"etc/ssl={copied}"] == rules
    assert {"0123abcd.0", "ca-certificates.crt", "java"} == {
        path.name for path in (copied / "certs").iterdir()
    }
    assert CERTIFICATE == (copied / "certs" / "0123abcd.0").read_bytes() == (copied / "cert.pem").read_bytes()


@pytest.mark.usefixtures("host")
def test_name_servers_are_there_with_the_network_only(made: Path) -> None:
    """The lines that a resolver needs, as they are at the moment."""
    box = Etc(made, "box")
    found = []
    for command in (PLAIN, NETWORKED, PLAIN):
        box.rules(command)
        found.append((made / "resolv.conf").read_text())

    assert ["", "nameserver 192.0.2.1\nsearch a.test\n", ""] == found


def test_name_servers_that_changed_are_used_by_the_next_run(made: Path, host: Path) -> None:
    """A laptop that moves to another network needs no restart."""
    box = Etc(made, "box")
    box.rules(NETWORKED)
    (host / "resolv.conf").write_text("nameserver 192.0.2.2\n")
    box.rules(NETWORKED)

    assert "nameserver 192.0.2.2\n" == (made / "resolv.conf").read_text()


def test_host_without_name_servers_and_certificates_is_no_fault(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program with the network then finds none."""
    for name in ("_CERTIFICATES", "_RESOLVER"):
        monkeypatch.setattr(etc, name, made.with_name("missing"))
    monkeypatch.setattr(etc, "_BUNDLES", ())
    Etc(made, "box").rules(NETWORKED)

    assert "" == (made / "resolv.conf").read_text()


def test_user_is_named_once_it_is_known(made: Path) -> None:
    """The daemon learns the user id of a box from the first program in it."""
    box = Etc(made, "box")
    box.rules(PLAIN)
    before = (made / "passwd").read_text()
    box.ids = (60_001, 60_002)
    box.rules(PLAIN)

    assert "box" not in before
    assert "box:x:60001:60002:box:/tmp:/bin/bash\n" in (made / "passwd").read_text()
    assert "box:x:60002:\n" in (made / "group").read_text()


def test_files_that_a_cleaner_removed_are_made_again(made: Path) -> None:
    """Services that clean temporary directories remove old files."""
    box = Etc(made, "box")
    box.rules(PLAIN)
    for path in made.iterdir():
        path.unlink()
    box.rules(PLAIN)

    assert (made / "hosts").read_text().startswith("127.0.0.1 localhost")
