"""
Reserves what an order needs before it is placed, so that nobody is charged for something they can't have.

The buyer's claim comes first: of two orders of a buyer for the same product, only one may hold a unit. What is not
released here, because the process dies or it is unknown whether the order was placed, fulfilment releases.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from msgspec import Struct

from marketd.actors import buyer, order, product
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.bus.port import BusError, Busy
from marketd.http.asking import ask, tell
from marketd.http.doing import is_again, may_come_again
from marketd.http.tokens import Principal


class Claims:
    """The reservations of one order: with its buyer, and with its product if that counts its units."""

    def __init__(
        self, request: web.Request, order_id: str, product_id: str, principal: Principal, *, is_counted: bool
    ) -> None:
        self._request, self._principal, self._order_id = request, principal, order_id
        self._product_id, self._is_counted = product_id, is_counted

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Hold the reservations while the block places the order, and does nothing else; release them if it did not."""
        try:
            await self._set_aside()
        except BusError:
            await self._give_back_once()
            raise
        try:
            yield
        except Busy:  # then it was not placed; with other errors that is unknown
            await self._give_back_once()
            raise

    async def _set_aside(self) -> None:
        await self._tell("buyer", self._principal.user_id, buyer.Claim(self._order_id, self._product_id))
        if not self._is_counted:
            if is_again(self._request):  # an earlier attempt may hold one, from when they were counted
                await self._tell("product", self._product_id, product.Unhold(self._order_id))
            return
        try:
            await self._tell("product", self._product_id, product.Hold(self._order_id))
        except Refused:
            if not (is_again(self._request) and await is_placed(self._request, self._order_id)):
                await self._give_back()
            raise

    async def _give_back_once(self) -> None:
        """Release the reservations, unless the order may be retried: the retry would find them gone."""
        if not may_come_again(self._request):
            await self._give_back()

    async def _give_back(self) -> None:
        try:
            if self._is_counted:
                await self._tell("product", self._product_id, product.Unhold(self._order_id))
            await self._tell("buyer", self._principal.user_id, buyer.Unclaim(self._order_id, self._product_id))
        except BusError:
            pass

    async def _tell(self, kind: str, key: str, message: Struct) -> None:
        address = Address(kind, key)
        await tell(self._request, address, message, principal=self._principal, until_seen=False, each_time=True)


async def is_placed(request: web.Request, order_id: str) -> bool:
    """Say whether the order exists."""
    try:
        await ask(request, Address("order", order_id), order.Describe(), order.View)
    except Refused:
        return False
    return True
