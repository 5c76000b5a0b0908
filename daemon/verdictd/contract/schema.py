"""The wire contract as JSON Schema, for publishers and consumers in other languages."""

from pathlib import Path
from typing import Any

import orjson
from pydantic.json_schema import GenerateJsonSchema

from verdictd.contract.fields import AdditionalFile
from verdictd.contract.limits import Limits
from verdictd.contract.result import STATUS_IDS, Result
from verdictd.contract.submission import Submission, submission_model

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BOUNDS = "Defaults and bounds are those of the default settings; the operator of a judge box may set others."
_GROWTH = "Every field is always there. Others may be added: ignore those that you do not know."
_NO_NUL = r"^[^\u0000]*$"
_NAME_PART = r"(?!\.{1,2}(/|$))[^/\u0000-\u001f\u007f]+"


def schemas() -> dict[str, Schema]:
    """The schemas by the name of their file, with the bounds of the default settings."""
    return {"submission.schema.json": submission_schema(Limits()), "result.schema.json": result_schema()}


def write(directory: Path) -> None:
    """Write the schemas into a directory, which is made if it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        (directory / name).write_bytes(orjson.dumps(schema, option=options))


class _WithoutFieldTitles(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - the library's
        return False


def submission_schema(limits: Limits) -> Schema:
    """What a submission has to be under these limits."""
    schema = submission_model(limits).model_json_schema(schema_generator=_WithoutFieldTitles)
    properties = schema["properties"]
    for name, (bound, shape) in _shapes(limits).items():
        described = {"description": f"{properties[name]['description']} {bound}"}
        default = {key: value for key, value in properties[name].items() if key == "default"}
        properties[name] = described | shape | default
    needed, flag = (f"enable_per_process_and_thread_{what}_limit" for what in ("memory", "time"))
    return _headed(schema, _BOUNDS) | {"if": _is_true(flag), "then": _is_true(needed)}


def _is_true(name: str) -> Schema:
    return {"properties": {name: {"const": True}}, "required": [name]}


def _shapes(limits: Limits) -> dict[str, tuple[str, Schema]]:
    """What JSON holds where the model holds bytes, words and files, and the bound that only words can tell.

    A text has no more characters than bytes, so that a bound of bytes is one of characters too.
    """
    null: Schema = {"type": "null"}
    words: Schema = {
        "anyOf": [
            {"type": "string", "maxLength": limits.words_bytes, "pattern": _NO_NUL},
            {
                "type": "array",
                "maxItems": limits.words,
                "items": {"type": "string", "maxLength": limits.words_bytes, "pattern": _NO_NUL},
            },
        ]
    }
    words_bound = f"At most {limits.words} words and {limits.words_bytes} bytes, with one between two words."
    file = AdditionalFile.model_json_schema(schema_generator=_WithoutFieldTitles)
    file["properties"]["name"] |= {"maxLength": 255, "pattern": rf"^{_NAME_PART}(/{_NAME_PART}){{0,7}}$"}
    file["properties"]["content"]["maxLength"] = _base64_length(limits.additional_files_bytes)
    files: Schema = {
        "anyOf": [
            {"type": "array", "maxItems": limits.additional_files, "items": file},
            {"type": "string", "contentEncoding": "base64", "contentMediaType": "application/zip"},
        ]
    }
    url: Schema = {
        "type": "string",
        "format": "uri",
        "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[!-~]+$",
        "maxLength": limits.callback_url_length,
    }
    return {
        "source_code": (
            f"At most {limits.source_code_bytes} bytes of UTF-8.",
            {"type": "string", "maxLength": limits.source_code_bytes},
        ),
        "additional_files": (
            f"At most {limits.additional_files} files and {limits.additional_files_bytes} bytes, unpacked.",
            files,
        ),
        "compiler_options": (words_bound, words),
        "command_line_arguments": (words_bound, words),
        "stdin": (f"At most {limits.stdin_bytes} bytes.", {"anyOf": _content(limits.stdin_bytes)}),
        "expected_output": (
            f"At most {limits.expected_output_bytes} bytes.",
            {"anyOf": [*_content(limits.expected_output_bytes), null]},
        ),
        "callback_url": (
            f"At most {limits.callback_url_length} printable ASCII characters.",
            {"anyOf": [url, null]},
        ),
        "metadata": (
            f"At most {limits.metadata_bytes} bytes of JSON without white space.",
            {"type": ["object", "null"]},
        ),
    }


def _content(max_bytes: int) -> list[Schema]:
    """A string, or bytes in base64."""
    encoded = {"type": "string", "contentEncoding": "base64", "maxLength": _base64_length(max_bytes)}
    return [
        {"type": "string", "maxLength": max_bytes},
        {
            "type": "object",
            "properties": {"base64": encoded},
            "required": ["base64"],
            "additionalProperties": False,
        },
    ]


def _base64_length(size_bytes: int) -> int:
    return (size_bytes + 2) // 3 * 4


def result_schema() -> Schema:
    """What a result is."""
    schema = Result.model_json_schema(mode="serialization", schema_generator=_WithoutFieldTitles)
    schema["properties"]["status_id"]["enum"] = sorted(STATUS_IDS.values())
    for name, limit in schema["$defs"]["EffectiveLimits"]["properties"].items():
        limit["description"] = Submission.model_fields[name].description
    for part in (schema, *schema["$defs"].values()):
        part.pop("additionalProperties", None)
    return _headed(schema, _GROWTH)


def _headed(schema: Schema, note: str) -> Schema:
    heading = {
        "$schema": _DIALECT,
        "title": schema["title"],
        "description": f"{schema['description']} {note}",
    }
    return heading | {key: value for key, value in schema.items() if key not in heading}
