"""The document of the public events is valid, and what is sent is as it says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest

from marketd.bus.events import DATA, PublicEvents, encode
from marketd.config.codecs import log_codec
from marketd.http.asyncapi import SUMMARIES, document
from marketd.storage.memory import MemoryLog
from tests.http.stage import Stage
from tests.storage.history import Writer, random_history

# The official schema, of the npm package @asyncapi/specs 6.11.1.
SCHEMA: Final = Path(__file__).parent / "asyncapi" / "3.0.0.json"


def test_the_document_is_a_valid_one() -> None:
    validator = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text(encoding="utf-8")))

    assert [] == [(error.instance_path, error.message) for error in validator.iter_errors(document())]


def test_the_validator_sees_what_is_wrong() -> None:
    validator = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text(encoding="utf-8")))
    wrong = document()
    wrong["operations"]["tell.order.paid"]["action"] = "shout"

    assert not validator.is_valid(wrong)


def test_every_public_event_is_in_it() -> None:
    assert [set(DATA)] * 3 == [
        set(SUMMARIES),
        set(document()["channels"]),
        {name.removeprefix("tell.") for name in document()["operations"]},
    ]


def test_every_reference_leads_somewhere() -> None:
    whole = document()
    for reference in references(whole):
        place: Any = whole
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert place


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from (value for key, value in part.items() if key == "$ref")
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


@pytest.mark.asyncio
async def test_what_is_sent_is_as_it_says() -> None:
    writer = Writer(MemoryLog(log_codec()))
    await random_history(writer, seed=3, commands=150)
    whole, seen = document(), set()
    validators = {
        name: jsonschema_rs.validator_for({"$ref": f"#/components/messages/{name}/payload", **whole}) for name in DATA
    }
    teller = PublicEvents(writer.log, "https://shop.example")
    for stream in map(str, list(writer.states)):
        for record in await writer.log.read(stream):
            for event in await teller.of(record):
                sent = json.loads(encode(event))
                assert [] == [error.message for error in validators[event.name].iter_errors(sent)]
                assert {} == {key: None for key in sent["data"] if key not in names_of(whole, event.name)}
                seen.add(event.name)

    assert len(seen) >= 8


def names_of(whole: dict[str, Any], name: str) -> set[str]:
    """The fields that the document names of an event's data."""
    schemas = whole["components"]["schemas"]
    return set(schemas[DATA[name].__name__]["properties"])


@pytest.mark.asyncio
async def test_it_is_served(stage: Stage) -> None:
    answer = await stage.call("GET", "/asyncapi.json")

    assert (200, "3.0.0") == (answer.status, json.loads(answer.body)["asyncapi"])
