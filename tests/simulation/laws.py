"""
What must always hold, held against everything that happens: each record as it is taken, each answer as it goes out,
and the whole when all has come to rest. The numbers are those of ARCHITECTURE.md.

All of it is counted here once more from the events alone, so that no part vouches for itself.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from marketd.actors import buyer, order, product, webhook
from marketd.actors.address import Address
from marketd.actors.aggregate import Aggregate, Refused, reason_code
from marketd.actors.notices.triggers import TRIGGERS, Notice, OfOrder
from marketd.actors.order import AWAITS, NO_ANSWER, ORDER
from marketd.bus.events import Known, PublicEvent, public
from marketd.bus.port import Answer, Crashed, Envelope
from marketd.bus.subjects import address_of
from marketd.config.codecs import AGGREGATES
from marketd.storage.log import Recorded, Refusal
from tests.simulation.telling import DEVICES, Told

if TYPE_CHECKING:
    from tests.simulation.world import World

KINDS: Final[dict[str, Aggregate[Any, Any, Any]]] = {aggregate.kind: aggregate for aggregate in AGGREGATES}
SECRETS: Final = (
    "-key",
    "-new",
    "pm_card",
    "@example",
)  # in every licence key, payment method and address that there is
NOTED_S: Final = 1.0  # so soon after a notice went out it is noted, if nothing goes wrong
CLAIMS_HOLD_S: Final = 30.0
ALWAYS_RECORDED: Final = (order.Place, product.List)  # and every step of a saga


class Broken(Exception):
    """A law was broken, by this."""

    def __init__(self, law: str, how: str) -> None:
        super().__init__(f"{law}: {how}")
        self.law = law


class Units:
    """What became of the units of one product, and of its licence keys."""

    def __init__(self, product_id: str, listed: product.Listed) -> None:
        self.product_id, self.left = product_id, listed.stock
        self.keys = set(listed.licence_keys)
        self.held: dict[str, str | None] = {}  # for orders under way, by order, with its key
        self.sold: dict[str, str | None] = {}  # likewise
        self.asked: set[str] = set()  # every order that was ever sold one

    def hold(self, held: product.Held) -> None:
        if held.order_id in self.held:
            raise Broken("3 an order holds one unit", f"{self.product_id} for {held.order_id}")
        self._take(held.order_id, held.licence_key)
        self.held[held.order_id] = held.licence_key

    def unhold(self, unheld: product.Unheld) -> None:
        self._give_back(self.held, unheld)

    def reserve(self, reserved: product.Reserved) -> None:
        order_id, key = reserved.order_id, reserved.licence_key
        if order_id in self.asked:
            raise Broken("3 an order reserves once", f"{self.product_id} for {order_id}")
        if not reserved.was_held:
            self._take(order_id, key)
        elif self.held.pop(order_id, "none") != key:
            raise Broken("3 what was not held is not sold as held", f"{self.product_id} to {order_id}")
        self.asked.add(order_id)
        self.sold[order_id] = key

    def release(self, released: product.Released) -> None:
        self._give_back(self.sold, released)

    def _take(self, order_id: str, key: str | None) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Broken("3 sold and reserved never exceed the stock", f"{self.product_id} by {order_id}")
        if self.keys and (key not in self.keys or key in {*self.held.values(), *self.sold.values()}):
            raise Broken("3 a licence key has one buyer", f"{key} of {self.product_id} for {order_id}")

    def _give_back(self, units: dict[str, str | None], event: product.Released | product.Unheld) -> None:
        order_id = event.order_id
        if order_id not in units or units[order_id] != event.licence_key:
            raise Broken("3 what was not reserved is not released", f"{self.product_id} by {order_id}")
        del units[order_id]
        if self.left is not None and event.restocked:
            self.left += 1


class Laws:
    """What has happened so far, as far as it matters."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._states: dict[str, Any] = {}
        self._versions: Counter[str] = Counter()
        self._known: dict[tuple[str, str], Recorded] = {}
        self._units: dict[str, Units] = {}
        self._reservations: dict[str, order.StockReserved] = {}  # of orders that have not released them
        self._unnoticed: set[str] = set()
        self._claimed_s: dict[str, float] = {}  # when first something was set aside for an order
        self._promised: dict[str, set[type]] = {}  # by order, what may not become of it
        self._got: Counter[tuple[str, str, str]] = (
            Counter()
        )  # notices: of which order, of which kind, who, on each device
        self._told_s: dict[Told, float] = {}  # when each notice went out last
        self._posted: dict[str, set[str]] = {}  # to whom, of which events
        self.accepted: set[str] = set()

    # At every step.

    def on_record(self, record: Recorded) -> None:
        """Look at what the log has taken."""
        kind, key = Address.parse(record.stream)
        aggregate, known = KINDS[kind], (record.stream, record.commit.command_id)
        if record.position != len(self._known) + 1 or record.version != self._versions[record.stream] + 1:
            raise Broken("7 the log has no gaps", str(record))
        if known in self._known:
            raise Broken("7 a command id takes effect once in its stream", str(record))
        self._known[known] = record
        self._versions[record.stream] += 1
        state = self._states.get(record.stream, aggregate.initial)
        for event in record.commit.events:
            self._weigh(key, state, event)
            try:
                state = aggregate.evolve(state, event)
            except Exception as error:
                raise Broken("7 every event follows from those before it", f"{record.stream}: {error!r}") from None
        self._states[record.stream] = state
        if isinstance(state, product.Active) and state.stock != self._units[key].left:
            raise Broken("3 the stock is what is neither sold nor reserved", f"{key}: {state.stock}")

    def _weigh(self, key: str, state: Any, event: Any) -> None:
        """Look at one event of the aggregate with this key, in the state before it."""
        match event:
            case product.Listed():
                self._units[key] = Units(key, event)
            case product.Revised(_, stock, added):
                self._units[key].left = stock
                self._units[key].keys.update(added)
            case product.Held(order_id):
                self._claimed_s.setdefault(order_id, self._world.loop.time())
                self._units[key].hold(event)
            case product.Unheld():
                self._units[key].unhold(event)
            case product.Reserved():
                self._units[key].reserve(event)
            case product.Released():
                self._units[key].release(event)
            case buyer.Granted(order_id, product_id) if product_id in state.owned:
                raise Broken("4 nobody is given what they own", f"{key} {product_id} by {order_id}")
            case buyer.Reviewed(product_id) if product_id not in {*state.owned, *state.reviews}:
                raise Broken("only who has bought may review", f"{key} {product_id}")
            case buyer.Claimed(order_id):
                self._claimed_s.setdefault(order_id, self._world.loop.time())
            case order.Placed():
                self._promise(key, event)
            case order.StockRefused() | order.DeliveryRefused() if type(event) in self._promised[key]:
                raise Broken("2 nobody is charged for what they can't have", f"{key}: {event}")
            case order.Paid() if not self._world.bank.taken(key):
                raise Broken("2 what is paid was captured", key)
            case order.Completed() if self._world.bank.taken(key) != state.placed.price.minor:
                raise Broken("4 what is completed was captured", key)
            case order.Completed() if not self._owns(state.placed, key):
                raise Broken("4 what is completed is owned", key)
            case order.PaymentRefunded() if self._world.bank.taken(key):
                raise Broken("2 what is refunded went back", key)
            case order.StockReserved() if state.placed.is_counted:
                self._reservations[key] = event
            case order.StockReleased() if state.placed.is_counted:
                del self._reservations[key]
            case order.NoticeAbandoned() | order.RefundRequested():
                self._unnoticed.add(key)

    def _promise(self, order_id: str, placed: order.Placed) -> None:
        """
        What is set aside for an order when it is placed stays so until it is over. Whoever needs longer for an order
        than half of the time that a claim without one has, may meet its end.
        """
        now_s, promised = self._world.loop.time(), set[type]()
        if now_s - self._claimed_s.get(order_id, now_s) < CLAIMS_HOLD_S:
            if order_id in self._units[placed.product_id].held:
                promised.add(order.StockRefused)
            shelf = self._states.get(f"{buyer.BUYER.kind}/{placed.buyer_id}", buyer.BUYER.initial)
            if shelf.claims.get(placed.product_id) == order_id:
                promised.add(order.DeliveryRefused)
        self._promised[order_id] = promised

    def _owns(self, placed: order.Placed, order_id: str) -> bool:
        shelf = self._states.get(f"{buyer.BUYER.kind}/{placed.buyer_id}", buyer.BUYER.initial)
        return placed.product_id in shelf.owned and shelf.owned[placed.product_id].order_id == order_id

    def on_money(self, order_id: str) -> None:
        """Look at what the processor has just done."""
        moved = [minor for moved, minor in self._world.bank.movements if moved == order_id]
        if sum(minor > 0 for minor in moved) > 1:
            raise Broken("2 at most one capture for an order", f"{order_id}: {moved}")
        if sum(moved) < 0:
            raise Broken("2 no more goes back than was captured", f"{order_id}: {moved}")

    def on_answer(self, subject: str, envelope: Envelope, outcome: Answer | Exception) -> None:
        """Look at what a sender is about to be told."""
        if isinstance(outcome, Crashed):
            raise Broken("nothing crashes", f"{subject}: {outcome}")
        if not subject.startswith("market.cmd."):
            return
        stream = str(address_of(subject))
        record = self._known.get((stream, envelope.id))
        if isinstance(outcome, Answer):
            if record is None and (envelope.is_step or isinstance(envelope.message, ALWAYS_RECORDED)):
                raise Broken("1 what was acknowledged is in the log", f"{stream} {envelope.id}")
            if outcome.position > self._world.disk.head:
                raise Broken("1 what was acknowledged is in the log", f"{stream} at {outcome.position}")
        if record is not None:
            self._compare(stream, record, outcome)

    def _compare(self, stream: str, record: Recorded, outcome: Answer | Exception) -> None:
        reply = record.commit.reply
        if isinstance(outcome, Answer):
            is_same = not isinstance(reply, Refusal) and outcome.value == reply.value
        elif isinstance(outcome, Refused):
            code = reason_code(Address.parse(stream).kind, outcome.reason)
            is_same = isinstance(reply, Refusal) and reply.code == code
        else:
            is_same = True  # no answer at all
        if not is_same:
            raise Broken("7 a repeat gets the same answer", f"{stream} {record.commit.command_id}: {outcome!r}")

    def on_notice(self, notice: Notice, device: str, user_id: str) -> None:
        """Look at what somebody is told of an order, on one of their devices."""
        self._count((notice.notice_id, device))
        placed = self._orders()[notice.subject_id].placed
        if user_id not in (placed.buyer_id, placed.seller_id):
            raise Broken("11 nobody is told of others' orders", f"{notice.notice_id} to {user_id}")
        self._got[notice.subject_id, notice.trigger.kind, f"{user_id} {device}"] += 1

    def on_post(self, owner_id: str, message_id: str) -> None:
        """Look at what somebody's webhook is sent."""
        self._count((f"w-{owner_id}", message_id))
        self._posted.setdefault(owner_id, set()).add(message_id)

    def _count(self, told: Told) -> None:
        last_s = self._told_s.get(told)
        if last_s is not None and not self._may_repeat(told, last_s):
            raise Broken("11 nobody is told twice but where somebody died or failed in between", str(told))
        self._told_s[told] = self._world.loop.time()

    def _may_repeat(self, told: Told, last_s: float) -> bool:
        """Say whether nobody may know that they were told: two hosts know nothing of each other's notices."""
        died = any(last_s <= crashed_s <= last_s + NOTED_S for crashed_s in self._world.crashes)
        return died or self._world.has_overlaps or told in self._world.unsure

    def on_accepted(self, order_id: str) -> None:
        """Remember that a buyer was told that their order is accepted."""
        self.accepted.add(order_id)

    def on_line(self, line: logging.LogRecord) -> None:
        """Look at what the service writes into its own log: no secrets, and no defects."""
        text = line.getMessage()
        if secret := next((secret for secret in SECRETS if secret in text), None):
            raise Broken("8 no secret is in a log line", f"{secret} in {text}")
        if line.exc_info:
            raise Broken("nothing crashes", f"{text}: {line.exc_info[1]!r}")

    def on_view(self, stream: str, question: Any, seen: object) -> None:
        """Hold what an actor says of itself against its events."""
        state = self._states[stream]
        if seen != KINDS[Address.parse(stream).kind].answer(state, question, []):
            raise Broken("1 an actor is what is in the log", f"{stream}: {seen}")

    def on_failure(self, what: str) -> None:
        """See something die that nobody killed."""
        raise Broken("nothing crashes", what)

    # At the end.

    def newest(self) -> dict[str, int]:
        """Everything that there is, and the position of the last record of each."""
        return {stream: record.position for (stream, _), record in self._known.items()}

    def open_orders(self) -> list[str]:
        """Those that are not at an end."""
        return [
            f"{order_id}: {type(state).__name__}" for order_id, state in self._orders().items() if type(state) in AWAITS
        ]

    def check_end(self) -> None:
        """Look at everything when all has come to rest."""
        if still_open := self.open_orders():
            raise Broken("5 every accepted order reaches an end", ", ".join(still_open))
        if lost := self.accepted - self._orders().keys():
            raise Broken("1 what was acknowledged is in the log", ", ".join(sorted(lost)))
        self._check_money()
        self._check_ownership()
        self._check_units()
        self._check_notices()
        self._check_read_models()
        public_events = list(self._public_events())
        if self._world.has_told:
            self._check_told()
            self._check_stream(public_events)
        if self._world.has_hooks:
            self._check_hooks(public_events)

    def _orders(self) -> dict[str, Any]:
        prefix = f"{ORDER.kind}/"
        return {stream.removeprefix(prefix): s for stream, s in self._states.items() if stream.startswith(prefix)}

    def _check_money(self) -> None:
        states = self._orders()
        for order_id in dict.fromkeys([*states, *(moved for moved, _ in self._world.bank.movements)]):
            self.on_money(order_id)
            taken, state = self._world.bank.taken(order_id), states.get(order_id)
            match state:
                case order.Owing(denied=denied) if denied == NO_ANSWER:
                    right: tuple[int, ...] = (
                        0,
                        state.placed.price.minor,
                    )  # nobody knows: that is what the alert is for
                case order.Owing() | order.Complete():
                    right = (state.placed.price.minor,)
                case _:
                    right = (0,)
            if taken not in right:
                raise Broken("2 what was captured is the price of what is sold", f"{order_id} {state}: {taken}")

    def _check_ownership(self) -> None:
        complete = {
            (state.placed.buyer_id, state.placed.product_id, order_id)
            for order_id, state in self._orders().items()
            if isinstance(state, order.Complete)
        }
        owned = {
            (Address.parse(stream).key, product_id, own.order_id)
            for stream, state in self._states.items()
            if isinstance(state, buyer.Shelf)
            for product_id, own in state.owned.items()
        }
        if complete != owned:
            raise Broken("4 completed if and only if owned", ", ".join(map(str, sorted(complete ^ owned))))

    def _check_units(self) -> None:
        states = self._orders()
        claims = {stream: _set_aside(state) for stream, state in self._states.items()}
        if left := {stream: kept for stream, kept in claims.items() if kept}:
            raise Broken("3 nothing stays set aside when all is over", str(left))
        held = {(p, o): key for p, units in self._units.items() for o, key in units.sold.items()}
        kept = {(states[o].placed.product_id, o): r.licence_key for o, r in self._reservations.items()}
        if held != kept:
            raise Broken("3 what is reserved is some order's", f"{held} is not {kept}")

    def _check_notices(self) -> None:
        sold = {order_id for order_id, state in self._orders().items() if isinstance(state, order.Complete)}
        if untold := sold - self._unnoticed - self._world.told:
            raise Broken("who has bought is told", ", ".join(sorted(untold)))

    def _check_told(self) -> None:
        """Everybody was told, on each device, of what is true at the end."""
        wanted = set()
        for order_id, state in self._orders().items():
            view = order.view(state)
            for trigger in TRIGGERS:
                if isinstance(trigger, OfOrder) and (view.status, view.payment_status) == (
                    trigger.status,
                    trigger.payment,
                ):
                    whom = view.buyer_id if trigger.whom == "buyer" else view.seller_id
                    wanted |= {(order_id, trigger.kind, f"{whom} {device}") for device in DEVICES}
        if untold := wanted - self._got.keys():
            raise Broken("11 people are told what became of their orders", ", ".join(map(str, sorted(untold))))

    def _public_events(self) -> Iterator[PublicEvent]:
        """Tell the whole log once more."""
        known: dict[str, Known] = {}
        for record in self._world.disk.records:
            events, known[record.stream] = public(record, known.get(record.stream), "/shop")
            yield from events

    def _check_stream(self, events: Sequence[PublicEvent]) -> None:
        """The stream has every public event of the log once, in order."""
        wanted, got = [event.body.id for event in events], [message.id for message in self._world.stream.messages]
        if wanted != got:
            raise Broken("10 the stream has what happened, once and in order", f"{got} is not {wanted}")

    def _check_hooks(self, events: Sequence[PublicEvent]) -> None:
        """Every webhook was sent what happened to its owner since it was there, and nothing else."""
        for record in self._world.disk.records:
            owner_id = Address.parse(record.stream).key
            if any(isinstance(event, webhook.Registered) for event in record.commit.events):
                own = [event for event in events if event.seller_id == owner_id and event.position > record.position]
                wanted = {event.body.id for event in own if not event.name.startswith("seller.")}
                if wanted != (got := self._posted.get(owner_id, set())):
                    raise Broken("11 webhooks are sent what happens", f"{owner_id}: {sorted(wanted ^ got)}")

    def _check_read_models(self) -> None:
        (host,) = self._world.hosts
        if self._world.has_read_models and (difference := host.shelves.difference()):
            raise Broken("6 read models equal a fresh replay", "; ".join(difference))


def _set_aside(state: object) -> dict[str, str | None] | dict[str, str]:
    match state:
        case buyer.Shelf(claims=claims):
            return claims
        case product.Active(holds=holds) | product.Gone(product.Active(holds=holds)):
            return holds
        case _:
            return {}
