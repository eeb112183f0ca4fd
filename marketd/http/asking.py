"""
How a handler sends messages: commands to actors and queries to read models, each in an envelope that names the user.

What a client was told, every client can read: a response is sent only once the read models have reached the log
position that it stands for. The wait is bounded, and normally takes a millisecond.
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
    Send a command to an actor and, with `until_seen`, wait until the read models show its result; raise `Refused` or a
    `BusError`. `wait_s` replaces the default limit of the waits.
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
    The same, where the type of the answer does not matter; with `each_time` the command gets a new id, so that a
    repeated request executes it again.
    """
    envelope = _envelope(request, command, principal, to=address, wait_s=wait_s)
    if each_time:
        envelope = replace(envelope, id=new_id(request.app[CLOCK]))
    answer = await request.app[BUS].ask(command_subject(address), envelope)
    if until_seen:
        await seen(request, answer.position, wait_s=wait_s)
    return answer


async def seen(request: web.Request, position: int, *, wait_s: float | None = None) -> None:
    """Wait until the read models have reached a log position; raise a `BusError`, but never `Busy`."""
    reached = _envelope(request, AskReached(), at_least=position, wait_s=wait_s)
    try:
        await request.app[BUS].ask(query_subject(AskReached), reached)
    except Busy as error:  # it would mean that nothing was done
        raise NoAnswer(str(error)) from None


async def read(request: web.Request, query: Struct, expected: type[T], *, wait_s: float | None = None) -> T:
    """Query a read model for something that must exist; raise a `BusError`, or `Unavailable` if the model is behind."""
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
    The same, where the result may be None; `at_least` is the log position that the model must have reached. `extra_s`
    is for queries that wait for an event: it extends their deadline, and the other read models are waited for too.
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
    """Make an envelope; only a command to an actor gets an id of its own, because queries are not recorded."""
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
