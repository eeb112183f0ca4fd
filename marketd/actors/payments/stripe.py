"""
Stripe, reached over HTTP by its own library (docs.stripe.com/api/payment_intents).

The one rule: an order has one payment intent, which is in our ledger before it is confirmed. An intent can be charged
once and, once cancelled, never again; that, and not the keys, which Stripe forgets after a day, is what a second charge
breaks on.

    charge    create   moves no money; whatever is not in the ledger afterwards is never confirmed
              note     the ledger takes one intent for an order, or says that the order is void
              confirm  moves the money; asked again, the intent is looked up first
    refund    cancel   where the money may not have been taken yet
              refund   where it was

What Stripe refuses is final; everything else that is not plainly done (a timeout, a reset, a 5xx, a 409, a 429, a key
that is not good) is no answer, and asked again. Its own words are for nobody: they name payment methods.

    ProcessorUnavailable
    ├── StripeSilent        Stripe does not answer, or not as it should: counted by the breaker
    ├── StripeBusy          it is well, but at work on this already
    └── FailureRepeated     it is well, but remembers a failure under this key until it forgets the key
"""

import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import stripe
from stripe import AIOHTTPClient, PaymentIntent, RequestOptions

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
from marketd.actors.payments.stripe_ledger import ORDER, Entry, StripeLedger
from marketd.actors.payments.stripe_units import price_of, stripe_amount
from marketd.bus.breaker import Breaker, BreakerOpen
from marketd.clock import Clock, new_id
from marketd.storage.database import StorageError

T = TypeVar("T")

# The last in which an intent can be held to cards by `payment_method_types`; it is ours to change, not the library's.
API_VERSION: Final = "2026-07-29.dahlia"
REFUSED: Final = "the payment processor refused the payment"
UNPAYABLE: Final = "the payment processor can't charge this price in this currency"
UNPROVEN: Final = "the card's bank wants the buyer to confirm the payment, which can't be done here"
WRONG_CODE: Final = "the card's security code is wrong"
REFUND_REFUSED: Final = "the payment processor refused the refund"
# Stripe's codes; of a card that was lost or stolen its holder is told no more than that it was declined.
DECLINES: Final = {
    "insufficient_funds": NO_FUNDS,
    "expired_card": EXPIRED,
    "incorrect_cvc": WRONG_CODE,
    "invalid_cvc": WRONG_CODE,
    "authentication_required": UNPROVEN,
}
REFUSALS: Final = {
    "resource_missing": UNKNOWN_METHOD,
    "amount_too_small": UNPAYABLE,
    "amount_too_large": UNPAYABLE,
}
# What an answer needs to be one, by what Stripe calls it.
EXPECTED: Final = {
    "payment_intent": ("id", "status", "amount", "currency", "last_payment_error"),
    "refund": ("status", "amount"),
    "search_result": ("data",),
    "list": ("data",),
}
REFUNDED_ALREADY: Final = "charge_already_refunded"
REFUND_UNDER_WAY: Final = ("succeeded", "pending", "requires_action")
# How far an intent has come, the furthest first: of several for one order, at most one was ever confirmed.
FURTHEST: Final = ("succeeded", "processing", "requires_action", "requires_payment_method", "canceled")
SEARCH_LATE_S: Final = 120.0  # docs.stripe.com/search says "less than a minute", and our clock is not Stripe's
NOT_FOUND: Final = 404
CONFLICT: Final = 409
SERVER_ERROR: Final = 500

Refusal = stripe.CardError | stripe.InvalidRequestError

log = logging.getLogger("marketd.payments")


class StripeSilent(ProcessorUnavailable):
    pass


class StripeBusy(ProcessorUnavailable):
    pass


class FailureRepeated(ProcessorUnavailable):
    pass


class _Line(AIOHTTPClient):
    """The library's line over aiohttp, which breaks off in time, and in the library's own words."""

    def __init__(self, wait_s_max: float) -> None:
        super().__init__()
        self._timeout = self.aiohttp.ClientTimeout(total=wait_s_max)
        # How many ask at once is fulfilment's to say; who waited for a connection here would seem to have no answer.
        trusted = ssl.create_default_context(cafile=stripe.ca_bundle_path)
        self._user_connector = self.aiohttp.TCPConnector(limit=0, ssl=trusted)

    async def request_async(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().request_async(*args, **kwargs)
        except stripe.StripeError:
            raise
        except Exception as error:  # the library does not translate what happens while it reads the body
            self._handle_request_error(error)


class StripeProcessor:
    """The processor of one Stripe account; enter it to open the ledger. `wait_s_max` is for one request to Stripe."""

    def __init__(
        self, path: Path, clock: Clock, breaker: Breaker, *, secret_key: str, url: str, wait_s_max: float
    ) -> None:
        self._ledger, self._clock, self._breaker = StripeLedger(path, clock), clock, breaker
        self._secret_key, self._url, self._wait_s_max = secret_key, url, wait_s_max

    async def __aenter__(self) -> Self:
        logging.getLogger("stripe").setLevel(logging.WARNING)  # below that it writes whole requests
        await self._ledger.__aenter__()
        self._line = _Line(self._wait_s_max)
        client = stripe.StripeClient(
            self._secret_key,
            stripe_version=API_VERSION,
            base_addresses={"api": self._url},
            http_client=self._line,
            max_network_retries=0,
        )
        self._intents, self._refunds = client.v1.payment_intents, client.v1.refunds
        return self

    async def __aexit__(self, *raised: object) -> None:
        try:
            await self._line.close_async()  # type: ignore[no-untyped-call]  # the one method without types
        finally:
            await self._ledger.__aexit__(*raised)

    async def charge(self, order_id: str, price: Money, payment_method_id: str) -> Captured | Declined:
        """Take the price once for the order."""
        try:
            entry, fresh = await self._entry(order_id), None
            if entry is None:
                entry, fresh = await self._prepare(order_id, price, payment_method_id)
            if entry.outcome == "asked":
                entry = await self._collect(order_id, entry, fresh)
        except StorageError as error:
            raise ProcessorUnavailable(str(error)) from None
        return Captured() if entry.outcome == "captured" else Declined(entry.why or VOIDED)

    async def refund(self, order_id: str) -> PaidBack | RefundDenied:
        """Give back what was taken for the order; if nothing was, see to it that nothing will be."""
        try:
            entry = await self._entry(order_id) or await self._ledger.void(order_id)
            if entry.refund is None and entry.outcome == "asked":
                entry = await self._call_off(order_id, entry)
            if entry.refund is None and entry.outcome == "captured":
                entry = await self._pay_back(order_id, entry)
            if entry.refund is None:
                entry = await self._ledger.void(order_id)
        except StorageError as error:
            raise ProcessorUnavailable(str(error)) from None
        return PaidBack() if entry.refund == "paid back" else RefundDenied(REFUND_REFUSED)

    async def _entry(self, order_id: str) -> Entry | None:
        """Look the order up: in the ledger, and at Stripe if the ledger is younger than the order."""
        entry = await self._ledger.entry(order_id)
        if entry is not None or self._ledger.would_know(order_id):
            return entry
        is_late = self._ledger.age_s() < SEARCH_LATE_S  # looked at first: what is asked meanwhile makes it no younger
        wanted: stripe.params.PaymentIntentSearchParams = {"query": f"metadata['{ORDER}']:'{order_id}'"}
        found = _answered(await self._ask(lambda: self._intents.search_async(wanted)))
        intents = sorted(found.data, key=_left_to_go)
        if not intents and is_late:
            raise StripeBusy("its search may not know yet what was charged of late")
        if not intents:
            return None
        intent, price = intents[0], price_of(intents[0].amount, intents[0].currency.upper())
        if intent.status == "succeeded" and await self._is_paid_back(intent):
            return await self._ledger.note_refused(order_id, price.minor, price.currency, VOIDED)
        return await self._ledger.note_asked(order_id, intent.id, price.minor, price.currency)

    async def _is_paid_back(self, intent: PaymentIntent) -> bool:
        """Say whether what was taken is on its way back already: then nothing was taken, as far as the order goes."""
        wanted: stripe.params.RefundListParams = {"payment_intent": intent.id}
        refunds = _answered(await self._ask(lambda: self._refunds.list_async(wanted)))
        back = sum(refund.amount for refund in refunds.data if refund.status in REFUND_UNDER_WAY)
        return back >= intent.amount

    async def _prepare(self, order_id: str, price: Money, payment_method_id: str) -> tuple[Entry, PaymentIntent | None]:
        """Make the intent; give it if it is the one on record."""
        if (amount := stripe_amount(price)) is None:
            return await self._ledger.note_refused(order_id, price.minor, price.currency, UNPAYABLE), None
        wanted: Any = {  # in the words of API_VERSION, which are not those of the library's types
            "amount": amount,
            "currency": price.currency.lower(),
            "payment_method": payment_method_id,
            "payment_method_types": ["card"],
            "metadata": {ORDER: order_id},
        }
        made = await self._post(order_id, "create", lambda options: self._intents.create_async(wanted, options))
        if isinstance(made, Refusal):
            return await self._ledger.note_refused(order_id, price.minor, price.currency, _why_refused(made)), None
        entry = await self._ledger.note_asked(order_id, made.id, price.minor, price.currency)
        return entry, made if entry.intent_id == made.id else None

    async def _collect(self, order_id: str, entry: Entry, fresh: PaymentIntent | None) -> Entry:
        """Confirm the intent if it still has to be, and put on record how it ended."""
        intent = fresh or await self._look_up(entry)
        if intent.status == "requires_confirmation":
            confirmed = await self._post(
                order_id, "confirm", lambda options: self._intents.confirm_async(intent.id, {}, options)
            )
            if isinstance(confirmed, stripe.CardError):
                return await self._ledger.note_end(order_id, "declined", _why_declined(_details(confirmed)))
            intent = await self._look_up(entry) if isinstance(confirmed, Refusal) else confirmed
        match intent.status:
            case "succeeded":
                return await self._ledger.note_end(order_id, "captured")
            case "canceled":
                return await self._ledger.note_end(order_id, "declined", VOIDED)
            case "requires_payment_method":
                why = _why_declined(_plain(intent.last_payment_error))
                return await self._ledger.note_end(order_id, "declined", why)
            case "requires_action" | "requires_confirmation" as status:
                await self._cancel(intent)
                why = UNPROVEN if status == "requires_action" else REFUSED
                return await self._ledger.note_end(order_id, "declined", why)
            case other:
                raise StripeBusy(f"the payment is {other}")

    async def _call_off(self, order_id: str, entry: Entry) -> Entry:
        """See to it that an intent which may have been charged no longer can be, or is known to have been."""
        intent = await self._look_up(entry)
        if intent.status == "succeeded":
            return await self._ledger.note_end(order_id, "captured")
        if intent.status != "canceled":
            await self._cancel(intent)
        return await self._ledger.note_end(order_id, "voided")

    async def _pay_back(self, order_id: str, entry: Entry) -> Entry:
        assert entry.intent_id, f"order/{order_id} was captured without an intent"
        wanted: stripe.params.RefundCreateParams = {
            "payment_intent": entry.intent_id,
            "metadata": {ORDER: order_id},
        }
        made = await self._post(order_id, "refund", lambda options: self._refunds.create_async(wanted, options))
        if isinstance(made, Refusal):
            is_refunded = made.code == REFUNDED_ALREADY
            if not is_refunded:
                log.warning("order/%s: Stripe refused the refund: %s", order_id, _described(made))
        else:
            is_refunded = made.status in REFUND_UNDER_WAY
        return await self._ledger.note_refund(order_id, "paid back" if is_refunded else "denied")

    async def _look_up(self, entry: Entry) -> PaymentIntent:
        intent_id = entry.intent_id
        assert intent_id, "what was asked has an intent"
        return _answered(await self._ask(lambda: self._intents.retrieve_async(intent_id)))

    async def _cancel(self, intent: PaymentIntent) -> None:
        """Without a key: a repeat is refused anyway, and under a key Stripe would keep on refusing."""
        _answered(await self._ask(lambda: self._intents.cancel_async(intent.id)))

    async def _post(self, order_id: str, step: str, send: Callable[[RequestOptions], Awaitable[T]]) -> T | Refusal:
        """
        Ask under the key of the order and the step. A failure that Stripe repeats under it is asked anew under another:
        that is safe, because the intent itself can be charged and refunded only once.
        """
        key = f"{order_id}:{step}"
        try:
            return await self._ask(lambda: send({"idempotency_key": key}))
        except FailureRepeated:
            return await self._ask(lambda: send({"idempotency_key": f"{key}:{new_id(self._clock)}"}))

    async def _ask(self, send: Callable[[], Awaitable[T]]) -> T | Refusal:
        """Go through the breaker; what Stripe refuses is an answer."""
        try:
            return await self._breaker.call(lambda: _sent(send), StripeSilent)
        except BreakerOpen as error:
            raise ProcessorUnavailable(f"nobody is let through: {error}") from None


async def _sent(send: Callable[[], Awaitable[T]]) -> T | Refusal:
    """Send it, and tell answers from what is none."""
    try:
        answer = await send()
    except (stripe.CardError, stripe.InvalidRequestError) as refusal:
        if refusal.http_status == CONFLICT:
            raise StripeBusy(_described(refusal)) from None
        return refusal
    except stripe.StripeError as error:
        status, headers = error.http_status or 0, error.headers or {}
        if status == CONFLICT or isinstance(error, stripe.IdempotencyError):
            raise StripeBusy(_described(error)) from None
        if status >= SERVER_ERROR and headers.get("Idempotent-Replayed") == "true":
            raise FailureRepeated(_described(error)) from None
        raise StripeSilent(_described(error)) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # of the library, over an answer that is none
        raise StripeSilent(f"an answer that makes no sense: {type(error).__name__}") from None
    if not _is_whole(answer):
        raise StripeSilent("an answer that makes no sense")
    return answer


def _is_whole(answer: object) -> bool:
    """Say whether an answer, and each thing that it lists, has what is read of it."""
    expected = EXPECTED.get(getattr(answer, "object", ""))
    if expected is None or not all(hasattr(answer, name) for name in expected):
        return False
    listed = answer.data if hasattr(answer, "data") else []
    return isinstance(listed, list) and all(map(_is_whole, listed))


def _left_to_go(intent: PaymentIntent) -> int:
    return FURTHEST.index(intent.status) if intent.status in FURTHEST else len(FURTHEST)


def _answered(answer: T | Refusal) -> T:
    """Give the answer to a question that Stripe has no reason to refuse."""
    if isinstance(answer, Refusal):
        raise ProcessorUnavailable(_described(answer))
    return answer


def _described(error: stripe.StripeError) -> str:
    """Name an error without the words in it."""
    return f"{type(error).__name__}, status {error.http_status}, code {error.code}, request {error.request_id}"


def _details(error: stripe.CardError) -> Mapping[str, Any]:
    body = error.json_body
    return _plain(body.get("error") if isinstance(body, dict) else None)


def _plain(details: object) -> Mapping[str, Any]:
    """Give an object of Stripe's as a plain one; nothing where there is none."""
    found = details.to_dict() if isinstance(details, stripe.StripeObject) else details
    return found if isinstance(found, dict) else {}


def _why_declined(details: Mapping[str, Any]) -> str:
    """Say why a card was declined: by the bank's code, or by Stripe's own."""
    codes = (str(details.get(name)) for name in ("decline_code", "code"))
    return next((DECLINES[code] for code in codes if code in DECLINES), DECLINED)


def _why_refused(refusal: Refusal) -> str:
    """Say why there can be no intent; what may be the fault of the account is for the operator to read."""
    if refusal.http_status == NOT_FOUND:
        return UNKNOWN_METHOD
    if refusal.code not in REFUSALS:
        log.warning("Stripe refused a payment: %s", _described(refusal))
    return REFUSALS.get(refusal.code or "", REFUSED)
