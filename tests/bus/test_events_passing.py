"""Nothing passes to the outside but what is named, field by field; and the names by which it is chosen."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import pytest

from marketd.actors import order
from marketd.actors.order import ORDER
from marketd.bus.events import DATA, DECISIONS, Known, chosen, encode, public
from marketd.config.codecs import AGGREGATES, log_codec
from marketd.storage.log import Commit, Done, Meta, Recorded

GOLDEN: Final = Path(__file__).parent.parent / "actors" / "golden"
EVENT_TYPES: Final = {kind for aggregate in AGGREGATES for kind in get_args(aggregate.events)}
SHOP: Final = "the shop"


CHOICES: Final = {"webhook.disabled/why", "webhook.registered/endpoint/scope"}  # that have no texts of their own


def test_there_is_a_decision_about_every_event_of_the_log() -> None:
    assert EVENT_TYPES == set(DECISIONS)


def test_every_public_event_is_made_of_something() -> None:
    names = {event.name for before, record in walk() for event in public(record, before, SHOP)[0]}

    assert set(DATA) == names


def test_every_event_of_the_log_is_walked() -> None:
    assert EVENT_TYPES == {type(event) for _, record in walk() for event in record.commit.events}


PASSING: Final = {
    "account.registered/user_id",
    "account.registered/name",
    "buyer.reviewed/product_id",
    "buyer.reviewed/seller_id",
    "buyer.reviewed/review/review_id",
    *(f"order.placed/{field}" for field in ("buyer_id", "seller_id", "product_id", "title", "price/currency")),
    *(
        f"product.{event}/offer/{field}"
        for event in ("listed", "revised")
        for field in ("title", "description", "price/currency", "category", "files/0/name", "files/0/type")
    ),
    "product.listed/seller_id",
    "the trace",
    "the key",
}


def test_no_text_of_any_event_passes_but_what_is_named_here() -> None:
    passed = {
        part
        for before, record in walk()
        for event in public(record, before, SHOP)[0]
        for text in texts(event.body)
        for part in text.split("«")[1:]
    }

    assert PASSING == {part.removesuffix("»") for part in passed}


def test_of_a_buyer_the_name_does_not_pass() -> None:
    walked = [(before, record) for before, record in walk() if record.stream.startswith("account/")]
    told = {
        event.name: encode(event).decode() for before, record in walked for event in public(record, before, SHOP)[0]
    }

    assert ["seller.registered"] == [name for name, text in told.items() if "registered/name" in text]


def test_of_an_administrator_nothing_passes() -> None:
    for before, record in walk():
        if getattr(record.commit.events[0], "role", None) == "admin":
            assert [] == public(record, before, SHOP)[0]


def walk() -> Iterator[tuple[Known, Recorded]]:
    """Every event that was ever written, its texts replaced by where they stand, after all that may be before it."""
    for event in marked_events():
        kind = str(event.__struct_config__.tag).partition(".")[0]
        befores = befores_of(kind, event)
        meta = Meta("«the correlation»", "«the cause»", "«the principal»", "«the trace»")
        commit = Commit("«the command»", 1, (event,), Done("«the reply»"), meta)
        yield from ((before, Recorded(7, f"{kind}/«the key»", 2, commit)) for before in befores)


def befores_of(kind: str, event: Any) -> list[Known]:
    """All that may be known before this happens."""
    match kind:
        case "order":
            return [state for state in order_states() if taken_in(state, event) is not None]
        case "product":
            return ["«product.listed/seller_id»"]
        case _:
            return [None]


KEPT_WORDS = ("role", "purpose", "kind", "how", "topic", "channel")  # of which the type allows few


@cache
def marked_events() -> list[Any]:
    lines = [line for aggregate in AGGREGATES for line in (GOLDEN / f"{aggregate.kind}.jsonl").read_text().splitlines()]
    stored = [json.loads(line) for line in lines]
    roles = [{**event, "role": role} for event in stored if "role" in event for role in ("buyer", "seller", "admin")]
    return [decoded(marked(event, event, event["type"])) for event in [*stored, *roles]]


def marked(whole: dict[str, Any], part: Any, path: str) -> Any:
    """Replace every text by its path, where the type allows any text."""
    match part:
        case dict():
            for name, inner in part.items():
                if name != "type" or path.count("/"):
                    part[name] = marked(whole, inner, f"{path}/{name}")
            return part
        case list():
            return [marked(whole, inner, f"{path}/{index}") for index, inner in enumerate(part)]
        case str() if path.rpartition("/")[2] not in KEPT_WORDS and path not in CHOICES:
            return f"«{path}»"
        case _:
            return part


def decoded(event: dict[str, Any]) -> Any:
    (found,) = log_codec().decode_events(json.dumps([event]))
    return found


@cache
def order_states() -> list[order.State]:
    """All states that an order can come to by the events that there are."""
    events = [event for event in marked_events() if type(event) in get_args(ORDER.events)]
    found, ahead = [ORDER.initial], [ORDER.initial]
    while ahead:
        state = ahead.pop()
        afters = [after for event in events if (after := taken_in(state, event)) is not None]
        fresh = [after for after in afters if after not in found]
        found += fresh
        ahead += fresh
    return found


def taken_in(state: order.State, event: Any) -> order.State | None:
    try:
        return order.evolve(state, event)
    except AssertionError:
        return None


def texts(thing: Any) -> Iterator[str]:
    match msgspec.to_builtins(thing):
        case str() as text:
            yield text
        case dict() as inner:
            for name, value in inner.items():
                yield name
                yield from texts(value)
        case list() as inner:
            for value in inner:
                yield from texts(value)


# Choosing.


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["order.completed"], ["order.completed"]),
        (["product.*"], ["product.listed", "product.revised", "product.withdrawn", "product.reviewed"]),
        (["*"], list(DATA)),
        (
            ["order.paid", "order.*"],
            ["order.paid", "order.placed", "order.completed", "order.failed", "order.refunded"],
        ),
    ],
)
def test_patterns_stand_for_names(patterns: list[str], names: list[str]) -> None:
    assert names == chosen(patterns)


@pytest.mark.parametrize("pattern", ["", "order", "order.", "ord*", "order.*.x", "*.completed", "order.>", "account.*"])
def test_a_pattern_that_stands_for_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="there are no public events"):
        chosen([pattern])
