"""A service of its own for each journey, and somebody at its door."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from aiohttp import ClientSession, TCPConnector

from tests.journeys.people import Person, Visitor
from tests.journeys.process import Service, running


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Give the running service; at the end it must stop with exit code 0, and its log be free of tracebacks."""
    async with running(tmp_path / "data") as service:
        yield service


@pytest_asyncio.fixture
async def session() -> AsyncIterator[ClientSession]:
    """Give connections without a limit: many buy at once."""
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        yield session


@pytest_asyncio.fixture
async def visitor(service: Service, session: ClientSession) -> Visitor:
    return Visitor(service, session)


@pytest_asyncio.fixture
async def seller(visitor: Visitor) -> Person:
    return await visitor.joins("seller")


@pytest_asyncio.fixture
async def buyer(visitor: Visitor) -> Person:
    return await visitor.joins("buyer")
