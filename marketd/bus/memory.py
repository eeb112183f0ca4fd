"""
The bus within one process: it finds the handler of a subject and calls it with the envelope.

It replaces the NATS bus in tests and simulations, where each message is encoded and decoded by the codec as on the
wire; and the NATS bus uses it for subjects that are served in the same process.
"""

import logging

from marketd.actors.aggregate import Refused
from marketd.bus.codec import Codec
from marketd.bus.port import Answer, BusError, Crashed, Envelope, Handler, NoAnswer, NobodyServes
from marketd.bus.tally import Tally
from marketd.clock import Clock
from marketd.deadlines import Deadlines
from marketd.trace import Cause, doing_for

log = logging.getLogger("marketd.bus")


class MemoryBus:
    """Delivers to handlers in this process; if a codec is given, messages are encoded and decoded."""

    def __init__(self, clock: Clock, codec: Codec | None = None, tally: Tally | None = None) -> None:
        self._clock = clock
        self.tally = tally or Tally(clock)
        self._codec = codec
        self._handlers: dict[str, Handler] = {}
        self._deadlines = Deadlines()

    async def serve(self, subject: str, handler: Handler) -> None:
        self._handlers[subject] = handler

    def handler_of(self, subject: str) -> Handler | None:
        """Find the handler of the subject: the exact subject's, else that of the nearest `.>` above it."""
        handlers = self._handlers
        found = handlers.get(subject)
        above = subject
        while found is None and "." in above:
            above = above.rpartition(".")[0]
            found = handlers.get(f"{above}.>")
        return found

    async def ask(self, subject: str, envelope: Envelope) -> Answer:
        handler = self.handler_of(subject)
        if handler is None:
            raise NobodyServes(f"nobody serves {subject}")
        return await self.hand_over(handler, subject, envelope)

    async def hand_over(self, handler: Handler, subject: str, envelope: Envelope) -> Answer:
        """Let the handler answer within the deadline; raise what it raises, or `NoAnswer`."""
        left_s = (envelope.deadline - self._clock.now_ms()) / 1000
        if left_s <= 0:
            raise NoAnswer(f"the deadline had passed when {subject} was asked")
        try:
            with self._deadlines.within(left_s):
                if self._codec is None:
                    return await attend(handler, subject, envelope, self.tally)
                return await self._through(self._codec, handler, subject, envelope)
        except TimeoutError:
            raise NoAnswer(f"no answer from {subject} by the deadline") from None

    async def _through(self, codec: Codec, handler: Handler, subject: str, envelope: Envelope) -> Answer:
        try:
            packed = codec.pack_answer(await attend(handler, subject, codec.unpack(codec.pack(envelope)), self.tally))
        except (Refused, BusError) as error:
            packed = codec.pack_error(error)
        return codec.unpack_answer(packed)


async def attend(handler: Handler, subject: str, envelope: Envelope, tally: Tally) -> Answer:
    """Call the handler and count it; an exception other than `Refused` or a `BusError` is a defect: raise `Crashed`."""
    began_s, why = tally.begin(), "it was given up"
    with doing_for(Cause(envelope.correlation, envelope.trace)):
        try:
            answer = await handler(subject, envelope)
            why = ""
            return answer
        except Refused:
            why = ""
            raise
        except BusError as error:
            why = f"{error.code}: {error}"
            raise
        except Exception as error:
            log.exception("who serves %s crashed", subject)
            why = f"who serves {subject} has a defect: {type(error).__name__}"
            raise Crashed(why) from None
        finally:
            tally.end(type(envelope.message), began_s, why)
