"""
The names of all subjects: `market.cmd.<partition>.<kind>.<key>`, `market.query.<name>` and
`market.events.<aggregate>.<event>.<id>`. docs/nats.md publishes them, so they must not change.
"""

from typing import Final

from msgspec import Struct

from marketd.actors.address import PARTITIONS, Address

EVENTS: Final = "market.events"
EVENTS_STREAM: Final = "MARKET_EVENTS"
REPLAYS: Final = "market.replay"  # followed by the recipient, and then by the rest of the event's subject
REPLAYS_STREAM: Final = "MARKET_REPLAY"
FOR_ALL: Final = "all"


def command_subject(address: Address) -> str:
    """Give the subject of commands to an actor."""
    return f"market.cmd.{address.partition}.{address.kind}.{address.key}"


def commands_of_partition(partition: int) -> str:
    """Give the subject that the owner of a partition serves."""
    return f"market.cmd.{partition}.>"


def all_partitions() -> list[str]:
    """Give the subjects that the owner of all partitions serves."""
    return [commands_of_partition(partition) for partition in range(PARTITIONS)]


def address_of(subject: str) -> Address:
    """Parse the actor's address from a command subject."""
    _, _, _, kind, key = subject.split(".")
    return Address(kind, key)


def query_subject(query: type[Struct]) -> str:
    """Give the subject of a query, which ends in its tag."""
    return f"market.query.{query.__struct_config__.tag}"


def event_subject(name: str, key: str) -> str:
    """Give the subject of a public event: its name, as `order.completed`, and the id of what it is about."""
    return f"{EVENTS}.{name}.{key}"
