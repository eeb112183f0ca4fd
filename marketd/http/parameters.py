"""The parameters of paths, and the headers of requests and responses, each with a schema and an example."""

from typing import Any, Final

from marketd.http.problems import SORTS

_ID: Final = {"type": "string", "pattern": "^[0-9A-Za-z_-]{1,64}$"}
_DIGEST: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_TAG: Final = '"3f2a9c5d7e1b8f604c2d9e7a1b5f8c3e"'
_PART: Final = "bytes 0-1023/146515"

PATH: Final[dict[str, dict[str, Any]]] = {
    "id": {"schema": _ID, "example": "0192f3a5-7c1e-7b44-9a3d-5f2e8c6b1d70"},
    "reviewId": {"schema": _ID, "example": "0192f3b1-02d4-7c11-8f6a-2b9d4e7a3c58"},
    "deliveryId": {"schema": _ID, "example": "0192f3c0-5e7a-7d93-b2c4-1a8f6e3d9b05"},
    "digest": {
        "description": "the SHA-256 of the file",
        "schema": _DIGEST,
        "example": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    },
    "token": {"schema": {"type": "string", "minLength": 1}, "example": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIwMTkyIn0.c2ln"},
    "version": {"schema": {"type": "string"}, "example": "9f86d081884c7d65"},
    "name": {"schema": {"type": "string"}, "example": "swagger-ui.css"},
    "slug": {"schema": {"type": "string", "enum": sorted(SORTS)}, "example": "not-found"},
}

# A value that is not understood is ignored, as HTTP requires, so none of these has a stricter schema.
REQUEST_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "If-Match": {
        "description": "go on only if the thing still has one of these tags (RFC 9110, section 13.1.1)",
        "schema": {"type": "string"},
        "example": _TAG,
    },
    "If-None-Match": {
        "description": "answer 304 if the thing still has one of these tags (RFC 9110, section 13.1.2)",
        "schema": {"type": "string"},
        "example": _TAG,
    },
    "If-Range": {
        "description": "give a part only of the file with this tag (RFC 9110, section 13.1.5)",
        "schema": {"type": "string"},
        "example": _TAG,
    },
    "Range": {
        "description": "the part that is wanted, in bytes (RFC 9110, section 14.2)",
        "schema": {"type": "string"},
        "example": "bytes=0-1023",
    },
    "Idempotency-Key": {
        "description": "one's name for this request: sent again under it, it gets its first answer again, for a day",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
        "example": "checkout-4711-once",
    },
    "Prefer": {
        "description": "`wait=N`: answer when the order is no longer pending, or after N seconds (RFC 7240)",
        "schema": {"type": "string"},
        "example": "wait=10",
    },
    "Stripe-Signature": {
        "description": "the time and the HMAC by which Stripe signs what it posts (docs.stripe.com/webhooks/signature)",
        "schema": {"type": "string"},
        "example": "t=1795426200,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd",
    },
    "Last-Event-ID": {
        "description": "the id of the last event that was seen, after which the stream goes on (HTML, section 9.2)",
        "schema": {"type": "string"},
        "example": "4711",
    },
    "X-Request-Id": {
        "description": "a name for this request, of at most 128 letters, digits, dots, dashes and underscores",
        "schema": {"type": "string"},
        "example": "checkout-4711",
    },
    "traceparent": {
        "description": "the trace that this request is part of (W3C Trace Context)",
        "schema": {"type": "string"},
        "example": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    },
}
ALL_TAKE: Final = ("X-Request-Id", "traceparent")

ANSWER_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "Accept-Ranges": {
        "description": "parts of the file can be had",
        "schema": {"type": "string", "enum": ["bytes"]},
        "example": "bytes",
    },
    "Cache-Control": {
        "description": "how long the answer may be kept",
        "schema": {"type": "string"},
        "example": "max-age=60",
    },
    "Content-Disposition": {
        "description": "whether the file is to be shown or saved, and its name (RFC 6266)",
        "schema": {"type": "string"},
        "example": "attachment; filename=\"rain.zip\"; filename*=UTF-8''rain.zip",
    },
    "Content-Range": {
        "description": "which part this is, of how many bytes (RFC 9110, section 14.4)",
        "schema": {"type": "string", "pattern": "^bytes (?:[0-9]+-[0-9]+|\\*)/[0-9]+$"},
        "example": _PART,
    },
    "ETag": {
        "description": "the tag of what is answered (RFC 9110, section 8.8.3)",
        "schema": {"type": "string", "pattern": '^(?:W/)?"[^"]*"$'},
        "example": _TAG,
    },
    "Link": {
        "description": "the first, last, next and previous page (RFC 8288)",
        "schema": {"type": "string"},
        "example": '</products?page=2&size=20>; rel="next"',
    },
    "Location": {
        "description": "where it is",
        "schema": {"type": "string", "format": "uri-reference"},
        "example": "/orders/0192f3a5-7c1e-7b44-9a3d-5f2e8c6b1d70",
    },
    "Preference-Applied": {
        "description": "the preference that was followed (RFC 7240)",
        "schema": {"type": "string", "pattern": "^wait=[0-9]+$"},
        "example": "wait=10",
    },
    "RateLimit": {
        "description": "how many requests are left, and in how many seconds there are more (RateLimit header fields)",
        "schema": {"type": "string"},
        "example": '"default";r=599;t=1',
    },
    "RateLimit-Policy": {
        "description": "how many requests are allowed in how many seconds",
        "schema": {"type": "string"},
        "example": '"default";q=600;w=60',
    },
    "Retry-After": {
        "description": "how many seconds to wait before another try",
        "schema": {"type": "integer", "minimum": 1},
        "example": 1,
    },
    "WWW-Authenticate": {
        "description": "how to sign in (RFC 6750)",
        "schema": {"type": "string"},
        "example": 'Bearer realm="marketd"',
    },
    "X-Data-Source": {
        "description": "who found it: the index, or the database while the index is down",
        "schema": {"type": "string", "enum": ["index", "fallback"]},
        "example": "index",
    },
    "X-Request-Id": {
        "description": "the name of the request, in the log as well",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
        "example": "0192f3a5-7c1e-7b44-9a3d-5f2e8c6b1d70",
    },
}
