"""Who moves the money: by the settings, which are refused where it can't be done."""

import subprocess
import sys
from pathlib import Path

import pytest

from marketd.actors.fulfilment import Fulfilment
from marketd.actors.payments.sandbox import SandboxProcessor
from marketd.actors.payments.stripe import StripeProcessor
from marketd.actors.payments.stripe_news import StripeNews
from marketd.config.folder import Folder
from marketd.config.loading import SettingsError, load
from marketd.config.paying import make_news, make_processor
from marketd.config.settings import Payments, Settings
from tests.actors.payments.parties import breaker_of
from tests.actors.shop import Shop
from tests.actors.watched import WatchedLog
from tests.clock import TestClock

KEY = "sk_test_4711"
STRIPE = {"MARKETD_PAYMENTS__PROCESSOR": "stripe"}
LIVE = {"MARKETD_PAYMENTS__STRIPE_SECRET_KEY": "sk_live_4711"}
PLAIN = {"MARKETD_PAYMENTS__STRIPE_URL": "http://stripe.example"}


def made(payments: Payments, folder: Path) -> object:
    clock = TestClock()
    return make_processor(Settings(payments=payments), Folder(folder), clock, breaker_of(clock))


def news_of(payments: Payments) -> object:
    clock = TestClock()
    fulfilment: Fulfilment = Shop(WatchedLog(), clock).fulfilment
    return make_news(Settings(payments=payments), clock, breaker_of(clock), fulfilment)


def test_money_is_play_money_where_nothing_is_set(tmp_path: Path) -> None:
    assert isinstance(made(Payments(), tmp_path), SandboxProcessor)


def test_money_is_moved_by_stripe_where_it_is_set(tmp_path: Path) -> None:
    assert isinstance(made(Payments(processor="stripe", stripe_secret_key=KEY), tmp_path), StripeProcessor)


def test_who_does_without_stripe_does_without_its_library() -> None:
    program = "import sys, marketd.command_line; print('stripe' in sys.modules)"
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True)

    assert "False\n" == done.stdout


@pytest.mark.parametrize(
    ("payments", "expected"),
    [
        (Payments(), False),
        (Payments(stripe_webhook_secret="whsec_1"), False),
        (Payments(processor="stripe", stripe_secret_key=KEY), False),
        (Payments(processor="stripe", stripe_secret_key=KEY, stripe_webhook_secret="whsec_1"), True),
    ],
)
def test_news_of_stripe_is_taken_in_with_its_secret(payments: Payments, expected: bool) -> None:
    assert expected is isinstance(news_of(payments), StripeNews)


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        (
            STRIPE,
            'payments.processor = "stripe" (environment MARKETD_PAYMENTS__PROCESSOR): expected'
            " payments.stripe_secret_key to be set beside it",
        ),
        (
            STRIPE | LIVE | PLAIN,
            'payments.stripe_url = "http://stripe.example" (environment MARKETD_PAYMENTS__STRIPE_URL): expected https,'
            " because payments.stripe_secret_key is a live one",
        ),
    ],
)
def test_what_can_not_be_done_together_is_refused_in_one_line(environment: dict[str, str], complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, environment, {})

    assert complaint == str(caught.value)


@pytest.mark.parametrize(
    "environment",
    [
        LIVE | PLAIN,
        STRIPE | LIVE,
        STRIPE | PLAIN | {"MARKETD_PAYMENTS__STRIPE_SECRET_KEY": KEY},
        STRIPE | {"MARKETD_PAYMENTS__STRIPE_SECRET_KEY": "rk_live_4711"},
    ],
)
def test_what_can_be_done_together_is_taken(environment: dict[str, str]) -> None:
    assert "default" != load(None, environment, {}).sources["payments.stripe_secret_key"]


@pytest.mark.parametrize("name", ["SECRET_KEY", "WEBHOOK_SECRET"])
def test_a_secret_that_is_none_is_refused_without_being_shown(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, {f"MARKETD_PAYMENTS__STRIPE_{name}": "hunter 2"}, {})

    assert "hunter" not in str(caught.value)
