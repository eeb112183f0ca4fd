"""
Holds each answer to the document of the API, more strictly than a client would: what it does not name may not be there.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final
from urllib.parse import unquote

import jsonschema_rs
from aiohttp import web

from marketd.http.app import PAGE_ROOMS, described
from marketd.http.openapi import BINARY

PROBLEM: Final = "application/problem+json"
Document = dict[str, Any]


class Differs(AssertionError):
    """The service does something that its document does not say."""


@cache
def document() -> Document:
    """Read the document of the API."""
    read: Document = json.loads(described())
    return read


@cache
def closed_schemas() -> Document:
    """Give the schemas of the document, closed: an answer has the fields that are named, and no others."""
    schemas: Document = json.loads(json.dumps(document()["components"]["schemas"]))
    for schema in schemas.values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return schemas


def resolved(thing: Document) -> Document:
    """Follow a reference."""
    if "$ref" not in thing:
        return thing
    found = document()
    for part in thing["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def faults(schema: Document, value: object, schemas: Document | None = None) -> list[str]:
    """Say what does not fit a schema."""
    whole = {**schema, "components": {"schemas": schemas or document()["components"]["schemas"]}}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(value)]


@cache
def _paths() -> list[tuple[re.Pattern[str], str]]:
    """Give the paths of the document, those without parameters first."""
    ordered = sorted(document()["paths"], key=lambda path: (path.count("{"), path))
    return [(re.compile(re.sub(r"\\\{[^/]*\\\}", "[^/]+", re.escape(path))), path) for path in ordered]


@cache
def _pages() -> list[re.Pattern[str]]:
    """Give the paths of the pages."""
    paths = [route.path for room in PAGE_ROOMS for route in room.routes if isinstance(route, web.RouteDef)]
    plain = [re.sub(r"\{(\w+):[^{}]+\}", r"{\1}", path) for path in paths]
    return [re.compile(re.sub(r"\\\{[^/]*\\\}", "[^/]+", re.escape(path))) for path in plain]


def path_of(address: str) -> str | None:
    """Find the path of the document that an address is of."""
    return next((path for pattern, path in _paths() if pattern.fullmatch(unquote(address))), None)


def assert_conforms(method: str, address: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """See that an answer is one of those that the document gives for the request."""
    path = path_of(address)
    operation = document()["paths"].get(path, {}).get(method.lower() if method != "HEAD" else "get")
    if operation is None and any(pattern.fullmatch(unquote(address)) for pattern in _pages()):
        return  # what people look at is no part of the API
    if operation is None:
        _assert_unknown(status, headers, body)
        return
    name = f"{method} {path} answered {status}"
    answer = operation["responses"].get(str(status))
    if answer is None:
        raise Differs(f"{name}, which it does not declare: {body[:300]!r}")
    answer = resolved(answer)
    _assert_headers(name, answer, headers)
    if method != "HEAD":
        _assert_body(name, answer, headers, body)


def _assert_unknown(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """What is not in the document is answered with a problem, or is a method that is everywhere."""
    if status in (200, 204) and not body:
        return
    if status in (404, 405) and headers.get("Content-Type", "").startswith("text/html"):
        return  # for who came with a browser
    if not headers.get("Content-Type", "").startswith(PROBLEM):
        raise Differs(f"{status} {body[:300]!r} was answered at an address that is not in the document")


def _assert_headers(name: str, answer: Document, headers: Mapping[str, str]) -> None:
    for header in document()["components"]["headers"]:
        if header in headers and header not in answer.get("headers", {}):
            raise Differs(f"{name} with {header}, which it does not declare")
    for header, described_as in answer.get("headers", {}).items():
        described_as = resolved(described_as)
        if header not in headers:
            if described_as["required"]:
                raise Differs(f"{name} without {header}")
            continue
        schema, value = described_as["schema"], headers[header]
        wrong = faults(schema, int(value) if schema.get("type") == "integer" else value)
        if wrong:
            raise Differs(f"{name} with {header}: {value}: {wrong}")


def _assert_body(name: str, answer: Document, headers: Mapping[str, str], body: bytes) -> None:
    content = answer.get("content", {})
    if not content:
        if body:
            raise Differs(f"{name} with a body that it does not declare: {body[:300]!r}")
        return
    media_type = headers.get("Content-Type", "").partition(";")[0]
    main = media_type.partition("/")[0]
    media = next((content[one] for one in (media_type, f"{main}/*", "*/*") if one in content), None)
    if media is None:
        raise Differs(f"{name} as {media_type!r} instead of {' or '.join(content)}")
    if media.get("schema", BINARY) != BINARY:
        wrong = faults(media["schema"], json.loads(body), closed_schemas())
        if wrong:
            raise Differs(f"{name} with a body that does not fit: {wrong[:5]}: {body[:300]!r}")
