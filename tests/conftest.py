"""Markers by folder, and the fixtures that all tests share."""

import fcntl
import itertools
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support.broker import Broker, vhost
from support.daemon import sandbox_setting
from support.manual import Operator
from support.rabbitmq import PrivateBroker
from support.shared_broker import shared_operator

# How fast an example is says more about the machine than about what is tested.
settings.register_profile(
    "tests", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("tests"), max_examples=2_000)
settings.load_profile("tests")

TESTS = Path(__file__).parent
MARKERS = {
    "sandbox": "sandbox",
    "judging": "sandbox",
    "web": "daemon",
    "daemon": "daemon",
    "hostile": "hostile",
}
BROKERS = {"broker", "frail_broker", "operator"}
SANDBOXES = {
    name: setting for name in ("isolate", "embedded") if (setting := sandbox_setting(name)) is not None
}


def pytest_report_header() -> str:
    """Say in which sandboxes programs are judged."""
    return " and ".join(f"sandbox {name}" for name in SANDBOXES) + (
        "" if "isolate" in SANDBOXES else "; isolate is neither on PATH nor named by VERDICTD_TEST_ISOLATE"
    )


def pytest_xdist_auto_num_workers() -> int:
    """Run two tests for each processor, as many wait for something."""
    return 2 * len(os.sched_getaffinity(0))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder, and with `broker` where a fixture of it starts RabbitMQ; sort."""
    for item in items:
        for marker in markers_of(item.path):
            item.add_marker(marker)
        if isinstance(item, pytest.Function) and BROKERS & {*item.fixturenames}:
            item.add_marker("broker")
    items[:] = in_turn(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def in_turn(items: list[pytest.Item], processes: int) -> list[pytest.Item]:
    """Return the tests such that what one process alone can use is all in one part of the list, and begins.

    Each process of pytest-xdist begins with a part of it, and takes over from the ends of others. So tests
    that take long begin other parts: none is left for the end.
    """
    heads: list[list[pytest.Item]] = [[] for _ in range(processes)]
    rest: list[pytest.Item] = []
    slow = itertools.cycle(heads[2:] or heads)
    for item in items:
        fixtures = set(item.fixturenames) if isinstance(item, pytest.Function) else set()
        if "operator" in fixtures:
            heads[0].append(item)
        elif "frail_broker" in fixtures:
            heads[min(1, processes - 1)].append(item)
        elif item.get_closest_marker("slow"):
            next(slow).append(item)
        else:
            rest.append(item)
    ordered: list[pytest.Item] = []
    for left, head in zip(range(processes, 0, -1), heads, strict=True):
        size = max((len(items) - len(ordered)) // left, len(head))
        others = size - len(head)
        ordered += [*head, *rest[:others]]
        del rest[:others]
    return [*ordered, *rest]


@cache
def markers_of(path: Path) -> list[str]:
    """Return the markers of all tests in a file."""
    folder = path.relative_to(TESTS).parts[0]
    hostile = "hostile" in f"{path.parent.name}/{path.stem}"
    return [*([MARKERS[folder]] if folder in MARKERS else []), *(["hostile"] if hostile else [])]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what became of the hostile submissions."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    for report in (one for one in reports if one.when == "call"):
        rows = [value for name, value in report.user_properties if name == "hostile"]
        if rows:
            terminalreporter.section(report.nodeid.partition("::")[2])
        for group, case, verdict, time_s in rows:
            terminalreporter.write_line(f"{group:10} {case:45} {verdict:24} {time_s or 0:6.2f} s")


@pytest.fixture(scope="session", autouse=True)
def no_shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compile each time, unless a test asks for a cache; never use the one of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERDICTD_JUDGE__CACHE_KIB", "0")
        patch.setenv("CACHE_DIRECTORY", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """aio-pika and the daemon are written for asyncio."""
    return "asyncio"


@pytest.fixture(scope="session", params=SANDBOXES)
def isolate(request: pytest.FixtureRequest) -> str:
    """The value of `sandbox.isolate` for each sandbox of this machine."""
    return SANDBOXES[request.param]


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the processes of one test run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def shared_broker(run_folder: Path) -> Iterator[Operator]:
    """The operator of the broker that all tests of a run share, with all the plugins that they need."""
    with shared_operator(run_folder) as operator:
        yield operator


@pytest.fixture(scope="session")
def broker(shared_broker: Operator) -> Broker:
    """One broker that all tests share: leave it running; `amqp_url` is a virtual host of your own."""
    return shared_broker.broker


@pytest.fixture(scope="module")
def operator(shared_broker: Operator, run_folder: Path) -> Iterator[Operator]:
    """Who has the default virtual host of the shared broker and its users, as in a new RabbitMQ."""
    with (run_folder / "operator.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shared_broker.begin_anew()
        yield shared_broker


@pytest.fixture
def amqp_url(broker: Broker) -> Iterator[str]:
    """The URL of an empty virtual host, for this test alone."""
    url = broker.fresh_vhost()
    yield url
    broker.delete_vhost(vhost(url))


@pytest.fixture(scope="session")
def frail_broker() -> Iterator[PrivateBroker]:
    """The other broker, which this process alone uses; see `rabbitmq`."""
    with PrivateBroker() as broker:
        yield broker


@pytest.fixture
def rabbitmq(frail_broker: PrivateBroker) -> Iterator[PrivateBroker]:
    """A broker that tests may stop, kill and freeze; it is running when a test begins.

    Each works on a virtual host of its own, and leaves all else as it was.
    """
    if not frail_broker.running:
        frail_broker.start()
    yield frail_broker
    if frail_broker.running:
        frail_broker.delete_vhosts()
