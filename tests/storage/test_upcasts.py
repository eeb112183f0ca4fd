"""What was stored under a name that is written no more is read as what it is called today."""

from typing import Any

import pytest
from msgspec import Struct

from marketd.storage.log import Commit, CorruptLog, Done, LogCodec, Meta


class Paid(Struct, frozen=True, tag="order.paid-2"):
    """Today's: sum and currency are one."""

    price: dict[str, Any]
    by: str


class Shown(Struct, frozen=True, tag="order.shown-2"):
    count: int


UPCASTS = {
    # First there was no payer, then sum and currency stood apart.
    "order.paid": lambda old: {**old, "type": "order.paid-1", "by": "nobody"},
    "order.paid-1": lambda old: {
        "type": "order.paid-2",
        "price": {"minor": old["minor"], "currency": old["currency"]},
        "by": old["by"],
    },
    "order.shown": lambda old: {"type": "order.shown-2", "count": int(old["number"])},
    "order.circle": lambda old: old,
}
CODEC = LogCodec(Paid, Shown, UPCASTS)


def events(text: str) -> tuple[Any, ...]:
    return CODEC.decode("c1", 1, text, '{"type":"done"}', "{}").events


TODAYS = '{"type":"order.paid-2","price":{"minor":5,"currency":"USD"},"by":"ann"}'
OLDER = '{"type":"order.paid-1","minor":5,"currency":"USD","by":"ann"}'
OLDEST = '{"type":"order.paid","minor":5,"currency":"USD"}'


@pytest.mark.parametrize(
    ("line", "by"), [(TODAYS, "ann"), (OLDER, "ann"), (OLDEST, "nobody")], ids=["today's", "older", "oldest"]
)
def test_a_line_of_any_age_is_read_as_todays(line: str, by: str) -> None:
    assert (Paid({"minor": 5, "currency": "USD"}, by),) == events(f"[{line}]")


def test_old_and_new_stand_in_one_record() -> None:
    assert ["nobody", "ann"] == [event.by for event in events(f"[{OLDEST},{TODAYS}]")]


def test_an_answer_is_brought_to_todays_form_too() -> None:
    reply = CODEC.decode("c1", 1, "[]", '{"type":"done","value":{"type":"order.shown","number":"7"}}', "{}").reply

    assert Done(Shown(7)) == reply


def test_what_is_written_is_todays() -> None:
    written, _, _ = CODEC.encode(Commit("c1", 1, events(f"[{OLDEST}]"), Done(), Meta()))

    assert f"[{TODAYS}]".replace("ann", "nobody") == written


@pytest.mark.parametrize(
    "line", ['{"type":"order.paid"}', '{"type":"order.unheard-of"}', '{"type":"order.circle"}', "7", '{"type":[]}']
)
def test_what_was_never_written_is_corruption(line: str) -> None:
    with pytest.raises(CorruptLog):
        events(f"[{line}]")


def test_events_alone_are_read_alike() -> None:
    assert events(f"[{OLDER}]") == CODEC.decode_events(f"[{OLDER}]")
