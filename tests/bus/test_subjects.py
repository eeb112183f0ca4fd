"""The names of subjects, as docs/nats.md tells them."""

import pytest

from marketd.actors.address import PARTITIONS, Address
from marketd.actors.order import ORDER
from marketd.bus.subjects import address_of, all_partitions, command_subject, commands_of_partition, query_subject
from marketd.config.codecs import MODELS
from marketd.storage.catalog import BrowseProducts

ADDRESS = Address(ORDER.kind, "018f2b6c-0000-7000-8000-000000000001")


def test_a_command_goes_to_partition_kind_and_key() -> None:
    assert "market.cmd.29.order.018f2b6c-0000-7000-8000-000000000001" == command_subject(ADDRESS)


def test_the_address_can_be_read_off_the_subject() -> None:
    assert ADDRESS == address_of(command_subject(ADDRESS))


def test_a_partition_is_served_as_a_branch() -> None:
    assert "market.cmd.22.>" == commands_of_partition(22)


def test_who_owns_everything_serves_each_partition() -> None:
    assert [f"market.cmd.{n}.>" for n in range(64)] == all_partitions()


def test_every_address_is_in_a_partition_that_is_served() -> None:
    partitions = {Address("product", f"key-{n}").partition for n in range(5_000)}

    assert set(range(PARTITIONS)) == partitions


@pytest.mark.parametrize(
    ("address", "partition"),
    [(Address("product", "lamp"), 24), (Address("order", "lamp"), 53), (Address("buyer", "ann"), 20)],
)
def test_an_address_never_changes_its_partition(address: Address, partition: int) -> None:
    assert partition == address.partition


def test_a_query_goes_to_its_name() -> None:
    assert "market.query.products" == query_subject(BrowseProducts)


def test_no_two_queries_share_a_subject() -> None:
    subjects = [query_subject(query) for model in MODELS for query in model.answers]

    assert sorted(set(subjects)) == sorted(subjects)
