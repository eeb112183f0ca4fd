"""The pages tell the truth: what follows from the code is what the code would write, and every command in them runs."""

import asyncio
import os
import re
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from docs.make_pages import FOLDER, PAGES
from marketd.config.loading import load
from tests.journeys.process import QUICK, Service, running

ROOT: Final = FOLDER.parent
READ_ALOUD: Final = ("README.md", "docs/operators.md", "docs/edge.md")
IN_A_ROW: Final = ("docs/api-walk.md", "docs/integrators.md")  # the second goes on where the first ends
NOT_RUN_MAX: Final = 8
BLOCK_S_MAX: Final = 30
FENCED: Final = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
UNTIL: Final = "run until: "
NOT_RUN: Final = "not run: "
DONE: Final = "--- done"
ADDRESS: Final = "127.0.0.1:8080"
# So that an answer of 4xx or 5xx is a failure, and the shell stops there.
CURLRC: Final = "fail-with-body\nshow-error\n"


class Block(NamedTuple):
    """A fenced block of a page, and what stands in the comment before it."""

    where: str
    kind: str
    text: str
    note: str


def blocks(page: str) -> Iterator[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in FENCED.finditer(text):
        line = text.count("\n", 0, found.start("text"))
        yield Block(f"{page}:{line}", found["kind"], found["text"], found["note"] or "")


def pages() -> list[str]:
    return ["README.md", *sorted(str(page.relative_to(ROOT)) for page in FOLDER.glob("*.md"))]


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_generated_page_is_up_to_date(name: str) -> None:
    """
    `make docs` writes them again.
    """
    assert PAGES[name]() == (FOLDER / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", *pages()])
def test_every_link_within_the_house_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))

    assert [] == [link for link in links if not ((ROOT / page).parent / link).exists()]


@pytest.mark.parametrize("page", pages())
def test_every_toml_is_understood(page: str, tmp_path: Path) -> None:
    for number, block in enumerate(block for block in blocks(page) if block.kind == "toml"):
        tomllib.loads(block.text)
        (file := tmp_path / f"{number}.toml").write_text(block.text, encoding="utf-8")
        load(file, {}, {})


def test_few_commands_are_not_run_and_each_says_why() -> None:
    commands = [block for page in pages() for block in blocks(page) if block.kind in ("sh", "python")]
    left_out = [block for block in commands if block.note.startswith(NOT_RUN)]

    assert [] == [b.where for b in commands if b.note and not b.note.startswith((NOT_RUN, UNTIL))]
    assert len(left_out) <= NOT_RUN_MAX
    assert [] == [block.where for block in left_out if len(block.note) < len(NOT_RUN) + 10]


def test_every_page_with_commands_is_run() -> None:
    with_commands = {page for page in pages() if any(block.kind in ("sh", "python") for block in blocks(page))}

    assert {*READ_ALOUD, *IN_A_ROW} == with_commands


class Reader:
    """Somebody who does what the pages say, in one shell in one folder, beside a running service."""

    def __init__(
        self, folder: Path, service: Service, shell: asyncio.subprocess.Process, environ: dict[str, str]
    ) -> None:
        self._folder, self._service, self._shell, self._environ = folder, service, shell, environ

    async def follow(self, page: str) -> None:
        """Do what stands in every block of a page; fail with what was seen where one fails."""
        for block in blocks(page):
            if block.note.startswith(NOT_RUN) or block.kind not in ("sh", "python"):
                continue
            text = block.text.replace(f"http://{ADDRESS}", self._service.url)
            assert ADDRESS not in text, block.where
            if block.note.startswith(UNTIL):
                await self._run_until(block, text, block.note.removeprefix(UNTIL))
            elif block.kind == "python":
                await self._run_until(block, text, "")
            else:
                await self._type(block, text)

    async def _type(self, block: Block, text: str) -> None:
        """Type it into the shell, which stops where something fails."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{text}\necho; echo '{DONE}'\n".encode())
        seen: list[str] = []
        async with asyncio.timeout(BLOCK_S_MAX):
            while (line := (await self._shell.stdout.readline()).decode()).strip() != DONE:
                seen.append(line)
                assert line, f"{block.where} has failed:\n{''.join(seen)}\n{self._service.log}"

    async def _run_until(self, block: Block, text: str, words: str) -> None:
        """Run a program until it says these words, or to its end if there are none."""
        program = (sys.executable, "-c", text) if block.kind == "python" else ("bash", "-euc", text)
        process = await asyncio.create_subprocess_exec(
            *program,
            cwd=self._folder,
            env=self._environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        seen: list[str] = []
        try:
            async with asyncio.timeout(BLOCK_S_MAX):
                while not words or not any(words in line for line in seen):
                    line = (await process.stdout.readline()).decode()
                    seen.append(line)
                    if not line:
                        break
                found = words in "".join(seen) if words else await process.wait() == 0
                assert found, f"{block.where} has failed:\n{''.join(seen)}"
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@asynccontextmanager
async def reader(folder: Path) -> AsyncIterator[Reader]:
    """Have `marketd` at hand, a service that sells the sample catalogue from ./data, and a shell."""
    tools = folder / "tools"
    tools.mkdir()
    (tools / ".curlrc").write_text(CURLRC)
    (tools / "marketd").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m marketd "$@"\n')
    (tools / "marketd").chmod(0o755)
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    environ = {**os.environ, **QUICK, "PATH": path, "HOME": str(tools), "CURL_HOME": str(tools)}
    hooked = {"MARKETD_WEBHOOKS__ALLOW_HTTP": "true", "MARKETD_WEBHOOKS__ALLOW_PRIVATE": "true"}
    async with running(folder / "data", "--sample", settings=hooked) as service:
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-eu", "-o", "pipefail"),
            cwd=folder,
            env=environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield Reader(folder, service, shell, environ)
        finally:
            _end_session(shell.pid)
            await shell.communicate()


def _end_session(pid: int) -> None:
    """End the shell and whatever it has left in the background."""
    try:
        os.killpg(pid, 9)
    except ProcessLookupError:
        pass


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("page", READ_ALOUD)
async def test_every_command_of_a_page_does_what_it_says(page: str, tmp_path: Path) -> None:
    async with reader(tmp_path) as somebody:
        await somebody.follow(page)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_pages_that_go_on_from_each_other_do_so(tmp_path: Path) -> None:
    async with reader(tmp_path) as somebody:
        for page in IN_A_ROW:
            await somebody.follow(page)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_call_that_is_refused_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        globals(), "blocks", lambda page: [Block("a page", "sh", f"curl -s http://{ADDRESS}/nothing | cat\n", "")]
    )
    async with reader(tmp_path) as somebody:
        with pytest.raises(AssertionError, match="a page has failed"):
            await somebody.follow("README.md")


def test_what_make_run_runs_is_what_the_pages_are_run_with() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nrun:")[2].partition("\n\n")[0]

    assert recipe.endswith("\t$(BIN)/marketd serve --sample")
