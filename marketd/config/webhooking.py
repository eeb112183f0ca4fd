"""Makes what posts events to webhooks, for the composition root: the courier, its HTTP client, and its limits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from marketd.actors.notices.courier import Courier, CourierLimits, Tell, Telling
from marketd.actors.notices.enquiries import Enquiries
from marketd.actors.notices.posting import Line, LineLimits
from marketd.actors.notices.rounds import RoundLimits
from marketd.actors.notices.signing import WebhookSigner
from marketd.actors.notices.standings import Standings
from marketd.bus.events import PublicEvents, encode
from marketd.bus.port import Bus
from marketd.clock import Clock
from marketd.config.folder import Folder
from marketd.config.losses import tell_lost_keys
from marketd.config.relaying import source_of
from marketd.config.settings import Settings
from marketd.http.keys import WebhookLimits
from marketd.http.tokens import load_webhook_key
from marketd.storage.deliveries import Deliveries
from marketd.storage.log import EventLog, Recorded


class Webhooking(NamedTuple):
    """The courier that posts the events, and the signer that has the secrets of webhooks."""

    courier: Courier
    signer: WebhookSigner


@asynccontextmanager
async def webhooking(
    settings: Settings, folder: Folder, bus: Bus, events: EventLog, clock: Clock
) -> AsyncIterator[Webhooking]:
    """Make the courier, and let it answer queries; run it."""
    source = source_of(settings)
    tell_lost_keys(folder, events.head, "webhooks.key")
    signer = WebhookSigner(load_webhook_key(folder.keys))
    async with Deliveries(folder.webhooks) as deliveries, Line(_line_limits(settings)) as line:
        tell, again = teller(events, source), teller(events, source)  # each follows the log at its own place
        courier = Courier(bus, events, tell, deliveries, line, signer, clock, _courier_limits(settings))
        await courier.open()
        replay_max = settings.webhooks.replay_events_max
        enquiries = Enquiries(courier, deliveries, events, again, clock, source=source, replay_events_max=replay_max)
        await enquiries.open(bus)
        await Standings(courier, deliveries).open(bus)
        yield Webhooking(courier, signer)


def webhook_limits(settings: Settings) -> WebhookLimits:
    """Give the limits that the front applies."""
    limits = settings.webhooks
    return WebhookLimits(limits.endpoints_max, limits.allow_http, limits.allow_private, limits.replay_wait_s_max)


def teller(events: EventLog, source: str) -> Tell:
    """Make a function that gives the public events of one record after the other, as they are posted."""
    public = PublicEvents(events, source)

    async def tell(record: Recorded) -> list[Telling]:
        found = await public.of(record)
        return [Telling(event.body.id, event.name, event.seller_id, encode(event)) for event in found]

    return tell


def _line_limits(settings: Settings) -> LineLimits:
    limits = settings.webhooks
    return LineLimits(limits.allow_private, limits.allow_http, limits.ca_file, limits.wait_s_max, limits.lookups_max)


def _courier_limits(settings: Settings) -> CourierLimits:
    limits = settings.webhooks
    rounds = RoundLimits(
        retries_s=limits.retries_s,
        patience_s=limits.patience_s,
        endpoint_at_once_max=limits.endpoint_at_once_max,
        at_once_max=limits.at_once_max,
        unproven_at_once_max=limits.unproven_at_once_max,
        failures_max=settings.breakers.failures_max,
        open_s=settings.breakers.open_s,
    )
    return CourierLimits(
        rounds, limits.waiting_max, limits.keep_days, limits.kept_max, settings.actors.reply_wait_s_max
    )
