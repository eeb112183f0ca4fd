"""
The balance: whether orders, products, buyers and the payment processor's ledger agree on every sale.

Each state of an order determines what must be found elsewhere; while a step is requested and its outcome not recorded
yet, either outcome is right. All files are read as of one moment, so this holds while the service goes on selling. The
notes are in a scratch database, one row per sale and table.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from msgspec import Struct

from marketd.actors import buyer, order, product
from marketd.storage.audit import Ended, Fault, Faults, Tell
from marketd.storage.database import Connection, Row
from marketd.storage.files import digest_of

TOLD_ORDERS: Final = 5_000
NOTES_MAX: Final = 1_000  # rows per statement that wait in memory
TABLES: Final = (
    """CREATE TABLE orders(order_id TEXT PRIMARY KEY, state TEXT, has_paid INTEGER, has_no_answer INTEGER,
       was_delivered INTEGER, minor INTEGER, currency TEXT, product_id TEXT, buyer_id TEXT, licence_key TEXT,
       position INTEGER, version INTEGER, is_counted INTEGER) WITHOUT ROWID""",
    "CREATE TABLE paid(order_id TEXT PRIMARY KEY) WITHOUT ROWID",
    """CREATE TABLE held(order_id TEXT, product_id TEXT, units INTEGER, licence_key TEXT, sold INTEGER,
       PRIMARY KEY (order_id, product_id)) WITHOUT ROWID""",
    "CREATE TABLE claimed(order_id TEXT, buyer_id TEXT, product_id TEXT, PRIMARY KEY (order_id, buyer_id, product_id))",
    "CREATE TABLE owned(order_id TEXT, buyer_id TEXT, product_id TEXT, PRIMARY KEY (order_id, buyer_id, product_id))",
    """CREATE TABLE ledger(order_id TEXT PRIMARY KEY, minor INTEGER, currency TEXT, charge TEXT, refund TEXT)
       WITHOUT ROWID""",
    "CREATE TABLE unreadable(stream TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE uploads(digest TEXT PRIMARY KEY, size INTEGER, stream TEXT, position INTEGER) WITHOUT ROWID",
)
HOLD: Final = """
    INSERT INTO held VALUES(?, ?, ?, ?, ?) ON CONFLICT (order_id, product_id) DO UPDATE SET
    units = units + excluded.units, sold = sold + excluded.sold,
    licence_key = coalesce(excluded.licence_key, licence_key)
"""
JOINED: Final = """
    SELECT o.*, l.minor, l.currency, l.charge, l.refund, coalesce(h.units, 0), h.licence_key, w.buyer_id,
           coalesce(h.sold, 0), c.buyer_id IS NOT NULL,
           (SELECT count(*) FROM unreadable WHERE stream IN ('product/' || o.product_id)),
           (SELECT count(*) FROM unreadable WHERE stream IN ('buyer/' || o.buyer_id))
    FROM orders o LEFT JOIN ledger l ON l.order_id = o.order_id
    LEFT JOIN held h ON h.order_id = o.order_id AND h.product_id = o.product_id
    LEFT JOIN owned w ON w.order_id = o.order_id AND w.buyer_id = o.buyer_id AND w.product_id = o.product_id
    LEFT JOIN claimed c ON c.order_id = o.order_id AND c.buyer_id = o.buyer_id AND c.product_id = o.product_id
    ORDER BY o.order_id
"""
NEVER: Final = frozenset[Any]({None})


class Elsewhere(NamedTuple):
    """
    What may be found elsewhere for an order in a certain state: outcome of the charge and of the refund, units held or
    sold, units sold, copies owned, copies claimed.
    """

    charge: frozenset[str | None]
    refund: frozenset[str | None]
    units: frozenset[int]
    sold: frozenset[int]
    copies: frozenset[int]
    claims: frozenset[int]


def _one_of(*values: Any) -> frozenset[Any]:
    return frozenset(values)


ANY_CHARGE: Final = _one_of(None, "asked", "captured", "declined", "voided")
ANY_REFUND: Final = _one_of(None, "paid back", "denied")
TAKEN: Final = _one_of("captured")
NONE, ONE, EITHER = _one_of(0), _one_of(1), _one_of(0, 1)
# fmt: off
EXPECTED: Final[dict[type, Elsewhere]] = {
    order.Paying:     Elsewhere(ANY_CHARGE - {"voided"}, NEVER, EITHER, NONE, NONE, EITHER),
    order.Reserving:  Elsewhere(TAKEN, NEVER, EITHER, EITHER, EITHER, EITHER),
    order.Delivering: Elsewhere(TAKEN, NEVER, ONE, ONE, EITHER, EITHER),
    order.Notifying:  Elsewhere(TAKEN, NEVER, ONE, ONE, ONE, NONE),
    order.Unnoticed:  Elsewhere(TAKEN, NEVER, ONE, ONE, ONE, NONE),
    order.Complete:   Elsewhere(TAKEN, NEVER, ONE, ONE, ONE, NONE),
    order.Releasing:  Elsewhere(TAKEN, NEVER, EITHER, EITHER, NONE, EITHER),
    order.Unwinding:  Elsewhere(ANY_CHARGE - {"voided"}, NEVER, NONE, NONE, EITHER, EITHER),
    order.Refunding:  Elsewhere(ANY_CHARGE, ANY_REFUND, EITHER, NONE, NONE, EITHER),
    order.Revoking:   Elsewhere(TAKEN, NEVER, ONE, ONE, EITHER, NONE),
    order.Returning:  Elsewhere(TAKEN, ANY_REFUND, ONE, ONE, NONE, NONE),
    order.Ending:     Elsewhere(ANY_CHARGE - {"asked"}, ANY_REFUND, EITHER, NONE, NONE, EITHER),
    order.Declined:   Elsewhere(_one_of("declined"), NEVER, NONE, NONE, NONE, NONE),
    order.TakenBack:  Elsewhere(ANY_CHARGE - {None, "asked"}, _one_of("paid back"), NONE, NONE, NONE, NONE),
    order.Returned:   Elsewhere(TAKEN, _one_of("paid back"), ONE, ONE, NONE, NONE),
    order.Owing:      Elsewhere(ANY_CHARGE, _one_of("denied"), NONE, NONE, NONE, NONE),
}
# fmt: on
BY_TAG: Final = {str(state.__struct_config__.tag): rule for state, rule in EXPECTED.items()}  # type: ignore[attr-defined]
# An uncounted product is delivered while the payment is under way, so its copy may be there before either is recorded.
BY_TAG_UNCOUNTED: Final = {
    tag: rule._replace(units=NONE, sold=NONE, copies=EITHER if tag == "order.paying" else rule.copies)
    for tag, rule in BY_TAG.items()
}


class Sums(Struct, frozen=True, rename="camel"):
    """Sums of one currency in minor units: what the ledger has, and what should be left according to the orders."""

    currency: str
    captured: int
    paid_back: int
    kept_by_orders: int


class Balance:
    """Collects every event and the final state of every stream, then reports what does not add up."""

    def __init__(self, notes: Connection, faults: Faults) -> None:
        self._db, self._faults = notes, faults
        self._waiting: dict[str, list[tuple[Any, ...]]] = {}
        for table in TABLES:
            notes.execute(table)

    def meet(self, stream: str, position: int, version: int, state: Any, event: Any) -> None:
        """Note an event; `state` is its stream's state before it."""
        _, _, key = stream.partition("/")
        match event:
            case product.Reserved(order_id, was_held=True):
                self._note(HOLD, (order_id, key, 0, None, 1))
            case product.Held(order_id, licence_key) | product.Reserved(order_id, licence_key):
                last = state.last if isinstance(state, product.Gone) else state
                if last.stock == 0:
                    self._faults.add(Fault(f"{order_id} got a unit where none was left", position, stream, version))
                self._note(HOLD, (order_id, key, 1, licence_key, isinstance(event, product.Reserved)))
            case product.Released(order_id):
                self._note(HOLD, (order_id, key, -1, None, -1))
            case product.Unheld(order_id):
                self._note(HOLD, (order_id, key, -1, None, 0))
            case product.Listed() | product.Revised():
                files = [(file.url, file.size) for file in event.offer.files]
                for url, size in [*files, *((preview.url, None) for preview in event.offer.previews)]:
                    if (digest := digest_of(url)) is not None:
                        self._note("INSERT OR IGNORE INTO uploads VALUES(?, ?, ?, ?)", (digest, size, stream, position))
            case order.Paid():
                self._note("INSERT OR IGNORE INTO paid VALUES(?)", (key,))

    def end(self, ended: Ended) -> None:
        """Note the final state of a stream."""
        kind, _, key = ended.name.partition("/")
        if ended.state is None:
            self._note("INSERT OR IGNORE INTO unreadable VALUES(?)", (ended.name,))
        elif kind == "order" and not isinstance(ended.state, order.Absent):
            state, placed = ended.state, ended.state.placed
            row = (
                *(key, str(state.__struct_config__.tag), None),
                getattr(state, "denied", None) == order.NO_ANSWER,
                getattr(state, "was_delivered", False),
                *(placed.price.minor, placed.price.currency, placed.product_id, placed.buyer_id),
                *(getattr(state, "licence_key", None), ended.position, ended.version, placed.is_counted),
            )
            self._note("INSERT INTO orders VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        elif isinstance(ended.state, buyer.Shelf):
            for product_id, owned in ended.state.owned.items():
                self._note("INSERT INTO owned VALUES(?, ?, ?)", (owned.order_id, key, product_id))
            for product_id, order_id in ended.state.claims.items():
                self._note("INSERT INTO claimed VALUES(?, ?, ?)", (order_id, key, product_id))

    def take_ledger(self, entries: Iterable[Row]) -> None:
        """Note what the processor did: order, minor units, currency, outcome of the charge, outcome of the refund."""
        for entry in entries:
            self._note("INSERT OR IGNORE INTO ledger VALUES(?, ?, ?, ?, ?)", tuple(entry))

    def uploads(self) -> Iterator[tuple[str, int | None, str, int]]:
        """Yield each upload that the log refers to: digest, size if recorded, stream, position."""
        self._flush()
        yield from self._db.execute("SELECT * FROM uploads ORDER BY position")

    def check(self, *, with_ledger: bool, tell: Tell) -> dict[str, int]:
        """Report what does not add up; give the number of orders in each state."""
        self._flush()
        self._db.execute(
            "UPDATE orders SET has_paid = EXISTS (SELECT 1 FROM paid p WHERE p.order_id = orders.order_id)"
        )
        (count,) = self._db.execute("SELECT count(*) FROM orders").fetchone()
        states: dict[str, int] = {}
        for number, row in enumerate(self._db.execute(JOINED), 1):
            states[row[1]] = states.get(row[1], 0) + 1
            for detail in _faults_of(row, with_ledger):
                self._faults.add(Fault(detail, row[10], f"order/{row[0]}", row[11]))
            if number % TOLD_ORDERS == 0:
                tell("orders", number, count)
        self._check_strays()
        tell("orders", count, count)
        return dict(sorted(states.items()))

    def money(self) -> list[Sums]:
        """Give the sums of each currency."""
        kept = """
            SELECT currency, sum(minor) FROM orders WHERE has_paid
            AND state NOT IN ('order.taken-back', 'order.returned') GROUP BY currency
        """
        taken = """
            SELECT currency, sum(minor), sum(iif(refund = 'paid back', minor, 0)) FROM ledger
            WHERE charge = 'captured' GROUP BY currency
        """
        should, did = dict(self._db.execute(kept)), {row[0]: (row[1], row[2]) for row in self._db.execute(taken)}
        currencies = sorted(should.keys() | did.keys())
        return [Sums(currency, *did.get(currency, (0, 0)), should.get(currency, 0)) for currency in currencies]

    def _check_strays(self) -> None:
        """Report what belongs to no order, to another product's order, or to two orders."""
        unread = "AND NOT EXISTS (SELECT 1 FROM unreadable WHERE stream = 'order/' || x.order_id)"
        lost = "NOT EXISTS (SELECT 1 FROM orders o WHERE o.order_id = x.order_id{})"
        of_another = "EXISTS (SELECT 1 FROM orders o WHERE o.order_id = x.order_id AND o.product_id != x.product_id)"
        of_product = lost.format(" AND o.product_id = x.product_id")
        of_buyer = lost.format(" AND o.product_id = x.product_id AND o.buyer_id = x.buyer_id")
        for sql, detail in (
            (f"SELECT order_id, charge FROM ledger x WHERE {lost.format('')} {unread}",
             "the ledger has a charge ({}), and the log has no such order"),
            (f"SELECT order_id, product_id FROM held x WHERE sold != 0 AND {of_product} {unread}",
             "product/{} holds a unit for it, and the log has no such order"),
            (f"SELECT order_id, buyer_id FROM owned x WHERE {of_buyer} {unread}",
             "buyer/{} owns a product by it, and the log has no such order"),
            (f"SELECT order_id, product_id FROM held x WHERE units > 0 AND sold = 0 AND {of_another}",
             "product/{} holds a unit for it, and it is of another product"),
            (f"SELECT order_id, buyer_id FROM claimed x WHERE {of_another}",
             "buyer/{} waits for a product by it, and it is of another one"),
            ("SELECT group_concat(order_id, ' and '), product_id FROM held WHERE units > 0 AND licence_key IS NOT NULL "
             "GROUP BY product_id, licence_key HAVING count(*) > 1",
             "product/{} gave them the same licence key"),
        ):  # fmt: skip
            for order_id, what in self._db.execute(sql):
                self._faults.add(Fault(detail.format(what), stream=f"order/{order_id}"))

    def _note(self, sql: str, row: tuple[Any, ...]) -> None:
        waiting = self._waiting.setdefault(sql, [])
        waiting.append(row)
        if len(waiting) >= NOTES_MAX:
            self._db.executemany(sql, waiting)
            waiting.clear()

    def _flush(self) -> None:
        for sql, waiting in self._waiting.items():
            self._db.executemany(sql, waiting)
        self._waiting.clear()


def _faults_of(row: Row, with_ledger: bool) -> Iterator[str]:
    """Compare one order with what is found elsewhere."""
    _, tag, has_paid, has_no_answer, was_delivered, minor, currency, _, _, licence_key, _, _, is_counted, *_ = row
    taken_minor, taken_currency, charge, refund, units, held_key, owner, sold, claims, *unread = row[13:]
    is_product_unread, is_buyer_unread = unread
    expected = (BY_TAG if is_counted else BY_TAG_UNCOUNTED)[tag]
    one = ONE if is_counted else NONE
    state = tag.removeprefix("order.")
    if with_ledger:
        charges = TAKEN if has_paid else expected.charge
        refunds = ANY_REFUND if has_no_answer else expected.refund
        if charge not in charges:
            yield f"it is {state}, and the ledger has {_named(charge)} charge"
        if refund not in refunds:
            yield f"it is {state}, and the ledger has {_named(refund)} refund"
        if owner is not None and charge != "captured" and expected.charge != TAKEN:
            yield f"it is {state}, and the product is in its buyer's library with {_named(charge)} charge"
        if charge == "captured" and (taken_minor, taken_currency) != (minor, currency):
            yield f"its price is {minor} {currency}, and {taken_minor} {taken_currency} were charged (in minor units)"
    if not is_product_unread:
        if units not in (one if was_delivered else expected.units):
            yield f"it is {state}, and its product holds {units} units for it"
        if sold not in (one if was_delivered else expected.sold):
            yield f"it is {state}, and its product has sold it {sold} units"
        if licence_key is not None and units == 1 and licence_key != held_key:
            yield "it has another licence key than its product gave it"
    if not is_buyer_unread and (owner is not None) not in expected.copies:
        yield f"it is {state}, and the product is {'' if owner else 'not '}in its buyer's library"
    if not is_buyer_unread and claims not in expected.claims:
        yield f"it is {state}, and its buyer still waits for it"


def _named(outcome: str | None) -> str:
    return "no" if outcome is None else f"a '{outcome}'"
