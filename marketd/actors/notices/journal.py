"""
What the saga's NotifyBuyer is asked of. A receipt is taken on when the step's record is in the log, for it is the log
that the notifiers follow (`notifier.py`): so no order waits for a mail server, and none goes without a receipt.
"""

import logging

from marketd.actors.notices.port import Receipt

log = logging.getLogger("marketd.notices")


class Journal:
    """Takes them on, and says so in a line of the service's own log: with ids only, no names and no addresses."""

    async def send(self, receipt: Receipt) -> None:
        """Note that the buyer's receipt is due."""
        log.debug("order/%s receipt for buyer/%s", receipt.order_id, receipt.buyer_id)
