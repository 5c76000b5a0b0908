"""schemas/asyncapi.yaml: whole, and true of the code."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, validators

from verdictd.amqp import topology
from verdictd.contract.control import CONTROL_TYPE
from verdictd.contract.events import EVENT_TYPE, EventKind
from verdictd.contract.result import RESULT_TYPE
from verdictd.contract.submission import SUBMISSION_TYPE
from verdictd.settings import BrokerSettings, CallbackSettings

DIRECTORY = Path(__file__).parents[2] / "schemas"


def references(part: Any) -> Iterator[str]:
    match part:
        case {"$ref": str(target)}:
            yield target
        case dict():
            for value in part.values():
                yield from references(value)
        case list():
            for value in part:
                yield from references(value)


@cache
def document(file: str = "asyncapi.yaml") -> Any:
    """Read the document, or a file beside it."""
    text = (DIRECTORY / file).read_text()
    return json.loads(text) if file.endswith(".json") else yaml.safe_load(text)


def resolve(target: str) -> Any:
    """What a reference leads to; raises KeyError or OSError where that is nothing."""
    file, _, pointer = target.partition("#")
    found = document(file) if file else document()
    for part in pointer.split("/")[1:]:
        found = found[part]
    return found


def resolved(part: Any) -> Any:
    """A part of the document with every reference replaced by what it leads to."""
    match part:
        case {"$ref": str(target)}:
            return resolved(resolve(target)) if target.startswith("#") else resolve(target)
        case dict():
            return {key: resolved(value) for key, value in part.items()}
        case list():
            return [resolved(value) for value in part]
        case _:
            return part


def test_document_is_asyncapi_3() -> None:
    """It has the parts that the specification asks for."""
    assert "3.0.0" == document()["asyncapi"]
    assert {"title", "version"} <= set(document()["info"])
    assert {"amqp", "amqps"} == {server["protocol"] for server in document()["servers"].values()}
    assert {"send", "receive"} == {operation["action"] for operation in document()["operations"].values()}


def test_references_lead_somewhere() -> None:
    """Within the document, to a schema, or to an example."""
    for target in set(references(document())):
        assert resolve(target), target


def test_channels_are_the_queues_of_the_default_settings() -> None:
    """Those that the daemon declares; the queue for replies is the publisher's, and has no name here.

    Events and control messages go to exchanges.
    """
    channels = dict(document()["channels"])
    control, _ = channels.pop("control"), channels.pop("events")
    addresses = {channel["address"] for name, channel in channels.items() if name != "replies"}
    bound = {
        channel["bindings"]["amqp"]["queue"]["name"] for channel in channels.values() if "bindings" in channel
    }

    queues = topology.queues(BrokerSettings(), CallbackSettings(enabled=True))

    assert {*queues} == addresses == bound
    assert channels["replies"]["address"] is None
    exchange = control["bindings"]["amqp"]["exchange"]
    assert {BrokerSettings().control_queue} == {control["address"], exchange["name"]}


def test_channel_of_events_is_the_exchange_of_the_default_settings() -> None:
    """With every kind of event in its routing key."""
    channel = document()["channels"]["events"]
    exchange = channel["bindings"]["amqp"]["exchange"]

    assert (BrokerSettings().events_exchange, "topic") == (exchange["name"], exchange["type"])
    assert list(EventKind) == channel["parameters"]["kind"]["enum"]


def test_operations_use_messages_of_their_channels() -> None:
    """As the specification asks."""
    operations = document()["operations"].values()
    parts = [part for operation in operations for part in (operation, operation.get("reply", operation))]

    assert [] == [
        message["$ref"]
        for part in parts
        for message in part["messages"]
        if not message["$ref"].startswith(f"{part['channel']['$ref']}/messages/")
    ]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("submission", SUBMISSION_TYPE),
        ("result", RESULT_TYPE),
        ("control", CONTROL_TYPE),
        ("event", EVENT_TYPE),
    ],
)
def test_message_says_its_type(name: str, word: str) -> None:
    """The word in the property `type` is that of the code."""
    message = document()["components"]["messages"][name]
    properties = resolved(message["headers"])["properties"]

    assert {word} == {
        message["name"],
        message["bindings"]["amqp"]["messageType"],
        properties["type"]["const"],
    }
    assert "application/json" == message["contentType"]
    assert properties["content_type"].get("const", "application/json") == "application/json"


def test_schemas_in_the_document_are_such() -> None:
    """Properties are described in the same language as bodies."""
    for name, schema in resolved(document()["components"]["schemas"]).items():
        assert {"type"} <= set(schema), name
        assert validators.validator_for(schema).check_schema(schema) is None, name


def test_examples_are_valid() -> None:
    """The body against its schema, and the properties where the example has some."""
    for name, message in resolved(document()["components"]["messages"]).items():
        for number, shown in enumerate(message.get("examples", [])):
            body = Draft202012Validator(message["payload"]["schema"])
            assert [] == list(body.iter_errors(shown["payload"])), (name, number)
            if "headers" in shown:
                properties = Draft202012Validator(message["headers"])
                assert [] == list(properties.iter_errors(shown["headers"])), (name, number)
