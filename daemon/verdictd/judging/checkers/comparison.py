"""Built-in comparison of outputs: pure."""

from io import BytesIO
from itertools import zip_longest


def same_output(actual: bytes, expected: bytes) -> bool:
    """Compare; white space at the end of a line and empty lines at the end do not count, all else does."""
    # Line by line, of which a thread can be interrupted: lists of all lines would take 40 times the output.
    lines = zip_longest(BytesIO(actual), BytesIO(expected), fillvalue=b"")
    return actual == expected or all(ours.rstrip() == theirs.rstrip() for ours, theirs in lines)
