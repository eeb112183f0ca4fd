"""
What was set aside for an order that never came, and goes back to where it was taken from.

An order's unit and its place on the buyer's shelf are claimed before the order is placed, so a crash between the two
leaves them to nobody. The one rule: a claim that the log tells of is noted here until an order of that product is
placed under its id, for from then on giving it up is a step of the saga; what is noted too long is given up, unless its
order goes on all the same.
"""

import logging
from typing import Final, NamedTuple

from msgspec import Struct

from marketd.actors import buyer, order, product
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.actors.saga import Command
from marketd.bus.port import Bus, BusError
from marketd.bus.subjects import command_subject
from marketd.clock import Clock
from marketd.storage.follower import Follower, because_of
from marketd.storage.log import Meta, Recorded
from marketd.trace import Cause, doing_for

SWEEPS_A_WAIT: Final = 4
TELLING: Final = frozenset({product.Held, product.Unheld, buyer.Claimed, buyer.Unclaimed, order.Placed})

log = logging.getLogger("marketd.fulfilment")


class _Wanted(NamedTuple):
    """What a claim is for: this product, by the order of this id, which may come to be of another one."""

    order_id: str
    product_id: str

    def __str__(self) -> str:
        return f"order/{self.order_id}, of product/{self.product_id}"


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
        self._claims: dict[_Wanted, _Claim] = {}

    def __len__(self) -> int:
        return len(self._claims)

    def hear(self, record: Recorded, address: Address) -> None:
        """Take in one record of this stream."""
        for event in record.commit.events:
            if type(event) not in TELLING:
                continue
            match event:
                case product.Held(order_id):
                    part = Command(address, product.Unhold(order_id))
                    self._note(_Wanted(order_id, address.key), record, part)
                case buyer.Claimed(order_id, product_id):
                    part = Command(address, buyer.Unclaim(order_id, product_id))
                    self._note(_Wanted(order_id, product_id), record, part)
                case product.Unheld(order_id):
                    self._forget(_Wanted(order_id, address.key), record.stream)
                case buyer.Unclaimed(order_id, product_id):
                    self._forget(_Wanted(order_id, product_id), record.stream)
                case order.Placed(buyer_id, product_id=product_id, is_counted=False):  # which knows of no unit held
                    self._forget(_Wanted(address.key, product_id), str(Address(buyer.BUYER.kind, buyer_id)))
                case order.Placed(product_id=product_id):
                    self._close(_Wanted(address.key, product_id))

    async def run(self) -> None:
        """Give up for ever what is due."""
        while True:
            await self._clock.sleep(self._claim_s / SWEEPS_A_WAIT)
            due_s = self._clock.monotonic_s() - self._claim_s
            for wanted, claim in [entry for entry in self._claims.items() if entry[1].heard_s <= due_s]:
                with doing_for(Cause(claim.meta.correlation, claim.meta.trace)):
                    await self._give_up(wanted, claim)

    def _note(self, wanted: _Wanted, record: Recorded, part: Command) -> None:
        known = self._claims.get(wanted)
        parts = (known.parts if known else {}) | {record.stream: part}
        self._claims[wanted] = _Claim(self._clock.monotonic_s(), record.commit.meta, parts)
        self._follower.take_up(_name(wanted), record)

    def _forget(self, wanted: _Wanted, stream: str) -> None:
        if claim := self._claims.get(wanted):
            claim.parts.pop(stream, None)
            if not claim.parts:
                self._close(wanted)

    def _close(self, wanted: _Wanted) -> None:
        if self._claims.pop(wanted, None):
            self._follower.close(_name(wanted))

    async def _give_up(self, wanted: _Wanted, claim: _Claim) -> None:
        try:
            if await self._goes_on(wanted, claim):
                return
            for stream, part in list(claim.parts.items()):
                await self._ask(part.address, part.message, claim)
                if self._claims.get(wanted) is claim:  # and not one that was made since
                    self._forget(wanted, stream)
        except BusError as error:
            log.warning("%s: what is claimed for it: %s %s", wanted, type(error).__name__, error)
        except Exception:  # a defect over one claim must not keep the others, nor end the service
            log.exception("%s: giving up what is claimed for it crashed", wanted)
        else:
            log.info("%s: gave up what was claimed for it", wanted)

    async def _goes_on(self, wanted: _Wanted, claim: _Claim) -> bool:
        """Say whether there is such an order, of that product, and not at its end."""
        try:
            awaited = await self._ask(Address("order", wanted.order_id), order.ReadAwaited(), claim)
        except Refused:
            return False
        assert isinstance(awaited, order.Awaited), awaited
        return awaited.placed.product_id == wanted.product_id and awaited.step is not None

    async def _ask(self, address: Address, message: Struct, claim: _Claim) -> Struct | None:
        envelope = because_of(
            claim.meta,
            message,
            self._clock,
            principal="fulfilment",
            wait_s_max=self._reply_wait_s_max,
            at_least=self._follower.heard,
        )
        return (await self._bus.ask(command_subject(address), envelope)).value


def _name(wanted: _Wanted) -> str:
    """Name what is open of an order that there may never be."""
    return f"claim {wanted.order_id} {wanted.product_id}"
