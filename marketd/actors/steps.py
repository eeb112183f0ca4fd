"""The steps that an order may wait for, and their outcomes."""

from enum import StrEnum

from msgspec import Struct


class Step(StrEnum):
    """A step that an order may wait for; others carry it out."""

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
    """The step is done; `licence_key` is that of the reserved unit, if it has one."""

    licence_key: str | None = None


class Denied(Struct, frozen=True, tag="denied"):
    """The step was refused."""

    why: str


class Unanswered(Struct, frozen=True, tag="unanswered"):
    """There was no answer before patience ended: the step may have been done or not."""


Outcome = Succeeded | Denied | Unanswered


class Report(Struct, frozen=True):
    """How a step ended."""

    step: Step
    outcome: Outcome
