"""One run of the virtual machine: boot, commands over SSH, files in, reboot, gone."""

import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.vm.image import Image

# Emulation works on every machine. With "kvm" it is faster, where that can be used.
ACCELERATOR = os.environ.get("VERDICTD_TEST_ACCELERATOR", "tcg,thread=multi,tb-size=512")
LIMIT_S = 1_200
"""For whatever is to happen. Emulated on a busy machine, what takes a second elsewhere may take a minute."""
_PAUSE_S = 0.5


class MachineFailed(Exception):
    """A command failed or took too long; the message has what it said."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command came to."""

    code: int
    out: str


class Machine:
    """A machine that runs. Everything in it is thrown away when it ends."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, key: Path, port: int) -> None:
        self._process = process
        self._console = folder / "console.log"
        self._control = folder / "ssh"
        self._key = key
        self._port = port

    def try_(self, command: str, limit_s: float = LIMIT_S, stdin: bytes = b"") -> Ended:
        """Run a command of bash as root; what it wrote on both streams comes back."""
        argv = [*self._ssh(), "root@127.0.0.1", f"timeout -k 5 {limit_s:g} bash -c {shlex.quote(command)}"]
        try:
            ended = subprocess.run(
                argv,
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=limit_s + 60,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MachineFailed(f"no answer within {limit_s} s to: {command}") from None
        return Ended(ended.returncode, ended.stdout.decode(errors="replace").strip())

    def run(self, command: str, limit_s: float = LIMIT_S) -> str:
        """What a command wrote, which must succeed."""
        ended = self.try_(command, limit_s)
        if ended.code != 0:
            raise MachineFailed(f"{command}: ended with {ended.code}: {ended.out[-1500:]}")
        return ended.out

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Make a file, and the folders above it."""
        ended = self.try_(f"install -D -m {mode:o} /dev/stdin {shlex.quote(path)}", stdin=text.encode())
        if ended.code != 0:
            raise MachineFailed(f"{path} cannot be written: {ended.out}")

    def put(self, folder: Path, path: str) -> None:
        """Copy a folder into the machine."""
        tar = subprocess.run(["tar", "-C", folder, "-c", "."], capture_output=True, timeout=120, check=True)
        ended = self.try_(f"mkdir -p {path} && tar -C {path} -x", stdin=tar.stdout)
        if ended.code != 0:
            raise MachineFailed(f"{path} cannot be written: {ended.out}")

    def wait_until(self, what: str, condition: Callable[[], object], within_s: float = LIMIT_S) -> float:
        """Wait for something to become true; the seconds that it took."""
        began_s = time.monotonic()
        while not condition():
            if time.monotonic() - began_s > within_s:
                raise MachineFailed(f"{what}: not within {within_s:g} s")
            time.sleep(_PAUSE_S)
        return time.monotonic() - began_s

    def boot_id(self) -> str:
        """Another one after each boot; empty while nobody answers."""
        ended = self.try_("cat /proc/sys/kernel/random/boot_id", 120)
        return ended.out if ended.code == 0 else ""

    def wait_for_boot(self, before: str = "") -> float:
        """Wait until it answers, in another boot than the one before."""

        def booted() -> bool:
            if self._process.poll() is not None:
                raise MachineFailed(f"QEMU ended with {self._process.returncode}: {self._said()}")
            return self._greets() and self.boot_id() not in {"", before}

        return self.wait_until(f"boot ({self._console})", booted)

    def reboot(self) -> float:
        """Start the machine again, as an operator does."""
        before = self.boot_id()
        self.try_("systemctl reboot", 30)
        self.forget()
        return self.wait_for_boot(before)

    def forget(self) -> None:
        """Close the shared connection, which a reboot breaks."""
        subprocess.run(
            [*self._ssh(), "-O", "exit", "root@127.0.0.1"], capture_output=True, timeout=30, check=False
        )

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), 5) as connection:
                connection.settimeout(10)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _said(self) -> str:
        return self._console.read_text(errors="replace")[-1000:] if self._console.exists() else ""

    def _ssh(self) -> list[str]:
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "120",
            "ControlMaster": "auto",
            "ControlPath": str(self._control),
            "ControlPersist": "300",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        words = [f"-o{name}={value}" for name, value in options.items()]
        return ["ssh", "-F/dev/null", "-i", str(self._key), "-p", str(self._port), *words]


@contextmanager
def machine(image: Image, folder: Path) -> Iterator[Machine]:
    """A machine on a copy of the image's disk, up when the block begins and gone when it has ended."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    disk = folder / "disk.qcow2"
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(image.disk), str(disk)]
    subprocess.run(create, timeout=60, check=True)
    port = _free_port()
    with (folder / "qemu.log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *_qemu(image, disk, folder / "console.log", port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    running = Machine(process, folder, image.key, port)
    try:
        running.wait_for_boot()
        yield running
    finally:
        running.forget()
        process.kill()
        process.wait(30)
        disk.unlink()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _qemu(image: Image, disk: Path, console: Path, port: int) -> list[str]:
    # No way out for what runs inside: one port of this host's loopback leads in.
    network = f"user,id=net,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:22"
    kernel = (
        "root=/dev/vda rw console=ttyS0 quiet loglevel=4 net.ifnames=0 mitigations=off random.trust_cpu=on "
        "tsc=reliable no_timer_check panic=-1"
    )
    return [
        *("qemu-system-x86_64", "-machine", "q35", "-accel", ACCELERATOR, "-smp", "2", "-m", "2048"),
        *("-cpu", "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-serial", f"file:{console}"),
        *("-drive", f"file={disk},if=none,id=disk,format=qcow2,cache=unsafe"),
        *("-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"),
        *("-netdev", network, "-device", "virtio-net-pci,netdev=net,romfile="),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", kernel),
    ]
