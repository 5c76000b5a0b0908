"""Tells systemd how the service is, after sd_notify(3)."""

import os
import socket


def notify(*states: str) -> None:
    """Send states such as `READY=1` to the service manager; does nothing where there is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # the abstract namespace is named with a NUL byte
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(1)
        channel.sendto("\n".join(states).encode(), address)
