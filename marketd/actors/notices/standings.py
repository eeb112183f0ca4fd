"""How all webhooks fare, for the operator: where they are, whose they are, what waits for them and what went wrong."""

from urllib.parse import urlsplit

from marketd.actors.notices.courier import Courier
from marketd.bus.port import Answer, Bus, Envelope, NoAnswer
from marketd.bus.subjects import query_subject
from marketd.storage.database import StorageError
from marketd.storage.deliveries import Deliveries
from marketd.storage.enquiries import ReadStandings, Standing
from marketd.storage.enquiries import Standings as Found


class Standings:
    """Answers `market.query.webhook-standings`."""

    def __init__(self, courier: Courier, deliveries: Deliveries) -> None:
        self._courier, self._deliveries = courier, deliveries

    async def open(self, bus: Bus) -> None:
        """Serve it."""
        await bus.serve(query_subject(ReadStandings), self._answer)

    async def _answer(self, subject: str, envelope: Envelope) -> Answer:
        assert isinstance(envelope.message, ReadStandings)
        try:
            waiting = {one.webhook_id: one.waiting for one in await self._deliveries.backlogs()}
            failing = await self._deliveries.failing()
        except StorageError as error:
            raise NoAnswer(str(error)) from None
        found = [
            Standing(
                webhook_id=endpoint.webhook_id,
                owner_id=owner_id,
                host=urlsplit(endpoint.url).hostname or "",
                disabled=endpoint.disabled,
                waiting=waiting.get(endpoint.webhook_id, 0),
                failing_since=failing.get(endpoint.webhook_id),
                last_failure=self._courier.rounds.last_failure(endpoint.webhook_id),
            )
            for owner_id, endpoint in self._courier.endpoints()
        ]
        found.sort(key=lambda one: (one.failing_since is None, one.disabled is None, -one.waiting, one.webhook_id))
        return Answer(Found(len(found), tuple(found[: envelope.message.count_max])), self._courier.heard)
