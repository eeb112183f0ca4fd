"""The front's own certificate: taken up whole or not at all, shown by today's TLS alone, renewed while it runs."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from marketd.http.certificate import Certificate, CertificateUnusable
from tests.certificates import ADDRESS, Files, write_certificate
from tests.clock import TestClock

pytestmark = pytest.mark.asyncio


def certificate(files: Files) -> Certificate:
    return Certificate(files.chain, files.key, TestClock(), check_s=10)


@asynccontextmanager
async def shown_by(shown: Certificate) -> AsyncIterator[int]:
    """Serve with it; give the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(answer, ADDRESS, 0, ssl=shown.context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def greeted(port: int, trusted: Files, **wanted: Any) -> dict[str, Any]:
    """Shake hands as a client that trusts this certificate and no other; say what came of it."""
    context = ssl.create_default_context(cafile=str(trusted.chain))
    for name, value in wanted.items():
        setattr(context, name, value)
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection(ADDRESS, port, ssl=context)
    found: ssl.SSLObject = writer.get_extra_info("ssl_object")
    writer.close()
    return {"version": found.version(), "protocol": found.selected_alpn_protocol(), "cipher": (found.cipher() or "")[0]}


async def test_who_trusts_it_is_let_in_by_the_newest_tls(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    async with shown_by(certificate(files)) as port:
        found = await greeted(port, files)

    assert ("TLSv1.3", "http/1.1") == (found["version"], found["protocol"])


async def test_tls_1_2_has_forward_secrecy(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    async with shown_by(certificate(files)) as port:
        found = await greeted(port, files, maximum_version=ssl.TLSVersion.TLSv1_2)

    assert ("TLSv1.2", True) == (found["version"], found["cipher"].startswith("ECDHE-"))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_older_tls_is_refused(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    assert ssl.TLSVersion.TLSv1_2 == certificate(files).context.minimum_version
    async with shown_by(certificate(files)) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await greeted(
                port,
                files,
                minimum_version=ssl.TLSVersion.TLSv1_1,
                maximum_version=ssl.TLSVersion.TLSv1_1,
            )


async def test_a_renewed_one_is_shown_to_those_who_come_then(tmp_path: Path) -> None:
    old, new = write_certificate(tmp_path), write_certificate(tmp_path, "new")
    shown = certificate(old)
    async with shown_by(shown) as port:
        await greeted(port, old)
        new.chain.replace(old.chain)
        new.key.replace(old.key)
        shown.check()

        assert "TLSv1.3" == (await greeted(port, old))["version"]


async def test_half_a_renewal_changes_nothing(tmp_path: Path) -> None:
    old, new = write_certificate(tmp_path), write_certificate(tmp_path, "new")
    kept = Files(tmp_path / "kept.pem", tmp_path / "kept.key")
    kept.chain.write_bytes(old.chain.read_bytes())
    shown = certificate(old)
    async with shown_by(shown) as port:
        new.chain.replace(old.chain)
        shown.check()

        assert "TLSv1.3" == (await greeted(port, kept))["version"]


async def test_files_that_are_away_for_a_moment_change_nothing(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    content = files.chain.read_bytes()
    shown = certificate(files)
    async with shown_by(shown) as port:
        files.chain.unlink()
        shown.check()
        files.chain.write_bytes(content)

        assert "TLSv1.3" == (await greeted(port, files))["version"]


async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    files.key.unlink()
    with pytest.raises(CertificateUnusable) as raised:
        certificate(files)

    assert f"can't read {files.key}: No such file or directory" == str(raised.value)


async def test_the_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    files, other = write_certificate(tmp_path), write_certificate(tmp_path, "other")
    with pytest.raises(CertificateUnusable) as raised:
        certificate(Files(files.chain, other.key))

    assert f"the key in {other.key} is not that of the certificate in {files.chain}" == str(raised.value)


async def test_an_encrypted_key_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(CertificateUnusable) as raised:
        certificate(write_certificate(tmp_path, password="secret"))

    assert "encrypted" in str(raised.value)


async def test_what_is_no_certificate_is_refused(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    files.chain.write_text("no certificate")
    with pytest.raises(CertificateUnusable) as raised:
        certificate(files)

    assert str(raised.value).startswith(f"{files.chain} and {files.key} are no certificate and its key in PEM: ")
