"""The page that shows the document loads nothing from elsewhere, and its files can be kept for ever."""

import re
from hashlib import sha256

import pytest

from marketd.http.reference import FILES, FOLDER
from tests.http.stage import Stage

pytestmark = pytest.mark.asyncio

# Of swagger-ui-dist 5.35.0.
DIGESTS = {
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}


async def addresses(stage: Stage) -> list[str]:
    """Give every address that the page names."""
    page = (await stage.call("GET", "/docs")).body.decode()
    return re.findall(r'(?:src|href)="([^"]*)"', page)


@pytest.mark.parametrize("name", sorted(DIGESTS))
async def test_the_files_of_others_are_as_they_were_published(name: str) -> None:
    assert DIGESTS[name] == sha256((FOLDER / name).read_bytes()).hexdigest()


async def test_the_licence_of_the_files_of_others_is_with_them() -> None:
    assert "Apache License" in (FOLDER / "swagger-ui.LICENSE").read_text(encoding="utf-8")


async def test_the_page_names_no_address_but_those_of_its_files(stage: Stage) -> None:
    named = [address for address in await addresses(stage) if address != "data:,"]

    assert sorted(FILES) == sorted(address.rpartition("/")[2] for address in named)
    assert all(address.startswith("/docs/") for address in named)


async def test_every_file_of_the_page_is_there(stage: Stage) -> None:
    for address in await addresses(stage):
        if address != "data:,":
            answer = await stage.call("GET", address)
            assert (200, FILES[address.rpartition("/")[2]]) == (answer.status, answer.media_type)


async def test_the_page_runs_no_script_but_its_own_and_loads_nothing_from_elsewhere(stage: Stage) -> None:
    policy = (await stage.call("GET", "/docs")).headers["Content-Security-Policy"]
    directives = dict(directive.strip().split(" ", 1) for directive in policy.split(";"))

    assert ("'none'", "'self'", "'self'") == (
        directives["default-src"],
        directives["script-src"],
        directives["connect-src"],
    )
    assert "unsafe" not in policy and "http" not in policy


async def test_the_page_has_no_script_in_itself(stage: Stage) -> None:
    page = (await stage.call("GET", "/docs")).body.decode()

    assert [] == [inside for inside in re.findall(r"<script[^>]*>([^<]*)</script>", page) if inside]


async def test_a_file_of_the_page_may_be_kept_for_ever(stage: Stage) -> None:
    (script,) = (address for address in await addresses(stage) if address.endswith("start.js"))

    assert "public, max-age=31536000, immutable" == (await stage.call("GET", script)).headers["Cache-Control"]


@pytest.mark.parametrize("path", ["/docs/0/start.js", "/docs/{version}/README.md", "/docs/{version}/..%2Fapp.py"])
async def test_a_file_of_another_version_or_of_nobody_is_not_there(stage: Stage, path: str) -> None:
    (script,) = (address for address in await addresses(stage) if address.endswith("start.js"))

    assert 404 == (await stage.call("GET", path.replace("{version}", script.split("/")[2]))).status


async def test_the_page_asks_no_validator_elsewhere() -> None:
    start = (FOLDER / "start.js").read_text(encoding="utf-8")

    assert "validatorUrl: null" in start and "://" not in start
