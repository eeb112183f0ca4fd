"""
One awake actor: its mailbox and its turn.

A turn, and what a crash between any two of its lines leaves behind:

    1. take      all letters that wait, up to a limit; those past their deadline are dropped unread
    2. load      if asleep: the newest snapshot and the events after it; an actor just woken by a command that begins a
                 stream assumes an empty stream, and step 4 fails with a conflict if it is not
    3. decide    the letters one by one, each on the state that the previous one led to
    4. append    all their events, in one append; a crash before this changes nothing
    5. adopt     the new state; a crash after the append loses the answers but not the events, and a retry with the
                 same id gets the recorded answer
    6. reply     to each sender
    7. snapshot  now and then, when the log has time; losing it costs only speed

After a conflict or an unknown outcome the state is dropped and the turn starts over from 2, without the letters that
turn out to be on record; after an unknown outcome no sender is told that the command was not executed. While the log
accepts no appends, questions are still answered. A decision that crashes is answered with `Crashed`, logged with the
actor's name, and leaves state and log as they were.
"""

import asyncio
import hashlib
import logging
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from marketd.actors.address import Address
from marketd.actors.aggregate import Aggregate, Refused, reason_code
from marketd.bus.port import Answer, Busy, Crashed, Envelope, NoAnswer, Unsure
from marketd.clock import Clock
from marketd.measures import SIZES, Histogram
from marketd.spans import Span, span
from marketd.storage.log import (
    Appended,
    Commit,
    Conflict,
    Done,
    EventLog,
    LogFull,
    Meta,
    Outcome,
    Recorded,
    Refusal,
    Repeats,
    Reply,
    Snapshot,
    Unknown,
)
from marketd.trace import Cause, doing_for

log = logging.getLogger("marketd.actors")


class ActorLimits(Struct, frozen=True):
    """The limits of one actor; see the settings of the same names."""

    mailbox_depth_max: int = 4_096
    turn_messages_max: int = 128
    redecide_max: int = 4
    snapshot_every: int = 32


class Letter(NamedTuple):
    """A message in the mailbox, and the future of its answer."""

    envelope: Envelope
    answered: asyncio.Future[Answer]


class Draft(NamedTuple):
    """The result of deciding a letter: a reply, and the commit to append, if any."""

    letter: Letter
    reply: Reply
    commit: Commit | None


class Kind:
    """What all actors of one kind share: the aggregate, the codec of its snapshots, and measurements."""

    def __init__(self, aggregate: Aggregate[Any, Any, Any]) -> None:
        self.aggregate = aggregate
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(aggregate.states)
        self.fingerprint = _fingerprint(aggregate.states)
        self.turn_times, self.turn_letters, self.crashes = Histogram(), Histogram(SIZES), 0

    def pack(self, state: Any) -> bytes:
        """Encode a state for a snapshot."""
        return self._encoder.encode(state)

    def unpack(self, packed: bytes) -> Any:
        """Decode a state from a snapshot."""
        return self._decoder.decode(packed)

    def reason(self, code: str) -> StrEnum:
        """Find the reason that a recorded refusal names."""
        return self.aggregate.reasons[code.partition(".")[2]]


class Actor:
    """The one awake actor of its address."""

    def __init__(self, address: Address, kind: Kind, events: EventLog, clock: Clock, limits: ActorLimits) -> None:
        self.address, self._kind = address, kind
        self._log, self._clock, self._limits = events, clock, limits
        self._mailbox: list[Letter] = []  # not a deque, which takes 800 bytes and is nearly always empty
        self._state: Any = None
        self._version = self._position = self._snapshot_version = 0
        self._may_guess = True  # assume that the stream is empty
        self._in_doubt = False  # an append without an answer may have been written
        self._trace = ""  # of the current turn
        self.is_running = False
        self.places = 1  # in the house, which sets it
        self.last_turn_s = clock.monotonic_s()

    def __str__(self) -> str:
        return f"{self.address}@{self._version}"

    @property
    def is_idle(self) -> bool:
        """Say whether the actor can be put to sleep without losing anything."""
        return not self.is_running and not self._mailbox

    @property
    def is_at_rest(self) -> bool:
        """Say whether few further events are expected in its state."""
        return type(self._state) in self._kind.aggregate.at_rest

    @property
    def bulk(self) -> int:
        """Give the approximate number of bytes that its state has collected."""
        return 0 if self._state is None else self._kind.aggregate.bulk(self._state)

    def statistics(self) -> dict[str, int]:
        """Mailbox depth and stream version."""
        return {"mailbox_depth": len(self._mailbox), "version": self._version}

    def answer_at_once(self, envelope: Envelope) -> Answer | None:
        """
        Answer a question from the current state, or give None if it needs a turn: the state is not loaded, is older
        than the question requires, or other messages are ahead; raise `Refused` or `Crashed`.
        """
        aggregate = self._kind.aggregate
        is_ready = self.is_idle and self._state is not None and self._position >= envelope.at_least
        if not is_ready or envelope.is_step or type(envelope.message) not in aggregate.questions:
            return None
        self.last_turn_s = self._clock.monotonic_s()
        try:
            events = aggregate.decide(self._state, envelope.message)
            return Answer(aggregate.answer(self._state, envelope.message, events), self._position)
        except Refused:
            raise
        except Exception as error:
            raise self._crashed(envelope, error) from error

    def post(self, envelope: Envelope) -> asyncio.Future[Answer]:
        """Put a message into the mailbox; raise `Busy` where it is full."""
        if len(self._mailbox) >= self._limits.mailbox_depth_max:
            raise Busy(f"{self} has {len(self._mailbox)} messages waiting")
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._mailbox.append(Letter(envelope, answered))
        return answered

    async def run_turns(self) -> None:
        """Take turns until the mailbox is empty."""
        self.is_running = True
        try:
            while letters := self._take():
                await self._take_turn(letters)
        finally:
            self.is_running = False
            self.last_turn_s = self._clock.monotonic_s()

    def _take(self) -> list[Letter]:
        letters: list[Letter] = []
        now_ms = self._clock.now_ms()
        taken = 0
        for letter in self._mailbox:
            if len(letters) == self._limits.turn_messages_max:
                break
            taken += 1
            if letter.envelope.deadline <= now_ms:
                _fail(letter, NoAnswer("the deadline passed in the mailbox"))
            elif not letter.answered.done():
                letters.append(letter)
        del self._mailbox[:taken]
        return letters

    async def _take_turn(self, letters: list[Letter]) -> None:
        self._in_doubt, began_s = False, self._clock.monotonic_s()
        self._kind.turn_letters.note(len(letters))
        with doing_for(*(_cause(letter.envelope) for letter in letters)), self._turn_of(letters) as turn:
            self._trace = turn.traceparent
            try:
                await self._decide_and_append(letters)
            except Exception as error:  # no error may affect the next letters
                log.exception("%s: a turn crashed", self)
                self._kind.crashes += 1
                self._state = None
                self._fail_all(letters, Crashed(f"{self}: {type(error).__name__}"))
        self._kind.turn_times.note(self._clock.monotonic_s() - began_s)

    def _turn_of(self, letters: list[Letter]) -> Span:
        turn = span("turn", self.address.kind, parents=[letter.envelope.trace for letter in letters])
        turn.say("marketd.messages", len(letters))
        return turn

    async def _append(self, commits: list[Commit]) -> Outcome:
        with span("append", self.address.kind, parents=(self._trace,)) as appending:
            appending.say("marketd.commits", len(commits))
            return await self._log.append(str(self.address), self._version, commits)

    def _fail_all(self, letters: list[Letter], error: Exception) -> None:
        for letter in letters:
            _fail(letter, Unsure(str(error)) if self._in_doubt else error)

    async def _decide_and_append(self, letters: list[Letter]) -> None:
        mishaps = 0
        while letters:
            is_guess = self._guess(letters)
            if not is_guess:
                await self._load(max(letter.envelope.at_least for letter in letters))
            drafts, state = self._decide(letters)
            if is_guess:
                self._state = None  # until the append confirms the guess
                if not all(draft.commit for draft in drafts):
                    letters = [draft.letter for draft in drafts]
                    continue
            drafts = await self._without_repeats(drafts)
            commits = [draft.commit for draft in drafts if draft.commit]
            if not commits:
                self._reply_all(drafts, self._position)
                return
            try:
                outcome = await self._append(commits)
            except LogFull as error:
                self._fail_all([draft.letter for draft in drafts if draft.commit], Busy(str(error)))
                letters = [draft.letter for draft in drafts if not draft.commit]  # only these are decided again
                continue
            match outcome:
                case Appended(position):
                    self._adopt(state, len(commits), position)
                    self._reply_all(drafts, position - len(commits))
                    self._offer_snapshot()
                    return
                case Repeats(known):
                    letters = self._reply_repeats([draft.letter for draft in drafts], known)
                case Conflict() | Unknown() as mishap:
                    self._state = None
                    self._in_doubt |= isinstance(mishap, Unknown)
                    mishaps += not (is_guess and isinstance(mishap, Conflict))  # a wrong guess does not count
                    letters = [draft.letter for draft in drafts]
                    if mishaps > self._limits.redecide_max:
                        log.error("%s: given up after %d tries: %s", self, mishaps, mishap)
                        questions = [letter for letter in letters if self._is_question(letter)]
                        commands = [letter for letter in letters if not self._is_question(letter)]
                        self._fail_all(commands, Unsure(f"the log did not take it: {mishap}"))
                        letters = questions  # they append nothing
                        continue
                    letters = await self._reply_recorded(letters)

    def _guess(self, letters: list[Letter]) -> bool:
        """Assume an empty stream if all letters are commands that begin one; only in the first turn after waking."""
        aggregate, may_guess = self._kind.aggregate, self._may_guess
        self._may_guess = False
        is_guess = may_guess and all(type(letter.envelope.message) in aggregate.founding for letter in letters)
        if is_guess:
            self._state = aggregate.initial
        return is_guess

    async def _load(self, at_least: int) -> None:
        if self._state is not None and self._position >= at_least:
            return
        aggregate = self._kind.aggregate
        snapshot, records = await self._log.wake(str(self.address), self._kind.fingerprint)
        state, self._version, self._position = aggregate.initial, 0, 0
        if snapshot:
            state = self._kind.unpack(snapshot.state)
            self._version, self._position = snapshot.version, snapshot.position
        self._snapshot_version = self._version
        for record in records:
            for event in record.commit.events:
                state = aggregate.evolve(state, event)
            self._version, self._position = record.version, record.position
        self._state = state

    def _decide(self, letters: list[Letter]) -> tuple[list[Draft], Any]:
        """Decide each letter on the state that the previous one led to; those that crash are left out."""
        drafts: list[Draft] = []
        state = self._state
        ids: set[str] = set()
        for letter in letters:
            if letter.envelope.id in ids:  # a repeat in the same turn waits for the next, which finds the record
                self._mailbox.insert(0, letter)
                continue
            ids.add(letter.envelope.id)
            try:
                draft, state = self._decide_one(letter, state)
            except Exception as error:  # a defect in one decision affects only its sender
                _fail(letter, self._crashed(letter.envelope, error))
            else:
                drafts.append(draft)
        return drafts, state

    def _crashed(self, envelope: Envelope, error: Exception) -> Crashed:
        """Count and log a crashed decision."""
        self._kind.crashes += 1
        with doing_for(_cause(envelope)):
            log.exception("%s: deciding %s crashed", self, type(envelope.message).__name__)
        return Crashed(f"{self}: {type(error).__name__}")

    def _decide_one(self, letter: Letter, state: Any) -> tuple[Draft, Any]:
        aggregate, envelope = self._kind.aggregate, letter.envelope
        try:
            events = aggregate.decide(state, envelope.message)
        except Refused as refused:
            reply: Reply = Refusal(reason_code(aggregate.kind, refused.reason))
            return Draft(letter, reply, self._commit(envelope, (), reply) if envelope.is_step else None), state
        for event in events:
            state = aggregate.evolve(state, event)
        reply = Done(aggregate.answer(state, envelope.message, events))
        on_record = events or envelope.is_step
        return Draft(letter, reply, self._commit(envelope, tuple(events), reply) if on_record else None), state

    def _commit(self, e: Envelope, events: tuple[Any, ...], reply: Reply) -> Commit:
        meta = Meta(e.correlation, e.cause, e.principal, e.trace)
        return Commit(e.id, self._clock.now_ms(), events, reply, meta)

    def _adopt(self, state: Any, commits: int, position: int) -> None:
        self._state = state
        self._version += commits
        self._position = position

    def _reply_all(self, drafts: list[Draft], position: int) -> None:
        """Answer each letter; `position` is the log position before this append."""
        for draft in drafts:
            position += draft.commit is not None
            self._answer(draft.letter, draft.reply, position)

    async def _without_repeats(self, drafts: list[Draft]) -> list[Draft]:
        """
        Answer repeats from their record: a repeated command may now be refused, or have nothing left to change, though
        it was executed the first time.
        """
        kept = []
        for draft in drafts:
            may_be_repeat = draft.commit is None and not self._is_question(draft.letter)
            record = await self._log.find(str(self.address), draft.letter.envelope.id) if may_be_repeat else None
            if record:
                self._answer(draft.letter, record.commit.reply, record.position)
            else:
                kept.append(draft)
        return kept

    def _is_question(self, letter: Letter) -> bool:
        """Say whether the letter can't lead to an event or a record."""
        envelope = letter.envelope
        return type(envelope.message) in self._kind.aggregate.questions and not envelope.is_step

    async def _reply_recorded(self, letters: list[Letter]) -> list[Letter]:
        """Answer letters already on record, so that none is decided again on a state that it led to itself."""
        added = await self._log.read(str(self.address), self._version)
        return self._reply_repeats(letters, {record.commit.command_id: record for record in added})

    def _reply_repeats(self, letters: list[Letter], known: dict[str, Recorded]) -> list[Letter]:
        """Answer the letters in `known` from their records; give back the others."""
        for letter in letters:
            if record := known.get(letter.envelope.id):
                self._answer(letter, record.commit.reply, record.position)
        return [letter for letter in letters if letter.envelope.id not in known]

    def _answer(self, letter: Letter, reply: Reply, position: int) -> None:
        if isinstance(reply, Refusal):
            _fail(letter, Refused(self._kind.reason(reply.code)))
        elif not letter.answered.done():
            letter.answered.set_result(Answer(reply.value, position))

    def _offer_snapshot(self) -> None:
        if self._version - self._snapshot_version < self._limits.snapshot_every:
            return
        packed = self._kind.pack(self._state)
        self._log.offer_snapshot(
            Snapshot(str(self.address), self._version, self._position, self._kind.fingerprint, packed)
        )
        self._snapshot_version = self._version


@cache
def _fingerprint(states: Any) -> str:
    """Identify the schema of a union of states: a snapshot can be read only with the same schema."""
    schema = msgspec.json.encode(msgspec.json.schema(states), order="sorted")
    return hashlib.sha256(schema).hexdigest()[:16]


def _cause(envelope: Envelope) -> Cause:
    return Cause(envelope.correlation, envelope.trace)


def _fail(letter: Letter, error: Exception) -> None:
    if not letter.answered.done():
        letter.answered.set_exception(error)
