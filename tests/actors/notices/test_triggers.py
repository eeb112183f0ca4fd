"""What of the log is told to whom: what became of money that was asked for, and nothing else."""

from typing import Any, Final, get_args

import pytest

from marketd.actors import order
from marketd.actors.notices.templates import TRIED
from marketd.actors.notices.triggers import TRIGGERS, due
from marketd.actors.preferences import Topic

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
    ((), []),
]


@pytest.mark.parametrize(("events", "expected"), CASES)
def test_what_a_record_makes_due(events: tuple[Any, ...], expected: list[str]) -> None:
    assert expected == sorted(trigger.kind for trigger in due(events))


def test_every_notice_has_its_words() -> None:
    assert set() == {trigger.kind for trigger in TRIGGERS} - TRIED.keys()


def test_every_topic_is_told_of() -> None:
    assert set(get_args(Topic)) == {trigger.topic for trigger in TRIGGERS}
