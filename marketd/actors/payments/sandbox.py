"""
A processor without money, for trying things out: it knows a handful of payment methods and keeps a ledger of its own.

The ledger (`sandbox.db`) is a party of its own: it outlives a crash of the service and refuses to charge twice under
one key, so that what it took can be held against what the orders say.
"""

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from marketd.actors.money import Money
from marketd.actors.payments.processor import (
    DECLINED,
    EXPIRED,
    NO_FUNDS,
    UNKNOWN_METHOD,
    VOIDED,
    Captured,
    Declined,
    PaidBack,
    ProcessorUnavailable,
    RefundDenied,
)
from marketd.bus.breaker import Breaker, BreakerOpen
from marketd.bus.port import BusError
from marketd.clock import Clock
from marketd.storage.database import Connection, Database, Row, StorageError, rows
from marketd.storage.together import Together

T = TypeVar("T")

SCHEMA_VERSION: Final = 1
TABLES: Final = """
    CREATE TABLE charges(
        order_id TEXT PRIMARY KEY,
        minor INTEGER NOT NULL,
        currency TEXT NOT NULL,
        payment_method_id TEXT NOT NULL,
        outcome TEXT NOT NULL CHECK (outcome IN ('captured', 'declined', 'voided')),
        why TEXT,
        at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE refunds(
        order_id TEXT PRIMARY KEY REFERENCES charges(order_id),
        outcome TEXT NOT NULL CHECK (outcome IN ('paid back', 'denied')),
        at INTEGER NOT NULL
    ) STRICT;
"""
GOOD: Final = frozenset({"pm_card_visa", "pm_card_mastercard"})
REFUND_FAILS: Final = "pm_card_refundFail"
REFUND_DENIED: Final = "the card's bank refused the refund"
DECLINES: Final = {
    "pm_card_chargeDeclined": DECLINED,
    "pm_card_chargeDeclinedInsufficientFunds": NO_FUNDS,
    "pm_card_chargeDeclinedExpiredCard": EXPIRED,
}


def entries(path: Path, db: Connection) -> Iterator[Row]:
    """
    Go through the ledger: order, minor units, currency, what became of the charge, and of the refund if there was one;
    raise `StorageError`.
    """
    columns = "c.order_id, c.minor, c.currency, c.outcome, r.outcome"
    return rows(path, db, f"SELECT {columns} FROM charges c LEFT JOIN refunds r ON r.order_id = c.order_id")


def why_declined(method: str) -> str | None:
    """Say why a payment method is declined; None where it is good for any sum."""
    return None if method in GOOD or method == REFUND_FAILS else DECLINES.get(method, UNKNOWN_METHOD)


class _Guarded:
    """The ledger behind its breaker, to which all that is written at once is one try."""

    def __init__(self, ledger: Database, breaker: Breaker) -> None:
        self._ledger, self._breaker = ledger, breaker

    async def run(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        return await self._breaker.call(lambda: self._ledger.run(function, *arguments), StorageError)


class SandboxProcessor:
    """The processor of one data directory; enter it to open the ledger. `delay_ms` is what a charge or refund takes."""

    def __init__(self, path: Path, clock: Clock, breaker: Breaker, *, delay_ms: int = 0) -> None:
        self._ledger = Database(path, SCHEMA_VERSION, TABLES)
        self._together = Together(_Guarded(self._ledger, breaker))
        self._clock, self._delay_s = clock, delay_ms / 1000
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._ledger)
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._stack.aclose()

    async def charge(self, order_id: str, price: Money, payment_method_id: str) -> Captured | Declined:
        """Take the price once for the order."""
        if self._delay_s:
            await self._clock.sleep(self._delay_s)
        return await self._run(_charge, order_id, price, payment_method_id, self._clock.now_ms())

    async def refund(self, order_id: str) -> PaidBack | RefundDenied:
        """Give back what was taken for the order; if nothing was, see to it that nothing will be."""
        if self._delay_s:
            await self._clock.sleep(self._delay_s)
        return await self._run(_refund, order_id, self._clock.now_ms())

    async def _run(self, function: Callable[..., T], *args: Any) -> T:
        try:
            result: T = await self._together.run(function, *args)
        except (StorageError, BusError, BreakerOpen) as error:
            raise ProcessorUnavailable(str(error)) from None
        return result


def _charge(db: Connection, order_id: str, price: Money, method: str, at: int) -> Captured | Declined:
    why = why_declined(method)
    row = (order_id, price.minor, price.currency, method, "declined" if why else "captured", why, at)
    charged = db.execute("INSERT INTO charges VALUES(?,?,?,?,?,?,?) ON CONFLICT DO NOTHING", row)
    if not charged.rowcount:
        outcome, why = db.execute("SELECT outcome, why FROM charges WHERE order_id = ?", (order_id,)).fetchone()
        return Captured() if outcome == "captured" else Declined(why)
    return Declined(why) if why else Captured()


def _refund(db: Connection, order_id: str, at: int) -> PaidBack | RefundDenied:
    known = db.execute("SELECT outcome FROM refunds WHERE order_id = ?", (order_id,)).fetchone()
    if known is None:
        charge = db.execute("SELECT payment_method_id FROM charges WHERE order_id = ?", (order_id,)).fetchone()
        known = ("denied" if charge and charge[0] == REFUND_FAILS else "paid back",)
        if charge is None:
            db.execute("INSERT INTO charges VALUES(?, 0, '', '', 'voided', ?, ?)", (order_id, VOIDED, at))
        db.execute("INSERT INTO refunds VALUES(?, ?, ?)", (order_id, *known, at))
    return PaidBack() if known[0] == "paid back" else RefundDenied(REFUND_DENIED)
