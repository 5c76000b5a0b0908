"""Settings of the daemon, as one frozen tree with defaults and bounds. `cli.configuration` reads them."""

import base64
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from verdictd.contract.limits import Limits
from verdictd.contract.validation import Frozen

PREFIX = "verdictd_"
SEPARATOR = "__"
"""Of the environment variables: VERDICTD_BROKER__URL."""
HTTP_REPLIES = "verdictd.reply.http."
"""Prefix of the queues on which HTTP requests wait for their results."""


_SEEN = ("/usr", "/bin", "/lib", "/lib32", "/lib64")
"""Directories of the host that are in every box."""


def _check_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"must be a regular expression: {error}") from error
    return text


def _check_token(token: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]{16,512}=*", token.get_secret_value()):
        raise ValueError("a token has 16 to 512 of A-Z a-z 0-9 . _ ~ + / -")
    return token


def _check_webhook_secret(secret: SecretStr) -> SecretStr:
    try:
        key = base64.b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not secret.get_secret_value().startswith("whsec_") or not 24 <= len(key) <= 64:
        raise ValueError("a secret is whsec_ and 24 to 64 bytes in base64")
    return secret


def _words(value: object) -> object:
    """Split text from the environment or a credential; a list from the file stays as it is."""
    return value.split() if isinstance(value, str) else value


def _network(value: object) -> object:
    if isinstance(value, str):
        return ip_network(value)
    if isinstance(value, (IPv4Network, IPv6Network)):
        return value
    raise ValueError('must be a network such as "10.20.0.0/16"')


_T = TypeVar("_T")
Listed = Annotated[tuple[_T, ...], NoDecode, BeforeValidator(_words)]
Pattern = Annotated[str, AfterValidator(_check_pattern)]
QueueName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:\-]{1,200}$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Token = Annotated[SecretStr, AfterValidator(_check_token)]
WebhookSecret = Annotated[SecretStr, AfterValidator(_check_webhook_secret)]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:\-]{1,253}$"), AfterValidator(str.lower)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Port = Annotated[int, Field(ge=1, le=65_535)]


class WeightedQueue(Frozen):
    """Queue of submissions; while several have messages, they are taken in proportion to the weights."""

    name: QueueName
    weight: int = Field(default=1, ge=1, le=1_000)


@dataclass(frozen=True, slots=True)
class SubmissionQueue:
    """Queue of submissions, and the queues of its dead letters: on their way, and in the end."""

    name: str
    weight: int
    unanswered: str
    dead: str


class BrokerSettings(Frozen):
    """Connection to RabbitMQ, and the names of its queues."""

    url: SecretStr = SecretStr("amqp://guest:guest@127.0.0.1:5672")
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    declare: bool = True
    submissions_queue: QueueName = "verdictd.submissions"
    results_queue: QueueName = "verdictd.results"
    unanswered_queue: QueueName = "verdictd.unanswered"
    """Dead letters on their way to `dead_queue`: daemons answer those that RabbitMQ gave up by itself."""
    dead_queue: QueueName = "verdictd.dead"
    control_queue: QueueName = "verdictd.control"
    """Name of the exchange for control messages, and of the stream that they go to."""
    control_age_s: int = Field(default=86_400, ge=0, le=2_592_000)
    """Age up to which control messages are known to a daemon that starts; 0: no stream."""
    events_exchange: QueueName = "verdictd.events"
    """Topic exchange to which events of submissions are published."""
    events_waiting: int = Field(default=1_000, ge=1, le=100_000)
    """Events that wait here until RabbitMQ takes them; of more, the oldest are dropped."""
    events_expire_s: Seconds = 60
    """Time after which RabbitMQ drops an event that nobody has taken from a queue."""
    queues: tuple[WeightedQueue, ...] = Field(default=(), max_length=64)
    """Queues of submissions; empty: `submissions_queue` alone.

    That one, if it is among them, has `unanswered_queue` and `dead_queue`. Others have queues of their own,
    whose names are theirs with `.unanswered` and `.dead`.
    """
    reply_to_pattern: Pattern = r"verdictd\.results|verdictd\.reply\..+|amq\.gen-.+"
    delivery_limit: int = Field(default=20, ge=1, le=1_000)
    prefetch_reserve: int = Field(default=2, ge=0, le=1_000)
    ack_timeout_s: Seconds = 1_800
    """RabbitMQ's own `consumer_timeout`: a delivery that is not settled by then is delivered again."""
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
        if len(self.own_queues) < 1 + 3 * len(self.submission_queues):
            raise ValueError(
                "queues must differ from each other, from their dead letters and from results_queue"
                if self.queues
                else "submissions_queue, results_queue, unanswered_queue and dead_queue must be four queues"
            )
        if self.control_queue in self.own_queues:
            raise ValueError(f"control_queue is {self.control_queue!r}, which is another queue's name")
        return self

    @property
    def submission_queues(self) -> tuple[SubmissionQueue, ...]:
        """Queues of submissions; the first one gets those that come over HTTP."""
        weighted = self.queues or (WeightedQueue(name=self.submissions_queue),)
        return tuple(self._submission_queue(queue) for queue in weighted)

    def _submission_queue(self, queue: WeightedQueue) -> SubmissionQueue:
        name, weight = queue.name, queue.weight
        if name == self.submissions_queue:
            return SubmissionQueue(name, weight, self.unanswered_queue, self.dead_queue)
        return SubmissionQueue(name, weight, f"{name}.unanswered", f"{name}.dead")

    @property
    def own_queues(self) -> frozenset[str]:
        """Names of the queues of submissions, results and dead letters."""
        queues = self.submission_queues
        named = {name for queue in queues for name in (queue.name, queue.unanswered, queue.dead)}
        return frozenset(named | {self.results_queue})


def _is_broker_url(url: str) -> bool:
    """Return False for anything malformed; no error quotes the URL, since it holds a password."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"amqp", "amqps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


class SandboxSettings(Frozen):
    """Sandbox that runs the programs, and its boxes."""

    isolate: str = "auto"
    """`auto` (isolate from PATH, else the embedded sandbox), `embedded`, or a path."""
    allow_old: bool = False
    control_groups: Literal["auto", "always", "never"] = "auto"
    boxes: int | None = Field(default=None, ge=1, le=1_000)
    """None: the number of processors."""
    first_box: int = Field(default=0, ge=0, le=9_000)
    lock_directory: Path = Path("/run/lock")
    open_files: int = Field(default=256, ge=16, le=65_536)
    allow_network: bool = False
    retire_s: Seconds = 30
    """Rest of a box in which no program can be run, before it is tried again."""

    @property
    def box_count(self) -> int:
        """Number of boxes in use."""
        return self.boxes or len(os.sched_getaffinity(0))


class JudgeSettings(Frozen):
    """Bounds on judging one submission."""

    languages_file: Path | None = None
    """TOML file whose languages are added to those of the package, or replace them."""
    artifact_kib: int = Field(default=65_536, ge=1, le=1_048_576)
    cache_kib: int = Field(default=524_288, ge=0, le=1_073_741_824)
    """Bound on the directory of compiled programs; 0: every program is compiled each time."""
    cache_directory: Path | None = None
    """None: `$CACHE_DIRECTORY`, as systemd sets it, else the place for caches of the user."""
    submission_timeout_s: Seconds = 550
    """For the whole of a submission with one test, from the moment it has a box."""
    test_timeout_s: Seconds = 10
    """For each further test; all together have a minute less than `broker.ack_timeout_s` at most."""
    time_retries: int = Field(default=1, ge=0, le=10)
    """Runs that are made again, each, when one took up to a tenth longer than its CPU time limit."""
    max_attempts: int = Field(default=3, ge=1, le=1_000)
    """Deliveries of one message before it is answered with internal_error and dead-lettered.

    Deliveries that came back because no box was usable, or no sandbox could be started, do not count.
    """


class DataSettings(Frozen):
    """Test data by reference: files that the operator provides, and files that are fetched over HTTP."""

    directory: Path | None = None
    """Directory of the files that submissions may name; None: they may name none."""
    allow_urls: bool = False
    allow_networks: Listed[Network] = ()
    allow_hosts: Listed[HostName] = ()
    allow_ports: Listed[Port] = (80, 443, 8_080, 8_443)
    file_kib: int = Field(default=1_048_576, ge=1, le=67_108_864)
    """Of each file by reference."""
    timeout_s: Seconds = 45
    """For all files of a submission to be fetched, before it has a box."""
    cache_directory: Path = Path("/var/cache/verdictd/data")
    cache_kib: int = Field(default=10_485_760, ge=1, le=17_179_869_184)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.file_kib > self.cache_kib:
            raise ValueError(f"file_kib is {self.file_kib}, more than cache_kib ({self.cache_kib})")
        for name, directory in (("directory", self.directory), ("cache_directory", self.cache_directory)):
            if directory is not None and any(directory.is_relative_to(seen) for seen in _SEEN):
                raise ValueError(f"{name} is {directory}, which every program can read: choose another")
        return self

    @property
    def enabled(self) -> bool:
        """True if submissions may have test data by reference."""
        return self.allow_urls or self.directory is not None


class ServiceSettings(Frozen):
    """Life of the process, and what it remembers."""

    drain_timeout_s: Seconds = 60
    remembered_bytes: int = Field(default=16 * 1024 * 1024, ge=0)


class CallbackSettings(Frozen):
    """HTTP out: results posted to the `callback_url` of their submissions."""

    enabled: bool = False
    secrets: Listed[WebhookSecret] = ()
    """Each signs, so that receivers can change from an old one to a new one. Empty: not signed."""
    allow_networks: Listed[Network] = ()
    allow_hosts: Listed[HostName] = ()
    allow_ports: Listed[Port] = (80, 443, 8_080, 8_443)
    timeout_s: Seconds = 15
    """For one delivery, from looking up the name to the head of the answer."""
    per_host: int = Field(default=4, ge=1, le=100)
    retry_delays_s: Listed[Seconds] = (5, 30, 120, 600, 3_600)
    """Delay after the first failed delivery, the second and so on; after the last one it is given up."""
    queue: QueueName = "verdictd.callbacks"
    dead_queue: QueueName = "verdictd.callbacks.dead"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        delays_s = list(self.retry_delays_s)
        if not delays_s or delays_s != sorted(set(delays_s)):
            raise ValueError(
                f"retry_delays_s must have one delay or more, each longer than the last, got {delays_s}"
            )
        if self.queue == self.dead_queue:
            raise ValueError(f"queue and dead_queue must be two queues, both are {self.queue!r}")
        return self

    @property
    def max_deliveries(self) -> int:
        """Bound on callbacks in hand at once, so high that slow hosts cannot fill it soon."""
        return 8 * self.per_host


class HttpSettings(Frozen):
    """HTTP in: submissions, health, status."""

    enabled: bool = False
    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8_080, ge=0, le=65_535)
    allowed_hosts: Listed[HostName] = ()
    """Names, without a port, by which clients and browsers reach the daemon, beside the address bound to."""
    tokens: Listed[Token] = ()
    """Bearer tokens that grant full access. Empty: no authentication."""
    wait_s: Seconds = 30
    """Longest wait of a request for its result."""
    max_queue_length: int = Field(default=10_000, ge=1)
    max_requests: int = Field(default=128, ge=1, le=10_000)
    """At once, including those that wait for a result."""
    max_event_streams: int = Field(default=64, ge=0, le=10_000)
    """Streams of events at once. 0: none are served."""
    event_stream_s: Seconds = 900
    """Longest life of a stream of events."""
    request_timeout_s: Seconds = 30
    """For a client to send a request, or its next one over the same connection."""


class LogSettings(Frozen):
    """Level and format of the log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Settings(BaseSettings):
    """Everything that an operator can set; systemd/verdictd.toml documents each."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=SEPARATOR,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    broker: BrokerSettings = BrokerSettings()
    sandbox: SandboxSettings = SandboxSettings()
    limits: Limits = Limits()
    judge: JudgeSettings = JudgeSettings()
    data: DataSettings = DataSettings()
    callbacks: CallbackSettings = CallbackSettings()
    service: ServiceSettings = ServiceSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = list(_contradictions(self))
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _contradictions(settings: Settings) -> Iterator[str]:
    """Yield what is wrong between the sections."""
    broker, judge, callbacks = settings.broker, settings.judge, settings.callbacks
    if judge.max_attempts > broker.delivery_limit:
        yield (
            f"judge.max_attempts is {judge.max_attempts}, more than broker.delivery_limit "
            f"({broker.delivery_limit}): RabbitMQ would dead-letter a submission that was never answered"
        )
    # A delivery waits for the one in the box and for one before it, and is then judged itself.
    longest_s, what = judge.submission_timeout_s, "judge.submission_timeout_s is"
    if settings.data.enabled:
        longest_s, what = longest_s + settings.data.timeout_s, f"{what[:-3]} and data.timeout_s are"
    if 3 * longest_s >= broker.ack_timeout_s:
        yield (
            f"{what} {longest_s:g}, not less than a third of "
            f"broker.ack_timeout_s ({broker.ack_timeout_s:g}): RabbitMQ would deliver a submission again "
            "that is still being judged; raise consumer_timeout in RabbitMQ, and broker.ack_timeout_s with it"
        )
    shared = (broker.own_queues | {broker.control_queue}) & {callbacks.queue, callbacks.dead_queue}
    if shared:
        yield f"callbacks.queue and callbacks.dead_queue must not be queues of broker, got {min(shared)!r}"
    if settings.http.enabled and not re.fullmatch(broker.reply_to_pattern, f"{HTTP_REPLIES}1-2"):
        yield (
            f"http.enabled needs a broker.reply_to_pattern that allows {HTTP_REPLIES}*, "
            f"got {broker.reply_to_pattern!r}"
        )
