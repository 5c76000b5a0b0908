"""The disk of the machine: Debian's packages, and isolate where a folder with a built one is given."""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

RELEASE = "bookworm"
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "genext2fs": "genext2fs",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "resize2fs": "e2fsprogs",
    "ssh": "openssh-client",
}
"""The programs that are needed, and the packages that bring them."""

_PACKAGES = [
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "kmod",
    "initramfs-tools",
    "linux-image-cloud-amd64",
    "openssh-server",
    "rabbitmq-server",
    "python3",
    "python3-venv",
    "gcc",
    "g++",
    "libc6-dev",
    "libcap2",
    "libseccomp2",
    "libsystemd0",
    "procps",
    "util-linux",
]
_SIZE = "6G"
_LIMIT_S = 1800


class BuildFailed(Exception):
    """The machine cannot be made; the message says what is missing or what was said."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of the image, owned by root."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Image:
    """What QEMU boots, and the key that opens the machine."""

    kernel: Path
    initrd: Path
    disk: Path
    key: Path
    has_isolate: bool


def image(folder: Path, isolate: Path | None) -> Image:
    """The image in this folder, made now if there is none of this recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    key = _key(folder)
    overlay = _configuration(key.with_suffix(".pub").read_bytes())
    commands: tuple[str, ...] = _CONFIGURE
    if isolate is not None:
        overlay |= _isolate(isolate)
        commands = (*commands, *_CONFIGURE_ISOLATE)
    recipe = _digest(overlay, commands)
    made = Image(folder / "vmlinuz", folder / "initrd", folder / "base.ext2", key, isolate is not None)
    stamp = folder / "recipe"
    if not stamp.is_file() or stamp.read_text() != recipe:
        stamp.unlink(missing_ok=True)
        _build(folder, made, overlay, commands)
        stamp.write_text(recipe)
    return made


def _key(folder: Path) -> Path:
    key = folder / "key"
    if not key.exists():
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "verdictd systemd test", "-f", str(key))
    return key


def _digest(overlay: Mapping[str, File], commands: tuple[str, ...]) -> str:
    described = {path: [file.content.hex(), file.mode] for path, file in sorted(overlay.items())}
    recipe = json.dumps([RELEASE, _PACKAGES, _SIZE, described, commands])
    return hashlib.sha256(recipe.encode()).hexdigest()


def _build(folder: Path, made: Image, overlay: Mapping[str, File], commands: tuple[str, ...]) -> None:
    missing = sorted(package for program, package in TOOLS.items() if shutil.which(program) is None)
    if missing:
        raise BuildFailed(f"please install: apt-get install --no-install-recommends {' '.join(missing)}")
    _tar(folder / "early.tar", _INITRAMFS)
    _tar(folder / "overlay.tar", overlay)
    made.disk.unlink(missing_ok=True)
    hooks = [f"--essential-hook=tar-in {folder}/early.tar /"]
    hooks += [f"--customize-hook=tar-in {folder}/overlay.tar /"]
    hooks += [f'--customize-hook=chroot "$1" {command}' for command in commands]
    hooks += [
        f"--customize-hook=download /vmlinuz {made.kernel}",
        f"--customize-hook=download /initrd.img {made.initrd}",
    ]
    _run(
        *("mmdebstrap", "--quiet", "--variant=minbase", "--format=ext2", f"--include={','.join(_PACKAGES)}"),
        *('--aptopt=Acquire::Languages "none"', *(f"--dpkgopt=path-exclude={path}" for path in _EXCLUDED)),
        *(*hooks, RELEASE, str(made.disk)),
    )
    _run("truncate", "--size", _SIZE, str(made.disk))
    _run("e2fsck", "-fy", str(made.disk), accepted=(0, 1))
    _run("resize2fs", str(made.disk))


def _run(*argv: str, accepted: tuple[int, ...] = (0,)) -> None:
    ended = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT_S, check=False
    )
    if ended.returncode not in accepted:
        raise BuildFailed(f"{' '.join(argv[:1])} failed: {ended.stderr[-2000:]}")


def _tar(path: Path, files: Mapping[str, File]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, file in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size, member.mode = len(file.content), file.mode
            tar.addfile(member, io.BytesIO(file.content))


_EXCLUDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")

# A small one: only what a direct boot of the kernel needs, packed so that it is cheap to unpack.
_INITRAMFS = {
    "etc/initramfs-tools/modules": File(b"virtio_pci\nvirtio_blk\n"),
    "etc/initramfs-tools/conf.d/small": File(b"MODULES=list\nCOMPRESS=gzip\nBUSYBOX=n\nRESUME=none\n"),
}

_UNWANTED = (
    "apt-daily.timer apt-daily-upgrade.timer e2scrub_reap.service e2scrub_all.timer fstrim.timer "
    "dpkg-db-backup.timer serial-getty@ttyS0.service getty@tty1.service getty-static.service "
    "epmd.service epmd.socket"  # RabbitMQ starts its own
)
_CONFIGURE = (
    "systemctl --quiet enable ssh.service systemd-networkd.service rabbitmq-server.service",
    "systemctl --quiet disable systemd-networkd-wait-online.service",
    f"systemctl --quiet mask {_UNWANTED}",
)


def _configuration(public_key: bytes) -> dict[str, File]:
    texts = {
        "etc/hostname": "judge\n",
        "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 judge\n::1 localhost\n",
        "etc/fstab": "/dev/vda / ext4 defaults,noatime 0 0\n",
        "etc/modules-load.d/network.conf": "virtio_net\n",
        "etc/systemd/network/10-eth0.network": "[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\n",
        "etc/ssh/sshd_config.d/test.conf": (
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\nUsePAM no\nUseDNS no\n"
        ),
        # An emulated processor is slow, and idle schedulers of Erlang would keep the real one busy.
        "etc/systemd/system.conf.d/slow.conf": "[Manager]\nDefaultTimeoutStartSec=900s\n",
        "etc/systemd/system/rabbitmq-server.service.d/slow.conf": "[Service]\nTimeoutStartSec=infinity\n",
        "etc/rabbitmq/rabbitmq-env.conf": (
            "NODENAME=rabbit@localhost\n"
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+sbwt none +sbwtdcpu none +sbwtdio none"\n'
        ),
        "etc/rabbitmq/rabbitmq.conf": "listeners.tcp.1 = 127.0.0.1:5672\ndisk_free_limit.absolute = 64MB\n",
        "etc/systemd/journald.conf.d/kept.conf": "[Journal]\nStorage=persistent\n",
    }
    files = {name: File(text.encode()) for name, text in texts.items()}
    return files | {"root/.ssh/authorized_keys": File(public_key, 0o600)}


_CONFIGURE_ISOLATE = (
    "useradd --system --no-create-home --shell /usr/sbin/nologin isolate",
    "sh -c 'echo isolate:1000000:1000 | tee /etc/subuid >/etc/subgid'",
    "systemctl --quiet enable isolate.service",
)


def _isolate(folder: Path) -> dict[str, File]:
    """What `make install` of isolate installs, from a folder in which it was built."""
    programs = {
        "usr/local/bin/isolate": ("isolate", 0o4755),
        "usr/local/sbin/isolate-cg-keeper": ("isolate-cg-keeper", 0o755),
        "usr/local/etc/isolate": ("default.cf", 0o644),
        "usr/local/lib/systemd/system/isolate.slice": ("systemd/isolate.slice", 0o644),
    }
    try:
        files = {path: File((folder / name).read_bytes(), mode) for path, (name, mode) in programs.items()}
        unit = (folder / "systemd/isolate.service.in").read_text().replace("@SBINDIR@", "/usr/local/sbin")
    except FileNotFoundError as error:
        raise BuildFailed(f"{folder} is no folder with a built isolate: {error}") from error
    return files | {
        "usr/local/lib/systemd/system/isolate.service": File(unit.encode()),
        "var/local/lib/isolate/.keep": File(b""),
    }
