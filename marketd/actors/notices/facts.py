"""
What a notice is written of: asked of the actors themselves, at the moment when it is told.

The one rule: what is true no more by then, or nobody wants to hear, is not told.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from msgspec import Struct

from marketd.actors import order, product, webhook
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.actors.notices.triggers import RECEIPT, Notice, OfOrder
from marketd.actors.preferences import Channel, Contact, ReadContact


class OfAnOrder(NamedTuple):
    """The order, and of a receipt that has room for them the files that were bought."""

    view: order.View
    files: tuple[product.File, ...]


class OfAnEndpoint(NamedTuple):
    """A webhook that is disabled."""

    endpoint: webhook.Endpoint


class Facts(NamedTuple):
    """All that a notice is written of, and who is told."""

    subject: OfAnOrder | OfAnEndpoint
    contact: Contact


# Asks an actor.
Ask = Callable[[Address, Struct], Awaitable[Struct | None]]
# Finds the account of a user id; raises `NoticeFailed` where it is not known yet.
AccountOf = Callable[[str], Awaitable[Address]]


async def gather(notice: Notice, channel: Channel, ask: Ask, account_of: AccountOf, *, has_files: bool) -> Facts | None:
    """Ask for all of it; None where it is true no more, or who would be told does not want to hear it."""
    trigger = notice.trigger
    if isinstance(trigger, OfOrder):
        view = await ask(notice.address, order.Describe())
        assert isinstance(view, order.View), f"{notice.address} answered {view!r}"
        if (view.status, view.payment_status) != (trigger.status, trigger.payment):
            return None
        contact = await _contact(view.buyer_id if trigger.whom == "buyer" else view.seller_id, ask, account_of)
        if not contact.preferences.chosen.wants(trigger.topic, channel):
            return None
        files = await _files(view.product_id, ask) if trigger is RECEIPT and has_files else ()
        return Facts(OfAnOrder(view, files), contact)
    endpoint = await _endpoint(notice, ask)
    if endpoint is None or endpoint.disabled in (None, "by hand"):
        return None
    contact = await _contact(notice.address.key, ask, account_of)
    return Facts(OfAnEndpoint(endpoint), contact) if contact.preferences.chosen.wants(trigger.topic, channel) else None


async def _contact(user_id: str, ask: Ask, account_of: AccountOf) -> Contact:
    account = await account_of(user_id)
    contact = await ask(account, ReadContact())
    assert isinstance(contact, Contact), f"{account} answered {contact!r}"
    return contact


async def _files(product_id: str, ask: Ask) -> tuple[product.File, ...]:
    sold = await ask(Address("product", product_id), product.Describe())
    assert isinstance(sold, product.Description), f"product/{product_id} answered {sold!r}"
    return sold.offer.files


async def _endpoint(notice: Notice, ask: Ask) -> webhook.Endpoint | None:
    try:
        view = await ask(notice.address, webhook.Describe(notice.subject_id))
    except Refused:  # it was removed meanwhile
        return None
    assert isinstance(view, webhook.View), f"{notice.address} answered {view!r}"
    return view.endpoint
