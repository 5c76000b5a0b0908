"""Settings: where they come from, which wins, and what is said of a wrong one."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from verdictd.cli.configuration import SettingsError, load
from verdictd.contract.limits import Bound, Limits
from verdictd.settings import BrokerSettings, Settings

SECRET = "s3cret"
URL_REASON = "must be amqp://user:password@host:port/vhost or amqps://"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a settings file."""

    def write(text: str) -> Path:
        file = tmp_path / "verdictd.toml"
        file.write_text(text)
        return file

    return write


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that systemd hands over."""
    directory = tmp_path / "credentials"
    directory.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    return directory


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting from the machine that the tests run on."""
    for name in ("CREDENTIALS_DIRECTORY", *(name for name in os.environ if name.startswith("VERDICTD_"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("verdictd.cli.configuration.DEFAULT_FILE", tmp_path / "none.toml")


def refusal(file: Path | None = None) -> str:
    """Why the settings are refused; no secret shows, not even in a traceback of it."""
    with pytest.raises(SettingsError) as refused:
        load(file)
    assert SECRET not in "".join(traceback.format_exception(refused.value))
    return str(refused.value)


def test_defaults_need_neither_file_nor_environment() -> None:
    """The daemon starts with the defaults where nothing is set."""
    assert Settings().model_dump() == load().model_dump()


def test_empty_file_changes_nothing(write: Write) -> None:
    """What a file does not say has its default."""
    assert Settings().model_dump() == load(write("")).model_dump()


def test_file_that_is_named_must_exist(tmp_path: Path) -> None:
    """A wrong path is no reason to run with the defaults."""
    assert f"{tmp_path / 'x'}: no such file" == refusal(tmp_path / "x")


def test_credential_wins_over_environment_over_file(
    write: Write, credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The closer to the process, the stronger; each source may give a part of a section."""
    file = write(
        '[broker]\nurl = "amqp://file/"\nresults_queue = "file"\ndead_queue = "file.dead"\nheartbeat_s = 7'
    )
    monkeypatch.setenv("VERDICTD_BROKER__URL", "amqp://environment/")
    monkeypatch.setenv("VERDICTD_BROKER__RESULTS_QUEUE", "environment")
    (credentials / "broker__url").write_text("amqp://credential/\n")

    broker = load(file).broker

    assert "amqp://credential/" == broker.url.get_secret_value()
    assert ("environment", "file.dead", 7) == (broker.results_queue, broker.dead_queue, broker.heartbeat_s)


@pytest.mark.parametrize("name", ["broker__url", "VERDICTD_BROKER__URL"])
def test_credential_is_named_as_the_setting(credentials: Path, name: str) -> None:
    """The name of the environment variable does, too; the line end of the file is no part of it."""
    (credentials / name).write_text(f"amqp://u:{SECRET}@h/\n")

    assert f"amqp://u:{SECRET}@h/" == load().broker.url.get_secret_value()


def test_other_credentials_are_left_alone(credentials: Path) -> None:
    """A key for TLS may lie there as well, in whatever format."""
    (credentials / "tls.p12").write_bytes(b"\xff\xfe")
    (credentials / "log").mkdir()

    assert Settings().model_dump() == load().model_dump()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("broker__ulr", SECRET.encode(), "broker.ulr: no such setting"),
        ("brokr__url", SECRET.encode(), "brokr: no such setting"),
        ("broker__url", SECRET.encode() + b"\xff", "credential broker__url: not UTF-8"),
    ],
)
def test_wrong_credential_names_itself(credentials: Path, name: str, content: bytes, reason: str) -> None:
    """A typo must not leave the default in force."""
    (credentials / name).write_bytes(content)

    assert reason == refusal()


def test_credentials_that_are_missing_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that was promised and is not there is no reason to go on without it."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/nonexistent")

    assert "/nonexistent: No such file or directory" == refusal()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("VERDICTD_BROKER__ULR", SECRET, "broker.ulr: no such setting"),
        ("VERDICTD_BROKR__URL", SECRET, "VERDICTD_BROKR__URL: no such setting; they are named as in"),
        ("VERDICTD_BROKER_URL", SECRET, "VERDICTD_BROKER_URL: no such setting; they are named as in"),
        ("VERDICTD_BROKER__URL__X", SECRET, "broker.url: must be a string"),
        ("VERDICTD_BROKER", SECRET, 'error parsing value for field "broker"'),
        ("VERDICTD_SANDBOX__BOXES", "", "sandbox.boxes: must be an integer"),
        ("VERDICTD_SANDBOX__BOXES", "many", "sandbox.boxes: must be an integer"),
        ("VERDICTD_LIMITS__CPU_TIME_LIMIT__MXA", "1", "limits.cpu_time_limit.mxa: no such setting"),
    ],
)
def test_wrong_variable_names_itself(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    """Variables that look like settings are settings, or are refused; their values are not shown."""
    monkeypatch.setenv(name, value)

    assert reason == refusal()[: len(reason)]


@pytest.mark.parametrize(
    "name",
    ["VERDICTD_CONFIG", "VERDICTD_PYTHON", "VERDICTD_BOX_ROOT", "VERDICTD_TEST_ISOLATE", "BROKER__URL"],
)
def test_variables_of_others_are_let_through(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Not everything with the prefix is a setting."""
    monkeypatch.setenv(name, "x")

    assert Settings().model_dump() == load().model_dump()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f'[broker]\nulr = "{SECRET}"', "broker.ulr: no such setting"),
        ("[brokr]", "brokr: no such setting"),
        (f'broker = "{SECRET}"', "broker: must be a table"),
        ("[broker]\nheartbeat_s = 0", "broker.heartbeat_s: must be greater than or equal to 1, got 0"),
        (f'[broker]\nurl = "http://u:{SECRET}@h/"', f"broker.url: {URL_REASON}"),
        (f'[broker]\nurl = "amqp://u:{SECRET}/x@h/"', f"broker.url: {URL_REASON}"),
        (f'[broker]\nurl = "amqp://u:[{SECRET}@h/"', f"broker.url: {URL_REASON}"),
        (f'[broker]\nurl = "{SECRET}"', f"broker.url: {URL_REASON}"),
        ('[broker]\ncert_file = "/c"', "broker: cert_file and key_file go together"),
        (
            '[broker]\ndead_queue = "verdictd.results"',
            "broker: submissions_queue, results_queue, unanswered_queue and dead_queue must be four queues",
        ),
        (
            '[broker]\nqueues = [{name = "a"}, {name = "a.dead"}]',
            "broker: queues must differ from each other, from their dead letters and from results_queue",
        ),
        ('[broker]\nqueues = [{name = "a", weight = 0}]', "broker.queues.0.weight: must be greater than"),
        ('[broker]\ndead_queue = "a b"', "broker.dead_queue: must match pattern"),
        (
            '[broker]\ncontrol_queue = "verdictd.results"',
            "broker: control_queue is 'verdictd.results', which is another queue's name",
        ),
        ('[broker]\nreply_to_pattern = "("', "broker.reply_to_pattern: must be a regular expression"),
        (
            f'[callbacks]\nsecrets = ["{SECRET}"]',
            "callbacks.secrets.0: a secret is whsec_ and 24 to 64 bytes",
        ),
        (
            f'[callbacks]\nsecrets = ["whsec_{SECRET}"]',
            "callbacks.secrets.0: a secret is whsec_ and 24 to 64 bytes",
        ),
        (
            '[callbacks]\nallow_networks = ["10.0.0.1/8"]',
            "callbacks.allow_networks.0: 10.0.0.1/8 has host bits set, got '10.0.0.1/8'",
        ),
        (
            "[callbacks]\nallow_ports = [0]",
            "callbacks.allow_ports.0: must be greater than or equal to 1, got 0",
        ),
        (
            "[callbacks]\nretry_delays_s = []",
            "callbacks: retry_delays_s must have one delay or more, each longer",
        ),
        (
            "[callbacks]\nretry_delays_s = [5, 5]",
            "callbacks: retry_delays_s must have one delay or more, each",
        ),
        ("[callbacks]\nmax_deliveries = 16", "callbacks.max_deliveries: no such setting"),
        ('[callbacks]\nqueue = "verdictd.callbacks.dead"', "callbacks: queue and dead_queue must be two"),
        ('[callbacks]\nqueue = "verdictd.dead"', "callbacks.queue and callbacks.dead_queue must not be"),
        ("[judge]\nmax_attempts = 21", "judge.max_attempts is 21, more than broker.delivery_limit (20)"),
        (
            "[judge]\nsubmission_timeout_s = 600",
            "judge.submission_timeout_s is 600, not less than a third of broker.ack_timeout_s (1800)",
        ),
        (
            "[data]\nallow_urls = true\ntimeout_s = 50",
            "judge.submission_timeout_s and data.timeout_s are 600, not less than a third of",
        ),
        ("[data]\ncache_kib = 100", "data: file_kib is 1048576, more than cache_kib (100)"),
        (
            '[data]\ndirectory = "/usr/local/share/data"',
            "data: directory is /usr/local/share/data, which every program can read",
        ),
        ("[judge]\nsubmission_timeout_s = inf", "judge.submission_timeout_s: must be"),
        ("[log]\nlevel = 'loud'", "log.level: must be 'debug', 'info', 'warning' or 'error', got 'loud'"),
        ("[limits]\nmetadata_bytes = 8000000", "limits: metadata_bytes must be at most half of result_bytes"),
        ("[limits]\ncpu_time_limit = 3", "limits.cpu_time_limit: must be a table"),
        ("[limits.cpu_time_limit]\nmax = nan", "limits.cpu_time_limit.max: must be a finite number"),
        ("[limits.memory_limit]\nmax = 1e400", "limits.memory_limit.max: must be a finite number"),
        ("[limits.memory_limit]\nmin = 0", "limits.memory_limit: must satisfy 1 <= min <= default <= max"),
        (
            "[limits.cpu_time_limit]\nmax = 1",
            "limits.cpu_time_limit: must satisfy 0 <= min <= default <= max",
        ),
    ],
)
def test_wrong_setting_names_itself(write: Write, text: str, reason: str) -> None:
    """The message says which setting is wrong and why, and never shows the broker's URL."""
    assert reason == refusal(write(text))[: len(reason)]


@pytest.mark.parametrize("content", [b"[broker", b"\xff", b'url = "' + SECRET.encode()])
def test_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    """The message names the file, and the line where there is one."""
    file = tmp_path / "verdictd.toml"
    file.write_bytes(content)

    assert refusal(file).startswith(f"{file}: not TOML: ")


def test_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    """A directory is no settings file either."""
    assert f"{tmp_path}: no such file" == refusal(tmp_path)


@pytest.mark.parametrize(
    ("variables", "text", "expected"),
    [
        ({}, "[limits.cpu_time_limit]\nmax = 30", Bound[float](default=2, min=0.01, max=30)),
        ({}, "[limits]\ncpu_time_limit = { min = 1, max = 30 }", Bound[float](default=2, min=1, max=30)),
        ({"VERDICTD_LIMITS__CPU_TIME_LIMIT__MAX": "30"}, "", Bound[float](default=2, min=0.01, max=30)),
        ({"VERDICTD_LIMITS__CPU_TIME_LIMIT": '{"max": 30}'}, "", Bound[float](default=2, min=0.01, max=30)),
        (
            {"VERDICTD_LIMITS__CPU_TIME_LIMIT__MAX": "30"},
            "[limits.cpu_time_limit]\ndefault = 1\nmax = 40",
            Bound[float](default=1, min=0.01, max=30),
        ),
    ],
)
def test_part_of_a_table_keeps_the_rest(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    text: str,
    expected: Bound[float],
) -> None:
    """Who sets one of default, min and max sets only that one."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    limits = load(write(text)).limits

    assert expected == limits.cpu_time_limit
    assert Limits().wall_time_limit == limits.wall_time_limit


def test_secrets_of_callbacks_are_lines_of_a_credential(credentials: Path) -> None:
    """One a line, so that a second one is added for a while; none of them shows."""
    one, two = "whsec_" + "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh", "whsec_" + "YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJi"
    (credentials / "callbacks__secrets").write_text(f"{one}\n{two}\n")

    settings = load()

    assert [one, two] == [secret.get_secret_value() for secret in settings.callbacks.secrets]
    assert "YWFh" not in f"{settings!r} {settings.model_dump()} {settings.model_dump_json()}"


def test_lists_are_words_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """With white space between them."""
    monkeypatch.setenv("VERDICTD_CALLBACKS__ALLOW_NETWORKS", "10.0.0.0/8 fd00::/8")
    monkeypatch.setenv("VERDICTD_CALLBACKS__ALLOW_HOSTS", "Hooks.internal")
    monkeypatch.setenv("VERDICTD_CALLBACKS__ALLOW_PORTS", "80 8081")
    monkeypatch.setenv("VERDICTD_CALLBACKS__RETRY_DELAYS_S", "1 2.5")

    callbacks = load().callbacks

    assert ["10.0.0.0/8", "fd00::/8"] == [str(network) for network in callbacks.allow_networks]
    assert (("hooks.internal",), (80, 8081), (1, 2.5)) == (
        callbacks.allow_hosts,
        callbacks.allow_ports,
        callbacks.retry_delays_s,
    )


def test_secret_does_not_show() -> None:
    """Settings may be printed and logged."""
    settings = Settings(broker=BrokerSettings(url=SecretStr(f"amqp://u:{SECRET}@h/")))

    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


def test_settings_do_not_change() -> None:
    """What was checked once stays right."""
    with pytest.raises(ValidationError, match="frozen"):
        Settings().broker.heartbeat_s = 1  # type: ignore[misc]


def test_boxes_are_as_many_as_processors_unless_set() -> None:
    """Those that the daemon may use count."""
    settings = load()

    assert settings.sandbox.boxes is None
    assert settings.sandbox.box_count >= 1
