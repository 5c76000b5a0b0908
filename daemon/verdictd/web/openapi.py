"""The OpenAPI document of what is said over HTTP."""

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import TypeAdapter

from verdictd import __version__
from verdictd.contract.fields import Schema
from verdictd.contract.schema import result_schema, submission_schema
from verdictd.monitoring.status import DaemonStatus
from verdictd.settings import Settings
from verdictd.web.responses import Accepted, ErrorBody, Health, Offer, Readiness

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs"})
"""What needs no token: probes have none, and the documents tell no secrets."""
_COMPONENTS = "#/components/schemas/"
_EXAMPLE = {
    "source_code": 'print("hello world")',
    "language": "py",
    "stdin": "",
    "expected_output": "hello world",
    "cpu_time_limit": 1,
    "memory_limit": 1000000,
    "redirect_stderr_to_stdout": True,
    "enable_network": False,
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}


def document(settings: Settings) -> Schema:
    """The OpenAPI document of a daemon with these settings."""
    paths = {
        "/submissions/new": {"post": _submit(settings)},
        "/languages": {"get": _get("languages", "The languages that are offered, and the limits.", Offer)},
        "/status": {"get": _get("status", "Boxes and what runs, rates, verdicts, versions.", DaemonStatus)},
        "/metrics": {"get": _get("metrics", "What Prometheus scrapes.", None, "text/plain")},
        "/healthz": {"get": _get("healthz", "Whether the daemon answers.", Health)},
        "/readyz": {"get": _get("readyz", "Whether submissions are taken and judged here now.", Readiness)},
        "/openapi.json": {"get": _get("openapi", "This document.", None)},
        "/docs": {"get": _get("docs", "This document, for a person.", None, "text/html")},
    }
    paths["/readyz"]["get"]["responses"]["503"] = _answer("Not now, and why.", "Readiness")
    components: Schema = {"schemas": _schemas(settings)}
    if settings.http.tokens:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, operations in paths.items():
            for operation in operations.values() if path not in OPEN_PATHS else ():
                operation["security"] = [{"token": []}]
                operation["responses"]["401"] = _answer(
                    "A token is needed.",
                    headers={"WWW-Authenticate": {"schema": {"type": "string", "const": "Bearer"}}},
                )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "verdictd",
            "version": __version__,
            "summary": "Submissions in, verdicts out.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": components,
    }


def _submit(settings: Settings) -> Schema:
    wait = {
        "name": "wait",
        "in": "query",
        "description": f"Whether to wait for the result, for {settings.http.wait_s:g} seconds at the most.",
        "schema": {"type": "boolean", "default": False},
    }
    return {
        "operationId": "submit",
        "summary": "Publish a submission, and wait for its result if wanted.",
        "description": (
            "The submission is in the queue, kept on disk, when it is answered. After 503 or a lost "
            "connection it may be there too: send it again with the same id. A result that was waited for "
            "is not published to the results queue."
        ),
        "parameters": [wait],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": f"{_COMPONENTS}Submission"}, "example": _EXAMPLE}
            },
        },
        "responses": {
            "200": _answer("The result, where it was waited for.", "Result"),
            "202": _answer("In the queue.", "Accepted"),
            "400": _answer("A wrong parameter."),
            "408": _answer(f"The request took more than {settings.http.request_timeout_s:g} seconds."),
            "413": _answer(f"More than {settings.limits.message_bytes} bytes."),
            "415": _answer("Another content type than application/json, or an encoding."),
            "422": _answer("Invalid: `errors` has the reasons."),
            "429": _answer("Too many submissions wait in the queue.", headers=_RETRY_AFTER),
            "503": _answer("RabbitMQ is away, or the daemon is too busy.", headers=_RETRY_AFTER),
        },
    }


def _get(name: str, summary: str, shape: type | None, content_type: str = "application/json") -> Schema:
    schema = {"$ref": f"{_COMPONENTS}{shape.__name__}"} if shape else {}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": summary, "content": {content_type: {"schema": schema}}}},
    }


def _answer(
    description: str, schema: str = "ErrorBody", *, headers: Mapping[str, Any] | None = None
) -> Schema:
    content = {"application/json": {"schema": {"$ref": f"{_COMPONENTS}{schema}"}}}
    return {"description": description, "content": content} | ({"headers": headers} if headers else {})


def _schemas(settings: Settings) -> Schema:
    """All shapes by name, each of them once, with references into the document."""
    shapes = (Accepted, ErrorBody, Health, Readiness, Offer, DaemonStatus)
    adapters = [(shape.__name__, "serialization", TypeAdapter(shape)) for shape in shapes]
    _, generated = TypeAdapter.json_schemas(adapters)  # type: ignore[arg-type]
    found: Schema = generated["$defs"]
    for schema in (submission_schema(settings.limits), result_schema()):
        found |= schema.pop("$defs", {})
        schema.pop("$schema")
        found[schema["title"]] = schema
    found["Submission"]["description"] = "A program to judge, with the defaults and bounds of this daemon."
    moved: Schema = orjson.loads(orjson.dumps(found).replace(b'"#/$defs/', f'"{_COMPONENTS}'.encode()))
    return moved
