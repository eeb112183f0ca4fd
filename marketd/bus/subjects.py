"""
The names of all subjects: `market.cmd.<partition>.<kind>.<key>`, `market.query.<name>` and
`market.events.<aggregate>.<event>.<id>`. docs/nats.md tells them to others, so they are fixed.
"""

from typing import Final

from msgspec import Struct

from marketd.actors.address import PARTITIONS, Address

EVENTS: Final = "market.events"
EVENTS_STREAM: Final = "MARKET_EVENTS"
REPLAYS: Final = "market.replay"  # below it whom they are for, then as an event's
REPLAYS_STREAM: Final = "MARKET_REPLAY"
FOR_ALL: Final = "all"


def command_subject(address: Address) -> str:
    """Say where an actor is asked."""
    return f"market.cmd.{address.partition}.{address.kind}.{address.key}"


def commands_of_partition(partition: int) -> str:
    """Say what the owner of a partition serves."""
    return f"market.cmd.{partition}.>"


def all_partitions() -> list[str]:
    """Say what somebody serves who owns everything."""
    return [commands_of_partition(partition) for partition in range(PARTITIONS)]


def address_of(subject: str) -> Address:
    """Read the actor's address off a command subject."""
    _, _, _, kind, key = subject.split(".")
    return Address(kind, key)


def query_subject(query: type[Struct]) -> str:
    """Say where a query is asked: by its tag."""
    return f"market.query.{query.__struct_config__.tag}"


def event_subject(name: str, key: str) -> str:
    """Say where a public event is told: by its name, as `order.completed`, and the id of what it is about."""
    return f"{EVENTS}.{name}.{key}"
