"""Bodies of HTTP responses, all of them JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import orjson
from aiohttp import web
from pydantic import BaseModel

from verdictd.contract.limits import Limits
from verdictd.contract.result import Status
from verdictd.errors import Problem, VerdictdError
from verdictd.judging.languages import CompileLimits
from verdictd.monitoring.status import SeenState


@dataclass(frozen=True, slots=True)
class Accepted:
    """The submission is in the queue; its result will be published to the results queue, under this id."""

    id: str


@dataclass(frozen=True, slots=True)
class Cancelling:
    """All daemons are told to cancel the submission. `state` and `status`: what this daemon knows of it."""

    id: str
    state: SeenState
    status: Status | None
    """The status with which it was answered."""


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """Reason why a request failed; `errors` lists what is wrong with an invalid submission."""

    message: str
    errors: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """The daemon answers."""

    alive: bool = True


@dataclass(frozen=True, slots=True)
class Readiness:
    """Readiness to judge submissions now, and the reasons if not."""

    ready: bool
    problems: list[str]


@dataclass(frozen=True, slots=True)
class OfferedLanguage:
    """An installed language, known by its name and aliases in upper or lower case."""

    name: str
    aliases: list[str]
    version: str | None
    compiled: bool
    network: bool
    extra_processes: int
    time_factor: float
    extra_memory_kib: int
    compile_limits: CompileLimits | None


@dataclass(frozen=True, slots=True)
class Offer:
    """Languages, and the defaults and bounds of a submission in any of them."""

    languages: list[OfferedLanguage]
    limits: Limits


class HttpError(VerdictdError):
    """The request cannot be served: send this status and message to the client, and do nothing else."""

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        problems: Sequence[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problems = problems
        self.headers = headers

    def response(self) -> web.Response:
        """Return the response for the client."""
        return json_response(ErrorBody(str(self), tuple(self.problems)), self.status, self.headers)


def json_response(
    shape: object, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a response with `shape` as JSON."""
    body = orjson.dumps(shape, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump()
    raise TypeError(type(value).__name__)
