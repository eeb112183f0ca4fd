"""
What was set aside for an order that never came, and goes back to where it was taken from.

An order's unit and its place on the buyer's shelf are claimed before the order is placed, so a crash between the two
leaves them to nobody. The one rule: a claim that the log tells of is noted here until its order is placed, for from
then on giving it up is a step of the saga; what is noted too long is given up, unless its order goes on all the same.
"""

import logging
from typing import Final, NamedTuple

from msgspec import Struct

from marketd.actors import buyer, order, product
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.actors.saga import Command
from marketd.bus.port import Bus, BusError, Envelope
from marketd.bus.subjects import command_subject
from marketd.clock import Clock, new_id
from marketd.spans import within
from marketd.storage.follower import Follower
from marketd.storage.log import Meta, Recorded
from marketd.trace import Cause, doing_for, taken_up

SWEEPS_A_WAIT: Final = 4
TELLING: Final = frozenset({product.Held, product.Unheld, buyer.Claimed, buyer.Unclaimed, order.Placed})

log = logging.getLogger("marketd.fulfilment")


class _Claim(NamedTuple):
    """When its newest record was heard, how that came about, and how each part is given up."""

    heard_s: float
    meta: Meta
    parts: dict[str, Command]  # by the stream that it was claimed of


class Orphans:
    """All claims without an order, each open with the follower; told of every record that it hears."""

    def __init__(self, bus: Bus, follower: Follower, clock: Clock, *, claim_s: float, reply_wait_s_max: float) -> None:
        self._bus, self._follower, self._clock = bus, follower, clock
        self._claim_s, self._reply_wait_s_max = claim_s, reply_wait_s_max
        self._claims: dict[str, _Claim] = {}  # by order

    def __len__(self) -> int:
        return len(self._claims)

    def hear(self, record: Recorded, address: Address) -> None:
        """Take in one record of this stream."""
        for event in record.commit.events:
            if type(event) not in TELLING:
                continue
            match event:
                case product.Held(order_id):
                    self._note(order_id, record, Command(address, product.Unhold(order_id)))
                case buyer.Claimed(order_id, product_id):
                    self._note(order_id, record, Command(address, buyer.Unclaim(order_id, product_id)))
                case product.Unheld(order_id) | buyer.Unclaimed(order_id):
                    self._forget(order_id, record.stream)
                case order.Placed(buyer_id, is_counted=False):  # which knows of no unit that was held for it
                    self._forget(address.key, str(Address(buyer.BUYER.kind, buyer_id)))
                case order.Placed() if address.key in self._claims:
                    self._close(address.key)

    async def run(self) -> None:
        """Give up for ever what is due."""
        while True:
            await self._clock.sleep(self._claim_s / SWEEPS_A_WAIT)
            due_s = self._clock.monotonic_s() - self._claim_s
            for order_id, claim in [entry for entry in self._claims.items() if entry[1].heard_s <= due_s]:
                with doing_for(Cause(claim.meta.correlation, claim.meta.trace)):
                    await self._give_up(order_id, claim)

    def _note(self, order_id: str, record: Recorded, part: Command) -> None:
        known = self._claims.get(order_id)
        parts = (known.parts if known else {}) | {record.stream: part}
        self._claims[order_id] = _Claim(self._clock.monotonic_s(), record.commit.meta, parts)
        self._follower.take_up(_name(order_id), record)

    def _forget(self, order_id: str, stream: str) -> None:
        if claim := self._claims.get(order_id):
            claim.parts.pop(stream, None)
            if not claim.parts:
                self._close(order_id)

    def _close(self, order_id: str) -> None:
        del self._claims[order_id]
        self._follower.close(_name(order_id))

    async def _give_up(self, order_id: str, claim: _Claim) -> None:
        try:
            if await self._goes_on(order_id, claim):
                return
            for stream, part in list(claim.parts.items()):
                await self._ask(part.address, part.message, claim)
                if self._claims.get(order_id) is claim:  # and not one that was made since
                    self._forget(order_id, stream)
        except BusError as error:
            log.warning("order/%s: what is claimed for it: %s %s", order_id, type(error).__name__, error)
        else:
            log.info("order/%s: gave up what was claimed for it", order_id)

    async def _goes_on(self, order_id: str, claim: _Claim) -> bool:
        """Say whether there is such an order, and not at its end."""
        try:
            awaited = await self._ask(Address("order", order_id), order.ReadAwaited(), claim)
        except Refused:
            return False
        return isinstance(awaited, order.Awaited) and awaited.step is not None

    async def _ask(self, address: Address, message: Struct, claim: _Claim) -> Struct | None:
        envelope = Envelope(
            id=new_id(self._clock),
            message=message,
            correlation=claim.meta.correlation,
            deadline=self._clock.now_ms() + int(self._reply_wait_s_max * 1000),
            principal="fulfilment",
            trace=within(claim.meta.trace) or taken_up(claim.meta.trace, self._clock),
            at_least=self._follower.heard,
        )
        return (await self._bus.ask(command_subject(address), envelope)).value


def _name(order_id: str) -> str:
    """Name what is open of an order that there may never be."""
    return f"claim {order_id}"
