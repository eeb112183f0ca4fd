"""What may be asked of the gate: who the integrators are, and how far each has read."""

from msgspec import Struct


class ListIntegrators(Struct, frozen=True, tag="integrators"):
    pass


class Guest(Struct, frozen=True):
    """
    An integrator: the subjects that it may read, since when (ms since the epoch), how many events wait for it, and how
    many of those it was sent it has not acknowledged yet.
    """

    name: str
    subjects: tuple[str, ...]
    created_at: int
    waiting: int
    unacknowledged: int


class Guests(Struct, frozen=True, tag="integrators.listed"):
    guests: tuple[Guest, ...]
