"""How messages look on the wire, and that whatever comes over it is either understood or refused by name."""

import random

import msgspec
import pytest

from marketd.actors import buyer, product
from marketd.actors.aggregate import Refused
from marketd.bus.codec import reasons_by_code
from marketd.bus.port import Answer, BusError, Busy, Envelope, Undecodable
from marketd.config.codecs import AGGREGATES, message_codec
from marketd.storage.catalog import BrowseProducts
from marketd.storage.projector import Reached

CODEC = message_codec()
ENVELOPE = Envelope("id-1", product.Reserve("order-1"), "correlation-1", 1_700_000_000_000)


def garbled(packed: bytes, chance: random.Random) -> bytes:
    """Change, add or drop a few bytes."""
    bytes_ = bytearray(packed)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(bytes_) + 1)
        bytes_[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    return bytes(bytes_)


def test_an_envelope_comes_out_as_it_went_in() -> None:
    assert ENVELOPE == CODEC.unpack(CODEC.pack(ENVELOPE))


def test_an_envelope_is_an_array_in_a_fixed_order() -> None:
    expected = ["id-1", {"type": "product.reserve", "order_id": "order-1"}, "correlation-1", 1_700_000_000_000]

    assert [*expected, "", "", "", 0, False] == msgspec.msgpack.decode(CODEC.pack(ENVELOPE))


@pytest.mark.parametrize("message", [buyer.CheckAccess("p"), BrowseProducts(q="lamp")], ids=["command", "query"])
def test_commands_and_queries_are_understood(message: msgspec.Struct) -> None:
    envelope = msgspec.structs.replace(ENVELOPE, message=message)

    assert message == CODEC.unpack(CODEC.pack(envelope)).message


@pytest.mark.parametrize(
    "answer", [Answer(None, 0), Answer(product.Reservation("KEY"), 7), Answer(Reached(9), 9)], ids=["none", "a", "b"]
)
def test_an_answer_comes_out_as_it_went_in(answer: Answer) -> None:
    assert answer == CODEC.unpack_answer(CODEC.pack_answer(answer))


def test_every_reason_arrives_as_itself() -> None:
    reasons = [reason for aggregate in AGGREGATES for reason in aggregate.reasons]
    arrived = []
    for reason in reasons:
        with pytest.raises(Refused) as caught:
            CODEC.unpack_answer(CODEC.pack_error(Refused(reason)))
        arrived.append(caught.value.reason)

    assert reasons == arrived


def test_a_reason_travels_by_its_kind_and_name() -> None:
    assert {"product.SOLD_OUT": product.Reason.SOLD_OUT}.items() <= reasons_by_code({"product": product.Reason}).items()


def test_an_error_keeps_what_it_says() -> None:
    with pytest.raises(Busy, match=r"^7 messages wait$"):
        CODEC.unpack_answer(CODEC.pack_error(Busy("7 messages wait")))


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc0", id="nil"),
        pytest.param(b'{"id": "x"}', id="JSON"),
        pytest.param(CODEC.pack(ENVELOPE)[:-1], id="cut off"),
        pytest.param(CODEC.pack(ENVELOPE) + b"\x00", id="with a tail"),
        pytest.param(CODEC.pack(ENVELOPE).replace(b"id-1", b"\xff\xff-1"), id="not UTF-8"),
        pytest.param(CODEC.pack(ENVELOPE).replace(b"id-1", b"id\x001"), id="an id with a NUL"),
        pytest.param(CODEC.pack(ENVELOPE).replace(b"reserve", b"reverse"), id="an unknown message"),
        pytest.param(CODEC.pack(ENVELOPE).replace(b"order_id", b"other_id"), id="a field short"),
        pytest.param(b"\x91" * 100_000, id="as deep as the sea"),
    ],
)
def test_what_is_no_envelope_is_refused(packed: bytes) -> None:
    with pytest.raises(Undecodable):
        CODEC.unpack(packed)


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(msgspec.msgpack.encode(["maybe", 1]), id="an unknown outcome"),
        pytest.param(msgspec.msgpack.encode(["refused", "product.TOO_BLUE"]), id="an unknown reason"),
        pytest.param(msgspec.msgpack.encode(["done", {"type": "product.unheard-of"}, 1]), id="an unknown answer"),
        pytest.param(msgspec.msgpack.encode(["done", None, "1"]), id="a position that is none"),
    ],
)
def test_what_is_no_answer_is_refused(packed: bytes) -> None:
    with pytest.raises(Undecodable):
        CODEC.unpack_answer(packed)


def test_an_error_of_a_newer_sender_is_an_error() -> None:
    with pytest.raises(BusError, match=r"^the moon is wrong$"):
        CODEC.unpack_answer(msgspec.msgpack.encode(["failed", "wrong-moon", "the moon is wrong"]))


@pytest.mark.parametrize("seed", range(4))
def test_no_bytes_at_all_raise_anything_but_errors_of_the_bus(seed: int) -> None:
    chance = random.Random(seed)
    envelope, answer = CODEC.pack(ENVELOPE), CODEC.pack_answer(Answer(product.Reservation("KEY"), 7))
    for _ in range(2_000):
        for unpack, packed in ((CODEC.unpack, envelope), (CODEC.unpack_answer, answer)):
            try:
                unpack(garbled(packed, chance))
            except (BusError, Refused):
                pass
