"""Statuses, sizes and durations in words, and text of strangers made safe for a terminal."""

import unicodedata
from datetime import timedelta


def status_words(status: str) -> str:
    """Return a status as people say it: "Time limit exceeded", "Runtime error (SIGSEGV)"."""
    detail = status.removeprefix("runtime_error_")
    if detail == status:
        return status.replace("_", " ").capitalize()
    return "Runtime error" if detail == "other" else f"Runtime error ({detail.upper()})"


def printable(text: str, *, instead: str = " ") -> str:
    """Replace characters that move the cursor, change colours, or turn the direction of writing."""
    return "".join(
        character if character.isprintable() else " " if unicodedata.category(character) == "Zs" else instead
        for character in text
    )


def printable_lines(text: str) -> str:
    """Return text of several lines with tabs expanded, and a mark in place of each control character."""
    lines = text.replace("\r\n", "\n").expandtabs(8).split("\n")
    return "\n".join(printable(line, instead="\N{REPLACEMENT CHARACTER}") for line in lines)


def memory_words(kib: int) -> str:
    """Return a size in the unit that keeps it short: "636 KiB", "1.5 MiB", "256 MiB"."""
    size, unit = float(kib), "KiB"
    for larger in ("MiB", "GiB"):
        if size < 1_024:
            break
        size, unit = size / 1_024, larger
    return f"{size:.1f}".removesuffix(".0") + f" {unit}"


def duration_words(passed: timedelta) -> str:
    """Return the two largest units of a duration; a negative one, after a clock was set back, is "0s"."""
    seconds = max(0, round(passed.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3_600, seconds // 86_400
    if days:
        return f"{days}d{hours % 24}h"
    if hours:
        return f"{hours}h{minutes % 60}m"
    return f"{minutes}m{seconds % 60}s" if minutes else f"{seconds}s"
