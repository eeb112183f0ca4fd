"""
What an order needs is set aside before it is placed, so that nobody is charged for what they can't have.

The buyer first: of two orders for the same thing only one may take a unit from others. What is not given back here,
because the process dies or nobody knows whether the order was placed, fulfilment gives back.
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
    """What one order needs: of its buyer, and of its product where that counts its units."""

    def __init__(
        self, request: web.Request, order_id: str, product_id: str, principal: Principal, *, is_counted: bool
    ) -> None:
        self._request, self._principal, self._order_id = request, principal, order_id
        self._product_id, self._is_counted = product_id, is_counted

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Have it set aside while the order is placed, and nothing else is done; give it back where it was not."""
        try:
            await self._set_aside()
        except BusError:
            await self._give_back_once()
            raise
        try:
            yield
        except Busy:  # so it was not placed; of other errors nobody knows
            await self._give_back_once()
            raise

    async def _set_aside(self) -> None:
        await self._tell("buyer", self._principal.user_id, buyer.Claim(self._order_id, self._product_id))
        if not self._is_counted:
            if is_again(self._request):  # and may have held one while they were
                await self._tell("product", self._product_id, product.Unhold(self._order_id))
            return
        try:
            await self._tell("product", self._product_id, product.Hold(self._order_id))
        except Refused:
            if not (is_again(self._request) and await is_placed(self._request, self._order_id)):
                await self._give_back()
            raise

    async def _give_back_once(self) -> None:
        """But not of an order that comes again, and would find taken away what it had found set aside."""
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
    """Say whether there is such an order."""
    try:
        await ask(request, Address("order", order_id), order.Describe(), order.View)
    except Refused:
        return False
    return True
