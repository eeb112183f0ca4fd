"""The document of the API says everything, and nothing that is not so. (`stage.Client` holds every answer to it.)"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from marketd.clock import SystemClock
from marketd.http.app import ROOMS, make_app
from marketd.http.bodies import faults_of
from marketd.http.openapi import BINARY, declared_routes
from marketd.http.operation import Bytes, operation_of
from marketd.http.problems import SORTS
from marketd.http.products import FileBody, NewProduct, ProductChange
from tests.http.conformance import Differs, assert_conforms, document, faults, resolved
from tests.http.stage import Stage

METHODS = {"get", "post", "put", "patch", "delete"}
BODIES: list[type[Struct]] = [
    declared.body  # type: ignore[misc]  # the others are bytes
    for _, declared in declared_routes(ROOMS)
    if declared.body and declared.body is not Bytes
]


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every operation of the document, by method and path."""
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def shown_of(parameter: dict[str, Any]) -> Any:
    """Give the example of a parameter: of one that nobody has to send it is in the schema."""
    if parameter["required"]:
        return parameter["example"]
    (shown,) = parameter["schema"]["examples"]
    return shown


def examples() -> Iterator[tuple[str, Any, Any]]:
    """Give every example with its schema, and say where it is."""
    for name, operation in operations():
        for parameter in map(resolved, operation["parameters"]):
            yield f"{name} {parameter['name']}", parameter["schema"], shown_of(parameter)
        contents = [("body", operation.get("requestBody", {}).get("content", {}))]
        contents += [(status, resolved(answer).get("content", {})) for status, answer in operation["responses"].items()]
        for where, content in contents:
            for media in content.values():
                named = [shown["value"] for shown in media.get("examples", {}).values()]
                shown = [media["example"]] if "example" in media else named
                yield from ((f"{name} {where}", media["schema"], example) for example in shown)
    for name, header in document()["components"]["headers"].items():
        yield f"the header {name}", header["schema"], header["example"]


# What is in it.


QUERIES = [declared.query for _, declared in declared_routes(ROOMS)]


@pytest.mark.parametrize("kind", [*BODIES, *(query for query in QUERIES if query)], ids=str)
def test_what_it_does_not_name_is_refused(kind: type[Struct]) -> None:
    assert kind.__struct_config__.forbid_unknown_fields


@pytest.mark.asyncio
async def test_where_a_query_is_not_declared_it_is_passed_over_as_it_says(stage: Stage) -> None:
    """A link that somebody has added a parameter to, as mailers do, leads where it led."""
    passed_over = await stage.call("GET", "/.well-known/jwks.json?utm_source=mail")
    refused = await stage.call("GET", "/products?utm_source=mail")

    assert (200, ["/utm_source"]) == (passed_over.status, refused.faults)
    assert "where it has none, whatever stands there is passed over" in document()["info"]["description"]


def test_every_route_is_described_and_no_other() -> None:
    routes = make_app(SystemClock(), body_bytes_max=1).router.routes()
    known = [r for r in routes if r.resource and r.method.lower() in METHODS]
    served = {f"{r.method} {r.resource.canonical}" for r in known if r.resource and not is_of_a_page(r.handler)}

    assert served == {name for name, _ in operations()}


def is_of_a_page(handler: object) -> bool:
    """Pages are for people, and have a list of their own (docs/pages.md)."""
    declared = operation_of(handler)
    return declared is not None and declared.part_of != "api"


def test_what_a_path_leaves_open_is_named_as_fields_are() -> None:
    names = {name for path in document()["paths"] for name in re.findall(r"\{(.+?)\}", path)}

    assert [] == sorted(name for name in names if not re.fullmatch("[a-z]+([A-Z][a-z]+)*", name))


def test_it_is_a_document_of_openapi_3_1() -> None:
    assert "3.1.1" == document()["openapi"]


def test_every_schema_is_one_of_json_schema_2020_12() -> None:
    for schema in document()["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_every_reference_leads_somewhere() -> None:
    def references(thing: Any) -> Iterator[str]:
        if isinstance(thing, dict):
            yield from ([thing["$ref"]] if isinstance(thing.get("$ref"), str) else [])
            for inner in thing.values():
                yield from references(inner)
        elif isinstance(thing, list):
            for inner in thing:
                yield from references(inner)

    assert all(resolved({"$ref": reference}) is not None for reference in references(document()))


def test_every_operation_has_a_name_of_its_own() -> None:
    counted = Counter(operation["operationId"] for _, operation in operations())

    assert {} == {name: count for name, count in counted.items() if count > 1}


def test_every_operation_says_what_it_does_and_for_whom() -> None:
    assert [] == [name for name, operation in operations() if not (operation["summary"] and operation["description"])]


def test_every_tag_is_explained() -> None:
    explained = {tag["name"] for tag in document()["tags"] if tag["description"]}

    assert explained == {tag for _, operation in operations() for tag in operation["tags"]}


def test_every_answer_has_the_name_of_the_request() -> None:
    answers = [resolved(answer) for _, operation in operations() for answer in operation["responses"].values()]

    assert all("X-Request-Id" in answer["headers"] for answer in answers)


def test_every_problem_that_an_operation_names_has_a_page() -> None:
    named = {
        slug
        for _, operation in operations()
        for answer in operation["responses"].values()
        for slug in resolved(answer).get("content", {}).get("application/problem+json", {}).get("examples", {})
    }

    assert named <= set(SORTS)


def test_every_link_leads_to_an_operation_and_names_its_parameters() -> None:
    parameters = {
        operation["operationId"]: {p["name"] for p in map(resolved, operation["parameters"]) if p["in"] == "path"}
        for _, operation in operations()
    }
    links = [
        link
        for _, operation in operations()
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    ]

    assert links and all(parameters[link["operationId"]] == set(link["parameters"]) for link in links)


def test_what_needs_a_token_says_so_and_what_happens_without() -> None:
    needing = {name for name, operation in operations() if operation.get("security") == [{"bearer": []}]}
    refusing = {name for name, operation in operations() if "401" in operation["responses"]}

    assert needing and needing <= refusing


def test_every_choice_says_of_what_type_it_is() -> None:
    """Makers of code drop those that do not, and what names one value alone."""

    def untyped(thing: Any) -> Iterator[Any]:
        if isinstance(thing, dict):
            yield from ([thing] if isinstance(thing.get("enum"), list) and "type" not in thing else [])
            yield from ([thing] if "const" in thing else [])
        for inner in thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list) else ():
            yield from untyped(inner)

    assert [] == [*untyped(document())]


def test_no_schema_has_a_default_of_null() -> None:
    assert '"default": null' not in json.dumps(document())


@pytest.mark.parametrize(
    ("kind", "name"), [("OrderBody", "licenceKey"), ("CardFile", "url"), ("ReviewCard", "hiddenReason")]
)
def test_what_is_left_out_rather_than_null_is_no_null(kind: str, name: str) -> None:
    schema = document()["components"]["schemas"][kind]

    assert ("string", False) == (schema["properties"][name]["type"], name in schema["required"])


def test_what_may_be_sent_as_null_says_so() -> None:
    assert {"type": "null"} in document()["components"]["schemas"]["NewProduct"]["properties"]["stock"]["anyOf"]


def test_no_schema_says_what_a_value_is_not() -> None:
    """Makers of code have no type for that, and call it one that nothing is of."""
    assert '"not":' not in json.dumps(document())


def test_bytes_are_bytes_to_who_makes_code_of_it() -> None:
    paths, bytes_ = document()["paths"], {"schema": {"type": "string", "format": "binary"}}
    sent = paths["/uploads"]["post"]["requestBody"]["content"]
    got = resolved(paths["/downloads/{token}"]["get"]["responses"]["200"])["content"]

    assert {"application/octet-stream": bytes_, "*/*": bytes_} == sent
    assert {"*/*": bytes_} == got


# Examples.


def test_what_nobody_has_to_send_is_filled_in_by_no_page_that_tries_it_out() -> None:
    filled_in = {
        f"{name} {parameter['name']}"
        for name, operation in operations()
        for parameter in map(resolved, operation["parameters"])
        if not parameter["required"] and ("example" in parameter or "examples" in parameter)
    }

    assert set() == filled_in


def test_what_openapi_ignores_as_a_header_is_told_in_words() -> None:
    """`Accept`, `Content-Type` and `Authorization` (section 4.8.12)."""
    headers = {
        name for name, parameter in document()["components"]["parameters"].items() if parameter["in"] == "header"
    }
    said = document()["paths"]["/orders/{id}/events"]["get"]["description"]

    assert set() == headers & {"Accept", "Content-Type", "Authorization"}
    assert "`Accept` chooses between `application/json` and `text/event-stream`" in said


def test_every_example_fits_its_schema() -> None:
    assert {} == {where: wrong for where, schema, shown in examples() if (wrong := faults(schema, shown))}


def test_everything_that_has_a_schema_has_an_example() -> None:
    contents = [
        media
        for _, operation in operations()
        for holder in (operation.get("requestBody", {}), *map(resolved, operation["responses"].values()))
        for media in holder.get("content", {}).values()
        if media.get("schema", BINARY) != BINARY
    ]

    assert contents and all("example" in media or media["examples"] for media in contents)


@pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.__name__)
def test_the_example_of_a_body_is_accepted_by_what_checks_it(kind: type[Struct]) -> None:
    shown = [
        operation["requestBody"]["content"]["application/json"]["example"]
        for _, operation in operations()
        if operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        == {"$ref": f"#/components/schemas/{kind.__name__}"}
    ]

    assert [] == faults_of(kind, json.loads(json.dumps(shown[0]), parse_float=Decimal))


# The schema and the check are of one mind.

TEXTS = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="aA0 ./\\\n\t\u00a0\u200b\u200d\u202e\u2028\ufeff\x00\x7f\x85-_@:#?%", max_size=12),
    st.from_regex(r"\A(https://|upload://)[a-z/.]{0,9}\Z"),
    st.from_regex(r"\A[a-zA-Z0-9.]{1,5}@[a-z.-]{1,9}\Z"),
)


def fields() -> list[tuple[type[Struct], str]]:
    """Give every field of every body that is a text with a form."""
    schemas = document()["components"]["schemas"]
    return [
        (kind, name)
        for kind in BODIES
        for name, schema in schemas[kind.__name__]["properties"].items()
        if "pattern" in json.dumps(schema)
    ]


@pytest.mark.parametrize(("kind", "name"), fields(), ids=lambda it: it if isinstance(it, str) else it.__name__)
@settings(deadline=None, database=None)
@given(text=TEXTS)
def test_a_text_fits_the_schema_if_and_only_if_it_passes_the_check(kind: type[Struct], name: str, text: str) -> None:
    schema = document()["components"]["schemas"][kind.__name__]["properties"][name]
    pointer = f"/{name}"

    refused = [fault for fault in faults_of(kind, {name: text}) if fault.pointer == pointer]

    assert bool(refused) == bool(faults(schema, text)), (refused, faults(schema, text))


@settings(deadline=None, database=None)
@given(name=st.one_of(TEXTS, st.text(alphabet=". \u00a0\u200da/\n", max_size=5)))
def test_the_name_of_a_file_fits_the_schema_if_and_only_if_it_passes_the_check(name: str) -> None:
    schema = document()["components"]["schemas"]["FileBody"]["properties"]["name"]

    refused = [fault for fault in faults_of(FileBody, {"name": name}) if fault.pointer == "/name"]

    assert bool(refused) == bool(faults(schema, name))


@settings(deadline=None, database=None)
@given(price=st.one_of(st.decimals(-2, 2_000_000, places=3), st.decimals(0, 1000, places=2)).map(float))
def test_a_price_fits_the_schema_if_and_only_if_it_passes_the_check(price: float) -> None:
    schema = document()["components"]["schemas"]["NewProduct"]["properties"]["price"]
    body = {"price": Decimal(repr(price))}

    refused = [fault for fault in faults_of(NewProduct, body) if fault.pointer == "/price"]

    assert bool(refused) == bool(faults(schema, price))


@pytest.mark.parametrize("kind", [NewProduct, ProductChange])
@pytest.mark.parametrize(("price", "currency", "fits"), [(5, "JPY", True), (5.5, "JPY", False), (5.5, "BHD", True)])
def test_the_schema_knows_which_currencies_have_no_fractions(
    kind: type[Struct], price: float, currency: str, fits: bool
) -> None:
    schema = document()["components"]["schemas"][kind.__name__]

    assert fits == (faults({**schema, "required": []}, {"price": price, "currency": currency}) == [])


# How it is served.


@pytest.mark.asyncio
async def test_it_is_served(stage: Stage) -> None:
    answer = await stage.call("GET", "/openapi.json")

    assert (200, document()) == (answer.status, answer.json())


@pytest.mark.asyncio
async def test_who_has_it_is_not_sent_it_again(stage: Stage) -> None:
    tag = (await stage.call("GET", "/openapi.json")).headers["ETag"]

    assert 304 == (await stage.call("GET", "/openapi.json", headers={"If-None-Match": tag})).status


# And that it would be seen if they differed.


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (418, {}, b""),
        (200, {}, b'{"status": "ok"}'),
        (200, {"X-Request-Id": "a"}, b'{"status": "ok"}'),
        (200, {"X-Request-Id": "a", "Content-Type": "text/html"}, b'{"status": "ok"}'),
        (200, {"X-Request-Id": "a b", "Content-Type": "application/json"}, b'{"status": "ok"}'),
        (200, {"X-Request-Id": "a", "Content-Type": "application/json"}, b'{"status": "well"}'),
        (200, {"X-Request-Id": "a", "Content-Type": "application/json"}, b'{"status": "ok", "more": 1}'),
        (404, {"X-Request-Id": "a", "Content-Type": "application/problem+json"}, b"{}"),
    ],
)
def test_an_answer_that_differs_is_noticed(status: int, headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(Differs):
        assert_conforms("GET", "/healthz", status, headers, body)
