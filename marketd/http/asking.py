"""
How a handler asks: a command of an actor, a query of a read model, each in an envelope that says who is behind it.

What somebody was told of, everybody can read: an answer goes out only when the read models have come to the position
that it stands for. They are bounded in how long they may hold it up, and normally hold it up for a millisecond.
"""

from typing import TypeVar

from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from marketd.actors.address import Address
from marketd.bus.port import Answer, Busy, Envelope, NoAnswer
from marketd.bus.subjects import command_subject, query_subject
from marketd.clock import new_id
from marketd.http.doing import id_for
from marketd.http.keys import BUS, CLOCK, LIMITS, REQUEST_ID
from marketd.http.problems import RETRY_AFTER_S, Unavailable
from marketd.http.tokens import Principal
from marketd.storage.projector import AskReached
from marketd.trace import current

T = TypeVar("T", bound=Struct)


async def ask(
    request: web.Request,
    address: Address,
    command: Struct,
    expected: type[T],
    *,
    principal: Principal | None = None,
    wait_s: float | None = None,
    until_seen: bool = True,
) -> T:
    """
    Ask an actor and wait until everybody can see the answer, unless nobody is told of it; raise `Refused` or a
    `BusError`. `wait_s` takes the place of the longest wait that is allowed.
    """
    answer = await tell(request, address, command, principal=principal, wait_s=wait_s, until_seen=until_seen)
    assert isinstance(answer.value, expected), f"{address} answered {type(answer.value)}"
    return answer.value


async def tell(
    request: web.Request,
    address: Address,
    command: Struct,
    *,
    principal: Principal | None = None,
    wait_s: float | None = None,
    until_seen: bool = True,
    each_time: bool = False,
) -> Answer:
    """
    The same, where only the fact matters that it was done, and with `until_seen` that everybody can see it; with
    `each_time` a request that is done again does it again.
    """
    envelope = _envelope(request, command, principal, to=address, wait_s=wait_s)
    if each_time:
        envelope = replace(envelope, id=new_id(request.app[CLOCK]))
    answer = await request.app[BUS].ask(command_subject(address), envelope)
    if until_seen:
        await seen(request, answer.position, wait_s=wait_s)
    return answer


async def seen(request: web.Request, position: int, *, wait_s: float | None = None) -> None:
    """Wait until the read models show what stands in the log up to a position; raise a `BusError`, but never `Busy`."""
    reached = _envelope(request, AskReached(), at_least=position, wait_s=wait_s)
    try:
        await request.app[BUS].ask(query_subject(AskReached), reached)
    except Busy as error:  # which would say that nothing was done
        raise NoAnswer(str(error)) from None


async def read(request: web.Request, query: Struct, expected: type[T], *, wait_s: float | None = None) -> T:
    """Ask a read model for what there must be; raise a `BusError`, or `Unavailable` where the model is behind."""
    value = await find(request, query, expected, wait_s=wait_s)
    if value is None:
        raise Unavailable("the read models have not come so far yet", retry_after_s=RETRY_AFTER_S)
    return value


async def find(
    request: web.Request,
    query: Struct,
    expected: type[T],
    *,
    at_least: int = 0,
    extra_s: float = 0,
    wait_s: float | None = None,
) -> T | None:
    """
    The same, where there may be nothing to find; `at_least` is the log position that must be known there, `extra_s` is
    for queries that wait on purpose: for what has just happened, and everybody can see it then.
    """
    envelope = _envelope(request, query, at_least=at_least, extra_s=extra_s, wait_s=wait_s)
    answer = await request.app[BUS].ask(query_subject(type(query)), envelope)
    if extra_s:
        await seen(request, answer.position, wait_s=wait_s)
    assert answer.value is None or isinstance(answer.value, expected), f"{type(query)} found {type(answer.value)}"
    return answer.value


def _envelope(
    request: web.Request,
    message: Struct,
    principal: Principal | None = None,
    *,
    to: Address | None = None,
    at_least: int = 0,
    extra_s: float = 0,
    wait_s: float | None = None,
) -> Envelope:
    """Only a command, which is for an actor, needs an id of its own: nobody records a query."""
    clock = request.app[CLOCK]
    wait_s = (request.app[LIMITS].reply_wait_s_max if wait_s is None else wait_s) + extra_s
    return Envelope(
        id=id_for(request, f"{to} {type(message).__struct_config__.tag}") if to else request[REQUEST_ID],
        message=message,
        correlation=request[REQUEST_ID],
        deadline=clock.now_ms() + int(wait_s * 1000),
        principal=principal.user_id if principal else "",
        trace=current().trace,
        at_least=at_least,
    )
