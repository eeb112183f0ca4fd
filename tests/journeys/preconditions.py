"""
What no schema can say, done to what Schemathesis has made of the document before it is sent.

The one rule: only requests that are meant to be right are touched, and only to make them meet what stands in no schema:
that a thing is there, that a key is a new one, that a URL is one that may be posted to and an endpoint public, that an
upload is some bytes and one's own, that there are as many licence keys as units, that a range of days ends after its
beginning, that the condition of a change can be read. Some of the ids are replaced by those of things that there are,
or nearly all answers would be a 404.
"""

import json
import os
import re
from typing import Any

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import RejectedPositiveData, UseAfterFree

from marketd.http.periods import moment_fault, zone_fault

THINGS: dict[str, str] = json.loads(os.environ.get("MARKETD_TRIED_WITH", "{}"))
CONDITION, CHANGES = "If-Match", ("PATCH", "DELETE")
KEY, KEY_CHARACTERS_MAX = "Idempotency-Key", 255
MAILED = ("/auth/verify-email", "/auth/password-reset/confirm")
HOOK: dict[str, Any] = {
    "url": "https://books.example/sales",
    "events": ["order.*"],
}  # what a seller may have, and where nobody is
ENDPOINT = "https://push.example/send/1"  # where nobody is, and a browser's push service may be
KEPT = ("DELETE",)  # what is there for all is not taken away


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Make a request that is right in form right in substance too."""
    if case.meta is not None and case.meta.generation.mode.is_negative:
        return
    headers = case.headers
    if headers and KEY in headers:  # a key is for one request, and examples are repeated
        headers[KEY] = f"{case.id}{headers[KEY]}"[:KEY_CHARACTERS_MAX]
    if headers and CONDITION in headers and case.method in CHANGES:
        headers[CONDITION] = '"a-tag"'
    known = THINGS.get(_noun(case.path))
    is_made_up = not (case.meta and "stateful" in str(case.meta.phase.name).lower())
    if known and case.path_parameters and is_made_up and case.method not in KEPT and sum(case.id.encode()) % 2:
        case.path_parameters["id"] = known
    if case.path == "/uploads" and not (isinstance(case.body, bytes) and case.body):
        case.body, case.media_type = b"the work", "application/octet-stream"
    if case.query and case.path.startswith("/analytics"):
        _fit_span(case.query)
    if isinstance(case.body, dict) and case.path.startswith("/products"):
        _fit(case.body, is_change=case.method == "PATCH")
    if isinstance(case.body, dict) and case.path == "/auth/me" and zone_fault(str(case.body.get("timeZone") or "UTC")):
        case.body["timeZone"] = "Europe/Berlin"
    if isinstance(case.body, dict) and case.path.startswith("/webhooks"):
        case.body.update({name: value for name, value in HOOK.items() if name in case.body})
    if isinstance(case.body, dict) and case.path.startswith("/push") and "endpoint" in case.body:
        case.body["endpoint"] = ENDPOINT


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext, failure: Failure, case: schemathesis.Case[Any], response: schemathesis.Response
) -> bool:
    """
    Let pass the two cases in which a check does not fit what the service promises. A product that was taken off sale is
    `withdrawn`, not gone, for those who have bought it; of reviews, which do go, the check holds. And a token that was
    not mailed to anybody is refused as a bad field, however right its form is.
    """
    is_mailed = isinstance(failure, RejectedPositiveData) and case.path in MAILED
    is_product = isinstance(failure, UseAfterFree) and re.fullmatch(r"DELETE /products/[^/]+", failure.free)
    return not (is_mailed or is_product)


def _noun(path: str) -> str:
    """Name what the `{id}` of a path is the id of."""
    before, found, _ = path.partition("/{id}")
    return before.rpartition("/")[2] if found else ""


def _fit_span(query: dict[str, Any]) -> None:
    """See that there is such a time zone, and that what begins and what ends are there and in order."""
    if zone_fault(str(query.get("timezone", "UTC"))):
        query["timezone"] = "Europe/Berlin"
    for name, day in (("from", "2026-01-01"), ("to", "2026-01-31")):
        if name in query and moment_fault(str(query[name])):
            query[name] = day
    if "from" in query:
        query["from"], query["to"] = "2026-01-01", query.get("to", "")
        if not "2026-01-02" < query["to"] < "2035":
            query["to"] = "2026-01-31"


def _fit(body: dict[str, Any], *, is_change: bool) -> None:
    """See to the uploads, the licence keys and the price of a product; of one that is changed nobody knows them."""
    for named in [*(body.get("files") or []), *(body.get("previews") or [])]:
        if named["url"].startswith("https://["):  # of which Schemathesis itself can't read all that it makes
            named["url"] = ENDPOINT
        if named["url"].startswith("upload://"):
            named["url"] = THINGS["upload"]
            if "size" in named:
                named["size"] = int(THINGS["size"])
    if body.get("licenceKeys") or is_change:
        body.pop("stock", None)
    if is_change and ("currency" in body) != ("price" in body):
        body.pop("currency", None)
        body["price"] = 5
