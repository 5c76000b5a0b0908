"""The wire contract as JSON Schema, for publishers and consumers in other languages."""

from pathlib import Path

import orjson
from pydantic.json_schema import GenerateJsonSchema

from verdictd.contract.checker import checker_models, interactor_model, program_limits_model
from verdictd.contract.content import data_schemas
from verdictd.contract.control import ControlMessage
from verdictd.contract.events import Event
from verdictd.contract.fields import (
    AdditionalFile,
    Schema,
    content_schemas,
    files_schema,
    name_schema,
    patterns_schema,
    time_schema,
    url_schema,
    words_schema,
)
from verdictd.contract.limits import Limits
from verdictd.contract.result import STATUS_IDS, Result
from verdictd.contract.submission import Submission, submission_model
from verdictd.contract.validation import Received
from verdictd.errors import Problem

Shapes = dict[str, tuple[str, Schema]]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BOUNDS = "Defaults and bounds are those of the default settings; the operator may set others."
_OTHERS = "Daemons ignore all others."
_GROWTH = "Every field is always present. Fields may be added: ignore those that you do not know."


def schemas() -> dict[str, Schema]:
    """Return the schemas by file name, with the bounds of the default settings."""
    return {
        "submission.schema.json": submission_schema(Limits()),
        "result.schema.json": result_schema(),
        "control.schema.json": control_schema(),
        "event.schema.json": event_schema(),
    }


def write(directory: Path) -> None:
    """Write the schemas into a directory; create it if it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        (directory / name).write_bytes(orjson.dumps(schema, option=options))


class _WithoutFieldTitles(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def submission_schema(limits: Limits) -> Schema:
    """Return the schema of a submission under these limits."""
    shapes = _shapes(limits)
    programs = shapes | {"arguments": _words(limits), "limits": ("", _limits_of_programs(limits))}
    kinds = {"checker": _checkers(limits, programs), "interactor": _interactor(limits, programs)}
    schema = _received(submission_model(limits), shapes | kinds)
    del schema["$defs"]["Interactor"], schema["$defs"]["ProgramLimits"]  # which are written out
    parts = {name: schema["$defs"][name] for name in ("Test", "RunLimits", "Group")}
    _complete(parts["Test"], shapes)
    _complete(parts["RunLimits"], {})
    _complete(parts["Group"], {})
    for name, limit in parts["RunLimits"]["properties"].items():
        limit["description"] = Submission.model_fields[name].description
    needed, flag = (f"enable_per_process_and_thread_{what}_limit" for what in ("memory", "time"))
    return _headed(schema, _BOUNDS) | {"if": _is_true(flag), "then": _is_true(needed)}


def _checkers(limits: Limits, shapes: Shapes) -> tuple[str, Schema]:
    kinds = [_received(checker, shapes) for checker in checker_models(limits).values()]
    for kind in kinds:
        kind.pop("$defs", None)
    return "One of these kinds.", {"anyOf": kinds}


def _interactor(limits: Limits, shapes: Shapes) -> tuple[str, Schema]:
    schema = _received(interactor_model(limits), shapes)
    return "", {key: value for key, value in schema.items() if key not in {"$defs", "description", "title"}}


def _received(model: type[Received], shapes: Shapes) -> Schema:
    """Return the schema of what publishers send."""
    schema = model.model_json_schema(schema_generator=_WithoutFieldTitles)
    _complete(schema, shapes)
    return schema


def _complete(schema: Schema, shapes: Shapes) -> None:
    """Put in the shapes of fields that the model holds in another type, and null for what is optional."""
    properties = schema["properties"]
    for name in properties.keys() & shapes.keys():
        bound, shape = shapes[name]
        described = {"description": f"{properties[name]['description']} {bound}".rstrip()}
        default = {key: value for key, value in properties[name].items() if key == "default"}
        properties[name] = described | shape | default
    for name in properties.keys() - set(schema.get("required", ())):
        properties[name] = _or_null(properties[name])


def _limits_of_programs(limits: Limits) -> Schema:
    schema = _received(program_limits_model(limits), {})
    for name, limit in schema["properties"].items():
        limit["description"] = Submission.model_fields[name].description
    return schema


def _or_null(schema: Schema) -> Schema:
    """Return the schema of an optional field, in which null is its default."""
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    if kinds and "enum" not in schema:
        return schema | {"type": list(dict.fromkeys([*kinds, "null"]))}
    if kinds:
        return schema | {"type": [*kinds, "null"], "enum": [*schema["enum"], None]}
    null: Schema = {"type": "null"}
    if "$ref" in schema:
        return {"anyOf": [{"$ref": schema["$ref"]}, null]} | {k: v for k, v in schema.items() if k != "$ref"}
    return schema | {"anyOf": [*(one for one in schema["anyOf"] if one != null), null]}


def _is_true(name: str) -> Schema:
    return {"properties": {name: {"const": True}}, "required": [name]}


def _words(limits: Limits) -> tuple[str, Schema]:
    bound = f"At most {limits.words} words and {limits.words_bytes} bytes, counting one between two words."
    return bound, words_schema(limits)


def _shapes(limits: Limits) -> Shapes:
    """Return the bound in words, and the JSON, of the fields that the model holds in another type."""
    file = AdditionalFile.model_json_schema(schema_generator=_WithoutFieldTitles)
    file["properties"]["encoding"] = _or_null(file["properties"]["encoding"])
    return {
        "source_code": (
            f"At most {limits.source_code_bytes} bytes.",
            {"anyOf": content_schemas(limits.source_code_bytes)},
        ),
        "additional_files": (
            f"At most {limits.additional_files} files and {limits.additional_files_bytes} bytes, unpacked.",
            files_schema(file, limits),
        ),
        "compiler_options": _words(limits),
        "command_line_arguments": _words(limits),
        "stdin": (
            f"At most {limits.stdin_bytes} bytes in the message.",
            {"anyOf": data_schemas(limits.stdin_bytes)},
        ),
        "expected_output": (
            f"At most {limits.expected_output_bytes} bytes in the message.",
            {"anyOf": data_schemas(limits.expected_output_bytes)},
        ),
        "input_file": ("A name as of an additional file.", {"type": "string"} | name_schema()),
        "output_file": ("A name as of an additional file.", {"type": "string"} | name_schema()),
        "output_files": (
            f"At most {limits.output_patterns} names, and {limits.output_files} files that match them.",
            patterns_schema(limits.output_patterns),
        ),
        "deadline": ("RFC 3339, with a zone.", time_schema()),
        "callback_url": (
            f"At most {limits.callback_url_length} printable ASCII characters.",
            url_schema(limits.callback_url_length),
        ),
        "metadata": (
            f"At most {limits.metadata_bytes} bytes as JSON without white space.",
            {"type": "object"},
        ),
    }


def result_schema() -> Schema:
    """Return the schema of a result."""
    schema = Result.model_json_schema(mode="serialization", schema_generator=_WithoutFieldTitles)
    schema["properties"]["status_id"]["enum"] = sorted(STATUS_IDS.values())
    for name, limit in schema["$defs"]["EffectiveLimits"]["properties"].items():
        limit["description"] = Submission.model_fields[name].description
    schema["$defs"]["Problem"]["description"] = Problem.__doc__
    for part in (schema, *schema["$defs"].values()):
        part.pop("additionalProperties", None)
    return _headed(schema, _GROWTH)


def control_schema() -> Schema:
    """Return the schema of a control message."""
    schema = ControlMessage.model_json_schema(schema_generator=_WithoutFieldTitles)
    for name, field in schema["properties"].items():
        shape = next(kind for kind in field["anyOf"] if kind != {"type": "null"})
        schema["properties"][name] = {"description": field["description"]} | shape
    return _headed(schema | {"minProperties": 1, "maxProperties": 1}, _OTHERS)


def event_schema() -> Schema:
    """Return the schema of an event."""
    schema = Event.model_json_schema(mode="serialization", schema_generator=_WithoutFieldTitles)
    schema.pop("additionalProperties", None)
    return _headed(schema, _GROWTH)


def _headed(schema: Schema, note: str) -> Schema:
    heading = {
        "$schema": _DIALECT,
        "title": schema["title"],
        "description": f"{schema['description']} {note}",
    }
    return heading | {key: value for key, value in schema.items() if key not in heading}
