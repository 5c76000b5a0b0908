"""Compare outputs with the built-in rule: pure functions."""

from io import BytesIO
from itertools import zip_longest


def same_output(actual: bytes, expected: bytes) -> bool:
    """Return True if the outputs are equal, but for white space at line ends and empty lines at the end."""
    # Line by line: other threads can run in between, and lists of all lines would take 40 times the memory.
    lines = zip_longest(BytesIO(actual), BytesIO(expected), fillvalue=b"")
    return actual == expected or all(ours.rstrip() == theirs.rstrip() for ours, theirs in lines)
