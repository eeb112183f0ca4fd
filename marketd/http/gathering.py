"""
Responses assembled from parts that are fetched concurrently. The one rule: a part that fails, or takes too long, loses
its own field and nothing else.

    async with Gathering(request) as parts:
        reviews = parts.add("reviews", newest_reviews(…), wait_s_max, empty=[])
    reviews.result(), parts.degraded
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, Self, TypeVar

from aiohttp import web

from marketd.http.keys import REQUEST_ID
from marketd.http.problems import Unavailable, problem_of

T = TypeVar("T")

log = logging.getLogger("marketd.http")


class Gathering:
    """The parts of one response; leaving the block waits for all of them."""

    def __init__(self, request: web.Request) -> None:
        self._request_id = request[REQUEST_ID]
        self._tasks = asyncio.TaskGroup()
        self._failed: set[str] = set()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._tasks.__aexit__(*raised)

    @property
    def degraded(self) -> list[str]:
        """The names of the parts that failed."""
        return sorted(self._failed)

    def add(self, name: str, work: Coroutine[Any, Any, T], wait_s_max: float, *, empty: T) -> asyncio.Task[T]:
        """Start fetching a part; `empty` replaces its result if it fails."""
        return self._tasks.create_task(self._part(name, work, wait_s_max, empty))

    async def _part(self, name: str, work: Coroutine[Any, Any, T], wait_s_max: float, empty: T) -> T:
        try:
            return await _in_time(work, wait_s_max)
        except Exception as error:  # problems.py maps every error, and logs unexpected ones
            problem = problem_of(error, self._request_id)
            log.warning("the answer to request %s goes without its %s: %s", self._request_id, name, problem)
            self._failed.add(name)
            return empty


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines concurrently and give their results in order; raise the first failure, not a group of them."""
    try:
        async with asyncio.TaskGroup() as tasks:
            started = [tasks.create_task(work) for work in works]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in started]


async def _in_time(work: Coroutine[Any, Any, T], wait_s_max: float) -> T:
    try:
        async with asyncio.timeout(wait_s_max):
            return await work
    except TimeoutError:
        raise Unavailable(f"there was no answer in {wait_s_max:g} s") from None
