"""
The port to the stream that public events are kept in, for who follows them; and its memory twin.

The one rule: a message is taken only right after the one that the sender believes to be the last. So messages stand in
the stream in the order in which they were published, none twice and none left out, whatever was lost on the way; and of
two who publish, one finds out.

    StreamError
    ├── StreamAway       it can't be reached, or does not say whether it took something: look what the last one is
    ├── StreamMoved      another message is the last one: nothing from there on was taken
    ├── StreamRepeated   a message was taken before, though it may not be there any more: likewise
    └── StreamRefused    it does not want this, whoever asks
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

# Of each consumer of its own the subjects that it gets, by its name.
Consumers = Mapping[str, Sequence[str]]


class StreamError(Exception):
    """Something is not in the stream, or may not be."""


class StreamAway(StreamError):
    pass


class StreamMoved(StreamError):
    pass


class StreamRepeated(StreamError):
    """So many messages were taken before the one that is a repeat."""

    def __init__(self, taken: int) -> None:
        super().__init__(f"after {taken} messages one that was taken before")
        self.taken = taken


class StreamRefused(StreamError):
    pass


class Message(NamedTuple):
    """What is published, under an id by which a repeat is known."""

    subject: str
    id: str
    payload: bytes


class Last(NamedTuple):
    """The last message: its number, 0 where there never was one, and its id, None where it is not there any more."""

    sequence: int
    id: str | None


class Behind(NamedTuple):
    """How far behind a consumer is: what waits to be sent to it, and what it was sent and has not acknowledged."""

    waiting: int
    unacknowledged: int


class StreamLimits(Struct, frozen=True):
    """What the stream keeps and how long one waits for it; seconds and bytes."""

    keep_s: float = 30 * 86_400
    keep_bytes_max: int = 64 * 1024 * 1024
    duplicate_window_s: float = 120
    answer_wait_s_max: float = 5
    ack_wait_s: float = 30
    unacknowledged_max: int = 1000


class EventStream(Protocol):
    """Keeps public events, in one order, until they are too old or too many."""

    async def prepare(self, consumers: Consumers) -> None:
        """Make the stream as it should be, with just these consumers; raise a `StreamError`."""
        ...

    async def behind(self) -> Mapping[str, Behind]:
        """Say of each consumer how far behind it is; raise a `StreamError`."""
        ...

    async def last(self) -> Last:
        """Say what the last message is; raise a `StreamError`."""
        ...

    async def publish(self, messages: Sequence[Message], after: int) -> None:
        """Publish one after the other, the first one after the message of that number; raise a `StreamError`."""
        ...

    def on_back(self, look_again: Callable[[], None]) -> None:
        """Have this called when it was away and is back: what it took last may be lost."""
        ...


class MemoryStream:
    """A list that keeps the port's promises: the twin for tests."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.consumers: Consumers = {}
        self._purged = 0
        self._taken: set[str] = set()
        self._look_again: Callable[[], None] = lambda: None

    async def prepare(self, consumers: Consumers) -> None:
        self.consumers = consumers

    async def last(self) -> Last:
        return Last(self._sequence, self.messages[-1].id if self.messages else None)

    async def publish(self, messages: Sequence[Message], after: int) -> None:
        for count, message in enumerate(messages):
            if message.id in self._taken:
                raise StreamRepeated(count)
            if after + count != self._sequence:
                raise StreamMoved(f"expected {after + count} to be the last message, but it is {self._sequence}")
            self.messages.append(message)
            self._taken.add(message.id)

    def on_back(self, look_again: Callable[[], None]) -> None:
        self._look_again = look_again

    def lose(self, count: int) -> None:
        """Be away, and come back without the newest so many."""
        self._taken -= {message.id for message in self.messages[max(0, len(self.messages) - count) :]}
        del self.messages[max(0, len(self.messages) - count) :]
        self._look_again()

    def purge(self) -> None:
        """Keep nothing of what there is, as when its operator wishes so."""
        self._purged += len(self.messages)
        self.messages.clear()

    async def behind(self) -> Mapping[str, Behind]:
        of = {name: [m for m in self.messages if _fits(m.subject, wanted)] for name, wanted in self.consumers.items()}
        return {name: Behind(len(messages), 0) for name, messages in of.items()}  # nobody reads here

    @property
    def _sequence(self) -> int:
        return self._purged + len(self.messages)


def _fits(subject: str, patterns: Sequence[str]) -> bool:
    """Say whether a subject is one of these, of which the last part may be `*` for one part or `>` for several."""
    above = subject.rpartition(".")[0]
    return any(
        subject.startswith(wanted[:-1]) if wanted.endswith(".>") else wanted in (subject, f"{above}.*")
        for wanted in patterns
    )
