"""
API1:2023 Broken Object Level Authorization, and API5:2023 Broken Function Level Authorization: every route with an id
in its path, asked by everybody whose it is not; and every route of a role, asked by all others.
"""

from typing import Final, NamedTuple

import pytest

from marketd.http.operation import ADMINS, SELLERS, SIGNED_IN
from tests.journeys.people import Answer, Visitor
from tests.security.browsers import BrowserOfTown, browser_of
from tests.security.routes import PAGES, ROUTES, Route
from tests.security.town import LICENCE_KEY, SECRET_ADDRESS, Town

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

NOBODY: Final = "01900000-0000-7000-8000-000000000000"  # an id that nothing has

# What a thing of the path stands for. An id that is in no such path is not classified, and its test says so.
BODIES: Final[dict[str, dict[str, object]]] = {
    "PATCH /products/{id}": {"price": 1},
    "POST /products/{id}/reviews": {"rating": 1, "body": "Not mine."},
    "PATCH /products/{id}/reviews/{reviewId}": {"rating": 1},
    "POST /products/{id}/reviews/{reviewId}/reply": {"body": "Not mine."},
    "POST /products/{id}/reviews/{reviewId}/hide": {"reason": "Not mine."},
    "POST /orders/{id}/refund": {"reason": "Not mine."},
    "PATCH /webhooks/{id}": {"disabled": True},
    "POST /webhooks/{id}/replay": {"since": "2026-01-01T00:00:00Z"},
}


class Whose(NamedTuple):
    """
    What those get whose it is not: a stranger, another buyer, another seller, and the one of buyer and seller who may
    not do this with it (None where both may).
    """

    stranger: int
    other_buyer: int
    other_seller: int
    party: tuple[str, int] | None = None


PUBLIC: Final = frozenset(
    {
        "GET /products/{id}",
        "GET /products/{id}/related",
        "GET /products/{id}/reviews",
        "GET /products/{id}/reviews/{reviewId}",
        "GET /mobile/products/{id}",
        "GET /web/products/{id}",
        "GET /previews/{digest}",
        "GET /previews/{digest}/mobile",
        "GET /problems/{slug}",
        "GET /docs/{version}/{name}",
        "GET /downloads/{token}",  # whoever has the link has the permission; see test_links.py
        "GET /unsubscribe/{token}",  # the same
        "POST /unsubscribe/{token}",
    }
)
# Whose it is is said in the answer itself, or in its own tests.
OWN_ALONE: Final = frozenset(
    {"GET /products/{id}/access", "DELETE /auth/sessions/{id}", "DELETE /push/subscriptions/{id}"}
)
WHOSE: Final[dict[str, Whose]] = {
    "PATCH /products/{id}": Whose(401, 403, 403, ("buyer", 403)),
    "DELETE /products/{id}": Whose(401, 403, 403, ("buyer", 403)),
    "POST /products/{id}/reviews": Whose(401, 403, 403, ("seller", 403)),
    "PATCH /products/{id}/reviews/{reviewId}": Whose(401, 403, 403, ("seller", 403)),
    "DELETE /products/{id}/reviews/{reviewId}": Whose(401, 403, 403, ("seller", 403)),
    "POST /products/{id}/reviews/{reviewId}/reply": Whose(401, 403, 403, ("buyer", 403)),
    "POST /products/{id}/reviews/{reviewId}/hide": Whose(401, 403, 403, ("seller", 403)),
    "POST /products/{id}/reviews/{reviewId}/show": Whose(401, 403, 403, ("seller", 403)),
    "GET /orders/{id}": Whose(401, 404, 404),
    "GET /orders/{id}/events": Whose(401, 404, 404),
    "GET /orders/{id}/downloads": Whose(401, 404, 404, ("seller", 403)),
    "POST /orders/{id}/refund": Whose(401, 404, 404, ("buyer", 403)),
    "POST /admin/alerts/{id}/resolve": Whose(401, 403, 403, ("seller", 403)),
    **dict.fromkeys(
        (
            "GET /webhooks/{id}",
            "PATCH /webhooks/{id}",
            "DELETE /webhooks/{id}",
            "POST /webhooks/{id}/rotate-secret",
            "POST /webhooks/{id}/test",
            "POST /webhooks/{id}/replay",
            "GET /webhooks/{id}/deliveries",
            "GET /webhooks/{id}/deliveries/{deliveryId}",
            "POST /webhooks/{id}/deliveries/{deliveryId}/resend",
        ),
        Whose(401, 403, 404, ("buyer", 403)),
    ),
}
# Pages: public ones; and what another buyer and another seller get from those of somebody.
PUBLIC_PAGES: Final = frozenset({"GET /static/{version}/{name}", "GET /shop/products/{id}"})
WHOSE_PAGE: Final[dict[str, tuple[int, int]]] = {
    "POST /shop/products/{id}/buy": (400, 400),  # it is anybody's who fills in the form; here nobody did
    "POST /shop/products/{id}/reviews": (400, 400),
    "GET /shop/orders/{id}": (404, 404),
    "GET /shop/orders/{id}/files/{index}": (404, 404),
    "POST /dashboard/orders/{id}/refund": (403, 404),
    "GET /dashboard/products/{id}": (403, 404),
    "POST /dashboard/products/{id}": (403, 415),
    "POST /dashboard/products/{id}/withdraw": (403, 403),
    "POST /ops/alerts/{id}/resolve": (403, 403),
}
WITH_ID: Final = [str(route) for route in ROUTES if "{" in route.path]
OF_A_ROLE: Final = [route for route in ROUTES if route.operation.access in (SELLERS, ADMINS)]
SIGNED: Final = [route for route in ROUTES if route.operation.access in (SIGNED_IN, SELLERS, ADMINS)]


def path_of(town: Town, route: str) -> str:
    path = route.partition(" ")[2].replace("{deliveryId}", town.delivery["id"]).replace("{index}", "0")
    if path.startswith("/webhooks"):
        return path.replace("{id}", town.hook["id"])
    if path.startswith(("/admin", "/ops")):
        return path.replace("{id}", town.loss["id"])
    thing = town.order["id"] if "orders" in path else town.lamp["id"]
    return path.replace("{id}", thing).replace("{reviewId}", town.review["id"])


async def knock(town: Town, who: Visitor, route: str) -> Answer:
    body = BODIES.get(route)
    return await who.ask(route.partition(" ")[0], path_of(town, route), body)


async def picture(town: Town) -> list[object]:
    """Everything that might have been changed, as its owners see it."""
    paths = [f"/products/{town.lamp['id']}", f"/products/{town.lamp['id']}/reviews", f"/orders/{town.order['id']}"]
    paths += [f"/webhooks/{town.hook['id']}", f"/webhooks/{town.hook['id']}/deliveries"]
    return [(await town.seller.get(path)).json for path in paths]


async def test_every_page_with_an_id_is_classified() -> None:
    assert {str(route) for route in PAGES if "{" in route.path} == PUBLIC_PAGES | WHOSE_PAGE.keys()


@pytest.mark.parametrize("route", WHOSE_PAGE)
async def test_a_page_is_shown_to_whose_it_is_and_changes_for_nobody_else(town: Town, route: str) -> None:
    path, before = path_of(town, route), await picture(town)
    statuses = [
        (await who.sends(route.partition(" ")[0], path)).status
        for who in (await browser_of(town, town.other_buyer), await browser_of(town, town.other_seller))
    ]

    assert [*WHOSE_PAGE[route]] == statuses
    assert before == await picture(town)


@pytest.mark.parametrize("route", [str(route) for route in PAGES if route.operation.access is not None])
async def test_a_stranger_gets_nothing_from_a_page_but_the_way_in(town: Town, route: str) -> None:
    answer = await BrowserOfTown(town.stranger).sends(route.partition(" ")[0], path_of(town, route))
    is_public = route in PUBLIC_PAGES or route == "GET /"

    assert is_public or b'name="password"' in answer.body or 401 == answer.status, answer
    assert [] == [secret for secret in town.secrets() if secret != "password" and secret.encode() in answer.body]


@pytest.mark.parametrize("route", [str(route) for route in PAGES if route.operation.access in (SELLERS, ADMINS)])
async def test_a_page_of_a_role_is_for_no_other(town: Town, route: str) -> None:
    answer = await (await browser_of(town, town.other_buyer)).sends(route.partition(" ")[0], path_of(town, route))

    assert 403 == answer.status


@pytest.mark.parametrize("route", [str(route) for route in PAGES if route.method == "POST"])
async def test_no_other_site_can_send_a_form_for_who_is_signed_in(town: Town, route: str) -> None:
    browser = await browser_of(town, town.seller)
    path, before = path_of(town, route), await picture(town)
    foreign = await browser.sends("POST", path, site="cross-site")
    assert 403 == foreign.status

    if route.partition("/auth/")[2] not in ("sign-in", "sign-up", "forgotten"):  # which need no session, so no token
        assert 403 == (await browser.sends("POST", path, csrf="")).status
    assert before == await picture(town)


async def test_every_route_with_an_id_is_classified() -> None:
    assert {*WITH_ID} == PUBLIC | OWN_ALONE | WHOSE.keys()


@pytest.mark.parametrize("route", WHOSE)
async def test_whose_it_is_not_is_turned_away(town: Town, route: str) -> None:
    whose = WHOSE[route]
    answers = [await knock(town, who, route) for who in (town.stranger, town.other_buyer, town.other_seller)]

    assert [whose.stranger, whose.other_buyer, whose.other_seller] == [answer.status for answer in answers]
    assert [] == [secret for secret in town.secrets() for answer in answers if secret.encode() in answer.body]


@pytest.mark.parametrize("route", [route for route, whose in WHOSE.items() if whose.party])
async def test_of_buyer_and_seller_each_does_their_own_part_alone(town: Town, route: str) -> None:
    party = WHOSE[route].party
    assert party is not None
    answer = await knock(town, getattr(town, party[0]), route)

    assert (party[1], False) == (answer.status, LICENCE_KEY.encode() in answer.body)


async def test_nothing_was_changed_by_whom_it_did_not_belong_to(town: Town) -> None:
    before = await picture(town)
    for route in WHOSE:
        for who in (town.stranger, town.other_buyer, town.other_seller):
            await knock(town, who, route)

    assert before == await picture(town)


@pytest.mark.parametrize("route", [route for route, whose in WHOSE.items() if whose.other_buyer == 404])
async def test_what_is_not_ones_own_looks_like_what_there_is_not(town: Town, route: str) -> None:
    """A stranger must not learn that it exists: the two refusals differ in nothing but the id of the request."""
    theirs = await knock(town, town.other_buyer, route)
    nobodys = await town.other_buyer.ask(
        route.partition(" ")[0], path_of(town, route).replace(town.order["id"], NOBODY), BODIES.get(route)
    )

    assert theirs.json | {"instance": ""} == nobodys.json | {"instance": ""}


@pytest.mark.parametrize("path", ["/products/{id}", "/mobile/products/{id}", "/web/products/{id}", "/products"])
async def test_what_everybody_sees_holds_no_secret(town: Town, path: str) -> None:
    for who in (town.stranger, town.buyer, town.other_seller):
        answer = await who.get(path.replace("{id}", town.lamp["id"]))

        assert [] == [secret for secret in [*town.secrets(), "upload://"] if secret.encode() in answer.body]


async def test_an_address_of_a_file_is_its_sellers_own(town: Town) -> None:
    seen = [(await who.get(f"/products/{town.lamp['id']}")).body for who in (town.seller, town.buyer, town.admin)]

    assert [True, False, False] == [SECRET_ADDRESS.encode() in body for body in seen]


async def test_a_licence_key_is_its_buyers_own(town: Town) -> None:
    path = f"/orders/{town.order['id']}"
    seen = [(await who.get(path)).body for who in (town.buyer, town.seller, town.admin)]

    assert [True, False, False] == [LICENCE_KEY.encode() in body for body in seen]


@pytest.mark.parametrize("what", ["events", ""])
async def test_the_seller_learns_nothing_of_how_it_was_paid(town: Town, what: str) -> None:
    for path in (f"/orders/{town.order['id']}/{what}".rstrip("/"), "/orders?as=seller"):
        body = (await town.seller.get(path)).body

        assert [] == [word for word in (b"pm_card", town.buyer.email.encode(), LICENCE_KEY.encode()) if word in body]


async def test_lists_hold_ones_own_alone(town: Town) -> None:
    lists = {"/orders": "orders", "/orders?as=seller": "orders", "/library": "products"}

    assert [0] * 6 == [
        (await who.get(path)).expect(200)["total"] for path in lists for who in (town.other_buyer, town.other_seller)
    ]


async def test_a_session_is_ended_by_its_owner_alone(town: Town) -> None:
    mine = await town.stranger.signs_in(town.buyer.email, "Passw0rd-of-all")
    (session,) = [s for s in (await mine.get("/auth/sessions")).expect(200)["sessions"] if s.get("current")]
    await town.other_buyer.ask("DELETE", f"/auth/sessions/{session['id']}")

    assert 200 == (await mine.get("/auth/me")).status


async def test_a_browser_is_told_no_more_by_its_owner_alone(town: Town) -> None:
    keys = {"p256dh": "B" + "A" * 86, "auth": "A" * 22}
    body = {"endpoint": "https://push.example/send/1", "keys": keys}
    made = (await town.buyer.post("/push/subscriptions", body)).expect(201)
    await town.other_buyer.ask("DELETE", f"/push/subscriptions/{made['id']}")
    known = [
        (await who.get("/push/subscriptions")).expect(200)["subscriptions"] for who in (town.buyer, town.other_buyer)
    ]

    assert [[made["id"]], []] == [[one["id"] for one in browsers] for browsers in known]


async def test_access_is_told_of_oneself(town: Town) -> None:
    path = f"/products/{town.lamp['id']}/access"
    told = [(await who.get(path)).expect(200)["hasAccess"] for who in (town.buyer, town.other_buyer, town.seller)]

    assert [True, False, False] == told


@pytest.mark.parametrize("route", SIGNED, ids=str)
async def test_without_a_token_there_is_nothing_to_be_had(town: Town, route: Route) -> None:
    answer = await town.stranger.ask(route.method, path_of(town, str(route)), BODIES.get(str(route)))

    assert (401, "Bearer") == (answer.status, answer.headers["WWW-Authenticate"].split()[0])


@pytest.mark.parametrize("route", OF_A_ROLE, ids=str)
async def test_a_role_is_asked_for_before_anything_else(town: Town, route: Route) -> None:
    """Whoever has it not learns neither whether the thing exists nor what would be wrong with the request."""
    others = [town.buyer, town.seller] if route.operation.access == ADMINS else [town.buyer, town.admin]
    path = route.path.replace("{id}", NOBODY).replace("{reviewId}", NOBODY)

    assert [403, 403] == [(await who.ask(route.method, path)).status for who in others]
