"""Reads the settings: from a TOML file, the environment and the credentials of systemd."""

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, TomlConfigSettingsSource
from pydantic_settings import SettingsError as SourceError

from verdictd.contract.validation import UNKNOWN, dotted, in_table_words, in_words
from verdictd.errors import file_error
from verdictd.settings import PREFIX, SEPARATOR, Settings

DEFAULT_FILE = Path("/etc/verdictd/verdictd.toml")


class SettingsError(Exception):
    """A setting is wrong: end with exit code 78. The message names the setting and holds no secret."""


def load(file: Path | None = None) -> Settings:
    """Read the settings; a credential overrides the environment, which overrides the file.

    `file` must exist where it is given; without it `/etc/verdictd/verdictd.toml` is read if there is one.
    Raises SettingsError, which holds no secret.
    """
    path = file or DEFAULT_FILE
    if file is not None and not file.is_file():
        raise SettingsError(f"{file}: no such file")

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library passes all of them
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path)

    try:
        _refuse_unknown_variables()
        return Loaded(**_credentials())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from None
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        raise SettingsError("; ".join(map(_explain, problems))) from None
    except OSError as error:
        raise SettingsError(file_error(error)) from None
    except SourceError as error:
        raise SettingsError(str(error)) from None


def _refuse_unknown_variables() -> None:
    """Refuse variables that look like settings and are not, such as VERDICTD_BROKER_URL with one underscore.

    The library ignores them. Variables such as VERDICTD_CONFIG, which is read elsewhere, pass.
    """
    for name in os.environ:
        key = name.lower()
        section, separator, _ = key.removeprefix(PREFIX).partition(SEPARATOR)
        looks_like_one = separator or section.split("_")[0] in Settings.model_fields
        if key.startswith(PREFIX) and looks_like_one and section not in Settings.model_fields:
            raise SettingsError(f"{name}: no such setting; they are named as in VERDICTD_BROKER__URL")


def _credentials() -> dict[str, Any]:
    """Return systemd's files that are named as a setting: `broker__url` or `VERDICTD_BROKER__URL`."""
    found: dict[str, dict[str, str]] = {}
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    for file in Path(directory).iterdir() if directory else ():
        section, separator, name = file.name.lower().removeprefix(PREFIX).partition(SEPARATOR)
        if separator:
            try:
                found.setdefault(section, {})[name] = file.read_text().strip()
            except UnicodeDecodeError:
                raise SettingsError(f"credential {file.name}: not UTF-8") from None
    return found


def _explain(problem: ErrorDetails) -> str:
    """Say which setting is wrong, what it must be, and what it got unless that may be a secret."""
    where = dotted(problem["loc"])
    message = in_words(problem)
    if message == UNKNOWN:
        return f"{where}: no such setting"
    message = in_table_words(message)
    if _may_be_shown(problem):
        message += f", got {problem['input']!r}"
    return f"{where}: {message}" if where else message


def _may_be_shown(problem: ErrorDetails) -> bool:
    """Return True for a short plain value of a setting that is not a secret."""
    section, name = (*map(str, problem["loc"]), "", "")[:2]
    field = Settings.model_fields.get(section)
    fields = getattr(field.annotation, "model_fields", {}) if field else {}
    is_secret = name not in fields or "Secret" in repr(fields[name].annotation)
    return (
        not is_secret
        and isinstance(problem["input"], (str, int, float))
        and len(str(problem["input"])) <= 100
    )
