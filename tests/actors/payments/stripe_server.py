"""
A Stripe of the tests' own: payment intents, refunds, search and keys as Stripe keeps them, and mishaps on demand.

It moves money when it is asked to, whether its answer arrives or not.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Final, Self

from aiohttp import web

GOOD: Final = {"pm_card_visa", "pm_card_mastercard", "pm_card_refundFail"}
BAD: Final = {
    "pm_card_chargeDeclined": "generic_decline",
    "pm_card_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "pm_card_chargeDeclinedExpiredCard": "expired_card",
    "pm_card_chargeDeclinedStolenCard": "stolen_card",
}
PROVING: Final = "pm_card_authenticationRequired"
SLOW: Final = "pm_card_processing"  # not one of Stripe's: the payment stays under way until `settle`
KEY: Final = "sk_test_marketd"
AMOUNT_MIN: Final = 50

Json = dict[str, Any]
Act = Callable[[web.Request, Json], tuple[int, Json]]


class Mishap(Enum):
    """What becomes of a request: is it done, and what is answered?"""

    ERROR = "500, not done"
    ERROR_KEPT = "500, not done, and remembered under the key"
    ERROR_AFTER = "500, though done"
    SILENCE = "never answered, not done"
    SILENCE_AFTER = "never answered, though done"
    RESET = "reset, not done"
    RESET_AFTER = "reset, though done"
    HALF_AFTER = "broken off in the middle of the answer"
    CONFLICT = "409, another request under the key is in progress"
    LIMIT = "429"
    NO_JSON = "200 with a page"
    NO_OBJECT = "200 with an empty object"
    PART = "200 with a part of the object"
    BAD_KEY = "401"
    DONE_TWICE = "done twice, as by a proxy that sends it again"


UNDONE: Final = frozenset(
    {Mishap.ERROR, Mishap.ERROR_KEPT, Mishap.SILENCE, Mishap.RESET, Mishap.CONFLICT, Mishap.LIMIT, Mishap.BAD_KEY}
)
BEFORE: Final = {
    Mishap.ERROR: (500, {"error": {"type": "api_error", "message": "oops"}}),
    Mishap.ERROR_AFTER: (500, {"error": {"type": "api_error", "message": "oops"}}),
    Mishap.ERROR_KEPT: (500, {"error": {"type": "api_error", "message": "oops"}}),
    Mishap.CONFLICT: (409, {"error": {"type": "invalid_request_error", "code": "idempotency_key_in_use"}}),
    Mishap.LIMIT: (429, {"error": {"type": "invalid_request_error", "code": "rate_limit"}}),
    Mishap.NO_OBJECT: (200, {}),
    Mishap.BAD_KEY: (401, {"error": {"type": "invalid_request_error", "message": f"Invalid API Key: {KEY}"}}),
}


def _part_of(body: Json) -> Json:
    """Leave out all but what says what something is, and how it stands, also of what is listed."""
    part = {name: body[name] for name in ("object", "id", "status") if name in body}
    return part | ({"data": [_part_of(one) for one in body["data"]]} if "data" in body else {})


class StripeServer:
    """Enter it to serve on a free port; `mishaps[step]` are what becomes of the next requests of a step."""

    def __init__(self) -> None:
        self.intents: dict[str, Json] = {}
        self.refunds: list[Json] = []
        self.kept: dict[str, tuple[Json, int, Json]] = {}
        self.asked: list[tuple[str, str]] = []
        self.versions: set[str] = set()
        self.mishaps: dict[str, deque[Mishap]] = {}
        self.always: Mishap | None = None
        self.refunds_end: str = "succeeded"
        self.is_search_late = False
        self.url = ""
        self._ended = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application()
        routes: dict[tuple[str, str], tuple[str, Act]] = {
            ("POST", "/v1/payment_intents"): ("create", self._create),
            ("GET", "/v1/payment_intents/search"): ("search", self._search),
            ("GET", "/v1/payment_intents/{id}"): ("look up", self._show),
            ("POST", "/v1/payment_intents/{id}/confirm"): ("confirm", self._confirm),
            ("POST", "/v1/payment_intents/{id}/cancel"): ("cancel", self._cancel),
            ("POST", "/v1/refunds"): ("refund", self._refund),
            ("GET", "/v1/refunds"): ("list refunds", self._list_refunds),
        }
        for (method, path), (step, act) in routes.items():
            app.router.add_route(method, path, self._served(step, act))
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._ended.set()
        await self._runner.cleanup()

    # What a test looks at and says.

    @property
    def captured(self) -> list[int]:
        """What was taken, payment by payment."""
        return [intent["amount"] for intent in self.intents.values() if intent["taken"] for _ in range(intent["taken"])]

    @property
    def kept_money(self) -> int:
        """What was taken and has not gone back."""
        returned = [int(refund["amount"]) for refund in self.refunds if refund["status"] == "succeeded"]
        return sum(self.captured) - sum(returned)

    def meets(self, step: str, *mishaps: Mishap) -> None:
        """Have the next requests of this step come to this."""
        self.mishaps.setdefault(step, deque()).extend(mishaps)

    def forget_keys(self) -> None:
        """Let a day pass."""
        self.kept.clear()

    def settle(self) -> None:
        """Let the payments that are under way succeed."""
        for intent in self.intents.values():
            if intent["status"] == "processing":
                intent.update(status="succeeded", taken=1)

    # Serving.

    def _served(self, step: str, act: Act) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            waiting = self.mishaps.get(step)
            mishap = waiting.popleft() if waiting else self.always
            key = request.headers.get("Idempotency-Key", "")
            self.asked.append((step, key))
            self.versions.add(request.headers["Stripe-Version"])
            given: Json = dict(await request.post()) if request.method == "POST" else dict(request.query)
            status, body, headers = 500, Json(), {"Request-Id": "req_1"}
            if mishap not in UNDONE:
                status, body, is_replayed = self._done(act, request, given, key)
                if mishap is Mishap.DONE_TWICE:
                    status, body, is_replayed = self._done(act, request, given, key)
                if is_replayed:
                    headers["Idempotent-Replayed"] = "true"
            if mishap is Mishap.ERROR_KEPT and key:
                self.kept[key] = (given, *BEFORE[mishap])
            return await self._answer(request, mishap, status, body, headers)

        return serve

    def _done(self, act: Act, request: web.Request, given: Json, key: str) -> tuple[int, Json, bool]:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return *BEFORE[Mishap.BAD_KEY], False
        if key in self.kept:
            before, status, body = self.kept[key]
            if before != given:
                return 400, {"error": {"type": "idempotency_error", "message": "another request"}}, False
            return status, body, True
        status, body = act(request, given)
        if request.method == "POST" and key and body.get("error", {}).get("code") != "resource_missing":
            self.kept[key] = (given, status, json.loads(json.dumps(body)))
        return status, body, False

    async def _answer(
        self, request: web.Request, mishap: Mishap | None, status: int, body: Json, headers: dict[str, str]
    ) -> web.StreamResponse:
        assert request.transport
        match mishap:
            case Mishap.SILENCE | Mishap.SILENCE_AFTER:
                await self._ended.wait()
            case Mishap.RESET | Mishap.RESET_AFTER:
                request.transport.abort()
            case Mishap.HALF_AFTER:
                whole = json.dumps(body).encode()
                half = web.StreamResponse(headers={"Content-Length": str(len(whole)), **headers})
                await half.prepare(request)
                await half.write(whole[:9])
                request.transport.abort()
                return half
            case Mishap.NO_JSON:
                return web.Response(text="<html>all is well</html>", content_type="text/html")
            case Mishap.PART if status < 300:
                body = _part_of(body)
            case _ if mishap in BEFORE:
                status, body = BEFORE[mishap]
        return web.json_response(body, status=status, headers=headers)

    # What Stripe does.

    def _create(self, request: web.Request, given: Json) -> tuple[int, Json]:
        method = given["payment_method"]
        if method not in {*GOOD, *BAD, PROVING, SLOW}:
            error = {"type": "invalid_request_error", "code": "resource_missing", "param": "payment_method"}
            return 400, {"error": error | {"message": f"No such PaymentMethod: '{method}'"}}
        if int(given["amount"]) < AMOUNT_MIN:
            return 400, {"error": {"type": "invalid_request_error", "code": "amount_too_small"}}
        intent = {
            "id": f"pi_{len(self.intents) + 1}",
            "object": "payment_intent",
            "amount": int(given["amount"]),
            "currency": given["currency"],
            "payment_method": method,
            "payment_method_types": [given["payment_method_types[0]"]],
            "metadata": {name[9:-1]: value for name, value in given.items() if name.startswith("metadata[")},
            "status": "requires_confirmation",
            "last_payment_error": None,
            "taken": 0,
        }
        self.intents[str(intent["id"])] = intent
        return 200, intent

    def _search(self, request: web.Request, given: Json) -> tuple[int, Json]:
        name, value = given["query"].removeprefix("metadata['").removesuffix("'").split("']:'")
        known = [] if self.is_search_late else self.intents.values()
        found = [intent for intent in known if intent["metadata"].get(name) == value]
        return 200, {"object": "search_result", "data": found, "has_more": False}

    def _show(self, request: web.Request, given: Json) -> tuple[int, Json]:
        intent = self.intents.get(request.match_info["id"])
        missing = {"error": {"type": "invalid_request_error", "code": "resource_missing"}}
        return (200, intent) if intent else (404, missing)

    def _confirm(self, request: web.Request, given: Json) -> tuple[int, Json]:
        intent = self.intents[request.match_info["id"]]
        method = intent["payment_method"]
        if intent["status"] != "requires_confirmation":
            return self._unexpected(intent)
        if method in BAD:
            error = {"type": "card_error", "code": "card_declined", "decline_code": BAD[method], "message": method}
            intent.update(status="requires_payment_method", payment_method=None, last_payment_error=error)
            return 402, {"error": error}
        status = {PROVING: "requires_action", SLOW: "processing"}.get(method, "succeeded")
        intent.update(status=status, taken=int(status == "succeeded"))
        return 200, intent

    def _cancel(self, request: web.Request, given: Json) -> tuple[int, Json]:
        intent = self.intents[request.match_info["id"]]
        if intent["status"] in ("succeeded", "canceled", "processing"):
            return self._unexpected(intent)
        intent["status"] = "canceled"
        return 200, intent

    def _refund(self, request: web.Request, given: Json) -> tuple[int, Json]:
        intent = self.intents[given["payment_intent"]]
        if any(refund["payment_intent"] == intent["id"] for refund in self.refunds):
            return 400, {"error": {"type": "invalid_request_error", "code": "charge_already_refunded"}}
        if not intent["taken"]:
            return self._unexpected(intent)
        status = "failed" if intent["payment_method"] == "pm_card_refundFail" else self.refunds_end
        refund = {"id": "re_1", "object": "refund", "payment_intent": intent["id"], "status": status}
        refund["amount"] = intent["amount"]
        self.refunds.append(refund)
        return 200, refund

    def _list_refunds(self, request: web.Request, given: Json) -> tuple[int, Json]:
        found = [refund for refund in self.refunds if refund["payment_intent"] == given["payment_intent"]]
        return 200, {"object": "list", "data": found, "has_more": False}

    def _unexpected(self, intent: Json) -> tuple[int, Json]:
        error = {"type": "invalid_request_error", "code": "payment_intent_unexpected_state"}
        return 400, {"error": error | {"message": f"it is {intent['status']}"}}
