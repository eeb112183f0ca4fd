"""What people are told of an order: all that they need, the same each time, and nobody else's secrets."""

from typing import Final

import pytest
from msgspec.structs import replace

from marketd.actors.account import address_of
from marketd.actors.money import Money
from marketd.actors.notices.order_letters import PUSH_CHARACTERS_MAX, Notice, OrderLetters
from marketd.actors.notices.port import Mail
from marketd.actors.notices.templates import Templates
from marketd.actors.notices.tokens import MailTokens
from marketd.actors.notices.triggers import RECEIPT, REFUND, SALE, TRIGGERS, Trigger
from marketd.actors.order import View
from marketd.actors.product import File

AT: Final = 1_700_000_000_000
TO: Final = "ann@example.org"
TOKENS: Final = MailTokens(bytes(32))
VIEW: Final = View(
    buyer_id="u1",
    seller_id="u2",
    product_id="p1",
    title="Field recordings",
    price=Money(1999, "USD"),
    status="completed",
    payment_status="captured",
    delivery_status="delivered",
    failure_reason=None,
    licence_key="RAIN-4711",
    alert=None,
    created_at=AT,
    updated_at=AT,
)
FILES: Final = (File("rain.zip", "application/zip", 146_515, "upload://secret"), File("a.txt", "text/plain", 5, "x"))
LETTERS: Final = OrderLetters(
    "https://shop.example",
    TOKENS,
    Templates("Shop"),
    lambda order_id, file, until: f"https://shop.example/downloads/{order_id}-{file.name}-{until}",
    link_hours=168,
)


def written(trigger: Trigger, view: View = VIEW, files: tuple[File, ...] = ()) -> Mail:
    return LETTERS.mail(Notice(f"o1.7.{trigger.kind}", trigger, "o1", AT), view, files, TO)


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: trigger.kind)
def test_it_is_the_same_whenever_it_is_written(trigger: Trigger) -> None:
    assert written(trigger, files=FILES) == written(trigger, files=FILES)


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: trigger.kind)
def test_it_says_which_order_and_how_much(trigger: Trigger) -> None:
    mail = written(trigger)
    said = [mail.subject + mail.text, mail.html]

    assert [] == [(word, one) for word in ("Field recordings", "o1", "USD 19.99") for one in said if word not in one]


def test_a_receipt_has_a_link_to_each_file() -> None:
    mail = written(RECEIPT, files=FILES)
    links = [f"https://shop.example/downloads/o1-{file.name}-{AT + 168 * 3_600_000}" for file in FILES]

    assert links == [line for line in mail.text.splitlines() if "/downloads/" in line]
    assert [] == [link for link in links if f'href="{link}"' not in mail.html]


def test_a_receipt_says_until_when_its_links_are_good() -> None:
    assert "until 2023-11-21 22:13 UTC" in written(RECEIPT, files=FILES).text


def test_a_receipt_shows_sizes_as_people_read_them() -> None:
    text = written(RECEIPT, files=FILES).text

    assert ("rain.zip (146.5 kB)" in text, "a.txt (5 bytes)" in text) == (True, True)


def test_a_receipt_has_the_licence_key() -> None:
    assert "RAIN-4711" in written(RECEIPT).text


def test_the_seller_is_not_told_the_licence_key_nor_who_the_buyer_is() -> None:
    mail = written(SALE)

    assert [] == [word for word in ("RAIN-4711", "u1") if word in mail.text + mail.html]


def test_no_mail_says_where_a_file_is_kept() -> None:
    mail = written(RECEIPT, files=FILES)

    assert "upload://" not in mail.text + mail.html


def test_mails_of_sales_can_be_stopped() -> None:
    link = f"https://shop.example/unsubscribe/{TOKENS.stop(address_of(TO).key, 'sales')}"
    mail = written(SALE)

    assert (link, True, True) == (mail.unsubscribe, link in mail.text, f'href="{link}"' in mail.html)


def test_mails_about_money_of_ones_own_have_no_such_link() -> None:
    assert ["", ""] == [written(trigger).unsubscribe for trigger in (RECEIPT, REFUND)]


def test_a_title_that_breaks_lines_stays_in_its_place() -> None:
    mail = written(SALE, replace(VIEW, title="Rain\r\nBcc: eve@evil.example\u2028and more"))

    assert "Sold: Rain Bcc: eve@evil.example and more (USD 19.99)" == mail.subject
    assert "Rain Bcc: eve@evil.example and more" in mail.text.splitlines()


def test_a_price_is_written_as_its_currency_has_it() -> None:
    assert "JPY 500" in written(SALE, replace(VIEW, price=Money(500, "JPY"))).text


def test_a_push_message_is_short_and_leads_to_the_order() -> None:
    message = LETTERS.push(Notice("o1.7.sale", SALE, "o1", AT), replace(VIEW, title="x" * 5000), AT + 1)

    assert (PUSH_CHARACTERS_MAX, "https://shop.example/orders/o1", AT + 1) == (
        len(message.title),
        message.url,
        message.expires_at,
    )
