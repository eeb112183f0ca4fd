"""Makes the payment processor, for the composition root."""

from contextlib import AbstractAsyncContextManager

from marketd.actors.fulfilment import Fulfilment
from marketd.actors.payments.processor import PaymentProcessor
from marketd.actors.payments.sandbox import SandboxProcessor
from marketd.actors.payments.stripe_news import StripeNews
from marketd.bus.breaker import Breaker
from marketd.clock import Clock
from marketd.config.folder import Folder
from marketd.config.losses import tell_lost_ledger
from marketd.config.settings import Settings


def make_processor(
    settings: Settings, folder: Folder, clock: Clock, breaker: Breaker
) -> AbstractAsyncContextManager[PaymentProcessor]:
    """Make the payment processor of the settings; enter it."""
    wanted = settings.payments
    if wanted.processor == "sandbox":
        tell_lost_ledger(folder)
        return SandboxProcessor(folder.sandbox, clock, breaker, delay_ms=wanted.sandbox_delay_ms)
    from marketd.actors.payments.stripe import StripeProcessor  # imported here: its library is large

    assert wanted.stripe_secret_key, "the settings are refused without the key"
    return StripeProcessor(
        folder.stripe,
        clock,
        breaker,
        secret_key=wanted.stripe_secret_key,
        url=wanted.stripe_url,
        wait_s_max=wanted.stripe_wait_s_max,
    )


def make_news(settings: Settings, clock: Clock, breaker: Breaker, fulfilment: Fulfilment) -> StripeNews | None:
    """Make the receiver of what Stripe posts to us, if its endpoint is set up."""
    wanted = settings.payments
    if wanted.processor != "stripe" or wanted.stripe_webhook_secret is None:
        return None
    tolerance_s = wanted.stripe_webhook_tolerance_s
    return StripeNews(wanted.stripe_webhook_secret, clock, breaker, fulfilment.hurry, tolerance_s=tolerance_s)
