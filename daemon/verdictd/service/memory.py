"""Memory of the daemon: what it does not keep, and does not import."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE_BYTES = 256 * 1024


def give_back_large_blocks() -> None:
    """Return blocks of 256 KiB and more to the kernel when they are freed.

    The C library raises that bound with the largest block that it has seen, up to 32 MiB. The outputs of many
    submissions would then stay with the process, in holes between smaller blocks.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


@contextmanager
def absent(package: str) -> Iterator[None]:
    """Let what is imported in the block find that this package is not installed.

    It is as the import system has it: None in place of a module.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]
