"""The daemon's settings: one frozen tree from a TOML file, the environment and systemd credentials."""

import base64
import os
import re
import tomllib
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as SourceError

from verdictd.contract.limits import Limits

DEFAULT_FILE = Path("/etc/verdictd/verdictd.toml")
_PREFIX = "verdictd_"
_SEPARATOR = "__"
HTTP_REPLIES = "verdictd.reply.http."
"""What the names of the queues begin with on which requests over HTTP wait for their results."""


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


def _is_token(token: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]{16,512}=*", token.get_secret_value()):
        raise ValueError("a token has 16 to 512 of A-Z a-z 0-9 . _ ~ + / -")
    return token


def _is_webhook_secret(secret: SecretStr) -> SecretStr:
    try:
        key = base64.b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not secret.get_secret_value().startswith("whsec_") or not 24 <= len(key) <= 64:
        raise ValueError("a secret is whsec_ and 24 to 64 bytes in base64")
    return secret


Pattern = Annotated[str, AfterValidator(_is_pattern)]
QueueName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:\-]{1,200}$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Token = Annotated[SecretStr, AfterValidator(_is_token)]
WebhookSecret = Annotated[SecretStr, AfterValidator(_is_webhook_secret)]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:\-]{1,253}$"), AfterValidator(str.lower)]
Port = Annotated[int, Field(ge=1, le=65_535)]


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
    ack_timeout_s: Seconds = 1_800
    """RabbitMQ's own `consumer_timeout`: what is not settled by then is judged once more, by others."""
    heartbeat_s: int = Field(default=15, ge=1, le=600)
    connect_timeout_s: Seconds = 10
    publish_timeout_s: Seconds = 30
    reconnect_max_s: Seconds = 5

    @field_validator("url")
    @classmethod
    def _url(cls, url: SecretStr) -> SecretStr:
        if not _is_broker_url(url.get_secret_value()):
            raise ValueError(
                "must be amqp://user:password@host:port/vhost or amqps://...; in the user, the password and "
                "the vhost, all but letters and digits is percent-encoded"
            )
        return url

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.cert_file is None) is not (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if len({self.submissions_queue, self.results_queue, self.dead_queue}) < 3:
            raise ValueError("submissions_queue, results_queue and dead_queue must be three queues")
        return self


def _is_broker_url(url: str) -> bool:
    """Look at a URL without a word of it in an error: it holds a password."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"amqp", "amqps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


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
    """How long a box in which no program can be run rests before it is tried again."""

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
    submission_timeout_s: Seconds = 550
    """For all of one submission, from the moment it has a box."""
    max_attempts: int = Field(default=3, ge=1, le=1_000)
    """Deliveries of one message before it is answered with internal_error and dead-lettered.

    Those that this host sent back because it could run no program at all do not count.
    """
    fault_pause_s: Seconds = 1
    """Before a message goes back to the queue for a fault of ours, so that it does not spin."""


class ServiceSettings(_Section):
    """The life of the process."""

    drain_timeout_s: Seconds = 60
    remembered_results: int = Field(default=1_000, ge=0, le=1_000_000)
    remembered_bytes: int = Field(default=32 * 1024 * 1024, ge=0)


def _words(value: object) -> object:
    return value.split() if isinstance(value, str) else value


class CallbackSettings(_Section):
    """HTTP out: results posted to where a submission asks for them."""

    enabled: bool = False
    secrets: Annotated[tuple[WebhookSecret, ...], NoDecode, BeforeValidator(_words)] = ()
    """Each signs, so that a new one can be known everywhere before the old one goes; none: unsigned."""
    allow_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_words)] = ()
    allow_hosts: Annotated[tuple[HostName, ...], NoDecode, BeforeValidator(_words)] = ()
    allow_ports: Annotated[tuple[Port, ...], NoDecode, BeforeValidator(_words)] = (80, 443, 8_080, 8_443)
    timeout_s: Seconds = 15
    """For one delivery, from looking the name up to the head of the answer."""
    max_deliveries: int = Field(default=32, ge=1, le=1_000)
    """At once, with those that wait for their host."""
    per_host: int = Field(default=4, ge=1, le=1_000)
    ladder_s: Annotated[tuple[Seconds, ...], NoDecode, BeforeValidator(_words)] = (5, 30, 120, 600, 3_600)
    """The waits after one failed delivery and the next; after the last step it is given up."""
    queue: QueueName = "verdictd.callbacks"
    dead_queue: QueueName = "verdictd.callbacks.dead"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.ladder_s or list(self.ladder_s) != sorted(set(self.ladder_s)):
            raise ValueError("ladder_s must have a step, and each must be longer than the one before")
        if self.max_deliveries < 2 * self.per_host + 1:
            raise ValueError("max_deliveries must be more than twice per_host: one host could fill it")
        if self.queue == self.dead_queue:
            raise ValueError("queue and dead_queue must be two queues")
        return self


class HttpSettings(_Section):
    """HTTP in: submissions, health, status."""

    enabled: bool = False
    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8_080, ge=0, le=65_535)
    tokens: Annotated[tuple[Token, ...], NoDecode, BeforeValidator(_words)] = ()
    """A client that has one of them may do everything; without any, every client may."""
    wait_s: Seconds = 30
    """How long a request may wait for its result."""
    max_queue_length: int = Field(default=10_000, ge=1)
    max_requests: int = Field(default=128, ge=1, le=10_000)
    """At once; those that wait for a result count too."""
    request_timeout_s: Seconds = 30
    """For a client to send a request, or the next one over the same connection."""


class LogSettings(_Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Settings(BaseSettings):
    """Everything an operator can set; see systemd/verdictd.toml."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter=_SEPARATOR,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    broker: BrokerSettings = BrokerSettings()
    sandbox: SandboxSettings = SandboxSettings()
    limits: Limits = Limits()
    judge: JudgeSettings = JudgeSettings()
    callbacks: CallbackSettings = CallbackSettings()
    service: ServiceSettings = ServiceSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _answers_before_the_broker_gives_up(self) -> Self:
        if self.judge.max_attempts > self.broker.delivery_limit:
            raise ValueError(
                "judge.max_attempts is more than broker.delivery_limit: RabbitMQ would dead-letter "
                "a submission that was never answered"
            )
        return self

    @model_validator(mode="after")
    def _judges_before_the_broker_gives_up(self) -> Self:
        # A delivery waits for one that is in a box, then for one before it, and is judged itself.
        longest_s = 3 * self.judge.submission_timeout_s
        if longest_s >= self.broker.ack_timeout_s:
            raise ValueError(
                "judge.submission_timeout_s is not less than a third of broker.ack_timeout_s: RabbitMQ would "
                "deliver to others what is still judged here; raise consumer_timeout there, and this with it"
            )
        return self

    @model_validator(mode="after")
    def _queues_are_apart(self) -> Self:
        broker, callbacks = self.broker, self.callbacks
        taken = {broker.submissions_queue, broker.results_queue, broker.dead_queue}
        if not taken.isdisjoint({callbacks.queue, callbacks.dead_queue}):
            raise ValueError("callbacks.queue and callbacks.dead_queue must not be queues of [broker]")
        return self

    @model_validator(mode="after")
    def _may_wait_over_http(self) -> Self:
        if self.http.enabled and not re.fullmatch(self.broker.reply_to_pattern, f"{HTTP_REPLIES}1-2"):
            raise ValueError(f"http.enabled needs a broker.reply_to_pattern that allows {HTTP_REPLIES}*")
        return self


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
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise SettingsError("; ".join(map(_explain, problems))) from None
    except (OSError, SourceError) as error:
        raise SettingsError(str(error)) from None


def _refuse_unknown_variables() -> None:
    """Refuse variables that look like settings and are none, which the library lets through.

    `VERDICTD_CONFIG` and the like are not ours to judge; `VERDICTD_BROKER_URL` lacks an underscore.
    """
    for name in os.environ:
        key = name.lower()
        section, separator, _ = key.removeprefix(_PREFIX).partition(_SEPARATOR)
        looks_like_one = separator or section.split("_")[0] in Settings.model_fields
        if key.startswith(_PREFIX) and looks_like_one and section not in Settings.model_fields:
            raise SettingsError(f"{name}: no such setting; they are named as in VERDICTD_BROKER__URL")


def _credentials() -> dict[str, Any]:
    """The files from systemd that are named as a setting: `broker__url`, or `VERDICTD_BROKER__URL`."""
    found: dict[str, dict[str, str]] = {}
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    for file in Path(directory).iterdir() if directory else ():
        section, separator, name = file.name.lower().removeprefix(_PREFIX).partition(_SEPARATOR)
        if separator:
            try:
                found.setdefault(section, {})[name] = file.read_text().strip()
            except UnicodeDecodeError:
                raise SettingsError(f"credential {file.name}: not UTF-8") from None
    return found


def _explain(problem: ErrorDetails) -> str:
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"{where}: no such setting"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
