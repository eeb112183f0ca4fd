"""The service speaks TLS by itself: everything that a shop needs, over https with a certificate of its own."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession, TCPConnector

from tests.certificates import Files, write_certificate
from tests.journeys.people import PASSWORD, Visitor
from tests.journeys.process import Service, marketd, running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write_certificate(tmp_path)


def settings(files: Files) -> dict[str, str]:
    return {"MARKETD_HTTP__TLS_CERTIFICATE": str(files.chain), "MARKETD_HTTP__TLS_KEY": str(files.key)}


@pytest_asyncio.fixture
async def secure(tmp_path: Path, files: Files) -> AsyncIterator[Service]:
    async with running(tmp_path / "data", settings=settings(files)) as service:
        yield service


@pytest_asyncio.fixture
async def trusting(files: Files) -> AsyncIterator[ClientSession]:
    """A client that trusts this certificate and no other."""
    context = ssl.create_default_context(cafile=str(files.chain))
    async with ClientSession(connector=TCPConnector(ssl=context)) as session:
        yield session


async def test_a_shop_sells_over_https(secure: Service, trusting: ClientSession) -> None:
    content = bytes(range(256)) * 4096
    seller = await Visitor(secure, trusting).joins("seller")
    buyer = await Visitor(secure, trusting).joins("buyer")
    order = await buyer.buys(await seller.offers(content))

    assert secure.url.startswith("https://127.0.0.1:")
    assert content == (await buyer.get(await buyer.link(order))).body


async def test_who_came_by_https_is_told_to_stay_with_it(secure: Service, trusting: ClientSession) -> None:
    answer = await Visitor(secure, trusting).get("/healthz")

    assert "max-age=31536000" == answer.headers["Strict-Transport-Security"]


async def test_the_session_of_a_page_is_kept_to_https_and_to_this_host(
    secure: Service, trusting: ClientSession
) -> None:
    buyer = await Visitor(secure, trusting).joins("buyer")
    form = {"email": buyer.email, "password": PASSWORD}
    sent = trusting.post(f"{secure.url}/auth/sign-in", data=form, headers={"Origin": secure.url}, allow_redirects=False)
    async with sent as answer:
        (cookie,) = answer.headers.getall("Set-Cookie")

    assert (True, True) == (cookie.startswith("__Host-marketd="), "Secure" in cookie.split("; "))


async def test_the_sample_catalogue_is_loaded_over_https(tmp_path: Path, files: Files, trusting: ClientSession) -> None:
    async with running(tmp_path / "data", "--sample", settings=settings(files)) as service:
        found = (await Visitor(service, trusting).get("/products?size=1")).expect(200)

    assert found["total"] > 0


async def test_plain_http_finds_nobody_there(secure: Service) -> None:
    async with ClientSession() as session:
        with pytest.raises(Exception, match=r"disconnected|reset|Bad status line|Expected HTTP"):
            await session.get(secure.url.replace("https:", "http:") + "/healthz")


async def test_a_certificate_without_its_key_stops_the_start(tmp_path: Path, files: Files) -> None:
    given = {"MARKETD_HTTP__TLS_CERTIFICATE": str(files.chain)}
    ended = await marketd("serve", "--data", str(tmp_path / "data"), settings=given)

    assert (2, True) == (ended.code, "http.tls_key to be set beside it" in ended.err), ended.err


async def test_a_key_of_another_certificate_stops_the_start(tmp_path: Path, files: Files) -> None:
    other = write_certificate(tmp_path, "other")
    ended = await marketd("serve", "--data", str(tmp_path / "data"), settings=settings(Files(files.chain, other.key)))

    assert (1, f"marketd: the key in {other.key} is not that of the certificate in {files.chain}\n") == (
        ended.code,
        ended.err,
    )
    assert not (tmp_path / "data").exists()
