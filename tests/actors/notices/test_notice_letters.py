"""What people are told of an order or a webhook: all they need, the same each time, and nobody else's secrets."""

from typing import Final

import pytest
from msgspec.structs import replace

from marketd.actors.account import address_of
from marketd.actors.address import Address
from marketd.actors.money import Money
from marketd.actors.notices.facts import Facts, OfAnEndpoint, OfAnOrder
from marketd.actors.notices.notice_letters import PUSH_CHARACTERS_MAX, NoticeLetters
from marketd.actors.notices.port import Mail
from marketd.actors.notices.templates import Templates
from marketd.actors.notices.tokens import MailTokens
from marketd.actors.notices.triggers import RECEIPT, REFUND, SALE, TRIGGERS, WEBHOOK_DISABLED, Notice, OfOrder
from marketd.actors.order import View
from marketd.actors.preferences import Contact, Preferences
from marketd.actors.product import File
from marketd.actors.webhook import Endpoint, Why

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
ENDPOINT: Final = Endpoint(
    webhook_id="w1",
    url="https://hooks.example:8443/secret-path?token=t0k3n",
    events=("order.*",),
    description="Bookkeeping",
    scope="own",
    secrets=(),
    created_at=AT,
    updated_at=AT,
    disabled="failing",
)
CONTACT: Final = Contact("u1", TO, Preferences())
OF_ORDERS: Final = tuple(trigger for trigger in TRIGGERS if isinstance(trigger, OfOrder))
LETTERS: Final = NoticeLetters(
    "https://shop.example",
    TOKENS,
    Templates("Shop"),
    lambda order_id, file, until: f"https://shop.example/downloads/{order_id}-{file.name}-{until}",
    link_hours=168,
)


def of_order(trigger: OfOrder) -> Notice:
    return Notice(f"o1.7.{trigger.kind}", trigger, Address("order", "o1"), "o1", AT)


def written(trigger: OfOrder, view: View = VIEW, files: tuple[File, ...] = ()) -> Mail:
    return LETTERS.mail(of_order(trigger), Facts(OfAnOrder(view, files), CONTACT))


OF_WEBHOOK: Final = Notice("w1.3.webhook-disabled", WEBHOOK_DISABLED, Address("webhook", "u1"), "w1", AT)


def written_of_webhook(why: Why = "failing", description: str = "Bookkeeping") -> Mail:
    endpoint = replace(ENDPOINT, disabled=why, description=description)
    return LETTERS.mail(OF_WEBHOOK, Facts(OfAnEndpoint(endpoint), CONTACT))


@pytest.mark.parametrize("trigger", OF_ORDERS, ids=lambda trigger: trigger.kind)
def test_it_is_the_same_whenever_it_is_written(trigger: OfOrder) -> None:
    assert written(trigger, files=FILES) == written(trigger, files=FILES)


@pytest.mark.parametrize("trigger", OF_ORDERS, ids=lambda trigger: trigger.kind)
def test_it_says_which_order_and_how_much(trigger: OfOrder) -> None:
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
    facts = Facts(OfAnOrder(replace(VIEW, title="x" * 5000), ()), CONTACT)
    message = LETTERS.push(of_order(SALE), facts, AT + 1)

    assert (PUSH_CHARACTERS_MAX, "https://shop.example/orders/o1", AT + 1) == (
        len(message.title),
        message.url,
        message.expires_at,
    )


# Of a webhook.


def test_it_says_which_webhook_is_off_since_when_and_where_to_turn_it_on() -> None:
    mail = written_of_webhook()
    words = ("hooks.example:8443", "Bookkeeping", "2023-11-14 22:13 UTC")

    assert "Your webhook to hooks.example:8443 was turned off" == mail.subject
    assert [] == [(word, one) for word in words for one in (mail.text, mail.html) if word not in one]
    assert "https://shop.example/webhooks/w1" in mail.text.splitlines()


@pytest.mark.parametrize(
    ("why", "said"),
    [("failing", "it has taken nothing"), ("gone", "410 Gone"), ("too many waiting", "more events waited")],
)
def test_it_says_why(why: Why, said: str) -> None:
    mail = written_of_webhook(why)

    assert (True, True) == (said in mail.text, said in mail.html)


def test_it_does_not_say_what_the_receiver_knows_us_by() -> None:
    mail = written_of_webhook()

    assert [] == [word for word in ("secret-path", "t0k3n") if word in mail.text + mail.html]


def test_a_webhook_without_a_description_has_no_empty_brackets() -> None:
    mail = written_of_webhook(description="")

    assert "()" not in mail.text + mail.html


def test_a_mail_of_a_webhook_can_not_be_stopped_by_a_click_too_many() -> None:
    assert "" == written_of_webhook().unsubscribe


def test_a_push_message_of_a_webhook_leads_to_it() -> None:
    message = LETTERS.push(OF_WEBHOOK, Facts(OfAnEndpoint(ENDPOINT), CONTACT), AT + 1)

    assert ("Your webhook to hooks.example:8443 was turned off", "https://shop.example/webhooks/w1") == (
        message.title,
        message.url,
    )
