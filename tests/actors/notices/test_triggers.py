"""What of the log is told to whom: what became of money that was asked for, what has to be mended, and nothing else."""

from typing import Any, Final, get_args

import pytest

from marketd.actors import order, webhook
from marketd.actors.notices.templates import TRIED
from marketd.actors.notices.triggers import TRIGGERS, due
from marketd.actors.preferences import Topic
from marketd.storage.log import Commit, Done, Meta, Recorded

AT: Final = 1
CASES: Final[list[tuple[tuple[Any, ...], list[str]]]] = [
    ((order.BuyerNotified(AT), order.Completed(AT)), ["receipt", "sale"]),
    ((order.NoticeFailed("no answer", AT), order.Completed(AT)), ["receipt", "sale"]),
    ((order.BuyerNotified(AT),), []),
    ((order.PaymentRefunded(AT), order.Refunded(AT)), ["refund"]),
    ((order.PaymentRefunded(AT), order.Failed("sold out", AT)), ["order-failed"]),
    ((order.ClaimsEnded(AT), order.Failed("sold out", AT)), ["order-failed"]),
    ((order.PaymentRefunded(AT),), []),
    ((order.PaymentRefundFailed("no", AT), order.FailedWithAlert("sold out", AT)), ["refund-delayed"]),
    ((order.Paid(AT),), []),
    ((webhook.Disabled("w1", "failing", AT),), ["webhook-disabled"]),
    ((webhook.Disabled("w1", "gone", AT),), ["webhook-disabled"]),
    ((webhook.Disabled("w1", "too many waiting", AT),), ["webhook-disabled"]),
    ((webhook.Disabled("w1", "by hand", AT),), []),
    ((webhook.Enabled("w1", AT),), []),
    ((), []),
]


def recorded(stream: str, *events: Any) -> Recorded:
    return Recorded(9, stream, 3, Commit("c1", AT, events, Done(), Meta()))


@pytest.mark.parametrize(("events", "expected"), CASES)
def test_what_a_record_makes_due(events: tuple[Any, ...], expected: list[str]) -> None:
    assert expected == sorted(trigger.kind for _, trigger, *_ in due(recorded("order/o1", *events)))


def test_it_is_told_of_an_order_by_its_id_and_its_version() -> None:
    (notice,) = due(recorded("order/o1", order.Refunded(AT)))

    assert ("o1.3.refund", "order/o1", "o1") == (notice.notice_id, str(notice.address), notice.subject_id)


def test_of_somebodys_webhooks_it_is_told_which_one() -> None:
    (notice,) = due(recorded("webhook/u1", webhook.Disabled("w1", "failing", AT)))

    assert ("w1.3.webhook-disabled", "webhook/u1", "w1") == (notice.notice_id, str(notice.address), notice.subject_id)


def test_every_notice_has_its_words() -> None:
    assert set() == {trigger.kind for trigger in TRIGGERS} - TRIED.keys()


def test_every_topic_is_told_of() -> None:
    assert set(get_args(Topic)) == {trigger.topic for trigger in TRIGGERS}
