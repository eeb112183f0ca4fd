"""The scripts and the style: under an address of their own, kept for ever; and nothing in a page beside them."""

import re

import pytest

from marketd.http.pages import static
from marketd.http.pages.frame import FOLDER
from tests.http.stage import Stage


@pytest.mark.asyncio
@pytest.mark.parametrize("name", sorted(static.files()))
async def test_a_file_is_kept_for_ever(stage: Stage, name: str) -> None:
    answer = await stage.call("GET", f"/static/{static.digest()}/{name}")

    assert (200, static.files()[name]) == (answer.status, answer.body)
    assert "public, max-age=31536000, immutable" == answer.headers["Cache-Control"]


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/static/0/site.css", f"/static/{static.digest()}/none.js", "/static/../app.py"])
async def test_there_is_nothing_else(stage: Stage, path: str) -> None:
    assert 404 == (await stage.call("GET", path)).status


@pytest.mark.parametrize("template", sorted(path.name for path in FOLDER.glob("*.html")))
def test_no_template_holds_code_or_trusts_a_text(template: str) -> None:
    text = (FOLDER / template).read_text(encoding="utf-8")

    assert [] == re.findall(r"<style|\sstyle=|\son[a-z]+=|\|\s*safe|autoescape|https?://|<script>", text)


@pytest.mark.parametrize("name", sorted(static.files()))
def test_no_file_loads_anything_from_elsewhere(name: str) -> None:
    text = static.files()[name].decode().replace('xmlns="http://www.w3.org/2000/svg"', "")

    assert [] == re.findall(r"https?://|@import|eval\(|new Function", text)
