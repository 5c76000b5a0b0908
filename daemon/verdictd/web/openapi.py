"""OpenAPI document of the HTTP interface, made from the routes, each of which declares its operation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web
from pydantic import TypeAdapter

from verdictd import __version__
from verdictd.contract.fields import Schema
from verdictd.contract.schema import event_schema, result_schema, submission_schema
from verdictd.monitoring.status import DaemonStatus
from verdictd.settings import Settings
from verdictd.web.responses import Accepted, Cancelling, ErrorBody, Health, Offer, Readiness

COMPONENTS = "#/components/schemas/"
RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the application, with its operation in the OpenAPI document."""

    definition: web.RouteDef
    operation: Schema
    needs_token: bool = True


def get_operation(
    name: str, summary: str, shape: type | None, content_type: str = "application/json"
) -> Schema:
    """Return the operation of a page that can only be read."""
    schema = {"$ref": f"{COMPONENTS}{shape.__name__}"} if shape else {}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": summary, "content": {content_type: {"schema": schema}}},
            "400": response("The request is not HTTP, or its headers are too long."),
        },
    }


def response(
    description: str,
    schema: str = "ErrorBody",
    *,
    headers: Mapping[str, Any] | None = None,
    example: Mapping[str, Any] | None = None,
) -> Schema:
    """Return a response with a JSON body of this schema."""
    body: Schema = {"schema": {"$ref": f"{COMPONENTS}{schema}"}} | ({"example": example} if example else {})
    content = {"application/json": body}
    return {"description": description, "content": content} | ({"headers": headers} if headers else {})


def document(settings: Settings, routes: Iterable[Route]) -> Schema:
    """Return the OpenAPI document of a daemon with these settings and routes."""
    tokens = bool(settings.http.tokens)
    paths = {
        route.definition.path: {
            route.definition.method.lower(): _for_own_pages(
                _with_token(route.operation) if tokens and route.needs_token else _open(route.operation)
            )
        }
        for route in routes
    }
    components: Schema = {"schemas": _schemas(settings)}
    if tokens:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "verdictd",
            "version": __version__,
            "summary": "Submissions in, verdicts out.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "This daemon."}],
        "paths": paths,
        "components": components,
    }


def _for_own_pages(operation: Schema) -> Schema:
    refused = {
        "403": response("The Origin header names another site."),
        "421": response("The Host header names another host than this daemon."),
    }
    return operation | {"responses": operation["responses"] | refused}


def _open(operation: Schema) -> Schema:
    return operation | {"security": []}


def _with_token(operation: Schema) -> Schema:
    unauthorized = response(
        "A valid bearer token is required.",
        headers={"WWW-Authenticate": {"schema": {"type": "string", "const": "Bearer"}}},
    )
    return operation | {
        "security": [{"token": []}],
        "responses": operation["responses"] | {"401": unauthorized},
    }


def _schemas(settings: Settings) -> Schema:
    """Return the schemas of all bodies by name, those of the wire contract first."""
    found: Schema = {}
    parts: Schema = {}
    for schema in (submission_schema(settings.limits), result_schema(), event_schema()):
        parts |= schema.pop("$defs", {})
        schema.pop("$schema")
        found[schema["title"]] = schema
    shapes = (Accepted, Cancelling, ErrorBody, Health, Readiness, Offer, DaemonStatus)
    adapters = [(shape.__name__, "serialization", TypeAdapter(shape)) for shape in shapes]
    _, generated = TypeAdapter.json_schemas(adapters)  # type: ignore[arg-type]
    found |= parts | generated["$defs"]
    found["Submission"]["description"] = "A program to judge, with the defaults and bounds of this daemon."
    moved: Schema = orjson.loads(orjson.dumps(found).replace(b'"#/$defs/', f'"{COMPONENTS}'.encode()))
    return moved
