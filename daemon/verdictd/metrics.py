"""Prometheus metrics: counts, durations and states, in base units. No sender chooses the value of a label."""

import asyncio
from enum import StrEnum

from prometheus_client import Counter, Gauge, Histogram, Info, disable_created_metrics

from verdictd.errors import FaultKind

_LAG_EVERY_S = 0.5
_QUICK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800)

disable_created_metrics()  # type: ignore[no-untyped-call]


class Stage(StrEnum):
    """Stage of a submission on this host, after its time in the queue."""

    WAIT = "wait"
    BUILD = "build"
    RUN = "run"
    CHECK = "check"
    REPLY = "reply"


class ArtifactLookup(StrEnum):
    """Outcome of a look into the cache of artifacts."""

    HIT = "hit"
    """Compiled before, or at this moment for another submission."""
    MISS = "miss"


class Origin(StrEnum):
    """Way by which an invalid submission arrived."""

    AMQP = "amqp"
    HTTP = "http"


class ControlKind(StrEnum):
    """Kind of a control message."""

    CANCEL = "cancel"
    SUPERSEDE = "supersede"
    INVALID = "invalid"
    """Neither: logged, and ignored."""


class Outcome(StrEnum):
    """Outcome of one attempt to deliver a callback."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """To be retried."""
    EXHAUSTED = "exhausted"
    """Failed, and it was the last attempt."""
    GONE = "gone"
    """Rejected by the receiver for good."""
    REFUSED = "refused"
    """Not sent, because the operator's rules do not allow the address."""
    DEFERRED = "deferred"
    """Not sent yet, because the receiver's host is slow and busy."""
    MALFORMED = "malformed"
    """Not sent, because the message on the callbacks queue is not a callback."""


class EventOutcome(StrEnum):
    """Outcome of an event of a submission."""

    PUBLISHED = "published"
    """Handed to RabbitMQ, which confirms none."""
    DROPPED = "dropped"
    """RabbitMQ was away, blocked or slow, and nobody waits for it."""


class DataLookup(StrEnum):
    """Outcome of one look-up of test data by reference."""

    HIT = "hit"
    """In the cache."""
    FETCHED = "fetched"
    FAILED = "failed"
    """Not to be had now: the submission is tried again."""
    WRONG = "wrong"
    """Missing, too large, with another digest, or at an address that is not allowed."""
    CORRUPT = "corrupt"
    """Removed from the cache, since its bytes had changed on disk; what follows counts too."""


INFO = Info("verdictd", "Versions, and whether control groups are in use.")
READY = Gauge("verdictd_ready", "1 if this daemon judges submissions now, as /readyz says.")
BROKER_CONNECTED = Gauge("verdictd_broker_connected", "1 if results can be published.")
CONSUMING = Gauge("verdictd_consuming", "1 if RabbitMQ delivers from a queue to this daemon.", ["queue"])
WAITING = Gauge(
    "verdictd_queue_messages",
    "Submissions waiting in a queue, for all daemons together; NaN while the broker is unavailable.",
    ["queue"],
)
OLDEST = Gauge(
    "verdictd_queue_oldest_seconds",
    "Age of the oldest submission in a queue, at most; NaN while this daemon cannot know it.",
    ["queue"],
)
DRAINING = Gauge("verdictd_draining", "1 once the daemon was asked to stop.")
BOXES = Gauge("verdictd_boxes", "Boxes by state.", ["state"])

SUBMISSIONS = Counter(
    "verdictd_submissions",
    "Results published, by language and status; the language is empty if the submission names no known one.",
    ["language", "status"],
)
INVALID_SUBMISSIONS = Counter(
    "verdictd_invalid_submissions", "Submissions that can never be judged, by origin.", ["source"]
)
DELIVERIES = Counter(
    "verdictd_deliveries",
    "Deliveries by how they were settled; taken_back: the connection was lost before that.",
    ["queue", "settlement"],
)
REDELIVERIES = Counter("verdictd_redeliveries", "Submissions that had been delivered before.", ["queue"])
CONTROL_MESSAGES = Counter(
    "verdictd_control_messages",
    "Control messages that were read, by kind; those of the last hours again after a start.",
    ["kind"],
)
CALLBACKS = Counter("verdictd_callbacks", "Attempts to deliver a callback, by outcome.", ["outcome"])
EVENTS = Counter(
    "verdictd_events", "Events of submissions that asked for them, by what became of them.", ["outcome"]
)
SANDBOX_FAULTS = Counter("verdictd_sandbox_faults", "Failures of the sandbox, by kind.", ["kind"])

ARTIFACT_CACHE = Counter(
    "verdictd_artifact_cache_lookups",
    "Programs to compile, by whether they were compiled before.",
    ["outcome"],
)
ARTIFACT_CACHE_ERRORS = Counter(
    "verdictd_artifact_cache_errors", "Failures to read or write the directory of the cache."
)
ARTIFACT_CACHE_BYTES = Gauge(
    "verdictd_artifact_cache_bytes",
    "Size of the cache, of all daemons of this host, when it was last listed.",
)
TEST_DATA = Counter("verdictd_test_data", "Look-ups of test data by reference, by outcome.", ["outcome"])
TEST_DATA_BYTES = Counter("verdictd_test_data_fetched_bytes", "Bytes of test data put into the cache.")
TEST_DATA_CACHE_BYTES = Gauge("verdictd_test_data_cache_bytes", "Bytes in the cache of test data.")

QUEUE_TIME = Histogram(
    "verdictd_queue_time_seconds",
    "From the publisher's timestamp of a submission, in whole seconds, to the start of judging.",
    ["queue"],
    buckets=_SLOW_S,
)
STAGES = Histogram(
    "verdictd_stage_duration_seconds",
    "Duration of waiting for a box, of compiling, of each run of a program and of a checker program, and of "
    "publishing the result.",
    ["stage"],
    buckets=_SLOW_S,
)
EVENT_LOOP_LAG = Histogram(
    "verdictd_event_loop_lag_seconds", "Delay of the event loop beyond a timer that is due.", buckets=_QUICK_S
)

# Create each known series at 0: Prometheus does not see an increase in a series that begins with 1.
for _stage in Stage:
    STAGES.labels(_stage)
for _kind in FaultKind:
    SANDBOX_FAULTS.labels(_kind)
for _lookup in ArtifactLookup:
    ARTIFACT_CACHE.labels(_lookup)
for _origin in Origin:
    INVALID_SUBMISSIONS.labels(_origin)
for _control_kind in ControlKind:
    CONTROL_MESSAGES.labels(_control_kind)
for _outcome in Outcome:
    CALLBACKS.labels(_outcome)
for _event_outcome in EventOutcome:
    EVENTS.labels(_event_outcome)
for _data_lookup in DataLookup:
    TEST_DATA.labels(_data_lookup)


async def observe_lag() -> None:
    """Measure the delay of the event loop until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + _LAG_EVERY_S
        await asyncio.sleep(_LAG_EVERY_S)
        EVENT_LOOP_LAG.observe(max(0.0, loop.time() - due_s))
