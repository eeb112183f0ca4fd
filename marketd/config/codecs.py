"""All kinds of actors and all read models, and the codecs of what is sent on the bus and stored in the log."""

from functools import reduce
from operator import or_
from typing import Any, Final

from marketd.actors.account import ACCOUNT
from marketd.actors.account import Answer as AccountAnswer
from marketd.actors.buyer import BUYER
from marketd.actors.buyer import Answer as BuyerAnswer
from marketd.actors.order import ORDER
from marketd.actors.order import Answer as OrderAnswer
from marketd.actors.product import PRODUCT
from marketd.actors.product import Answer as ProductAnswer
from marketd.actors.watch import AwaitChange, AwaitOutcome
from marketd.actors.webhook import WEBHOOK
from marketd.actors.webhook import Answer as WebhookAnswer
from marketd.bus import micro
from marketd.bus.codec import Codec, reasons_by_code
from marketd.bus.gate import LookAgain
from marketd.bus.guests import Guests, ListIntegrators
from marketd.bus.micro import Service
from marketd.storage.cards import EncodedProduct, ReadProduct
from marketd.storage.catalog import CATALOG, BrowseProducts
from marketd.storage.earnings import Earnings, Newest
from marketd.storage.enquiries import (
    Delivery,
    DeliveryPage,
    ListDeliveries,
    ReadDelivery,
    ReadStandings,
    Replay,
    Replayed,
    Resend,
    SendTest,
    Standings,
)
from marketd.storage.finding import FindRelated, FoundPage, Related, Suggest, Suggestions
from marketd.storage.history import History, ReadHistory
from marketd.storage.library import LIBRARY, Library
from marketd.storage.log import LogCodec
from marketd.storage.orders import ORDERS, OrderPage
from marketd.storage.people import PEOPLE, EndedOnes, Person, Seller
from marketd.storage.projector import AskReached, Reached
from marketd.storage.questions import Alike, FindAlike, Renewed, Search, Shown, Spell, Spelt
from marketd.storage.regulars import REGULARS, Buyers
from marketd.storage.reviews import REVIEWS, ReviewFound, Reviews
from marketd.storage.sales import SALES
from marketd.storage.tills import AwaitSale
from marketd.storage.views import CountViews, ViewsCounted

AGGREGATES: Final = (ACCOUNT, PRODUCT, ORDER, BUYER, WEBHOOK)

MODELS: Final = (PEOPLE, CATALOG, REVIEWS, SALES, ORDERS, LIBRARY, REGULARS)

DECISIONS: Final = AccountAnswer | ProductAnswer | OrderAnswer | BuyerAnswer | WebhookAnswer

FINDINGS: Final = (
    EncodedProduct
    | FoundPage
    | Suggestions
    | Related
    | ReviewFound
    | Reviews
    | OrderPage
    | Library
    | Person
    | Seller
    | EndedOnes
    | History
    | Delivery
    | DeliveryPage
    | Replayed
    | Standings
    | Guests
    | Earnings
    | Newest
    | Buyers
    | ViewsCounted
)

ANSWERS: Final = DECISIONS | FINDINGS | Reached | Shown | Spelt | Alike


def queries() -> set[Any]:
    """Give the types of all queries."""
    queries: set[Any] = {
        AskReached,
        AwaitChange,
        AwaitOutcome,
        AwaitSale,
        CountViews,
        LookAgain,
        ReadHistory,
        ReadProduct,
    }
    queries |= {BrowseProducts, Suggest, FindRelated, Search, Spell, FindAlike, Renewed}
    queries |= {ListDeliveries, ReadDelivery, Resend, SendTest, Replay, ReadStandings, ListIntegrators}
    queries.update(query for model in MODELS for query in model.answers)
    return queries


def micro_services() -> list[Service]:
    """Describe the commands and queries for the tools of NATS."""
    answers = {"account": AccountAnswer, "product": ProductAnswer, "order": OrderAnswer, "buyer": BuyerAnswer}
    answers["webhook"] = WebhookAnswer
    actors = [micro.commands(a.kind, a.commands, a.questions, answers[a.kind]) for a in AGGREGATES]
    return [*actors, micro.queries(list(queries()))]


def message_codec() -> Codec:
    """Make the codec of all commands and queries."""
    commands = [aggregate.commands for aggregate in AGGREGATES]
    reasons = reasons_by_code({aggregate.kind: aggregate.reasons for aggregate in AGGREGATES})
    return Codec(reduce(or_, [*commands, *queries()]), ANSWERS, reasons)


def log_codec() -> LogCodec:
    """Make the codec of all events and of the answers that are kept with them."""
    upcasts = {tag: upcast for aggregate in AGGREGATES for tag, upcast in aggregate.upcasts.items()}
    return LogCodec(reduce(or_, [aggregate.events for aggregate in AGGREGATES]), DECISIONS, upcasts)
