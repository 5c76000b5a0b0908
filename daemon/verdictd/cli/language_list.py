"""`verdictd languages`: the languages, and what each lacks on this host."""

from collections.abc import Iterable

import orjson

from verdictd.judging.languages import Language

_TITLES = ("language", "aliases", "compiled", "missing on this host")


def as_columns(languages: Iterable[Language]) -> str:
    """Return one line for each language, by name, in aligned columns."""
    rows = [_TITLES, *sorted(map(_row, languages))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def _row(language: Language) -> tuple[str, str, str, str]:
    compiled = "yes" if language.compile_cmd else "no"
    return (language.name, " ".join(_aliases(language)), compiled, " ".join(language.missing))


def as_json(language: Language) -> bytes:
    """Return one language as a JSON object."""
    return orjson.dumps(
        {
            "name": language.name,
            "also": _aliases(language),
            "available": not language.missing,
            "missing": language.missing,
        }
    )


def _aliases(language: Language) -> list[str]:
    return sorted(language.words - {language.name})
