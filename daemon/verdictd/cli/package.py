"""A problem package in the ICPC/Kattis format, read as the fields of submissions."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verdictd.cli.contents import (
    TestData,
    UnusableFiles,
    in_natural_order,
    listed,
    names_of_tests,
    read,
)
from verdictd.cli.problem_yaml import ProblemYaml, built_in_checker, read_problem_yaml
from verdictd.judging.languages import Registry
from verdictd.judging.sources import is_source

_SILENT = {
    ".timelimit", "README.md", "attachments", "data", "generators", "problem.yaml",
    "problem_statement", "solution", "statement", "submissions",
}  # fmt: skip
_VALIDATORS = ("output_validator", "output_validators")
_DESCRIPTIONS = {
    ".desc",
    ".hint",
    ".interaction",
    ".jpeg",
    ".jpg",
    ".png",
    ".svg",
    ".md",
    ".tex",
}  # of tests, for people


@dataclass(frozen=True, slots=True)
class Program:
    """A program of one or several files, in the fields of a submission."""

    name: str
    fields: dict[str, object]


@dataclass(frozen=True, slots=True)
class Package:
    """A problem: the fields that all of its submissions have, and warnings about parts that are not used."""

    directory: Path
    fields: dict[str, object]
    warnings: tuple[str, ...]


def is_package(directory: Path) -> bool:
    """Return True for a directory with a problem.yaml."""
    return (directory / "problem.yaml").is_file()


def read_package(directory: Path, registry: Registry, data: TestData) -> Package:
    """Read tests, limits and validator; raises UnusableFiles if submissions cannot be judged by them."""
    if not is_package(directory):
        raise UnusableFiles(f"{directory}: not a problem package: no problem.yaml in it")
    settings = read_problem_yaml(directory / "problem.yaml")
    warnings = [*settings.unused(), *_unused_parts(directory)]
    tests = list(_tests(directory / "data", warnings, data))
    limits = settings.run_limits()
    if "cpu_time_limit" not in limits:
        limits |= _time_limit(directory / ".timelimit", warnings)
    decider = _decider(directory, settings, registry, warnings)
    return Package(directory, {"tests": tests, **decider, **limits}, tuple(warnings))


def _unused_parts(directory: Path) -> Iterator[str]:
    for name in sorted(entry.name for entry in directory.iterdir()):
        if name not in _SILENT and name not in _VALIDATORS:
            yield f"{name} is not used"
    data = directory / "data"
    for name in sorted(entry.name for entry in data.iterdir()) if data.is_dir() else ():
        if name not in {"sample", "secret"}:
            yield f"data/{name} is not used"


def _time_limit(file: Path, warnings: list[str]) -> dict[str, object]:
    """Return the time limit that tools of the format keep in a file of its own."""
    try:
        return {"cpu_time_limit": float(file.read_text())}
    except FileNotFoundError:
        warnings.append("problem.yaml: no limits.time_limit: the default of the judge is in force")
    except ValueError:
        warnings.append(f"{file.name}: not a number: the default time limit of the judge is in force")
    return {}


def _tests(folder: Path, warnings: list[str], data: TestData) -> Iterator[dict[str, object]]:
    """Yield the tests of the samples, then the secret ones; those of a sub-folder are a group."""
    files = {
        file.relative_to(folder).as_posix(): file
        for part in ("sample", "secret")
        for file in (folder / part).rglob("*")
        if file.is_file()
    }
    inputs = sorted((name for name in files if name.endswith(".in")), key=in_natural_order)
    if not inputs:
        raise UnusableFiles(f"{folder}: no *.in in sample or secret")
    answers = [name.removesuffix(".in") + ".ans" for name in inputs]
    missing = [name for name, answer in zip(inputs, answers, strict=True) if answer not in files]
    if missing:
        raise UnusableFiles(f"{folder}: no .ans beside {listed(missing)}")
    others = sorted(
        name for name in files.keys() - {*inputs, *answers} if Path(name).suffix not in _DESCRIPTIONS
    )
    warnings += [f"data/{name} is not used" for name in others[:20]]
    if len(others) > 20:
        warnings.append(f"data: {len(others) - 20} more files are not used")
    data.check(str(folder), [files[name] for name in (*inputs, *answers)])
    names = names_of_tests([name.removesuffix(".in").replace("/", "-") for name in inputs])
    parents = sorted({str(Path(name).parent) for name in inputs}, key=in_natural_order)
    grouped = any(parent.startswith("secret/") for parent in parents)
    groups = dict(zip(parents, names_of_tests([parent.replace("/", "-") for parent in parents]), strict=True))
    for name, given, answer in zip(names, inputs, answers, strict=True):
        test: dict[str, object] = {
            "name": name,
            "stdin": data.of(folder, given),
            "expected_output": data.of(folder, answer),
        }
        if grouped:
            test["group"] = groups[str(Path(given).parent)]
        yield test


def _decider(
    directory: Path, settings: ProblemYaml, registry: Registry, warnings: list[str]
) -> dict[str, Any]:
    """Return the checker, or the interactor: the validator of an interactive problem."""
    kinds = {*settings.type, *settings.validation}
    if "submit-answer" in kinds:
        raise UnusableFiles(f"{directory / 'problem.yaml'}: submit-answer problems cannot be judged")
    passes = {"passes": settings.limits.validation_passes} if "multi-pass" in kinds else {}
    if "interactive" in kinds:
        return {"interactor": _asked(directory, settings, registry) | passes}
    if passes:
        return {"checker": _program(directory, settings, registry) | passes}
    return {"checker": _checker(directory, settings, registry, warnings)}


def _checker(
    directory: Path, settings: ProblemYaml, registry: Registry, warnings: list[str]
) -> dict[str, Any]:
    if "custom" not in settings.validation and not (directory / "output_validator").is_dir():
        if (directory / "output_validators").is_dir():
            warnings.append("output_validators is not used: validation is not custom")
        checker, more = built_in_checker(settings.validator_flags)
        warnings += more
        return checker
    return _program(directory, settings, registry)


def _program(directory: Path, settings: ProblemYaml, registry: Registry) -> dict[str, Any]:
    """Return the validator as a checker program."""
    return {"type": "program"} | _asked(directory, settings, registry)


def _asked(directory: Path, settings: ProblemYaml, registry: Registry) -> dict[str, Any]:
    """Return the validator in the fields that a checker program and an interactor have."""
    program = _validator(directory, registry)
    limits = settings.validator_limits()
    return {
        "protocol": "kattis",
        **program.fields,
        **({"arguments": list(settings.validator_flags)} if settings.validator_flags else {}),
        **({"limits": limits} if limits else {}),
    }


def _validator(directory: Path, registry: Registry) -> Program:
    single = directory / "output_validator"
    if single.is_dir():
        return read_program(single, registry)
    folder = directory / "output_validators"
    found = sorted(entry for entry in folder.iterdir()) if folder.is_dir() else []
    if len(found) != 1:
        raise UnusableFiles(f"{folder}: {len(found)} output validators; one is possible")
    return read_program(found[0], registry)


def read_program(path: Path, registry: Registry) -> Program:
    """Return the program in a file, or in a folder of one language."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    sources = [file for file in files if _language(file, registry) is not None]
    if not sources and not path.is_file():
        raise UnusableFiles(f"{path}: no source file in a language of the judge")
    main = min(
        sources, key=lambda file: (file.stem.lower() != "main", file.parent != path, file), default=path
    )
    fields: dict[str, object] = {
        "language": main.suffix.removeprefix(".") or main.name,
        "source_code": read(main),
    }
    others = [_additional(file, path) for file in files if file != main]
    if others:
        fields["additional_files"] = others
    return Program(path.name, fields)


def _language(file: Path, registry: Registry) -> object:
    language = registry.get(file.suffix.removeprefix(".")) if file.suffix else None
    return language if language is not None and is_source(language, f"main{file.suffix}") else None


def _additional(file: Path, folder: Path) -> dict[str, object]:
    name, content = file.relative_to(folder).as_posix(), read(file)
    if isinstance(content, str):
        return {"name": name, "content": content}
    return {"name": name, "content": content["base64"], "encoding": "base64"}
