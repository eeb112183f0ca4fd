"""
What the owners of webhooks ask of the courier: what became of their deliveries, and to have something sent by hand.

A replay goes through the log itself: `spans` say where the wanted times are in it. Whatever is asked for, an endpoint
is sent nothing that it may not be told.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import msgspec
from msgspec import Struct

from marketd.actors.notices.courier import Courier, Tell, Telling, message_of
from marketd.actors.webhook import Endpoint, wants
from marketd.bus.port import Answer, Bus, Busy, Envelope, NoAnswer
from marketd.bus.subjects import query_subject
from marketd.clock import Clock, instant, made_at
from marketd.storage.database import StorageError
from marketd.storage.deliveries import Deliveries, Message
from marketd.storage.enquiries import (
    Delivery,
    DeliveryPage,
    ListDeliveries,
    ReadDelivery,
    Replay,
    Replayed,
    Resend,
    SendTest,
)
from marketd.storage.log import EventLog, Recorded

TEST: Final = "webhook.test"
REPLAYS_AT_ONCE_MAX: Final = 2  # each reads its part of the log
REPLAYS_MAX: Final = 16


class Enquiries:
    """
    Answers `market.query.deliveries` and its like; a replay sends `replay_events_max` events at most, and no more than
    there is room for beside what waits.
    """

    def __init__(
        self,
        courier: Courier,
        deliveries: Deliveries,
        events: EventLog,
        tell: Tell,
        clock: Clock,
        *,
        source: str,
        replay_events_max: int,
    ) -> None:
        self._courier, self._deliveries, self._log, self._tell = courier, deliveries, events, tell
        self._clock, self._source, self._replay_events_max = clock, source, replay_events_max
        self._places = asyncio.Semaphore(REPLAYS_AT_ONCE_MAX)
        self._replays = 0

    async def open(self, bus: Bus) -> None:
        """Serve what may be asked."""
        for query in (ListDeliveries, ReadDelivery, Resend, SendTest, Replay):
            await bus.serve(query_subject(query), self._answer)

    async def _answer(self, subject: str, envelope: Envelope) -> Answer:
        await self._courier.wait_heard(envelope.at_least, envelope.deadline)
        try:
            return Answer(await self._found(envelope.message, envelope.deadline), self._courier.heard)
        except StorageError as error:
            raise NoAnswer(str(error)) from None

    async def _found(self, asked: Struct, deadline: int) -> Delivery | DeliveryPage | Replayed | None:
        match asked:
            case ListDeliveries():
                return await self._deliveries.page(asked)
            case ReadDelivery(webhook_id, delivery_id):
                return await self._deliveries.find(webhook_id, delivery_id)
            case Resend(webhook_id, delivery_id):
                resent = await self._deliveries.resend(webhook_id, delivery_id)
                self._courier.rounds.hurry(webhook_id, anew=True)
                return resent
            case SendTest(owner_id, webhook_id, delivery_id):
                return await self._test(self._courier.endpoint(owner_id, webhook_id), delivery_id)
            case Replay(owner_id, webhook_id):
                return await self._replay(self._courier.endpoint(owner_id, webhook_id), asked, deadline)
            case _:
                raise AssertionError(f"nobody asks this: {type(asked)}")

    async def _test(self, endpoint: Endpoint | None, delivery_id: str) -> Delivery | None:
        if endpoint is None:
            return None
        now_ms = self._clock.now_ms()
        event = {
            "specversion": "1.0",
            "id": delivery_id,
            "source": self._source,
            "type": f"market.{TEST}",
            "subject": endpoint.webhook_id,
            "time": instant(now_ms),
            "datacontenttype": "application/json",
            "data": {"webhookId": endpoint.webhook_id},
        }
        body = msgspec.json.encode(event)
        test = Message(delivery_id, endpoint.webhook_id, delivery_id, TEST, "test", now_ms, body)
        await self._deliveries.add([test])
        self._courier.rounds.hurry(endpoint.webhook_id, anew=True)
        return await self._deliveries.find(endpoint.webhook_id, delivery_id)

    async def _replay(self, endpoint: Endpoint | None, asked: Replay, deadline: int) -> Replayed | None:
        """Queue what happened; who asks for more than can be found in time is told that it is too much."""
        if endpoint is None:
            return None
        if self._replays >= REPLAYS_MAX:
            raise Busy(f"{self._replays} replays wait")
        self._replays += 1
        try:
            async with asyncio.timeout((deadline - self._clock.now_ms()) / 1000), self._places:
                found = await self._happened(endpoint, asked)
        except TimeoutError:
            return Replayed(0, is_too_much=True)
        finally:
            self._replays -= 1
        if len(found) > min(self._replay_events_max, await self._courier.room(endpoint.webhook_id)):
            return Replayed(0, is_too_much=True)
        at, drawn_from = made_at(asked.replay_id), asked.replay_id
        await self._deliveries.add([message_of(endpoint, told, "replay", at, drawn_from=drawn_from) for told in found])
        self._courier.rounds.hurry(endpoint.webhook_id)
        return Replayed(len(found))

    async def _happened(self, endpoint: Endpoint, asked: Replay) -> list[Telling]:
        """Find what is to be sent, or one more than may be."""
        found: list[Telling] = []
        async with aclosing(self._records(asked.since, asked.until)) as records:
            async for record in records:
                for told in await self._tell(record):
                    if wants(asked.events, told.name) and self._courier.may_know(endpoint, told):
                        found.append(told)
                if len(found) > self._replay_events_max:
                    break
        return found

    async def _records(self, since: int, until: int) -> AsyncGenerator[Recorded, None]:
        """Go through the records of a time, as far as they have been heard of."""
        heard = self._courier.heard
        await self._courier.settle()
        for after, last in await self._deliveries.spans(since, until):
            async with aclosing(self._log.tail(after)) as batches:
                async for batch in batches:
                    for record in batch:
                        if record.position <= min(last, heard) and since <= record.commit.at < until:
                            yield record
                    if batch[-1].position >= min(last, heard):
                        break
