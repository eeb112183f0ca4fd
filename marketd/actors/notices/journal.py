"""Notices into the service's own log: what there is until a way to people's mailboxes is set up."""

import logging

from marketd.actors.notices.port import Receipt

log = logging.getLogger("marketd.notices")


class Journal:
    """Writes each notice as one line, with ids only: a log holds no names and no addresses."""

    async def send(self, receipt: Receipt) -> None:
        """Note that the buyer's receipt is due."""
        log.debug("order/%s receipt for buyer/%s", receipt.order_id, receipt.buyer_id)
