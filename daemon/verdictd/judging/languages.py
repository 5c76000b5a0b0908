"""Languages, declared in languages.toml and in the operator's own file."""

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from threading import Lock
from typing import Annotated, Any, Literal, Self

from cachetools import TTLCache, cached
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictBool, ValidationError
from pydantic.dataclasses import dataclass

from verdictd.contract.fields import split_words
from verdictd.contract.validation import explain
from verdictd.files import check_name
from verdictd.sandbox.etc import HOME

PACKAGED = Path(__file__).with_name("languages.toml")

_KNOWN_PROGRAMS, _KNOWN_S = 256, 1.0
_SEARCHED = ("/usr/local/bin", "/usr/bin", "/bin")
_VISIBLE = ("/usr", "/bin", "/lib", "/lib64")
_ENVIRONMENT = {"PATH": ":".join(_SEARCHED), "HOME": HOME, "LANG": "C.UTF-8"}
# Contains only links; the paths of Debian's java, lua, php, cc and awk lead through it.
_DIRECTORIES = ("/etc/alternatives:maybe",)
# A JVM locks a file with performance data; in a box it cannot, and says so on standard output.
_OWN_OPTIONS = {"java": ("-XX:-UsePerfData",), "javac": ("-J-XX:-UsePerfData",)}
# Keys that describe the commands and the names of a table; an operator's own run_cmd replaces them all.
_OF_COMMANDS = (
    "compile_cmd",
    "version_cmd",
    "artifacts",
    "file_extension",
    "aliases",
    "source_name",
    "entry_point",
    "source_extensions",
    "included_sources",
)


class LanguagesError(ValueError):
    """A file of languages is invalid; the message names the file, the language and the key."""


def _with_base_environment(own: Mapping[str, str]) -> Mapping[str, str]:
    return _ENVIRONMENT | dict(own)


def _with_base_directories(own: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_DIRECTORIES + own))


def _with_one_group(pattern: re.Pattern[str]) -> re.Pattern[str]:
    if pattern.groups != 1:
        raise ValueError("must have one group, for the name")
    return pattern


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9.][A-Za-z0-9 .+#_()-]{0,63}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]
FilePattern = Annotated[str, AfterValidator(check_name)]
Extension = Annotated[str, Field(pattern=r"^[A-Za-z0-9+]{1,16}$")]
OneGroup = Annotated[re.Pattern[str], AfterValidator(_with_one_group)]
Words = Annotated[tuple[str, ...], BeforeValidator(split_words)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Value = Annotated[str, Field(pattern=r"^[^\x00]+$")]
Directory = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_+-][A-Za-z0-9_.+-]*)+(:maybe)?$")]
Environment = Annotated[Mapping[Variable, Value], AfterValidator(_with_base_environment)]
Directories = Annotated[tuple[Directory, ...], AfterValidator(_with_base_directories)]
Seconds = Annotated[float, Field(strict=True, ge=0.1, le=3_600)]
Count = Annotated[int, Field(strict=True, ge=0)]
_STRICT = ConfigDict(extra="forbid", validate_default=True)


@dataclass(frozen=True, slots=True, config=_STRICT)
class CompileLimits:
    """Limits of the compiler; the fields have the names of a sandbox's constraints."""

    cpu_time_s: Seconds = 30
    wall_time_s: Seconds = 60
    memory_kib: Annotated[Count, Field(ge=2_048)] = 1_048_576
    stack_kib: Annotated[Count, Field(ge=64)] = 65_536
    file_size_kib: Annotated[Count, Field(ge=1)] = 262_144
    processes: Annotated[Count, Field(ge=1)] = 128
    open_files: Annotated[Count, Field(ge=16)] = 512
    disk_kib: Annotated[Count, Field(ge=1)] = 1_048_576
    disk_files: Annotated[Count, Field(ge=1)] = 50_000


@dataclass(frozen=True, slots=True, config=_STRICT)
class Language:
    """One language; its fields are the keys of languages.toml, and described there."""

    name: Name
    source_file: FileName
    run_cmd: Annotated[Words, Field(min_length=1)]
    file_extension: Annotated[str, Field(max_length=64)] = ""
    aliases: tuple[Name, ...] = ()
    compile_cmd: Words = ()
    version_cmd: Words = ()
    artifacts: tuple[FilePattern, ...] = ()
    source_name: OneGroup | None = None
    entry_point: Literal["file", "class"] | None = None
    source_extensions: tuple[Extension, ...] = ()
    included_sources: OneGroup | None = None
    environment: Environment = Field(default_factory=dict)
    run_environment: Mapping[Variable, Value] = Field(default_factory=dict)
    heap_percent: Annotated[Count, Field(ge=1, le=100)] = 100
    headroom_mib: Count = 0
    out_of_memory: tuple[re.Pattern[str], ...] = ()
    directories: Directories = ()
    allow_network: StrictBool = False
    compile_limits: CompileLimits = CompileLimits()
    extra_processes: Count = 0
    time_factor: Annotated[float, Field(strict=True, ge=0.1, le=100)] = 1
    extra_memory_kib: Count = 0
    address_space: StrictBool = True
    source_text: Literal["as_sent", "unix"] = "as_sent"
    compiler_options: tuple[re.Pattern[str], ...] = ()
    reference: str | None = None

    @property
    def words(self) -> frozenset[str]:
        """The name, extension and aliases of this language, in the form that lookups compare."""
        return frozenset(_lookup_form(word) for word in (self.name, self.file_extension, *self.aliases)) - {
            ""
        }

    @property
    def missing(self) -> tuple[str, ...]:
        """The compiler and the interpreter, if they are not available in a box on this host."""
        programs = [argv[0] for argv in (self.compile_cmd, self.run_cmd) if argv]
        return tuple(program for program in programs if _locate(program, self.directories) is None)


class Registry:
    """All declared languages, including those that are not installed."""

    def __init__(self, languages: Iterable[Language]) -> None:
        self._languages = tuple(languages)
        self._by_word = {word: language for language in self._languages for word in language.words}

    @classmethod
    def load(cls, extra: Path | None = None) -> Self:
        """Return the packaged languages, with those of the operator's file added or replaced.

        Raises LanguagesError.
        """
        tables = _read(PACKAGED)
        packaged = _declare(PACKAGED, tables)
        if extra is None:
            return cls(packaged)
        base = {
            word: table for language, table in zip(packaged, tables, strict=True) for word in language.words
        }
        own = _declare(extra, [_complete(table, base) for table in _read(extra)])
        taken = frozenset(word for language in own for word in language.words)
        kept = [
            _release(language, taken) for language in packaged if _lookup_form(language.name) not in taken
        ]
        return cls(kept + own)

    def get(self, word: str) -> Language | None:
        """Return the language with this name, alias or file extension, in any case, even if not installed."""
        return self._by_word.get(_lookup_form(word))

    @property
    def available(self) -> tuple[Language, ...]:
        """The languages whose compiler and interpreter are installed, checked again on each access."""
        return tuple(language for language in self._languages if not language.missing)

    def shows(self, path: Path) -> bool:
        """Return True if boxes of some language contain what is at this path of the host."""
        directories = {directory for language in self._languages for directory in language.directories}
        return any(map(path.is_relative_to, _shown(directories)))

    def __iter__(self) -> Iterator[Language]:
        return iter(self._languages)

    def __len__(self) -> int:
        return len(self._languages)


def refused_option(language: Language, options: Iterable[str]) -> str | None:
    """Return the first compiler option that the language does not allow, or None."""
    refused = (
        word for word in options if not any(rule.fullmatch(word) for rule in language.compiler_options)
    )
    return next(refused, None)


def _lookup_form(word: str) -> str:
    return word.removeprefix(".").casefold()


@cached(TTLCache(_KNOWN_PROGRAMS, _KNOWN_S), lock=Lock())
def _locate(program: str, directories: tuple[str, ...]) -> str | None:
    """Return the path of a program in a box, or None; a path below /box is returned unchecked.

    Each submission asks for that, so the answer may be a second old.
    """
    if program.startswith(("./", "/box/")):
        return program
    visible = _shown(directories)
    candidates = [program] if "/" in program else [f"{directory}/{program}" for directory in _SEARCHED]
    for candidate in candidates:
        target = Path(os.path.realpath(candidate))
        if any(map(target.is_relative_to, visible)) and target.is_file() and os.access(target, os.X_OK):
            return candidate
    return None


def _shown(directories: Iterable[str]) -> list[str]:
    """Return the directories that a box contains with these rules, with links followed."""
    return [os.path.realpath(directory.removesuffix(":maybe")) for directory in (*_VISIBLE, *directories)]


def _read(file: Path) -> list[dict[str, Any]]:
    """Return the tables of a file: `[[language]]` or `[language.NAME]`, or the same with `languages`."""
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise LanguagesError(f"{file}: {error}") from error
    tables: list[dict[str, Any]] = []
    for key, value in document.items():
        named = value.items() if isinstance(value, dict) else ()
        found: Any = [isinstance(table, dict) and {"name": name, **table} for name, table in named] or value
        are_tables = isinstance(found, list) and all(isinstance(table, dict) for table in found)
        if key not in ("language", "languages") or not are_tables:
            raise LanguagesError(f"{file}: {key}: a languages file can contain only [[language]] tables")
        tables += found
    return tables


def _complete(table: dict[str, Any], packaged: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return an operator's table merged over the packaged one with the same name, alias or file extension."""
    words = [_lookup_form(str(table.get(key, ""))) for key in ("name", "file_extension")]
    base = next((packaged[word] for word in words if word in packaged), {})
    if "run_cmd" in table:
        base = {key: value for key, value in base.items() if key not in _OF_COMMANDS}
    elif base:
        table = {**table, "name": base["name"]}
    nested = {
        key: base[key] | value
        for key, value in table.items()
        if isinstance(value, dict) and isinstance(base.get(key), dict)
    }
    return base | table | nested


def _declare(file: Path, tables: Iterable[dict[str, Any]]) -> list[Language]:
    """Return the languages of one file with their programs located; refuse a word used by two of them."""
    languages: list[Language] = []
    owners: dict[str, str] = {}
    for table in tables:
        where = f"{file}: language {table.get('name', len(languages) + 1)}"
        try:
            language = _with_located_programs(Language(**table))
        except ValidationError as error:
            reason = "; ".join(explain(error, unknown="unknown key"))
            raise LanguagesError(f"{where}: {reason}") from error
        for word in sorted(language.words):
            if (owner := owners.setdefault(word, language.name)) is not language.name:
                raise LanguagesError(f"{where}: {word} is already a name or alias of {owner}")
        languages.append(language)
    return languages


def _with_located_programs(language: Language) -> Language:
    """Replace program names by their paths in a box, where PATH is not searched."""

    def located(argv: tuple[str, ...]) -> tuple[str, ...]:
        if not argv:
            return ()
        own = _OWN_OPTIONS.get(PurePath(argv[0]).name, ())
        return (_locate(argv[0], language.directories) or argv[0], *own, *argv[1:])

    return replace(
        language,
        compile_cmd=located(language.compile_cmd),
        run_cmd=located(language.run_cmd),
        version_cmd=located(language.version_cmd),
    )


def _release(language: Language, taken: frozenset[str]) -> Language:
    """Return the language without the words that another language uses."""
    return replace(
        language,
        file_extension="" if _lookup_form(language.file_extension) in taken else language.file_extension,
        aliases=tuple(alias for alias in language.aliases if _lookup_form(alias) not in taken),
    )
