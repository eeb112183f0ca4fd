"""The gate's query: a list of the integrators, and how far each has read."""

from msgspec import Struct


class ListIntegrators(Struct, frozen=True, tag="integrators"):
    pass


class Guest(Struct, frozen=True):
    """
    An integrator: the subjects that it may read, when it was created (ms since the epoch), how many events wait for it,
    and how many were sent to it that it has not acknowledged yet.
    """

    name: str
    subjects: tuple[str, ...]
    created_at: int
    waiting: int
    unacknowledged: int


class Guests(Struct, frozen=True, tag="integrators.listed"):
    guests: tuple[Guest, ...]
