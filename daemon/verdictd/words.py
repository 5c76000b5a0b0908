"""Compiler options and arguments as words that never meet a shell."""

import shlex


def split_words(value: object) -> tuple[str, ...]:
    """A list of words as it stands, or a string split as a shell splits words with nothing expanded.

    Raises ValueError where a quote stays open, a word holds a NUL, or the value is of another kind.
    """
    if isinstance(value, str):
        words: list[str] = shlex.split(value)
    elif isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value):
        words = list(value)
    else:
        raise ValueError("must be a string or a list of strings")
    if any("\0" in word for word in words):
        raise ValueError("a word holds no NUL character")
    return tuple(words)
