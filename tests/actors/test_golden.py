"""
What was ever stored can be read for ever.

`golden/*.jsonl` hold one stored line of every event and of every answer that was ever written, `golden/*.txt` the
names of all commands and reasons. The one rule: a golden file is only appended to. A type that is changed gets one more
line, and the old one stays, because there are logs that hold it; only the newest line of a type is written in the same
bytes today.
"""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from marketd.actors.aggregate import Aggregate
from marketd.config.codecs import AGGREGATES, DECISIONS, log_codec
from marketd.storage.log import Commit, Done, Meta, Refusal

GOLDEN = Path(__file__).parent / "golden"
CODEC = log_codec()
BY_KIND: dict[str, Aggregate[Any, Any, Any]] = {aggregate.kind: aggregate for aggregate in AGGREGATES}
OLD_NAMES = {name for aggregate in AGGREGATES for name in aggregate.upcasts}


def stored(name: str) -> list[str]:
    return (GOLDEN / f"{name}.jsonl").read_text().splitlines()


def tags(union: Any) -> set[str]:
    return {str(member.__struct_config__.tag) for member in get_args(union) or (union,)}


def newest(lines: list[str]) -> list[str]:
    """The last line of each type that is still written."""
    last = {json.loads(line)["type"]: line for line in lines}
    return [line for name, line in last.items() if name not in OLD_NAMES]


def event_of(line: str) -> Any:
    (event,) = CODEC.decode("c1", 1, f"[{line}]", '{"type":"done","value":null}', "{}").events
    return event


def answer_of(line: str) -> Any:
    reply = CODEC.decode("c1", 1, "[]", f'{{"type":"done","value":{line}}}', "{}").reply
    assert isinstance(reply, Done)
    return reply.value


EVENTS = [(kind, line) for kind in BY_KIND for line in stored(kind)]
NEWEST = [(kind, line) for kind in BY_KIND for line in newest(stored(kind))]


@pytest.mark.parametrize("kind", BY_KIND)
def test_every_event_has_a_line(kind: str) -> None:
    assert tags(BY_KIND[kind].events) <= {json.loads(line)["type"] for line in stored(kind)}


@pytest.mark.parametrize("kind", BY_KIND)
def test_no_event_is_forgotten(kind: str) -> None:
    known = tags(BY_KIND[kind].events) | BY_KIND[kind].upcasts.keys()
    assert {json.loads(line)["type"] for line in stored(kind)} <= known


@pytest.mark.parametrize("kind", BY_KIND)
def test_an_old_name_is_no_name_of_today(kind: str) -> None:
    """Or its lines would be read as they are, and never brought to today's form."""
    aggregate = BY_KIND[kind]
    assert set() == aggregate.upcasts.keys() & (tags(aggregate.events) | tags(DECISIONS))


@pytest.mark.parametrize("kind", BY_KIND)
def test_every_old_name_has_a_line(kind: str) -> None:
    lines = {json.loads(line)["type"] for line in (*stored(kind), *stored("answers"))}
    assert set() == BY_KIND[kind].upcasts.keys() - lines


@pytest.mark.parametrize(("kind", "line"), EVENTS)
def test_every_line_can_be_read(kind: str, line: str) -> None:
    assert isinstance(event_of(line), BY_KIND[kind].events)


@pytest.mark.parametrize(("kind", "line"), NEWEST)
def test_the_newest_line_is_written_in_the_same_bytes(kind: str, line: str) -> None:
    written, _, _ = CODEC.encode(Commit("c1", 1, (event_of(line),), Done(), Meta()))

    assert f"[{line}]" == written


def test_every_answer_has_a_line() -> None:
    assert tags(DECISIONS) == {json.loads(line)["type"] for line in stored("answers")} - OLD_NAMES


@pytest.mark.parametrize("line", stored("answers"))
def test_every_answer_can_be_read(line: str) -> None:
    assert isinstance(answer_of(line), DECISIONS)


@pytest.mark.parametrize("line", newest(stored("answers")))
def test_the_newest_answer_is_written_in_the_same_bytes(line: str) -> None:
    _, written, _ = CODEC.encode(Commit("c1", 1, (), Done(answer_of(line)), Meta()))

    assert f'{{"type":"done","value":{line}}}' == written


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('{"type":"done","value":null}', Done()),
        ('{"type":"refused","code":"product.SOLD_OUT"}', Refusal("product.SOLD_OUT")),
    ],
)
def test_every_reply_can_be_read(reply: str, expected: Done | Refusal) -> None:
    assert expected == CODEC.decode("c1", 1, "[]", reply, "{}").reply


def test_metadata_can_be_read() -> None:
    line = '{"correlation":"r1","cause":"c0","principal":"u1","trace":"00-1-2-01"}'

    assert Meta("r1", "c0", "u1", "00-1-2-01") == CODEC.decode("c1", 1, "[]", '{"type":"done"}', line).meta


def test_every_command_has_its_name() -> None:
    """Commands travel between versions, so their names are as fixed as those of events."""
    commands = {tag for aggregate in AGGREGATES for tag in tags(aggregate.commands)}

    assert (GOLDEN / "commands.txt").read_text().split() == sorted(commands)


def test_every_refusal_on_record_has_its_name() -> None:
    """A refused step is stored by its reason's code."""
    codes = [f"{aggregate.kind}.{reason.name}" for aggregate in AGGREGATES for reason in aggregate.reasons]

    assert (GOLDEN / "reasons.txt").read_text().split() == codes


@pytest.mark.parametrize("kind", BY_KIND)
def test_names_begin_with_their_kind(kind: str) -> None:
    aggregate = BY_KIND[kind]
    names = tags(aggregate.commands) | tags(aggregate.events) | tags(aggregate.states)

    assert set() == {name for name in names if not name.startswith(f"{kind}.")}
