"""The daemon's settings: one frozen tree from a TOML file, the environment and systemd credentials."""

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from verdictd.limits import Limits

DEFAULT_FILE = Path("/etc/verdictd/verdictd.toml")


class SettingsError(Exception):
    """A setting is wrong: the process ends with exit code 78 and says which."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _is_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return text


Pattern = Annotated[str, AfterValidator(_is_pattern)]
QueueName = Annotated[str, Field(min_length=1, max_length=200)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class BrokerSettings(_Section):
    """How RabbitMQ is reached, and what the queues are called."""

    url: SecretStr = SecretStr("amqp://guest:guest@127.0.0.1:5672/")
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    declare: bool = True
    submissions_queue: QueueName = "verdictd.submissions"
    results_queue: QueueName = "verdictd.results"
    dead_queue: QueueName = "verdictd.dead"
    reply_to_pattern: Pattern = r"verdictd\.results|verdictd\.reply\..+"
    delivery_limit: int = Field(default=20, ge=1, le=1_000)
    prefetch_reserve: int = Field(default=2, ge=0, le=1_000)
    heartbeat_s: int = Field(default=15, ge=1, le=600)
    connect_timeout_s: Seconds = 10
    publish_timeout_s: Seconds = 30
    reconnect_max_s: Seconds = 15


class SandboxSettings(_Section):
    """Which sandbox runs the programs, and in which boxes."""

    isolate: str = "auto"
    """`auto` (isolate from PATH, else the embedded default), `embedded`, or a path."""
    allow_old: bool = False
    control_groups: Literal["auto", "always", "never"] = "auto"
    boxes: int | None = Field(default=None, ge=1, le=1_000)
    """None: the number of processors."""
    first_box: int = Field(default=0, ge=0, le=9_000)
    lock_directory: Path = Path("/run/lock")
    open_files: int = Field(default=256, ge=16, le=65_536)
    allow_network: bool = False
    retire_s: Seconds = 30
    """How long a box that could not be reset rests before it is tried again."""

    @property
    def box_count(self) -> int:
        """The number of boxes in use."""
        return self.boxes or len(os.sched_getaffinity(0))


class JudgeSettings(_Section):
    """How submissions are judged."""

    languages_file: Path | None = None
    """TOML file whose languages are added to those of the package, or replace them."""
    compile_output_kib: int = Field(default=64, ge=1, le=65_536)
    artifact_kib: int = Field(default=65_536, ge=1, le=1_048_576)
    submission_timeout_s: Seconds = 1_500
    """For all of one submission; below RabbitMQ's delivery acknowledgement timeout of 30 minutes."""
    max_attempts: int = Field(default=5, ge=1, le=1_000)
    """Deliveries of one message before it is answered with internal_error and dead-lettered."""
    fault_pause_s: Seconds = 1
    """Before a message goes back to the queue for a fault of ours, so that it does not spin."""


class ServiceSettings(_Section):
    """The life of the process."""

    drain_timeout_s: Seconds = 60
    remembered_results: int = Field(default=1_000, ge=0, le=1_000_000)
    remembered_bytes: int = Field(default=32 * 1024 * 1024, ge=0)


class LogSettings(_Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Settings(BaseSettings):
    """Everything an operator can set; see systemd/verdictd.toml."""

    model_config = SettingsConfigDict(
        env_prefix="VERDICTD_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    broker: BrokerSettings = BrokerSettings()
    sandbox: SandboxSettings = SandboxSettings()
    limits: Limits = Limits()
    judge: JudgeSettings = JudgeSettings()
    service: ServiceSettings = ServiceSettings()
    log: LogSettings = LogSettings()


def load(file: Path | None = None) -> Settings:
    """Read the settings; a credential overrides the environment, which overrides the file.

    `file` must exist where it is given; without it `/etc/verdictd/verdictd.toml` is read if there is one.
    Raises SettingsError.
    """
    path = file or DEFAULT_FILE
    if file is not None and not file.is_file():
        raise SettingsError(f"{file}: no such file")
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library passes all of them
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            toml = TomlConfigSettingsSource(settings_cls, path)
            if credentials is None:
                return init_settings, env_settings, toml
            secrets = NestedSecretsSettingsSource(
                file_secret_settings, secrets_dir=credentials, secrets_nested_delimiter="__"
            )
            return init_settings, secrets, env_settings, toml

    try:
        return Loaded()
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error
    except (ValidationError, OSError) as error:
        raise SettingsError(_explain(error)) from error


def _explain(error: ValidationError | OSError) -> str:
    if isinstance(error, OSError):
        return str(error)
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in problems)
