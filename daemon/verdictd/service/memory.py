"""Memory of the daemon, as the C library keeps it."""

import ctypes

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
