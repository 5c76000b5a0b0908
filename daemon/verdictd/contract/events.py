"""Events: the progress of one submission, told while it is judged."""

from collections.abc import Callable
from enum import StrEnum

from pydantic import AwareDatetime, ConfigDict, Field

from verdictd.contract.result import Identified, Status
from verdictd.contract.validation import Wire

EVENT_TYPE = "verdictd.event.v1"


class EventKind(StrEnum):
    """Kind of an event: the last word of its routing key."""

    STARTED = "started"
    COMPILED = "compiled"
    TEST = "test"
    FINISHED = "finished"


class Step(Wire):
    """A step of a submission, as the judge tells of it."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    kind: EventKind = Field(description="Kind of the event.")
    tests: int = Field(default=0, description="Number of tests; 0 if nothing was judged.")
    done: int = Field(default=0, description="Tests that are decided, skipped ones included.")
    box: int | None = Field(default=None, description="started: number of its box.")
    ok: bool | None = Field(default=None, description="compiled: true if there is a program to run.")
    cached: bool | None = Field(
        default=None, description="compiled: true if the compiler ran for an equal program before."
    )
    name: str | None = Field(default=None, description="test: name of the test.")
    number: int | None = Field(default=None, description="test: position of the test, from 1.")
    status: Status | None = Field(
        default=None, description="test: outcome of the test. finished: outcome of the submission."
    )
    points: float | None = Field(
        default=None, description="test, finished: points; null if there are none to be had."
    )


Observe = Callable[[Step], None]
"""Takes each step at once, without waiting for anything."""


class _Head(Identified):
    """The part of an event that tells its place among the others."""

    run: str = Field(description="New each time that the submission is begun: sequence counts within it.")
    sequence: int = Field(
        description="Number of the event within its run, from 1; one that is left out was lost."
    )
    attempt: int = Field(description="Number of the delivery that is judged, from 1.")
    at: AwareDatetime = Field(description="Time of the event, in UTC.")
    host: str = Field(description="Host of the judge.")


class Event(Step, _Head):
    """A step in the judging of a submission that asked for events."""
