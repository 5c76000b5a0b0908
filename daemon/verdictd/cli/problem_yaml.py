"""`problem.yaml` of a problem package in the ICPC/Kattis format, in the words of a submission."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from verdictd.cli.contents import UnusableFiles
from verdictd.contract.validation import dotted, in_words

_MAX_BYTES = 1 << 20
_KIB = 1_024
_DESCRIPTIVE = {
    "author", "constants", "credits", "keywords", "license", "name", "problem_format_version", "rights_owner",
    "source", "source_url", "uuid", "version",
}  # fmt: skip
_TOLERANCES = {
    "float_tolerance": ("absolute", "relative"),
    "float_absolute_tolerance": ("absolute",),
    "float_relative_tolerance": ("relative",),
}


def _words(value: object) -> object:
    return shlex.split(value) if isinstance(value, str) else [] if value is None else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False, coerce_numbers_to_str=True)


class ProblemLimits(_Table):
    """Limits of a package: seconds and MiB."""

    time_limit: float | None = None
    memory: int | None = None
    output: int | None = None
    validation_time: float | None = None
    validation_memory: int | None = None
    validation_output: int | None = None
    validation_passes: int = 2


class ProblemYaml(_Table):
    """The part of problem.yaml that decides how submissions are judged; other keys are kept as extras."""

    validation: Words = ("default",)
    validator_flags: Words = ()
    type: Words = ("pass-fail",)
    limits: ProblemLimits = Field(default_factory=ProblemLimits)

    def unused(self) -> Iterator[str]:
        """Yield a warning for each key that changes nothing here."""
        for key in sorted((self.model_extra or {}).keys() - _DESCRIPTIVE):
            yield f"problem.yaml: {key} is not used"
        for key in sorted(self.limits.model_extra or {}):
            yield f"problem.yaml: limits.{key} is not used"
        for kind in sorted({*self.type, *self.validation} & {"scoring", "score"}):
            yield f"problem.yaml: {kind}: verdicts are compared, points are not counted"

    def run_limits(self) -> dict[str, object]:
        """Return the limits that it sets, in the units of a submission."""
        limits = {
            "cpu_time_limit": self.limits.time_limit,
            "memory_limit": _kib(self.limits.memory),
            "max_output_size": _kib(self.limits.output),
        }
        return {name: limit for name, limit in limits.items() if limit is not None}

    def validator_limits(self) -> dict[str, object]:
        """Return the limits of an output validator, in the units of a submission."""
        limits = {
            "cpu_time_limit": self.limits.validation_time,
            "memory_limit": _kib(self.limits.validation_memory),
            "max_output_size": _kib(self.limits.validation_output),
        }
        return {name: limit for name, limit in limits.items() if limit is not None}


def _kib(mib: int | None) -> int | None:
    return None if mib is None else mib * _KIB


def read_problem_yaml(file: Path) -> ProblemYaml:
    """Return what the file says; raises UnusableFiles if it is not a problem.yaml."""
    with file.open("rb") as opened:
        content = opened.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise UnusableFiles(f"{file}: larger than 1 MiB")
    try:
        return ProblemYaml.model_validate(yaml.safe_load(content) or {})
    except ValidationError as error:
        found = error.errors()[0]
        where = dotted(found["loc"]) or "as a whole"
        raise UnusableFiles(f"{file}: {where}: {in_words(found)}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UnusableFiles(f"{file}: not YAML: {' '.join(str(error).split())}") from None


def built_in_checker(flags: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    """Return the checker that compares as the default validator with these flags, and warnings."""
    tolerances: dict[str, float] = {}
    case_sensitive = space_sensitive = False
    warnings = []
    words = iter(flags)
    for word in words:
        if word in _TOLERANCES:
            tolerances |= dict.fromkeys(_TOLERANCES[word], _number(word, next(words, "")))
        elif word == "case_sensitive":
            case_sensitive = True
        elif word == "space_change_sensitive":
            space_sensitive = True
        else:
            warnings.append(f"problem.yaml: validator_flags: {word} is not used")
    if space_sensitive and not tolerances:
        if not case_sensitive:
            warnings.append("problem.yaml: space_change_sensitive: upper and lower case are told apart too")
        return {"type": "exact"}, warnings
    if space_sensitive:
        warnings.append("problem.yaml: space_change_sensitive is not used where numbers have a tolerance")
    if tolerances:
        both = {"absolute": 0.0, "relative": 0.0} | tolerances
        return {"type": "floats", **both, "case_sensitive": case_sensitive}, warnings
    return {"type": "tokens", "case_sensitive": case_sensitive}, warnings


def _number(flag: str, word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise UnusableFiles(f"problem.yaml: validator_flags: {flag} needs a number, not {word!r}") from None
