"""An address is written one way, and its partition never changes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketd.actors.address import PARTITIONS, Address

KEYS = st.text(min_size=1, max_size=64)


@pytest.mark.parametrize(
    ("written", "partition"),
    [
        ("order/01926f5e-7a3b-7c1d-8e2f-000000000001", 31),
        ("product/p1", 40),
        ("buyer/ann", 20),
        ("account/3682dffe24b0eb1fba66e96deacb91f0d5a6e3a9", 18),
    ],
)
def test_a_partition_is_for_ever(written: str, partition: int) -> None:
    """These numbers were true from the first release on: a row may be added, none may be changed."""
    assert partition == Address.parse(written).partition


def test_there_are_64_partitions() -> None:
    assert 64 == PARTITIONS


@settings(deadline=None, database=None)
@given(key=KEYS)
def test_every_address_has_a_partition(key: str) -> None:
    assert Address("order", key).partition in range(PARTITIONS)


def test_every_partition_has_addresses() -> None:
    assert set(range(PARTITIONS)) == {Address("order", f"{n}").partition for n in range(2000)}


def test_an_address_is_written_as_kind_and_key() -> None:
    assert "order/o1" == str(Address("order", "o1"))


@settings(deadline=None, database=None)
@given(key=KEYS)
def test_what_is_written_can_be_read(key: str) -> None:
    assert Address("order", key) == Address.parse(str(Address("order", key)))


@pytest.mark.parametrize("key", ["o1", "A-b_9", "x" * 64, "01926f5e-7a3b-7c1d-8e2f-000000000001"])
def test_a_sound_key_can_stand_in_a_subject(key: str) -> None:
    assert Address("order", key).is_sound


@pytest.mark.parametrize("key", ["", "a.b", "*", ">", "a b", "a\n", "ä", "x" * 65, "a/b"])
def test_an_unsound_key_can_not(key: str) -> None:
    assert not Address("order", key).is_sound
