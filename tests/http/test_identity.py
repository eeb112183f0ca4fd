"""Who one is: the bearer token of a request, and the account behind it."""

import pytest
from msgspec.structs import replace

from marketd.actors import account
from marketd.actors.account import Role
from marketd.actors.address import Address
from marketd.bus.subjects import command_subject
from marketd.http.tokens import TOKEN_CHARACTERS_MAX
from marketd.storage.people import FindPerson
from tests.http.stage import HEAD, Stage
from tests.http.test_openapi import is_of_a_page
from tests.http.things import AT_TEXT, KEY, PERSON, PROFILE

pytestmark = pytest.mark.asyncio

ME = {
    "userId": "ann",
    "email": "ann@example.org",
    "name": "Ann",
    "role": "buyer",
    "emailVerified": False,
    "createdAt": AT_TEXT,
}

# What nobody may do without a token, and the roles that it is for.
MERCHANTS = "seller admin"
SIGNED_IN = [
    ("GET", "/auth/me", ""),
    ("PATCH", "/auth/me", ""),
    ("POST", "/auth/verify-email/resend", ""),
    ("GET", "/auth/sessions", ""),
    ("DELETE", "/auth/sessions", ""),
    ("DELETE", "/auth/sessions/o1", ""),
    ("GET", "/auth/me/notifications", ""),
    ("PATCH", "/auth/me/notifications", ""),
    ("GET", "/push/subscriptions", ""),
    ("POST", "/push/subscriptions", ""),
    ("DELETE", "/push/subscriptions/o1", ""),
    ("POST", "/uploads", "seller"),
    ("POST", "/products", "seller"),
    ("PATCH", "/products/lamp", "seller"),
    ("DELETE", "/products/lamp", "seller"),
    ("GET", "/products/lamp/access", ""),
    ("POST", "/products/lamp/reviews", ""),
    ("PATCH", "/products/lamp/reviews/r1", ""),
    ("DELETE", "/products/lamp/reviews/r1", ""),
    ("POST", "/products/lamp/reviews/r1/reply", "seller"),
    ("POST", "/products/lamp/reviews/r1/hide", "admin"),
    ("POST", "/products/lamp/reviews/r1/show", "admin"),
    ("POST", "/orders", ""),
    ("GET", "/orders", ""),
    ("GET", "/orders/o1", ""),
    ("GET", "/orders/o1/events", ""),
    ("GET", "/orders/o1/downloads", ""),
    ("POST", "/orders/o1/refund", ""),
    ("GET", "/library", ""),
    ("POST", "/webhooks", MERCHANTS),
    ("GET", "/webhooks", MERCHANTS),
    ("GET", "/webhooks/o1", MERCHANTS),
    ("PATCH", "/webhooks/o1", MERCHANTS),
    ("DELETE", "/webhooks/o1", MERCHANTS),
    ("POST", "/webhooks/o1/rotate-secret", MERCHANTS),
    ("POST", "/webhooks/o1/test", MERCHANTS),
    ("POST", "/webhooks/o1/replay", MERCHANTS),
    ("GET", "/webhooks/o1/deliveries", MERCHANTS),
    ("GET", "/webhooks/o1/deliveries/d1", MERCHANTS),
    ("POST", "/webhooks/o1/deliveries/d1/resend", MERCHANTS),
    ("GET", "/analytics/sales", "seller"),
    ("GET", "/analytics/live", "seller"),
    ("GET", "/analytics/buyers", "seller"),
    ("GET", "/admin/alerts", "admin"),
    ("GET", "/admin/circuits", "admin"),
    ("POST", "/admin/alerts/o1/resolve", "admin"),
]
ROLES: tuple[Role, ...] = ("buyer", "seller", "admin")


@pytest.mark.parametrize(("method", "path", "role"), SIGNED_IN)
async def test_a_stranger_is_told_to_sign_in_before_anybody_is_asked(
    stage: Stage, method: str, path: str, role: str
) -> None:
    answer = await stage.call(method, path)

    assert (401, []) == (answer.status, stage.bus.asked)


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        (method, path, role)
        for method, path, needed in SIGNED_IN
        if needed
        for role in ROLES
        if role not in needed.split()
    ],
)
async def test_another_role_is_turned_away_before_anybody_is_asked(
    stage: Stage, method: str, path: str, role: Role
) -> None:
    answer = await stage.call(method, path, user="eve", role=role)

    assert (403, []) == (answer.status, stage.bus.asked)


async def test_every_route_that_is_for_somebody_is_tried_here(stage: Stage) -> None:
    open_to_all = {
        ("POST", "/auth/register"),
        ("POST", "/auth/login"),
        ("POST", "/auth/refresh"),
        ("POST", "/auth/logout"),
        ("GET", "/auth/verify-email"),
        ("POST", "/auth/verify-email"),
        ("GET", "/auth/password-reset"),
        ("POST", "/auth/password-reset"),
        ("POST", "/auth/password-reset/confirm"),
        ("POST", "/webhooks/stripe"),  # whose body is signed
        ("GET", "/push/key"),
        ("GET", "/unsubscribe/{token}"),
        ("POST", "/unsubscribe/{token}"),
        ("GET", "/.well-known/jwks.json"),
        ("GET", "/previews/{digest}"),
        ("GET", "/previews/{digest}/mobile"),
        ("GET", "/openapi.json"),
        ("GET", "/asyncapi.json"),
        ("GET", "/docs"),
        ("GET", "/docs/{version}/{name}"),
        ("GET", "/products"),
        ("GET", "/products/{id}"),
        ("GET", "/products/{id}/related"),
        ("GET", "/products/suggest"),
        ("GET", "/products/{id}/reviews"),
        ("GET", "/products/{id}/reviews/{reviewId}"),
        ("GET", "/mobile/home"),
        ("GET", "/mobile/products/{id}"),
        ("GET", "/web/products/{id}"),
        ("GET", "/downloads/{token}"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),  # for some networks, and for who knows a token of another kind
        ("GET", "/problems/{slug}"),
    }
    routes = {
        (route.method, route.resource.canonical)
        for route in stage.client.app.router.routes()
        if route.resource and route.method != "HEAD" and not is_of_a_page(route.handler)  # which a cookie opens
    }
    places = {"lamp": "{id}", "o1": "{id}", "r1": "{reviewId}", "d1": "{deliveryId}"}
    tried = {(method, "/".join(places.get(part, part) for part in path.split("/"))) for method, path, _ in SIGNED_IN}

    assert tried == routes - open_to_all


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Token x",
        "Bearer x",
        "Bearer a.b.c",
        "bearer x y",
        "Bearer é",
    ],
)
async def test_a_token_that_is_no_good_is_refused(stage: Stage, authorization: str) -> None:
    assert 401 == (await stage.call("GET", "/orders", headers={"Authorization": authorization})).status


async def test_bytes_that_are_no_text_are_no_token(stage: Stage) -> None:
    request = b"GET /orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\nConnection: close\r\n\r\n"

    assert b"HTTP/1.1 401" == (await stage.raw(request))[:12]


async def test_a_huge_token_is_refused(stage: Stage) -> None:
    token = "x" * (TOKEN_CHARACTERS_MAX + 1)

    assert 401 == (await stage.call("GET", "/orders", headers={"Authorization": f"Bearer {token}"})).status


async def test_a_token_that_is_no_good_is_refused_where_none_is_needed(stage: Stage) -> None:
    assert 401 == (await stage.call("GET", "/products/lamp", headers={"Authorization": "Bearer x"})).status


async def test_an_expired_token_is_refused_though_it_was_good_before(stage: Stage) -> None:
    headers = stage.bearer("ann")
    stage.bus.answers(FindPerson, PERSON)
    stage.bus.answers(account.Describe, PROFILE)
    before = await stage.call("GET", "/auth/me", headers=headers)
    await stage.clock.advance(15 * 60)

    assert (200, 401) == (before.status, (await stage.call("GET", "/auth/me", headers=headers)).status)


async def test_one_is_shown_ones_account(stage: Stage) -> None:
    stage.bus.answers(FindPerson, PERSON)
    stage.bus.answers(account.Describe, PROFILE)

    answer = await stage.call("GET", "/auth/me", user="ann")

    assert (200, ME) == (answer.status, answer.json())


async def test_ones_account_is_found_by_ones_id(stage: Stage) -> None:
    stage.bus.answers(FindPerson, PERSON)
    stage.bus.answers(account.Describe, PROFILE)

    await stage.call("GET", "/auth/me", user="ann")

    mine = command_subject(Address("account", KEY))
    assert [("market.query.person", FindPerson("ann")), (mine, account.Describe())] == stage.bus.messages


async def test_an_account_that_the_read_models_do_not_know_yet_is_no_defect(stage: Stage) -> None:
    stage.bus.answers(FindPerson, None)

    assert 503 == (await stage.call("GET", "/auth/me", user="ann")).status


async def test_a_name_is_changed_in_ones_own_name(stage: Stage) -> None:
    stage.bus.answers(FindPerson, PERSON)
    stage.bus.answers(account.Rename, PROFILE)

    answer = await stage.call("PATCH", "/auth/me", {"name": "Ann"}, user="ann")

    assert (200, ME) == (answer.status, answer.json())
    assert ("ann", account.Rename("Ann")) == (stage.bus.last.principal, stage.bus.last.message)


async def test_a_time_zone_is_told_without_a_name(stage: Stage) -> None:
    stage.bus.answers(FindPerson, PERSON)
    stage.bus.answers(account.Rename, replace(PROFILE, zone="Asia/Kathmandu"))

    answer = await stage.call("PATCH", "/auth/me", {"timeZone": "Asia/Kathmandu"}, user="ann")

    assert (200, ME | {"timeZone": "Asia/Kathmandu"}) == (answer.status, answer.json())
    assert account.Rename(zone="Asia/Kathmandu") == stage.bus.last.message


async def test_a_time_zone_is_forgotten_for_null(stage: Stage) -> None:
    stage.bus.answers(FindPerson, PERSON)
    stage.bus.answers(account.Rename, PROFILE)

    answer = await stage.call("PATCH", "/auth/me", {"timeZone": None}, user="ann")

    assert (200, ME, account.Rename(zone=None)) == (answer.status, answer.json(), stage.bus.last.message)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["/name"]),
        ({"timeZone": "Mars/Olympus"}, ["/timeZone"]),
        ({"timeZone": "../etc/passwd", "name": ""}, ["/name", "/timeZone"]),
        ({"name": None}, ["/name"]),
        ({"timeZone": 5}, ["/timeZone"]),
    ],
)
async def test_a_change_of_nothing_or_to_nonsense_is_refused(
    stage: Stage, body: dict[str, object], expected: list[str]
) -> None:
    assert expected == (await stage.call("PATCH", "/auth/me", body, user="ann")).faults


async def test_an_address_can_not_be_changed(stage: Stage) -> None:
    answer = await stage.call("PATCH", "/auth/me", {"email": "eve@example.org", "name": "Ann"}, user="ann")

    assert ["/email"] == answer.faults


async def test_what_was_changed_is_told_when_everybody_can_see_it(stage: Stage) -> None:
    stage.bus.answers(FindPerson, PERSON)
    stage.bus.answers(account.Rename, PROFILE)

    await stage.call("PATCH", "/auth/me", {"name": "Ann"}, user="ann")

    assert [HEAD] == stage.bus.awaited


async def test_the_public_keys_are_there_for_everybody(stage: Stage) -> None:
    answer = await stage.call("GET", "/.well-known/jwks.json")

    assert (200, stage.tokens.jwks()) == (answer.status, answer.json())


async def test_one_is_told_that_ones_address_is_verified(stage: Stage) -> None:
    stage.bus.answers(FindPerson, PERSON)
    stage.bus.answers(account.Describe, replace(PROFILE, is_verified=True))

    assert ME | {"emailVerified": True} == (await stage.call("GET", "/auth/me", user="ann")).json()


async def test_a_program_is_told_that_its_token_is_the_trouble(stage: Stage) -> None:
    answer = await stage.call("GET", "/auth/me", headers={"Authorization": "Bearer x"})

    assert 'Bearer realm="marketd", error="invalid_token"' == answer.headers["WWW-Authenticate"]
