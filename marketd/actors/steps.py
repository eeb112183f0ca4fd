"""What an order may wait for, and how that may end."""

from enum import StrEnum

from msgspec import Struct


class Step(StrEnum):
    """What an order may wait for somebody else to do."""

    PROCESS_PAYMENT = "ProcessPayment"
    UPDATE_INVENTORY = "UpdateInventory"
    PREPARE_DELIVERY = "PrepareDelivery"
    NOTIFY_BUYER = "NotifyBuyer"
    NOTIFY_BUYER_LATE = "NotifyBuyerLate"
    ROLLBACK_INVENTORY = "RollbackInventory"
    REFUND_PAYMENT = "RefundPayment"
    REVOKE_DELIVERY = "RevokeDelivery"
    END_CLAIMS = "EndClaims"


class Succeeded(Struct, frozen=True, tag="succeeded"):
    """It is done; the licence key, where it is that of a unit which has one."""

    licence_key: str | None = None


class Denied(Struct, frozen=True, tag="denied"):
    """A definite no."""

    why: str


class Unanswered(Struct, frozen=True, tag="unanswered"):
    """Silence until patience ended: it may have happened or not."""


Outcome = Succeeded | Denied | Unanswered


class Report(Struct, frozen=True):
    """How a step ended."""

    step: Step
    outcome: Outcome
