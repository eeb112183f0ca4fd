"""The address of an actor, which it has whether awake or asleep."""

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple, Self

PARTITIONS: Final = 64  # fixed for ever: an address never changes its partition
ADDRESSES_REMEMBERED_MAX: Final = 4_096

_KEY = re.compile(r"[0-9A-Za-z_-]{1,64}")


class Address(NamedTuple):
    """The kind and the key of one aggregate; written `order/0192…`, which is also the name of its stream."""

    kind: str
    key: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.key}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse what `str()` wrote."""
        kind, _, key = text.partition("/")
        return cls(kind, key)

    @property
    def is_sound(self) -> bool:
        """Say whether the key can stand in a NATS subject."""
        return _KEY.fullmatch(self.key) is not None

    @property
    def partition(self) -> int:
        """The number of the address's partition, from 0 to 63."""
        return _partition(self)


@lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def _partition(address: Address) -> int:
    return int.from_bytes(blake2b(str(address).encode(), digest_size=8).digest(), "big") % PARTITIONS
