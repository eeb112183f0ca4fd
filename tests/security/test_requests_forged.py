"""API7:2023 Server Side Request Forgery: nobody has the service look at its own machine, or at its neighbours."""

from urllib.parse import urlsplit

import pytest

from tests.actors.notices.receiver import Receiver
from tests.security.town import Town

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

INSIDE = [
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://localhost/",
    "https://localhost./",
    "https://shop.localhost/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fe80::1]/",
    "https://169.254.169.254/latest/meta-data/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.0.1/",
    "https://100.64.0.1/",
    "https://0.0.0.0/",
    "https://224.0.0.1/",
    "https://books.example:22/",
    "https://books.example:25/",
    "http://books.example/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_SET",
    "https://books.example@127.0.0.1/",
    "https://books.example\\@127.0.0.1/",
    "https://127.0.0.1#@books.example/",
    "https://books.example/\r\nX-Injected: 1",
    "https://①②⑦.⓪.⓪.①/",
]


@pytest.mark.parametrize("url", INSIDE)
async def test_a_webhook_leads_to_nowhere_inside(town: Town, url: str) -> None:
    answer = await town.seller.post("/webhooks", {"url": url, "events": ["*"]})

    assert (400, ["/url"]) == (answer.status, [fault["pointer"] for fault in answer.json["errors"]])


@pytest.mark.parametrize("url", INSIDE)
async def test_nor_is_it_moved_there(town: Town, url: str) -> None:
    answer = await town.seller.ask("PATCH", f"/webhooks/{town.hook['id']}", {"url": url})

    assert 400 == answer.status


async def test_an_admin_is_no_exception(town: Town) -> None:
    async with Receiver().up() as receiver:
        url = f"https://127.0.0.1:{urlsplit(receiver.url).port}/"
        answer = await town.admin.post("/webhooks", {"url": url, "events": ["*"]})

    assert (400, 0) == (answer.status, receiver.connections)
