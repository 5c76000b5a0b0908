"""What Prometheus scrapes: counts, durations and states; base units, and no label that a sender chooses."""

import asyncio
from enum import StrEnum

from prometheus_client import Counter, Gauge, Histogram, Info, disable_created_metrics

from verdictd.errors import FaultKind

_LAG_EVERY_S = 0.5
_QUICK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800)

disable_created_metrics()  # type: ignore[no-untyped-call]


class Stage(StrEnum):
    """What a submission spends its time with here, after its time in the queue."""

    WAIT = "wait"
    BUILD = "build"
    RUN = "run"
    REPLY = "reply"


class Origin(StrEnum):
    """How an invalid submission came."""

    AMQP = "amqp"
    HTTP = "http"


class Outcome(StrEnum):
    """What came of a try to deliver a callback; what `Ending` has, and what no try was needed for."""

    DELIVERED = "delivered"
    FAILED = "failed"
    EXHAUSTED = "exhausted"
    GONE = "gone"
    REFUSED = "refused"
    DEFERRED = "deferred"
    MALFORMED = "malformed"


INFO = Info("verdictd", "Versions, and whether control groups are in use.")
READY = Gauge("verdictd_ready", "1 if submissions are judged here now, as /readyz says.")
BROKER_CONNECTED = Gauge("verdictd_broker_connected", "1 if replies can be published.")
CONSUMING = Gauge("verdictd_consuming", "1 if RabbitMQ delivers from a queue to this daemon.", ["queue"])
WAITING = Gauge(
    "verdictd_queue_messages",
    "Submissions that wait in the queue, for all daemons together; NaN while the broker is away.",
)
DRAINING = Gauge("verdictd_draining", "1 once the daemon was asked to stop.")
BOXES = Gauge("verdictd_boxes", "Boxes by what they are doing.", ["state"])

SUBMISSIONS = Counter(
    "verdictd_submissions",
    "Answers that were published; the language is empty where the submission names none that is known.",
    ["language", "status"],
)
INVALID_SUBMISSIONS = Counter(
    "verdictd_invalid_submissions", "Submissions that can never be judged, by how they came.", ["source"]
)
DELIVERIES = Counter(
    "verdictd_deliveries",
    "Messages by how they were settled; taken_back: the connection was lost before.",
    ["queue", "settlement"],
)
REDELIVERIES = Counter("verdictd_redeliveries", "Submissions that had been delivered before.")
CALLBACKS = Counter("verdictd_callbacks", "Callbacks by what came of a try to deliver them.", ["outcome"])
SANDBOX_FAULTS = Counter("verdictd_sandbox_faults", "Times that the sandbox failed, by in what.", ["kind"])

QUEUE_TIME = Histogram(
    "verdictd_queue_time_seconds",
    "From the time that the publisher put on a submission, in whole seconds, to the start of judging.",
    buckets=_SLOW_S,
)
STAGES = Histogram(
    "verdictd_stage_duration_seconds",
    "Waiting for a box, compiling, each single run, and publishing the reply.",
    ["stage"],
    buckets=_SLOW_S,
)
EVENT_LOOP_LAG = Histogram(
    "verdictd_event_loop_lag_seconds", "How much later than asked for the daemon wakes up.", buckets=_QUICK_S
)

# A series that is there from the start begins with 0: Prometheus sees no increase in one that begins with 1.
for _stage in Stage:
    STAGES.labels(_stage)
for _kind in FaultKind:
    SANDBOX_FAULTS.labels(_kind)
for _source in Origin:
    INVALID_SUBMISSIONS.labels(_source)
for _outcome in Outcome:
    CALLBACKS.labels(_outcome)


async def observe_lag() -> None:
    """Measure the lag of the event loop, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + _LAG_EVERY_S
        await asyncio.sleep(_LAG_EVERY_S)
        EVENT_LOOP_LAG.observe(max(0.0, loop.time() - due_s))
