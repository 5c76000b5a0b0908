"""schemas/asyncapi.yaml: whole, and true of the code."""

import json
from collections.abc import Iterator
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
DOCUMENT: dict[str, Any] = yaml.safe_load((DIRECTORY / "asyncapi.yaml").read_text())


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


def resolve(target: str) -> Any:
    """What a reference leads to; raises KeyError or OSError where that is nothing."""
    file, _, pointer = target.partition("#")
    found: Any = json.loads((DIRECTORY / file).read_bytes()) if file else DOCUMENT
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


def examples() -> Iterator[tuple[str, int]]:
    for name, message in DOCUMENT["components"]["messages"].items():
        yield from ((name, number) for number in range(len(message.get("examples", []))))


def test_document_is_asyncapi_3() -> None:
    """It has the parts that the specification asks for."""
    assert "3.0.0" == DOCUMENT["asyncapi"]
    assert {"title", "version"} <= set(DOCUMENT["info"])
    assert {"amqp", "amqps"} == {server["protocol"] for server in DOCUMENT["servers"].values()}
    assert {"send", "receive"} == {operation["action"] for operation in DOCUMENT["operations"].values()}


@pytest.mark.parametrize("target", sorted(set(references(DOCUMENT))))
def test_reference_leads_somewhere(target: str) -> None:
    """Within the document, to a schema, or to an example."""
    assert resolve(target)


def test_channels_are_the_queues_of_the_default_settings() -> None:
    """Those that the daemon declares; the queue for replies is the publisher's, and has no name here.

    Events and control messages go to exchanges.
    """
    channels = dict(DOCUMENT["channels"])
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
    channel = DOCUMENT["channels"]["events"]
    exchange = channel["bindings"]["amqp"]["exchange"]

    assert (BrokerSettings().events_exchange, "topic") == (exchange["name"], exchange["type"])
    assert list(EventKind) == channel["parameters"]["kind"]["enum"]


@pytest.mark.parametrize("name", DOCUMENT["operations"])
def test_operation_uses_messages_of_its_channel(name: str) -> None:
    """As the specification asks."""
    operation = DOCUMENT["operations"][name]
    for part in (operation, operation.get("reply", operation)):
        channel = part["channel"]["$ref"]

        assert [] == [
            message["$ref"]
            for message in part["messages"]
            if not message["$ref"].startswith(f"{channel}/messages/")
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
    message = DOCUMENT["components"]["messages"][name]
    properties = resolved(message["headers"])["properties"]

    assert {word} == {
        message["name"],
        message["bindings"]["amqp"]["messageType"],
        properties["type"]["const"],
    }
    assert "application/json" == message["contentType"]
    assert properties["content_type"].get("const", "application/json") == "application/json"


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_schema_in_the_document_is_one(name: str) -> None:
    """Properties are described in the same language as bodies."""
    schema = resolved(DOCUMENT["components"]["schemas"][name])

    assert {"type"} <= set(schema)
    assert validators.validator_for(schema).check_schema(schema) is None


@pytest.mark.parametrize(("name", "number"), list(examples()))
def test_example_is_valid(name: str, number: int) -> None:
    """The body against its schema, and the properties where the example has some."""
    message = resolved(DOCUMENT["components"]["messages"][name])
    shown = message["examples"][number]

    assert [] == list(Draft202012Validator(message["payload"]["schema"]).iter_errors(shown["payload"]))
    if "headers" in shown:
        assert [] == list(Draft202012Validator(message["headers"]).iter_errors(shown["headers"]))
