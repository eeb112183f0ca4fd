"""The readers of public events: the integrators over NATS and the webhooks, for the operator's page."""

from typing import Any, Final

from aiohttp import web
from msgspec import Struct

from marketd.bus.guests import Guest, Guests, ListIntegrators
from marketd.http.asking import find, read
from marketd.http.gathering import Gathering
from marketd.http.keys import LIMITS
from marketd.storage.enquiries import ReadStandings, Standing, Standings
from marketd.storage.people import FindPerson, Person

SHOWN_MAX: Final = 50
WAIT_S: Final = 2  # the page is reloaded every few seconds; what takes longer is left out


class Hook(Struct, frozen=True):
    """A webhook, and its owner's name."""

    standing: Standing
    owner: str


async def followers(request: web.Request) -> dict[str, Any]:
    """Read the integrators and webhooks; a part that can't be read is None."""
    async with Gathering(request) as parts:
        guests = parts.add("integrators", _guests(request), WAIT_S, empty=None)
        standings = parts.add("webhooks", read(request, ReadStandings(SHOWN_MAX), Standings), WAIT_S, empty=None)
    found = standings.result()
    owners = dict.fromkeys(one.owner_id for one in found.standings) if found else {}
    async with Gathering(request) as parts:
        names = {owner_id: parts.add(owner_id, _name(request, owner_id), WAIT_S, empty=owner_id) for owner_id in owners}
    return {
        "guests": guests.result(),
        "hooks": [Hook(one, names[one.owner_id].result()) for one in found.standings] if found else None,
        "hooks_total": found.total if found else 0,
        "has_integrators": request.app[LIMITS].has_integrators,
    }


async def _guests(request: web.Request) -> tuple[Guest, ...] | None:
    if not request.app[LIMITS].has_integrators:
        return None
    return (await read(request, ListIntegrators(), Guests)).guests


async def _name(request: web.Request, user_id: str) -> str:
    person = await find(request, FindPerson(user_id), Person)
    return person.name if person else user_id
