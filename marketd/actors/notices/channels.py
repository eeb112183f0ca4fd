"""
The ways on which notices reach people: by mail, and by push to each browser that they have.

    copies      who gets a notice: one mailbox, or so many browsers
    send        takes one of them there, through a circuit breaker

A browser names its own push service, so anybody could name one that fails. Each has a breaker of its own for that:
whoever's does not answer keeps no message from the others.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol
from urllib.parse import urlsplit

from marketd.actors import preferences
from marketd.actors.notices.facts import Facts
from marketd.actors.notices.notice_letters import NoticeLetters
from marketd.actors.notices.port import PUSH_CIRCUIT, Carrier, Gone, NoticeFailed, PushCarrier, Rejected, Sent
from marketd.actors.notices.triggers import Notice
from marketd.actors.preferences import Contact
from marketd.bus.breaker import Breaker, Circuit, State

SERVICES_MAX: Final = 256  # push services that are remembered apart

Outcome = Sent | Rejected | Gone


class Channel(Protocol):
    """One way to people."""

    name: preferences.Channel
    has_files: bool

    @property
    def is_closed(self) -> bool:
        """Whether nobody would be let through now, whoever it is for."""
        ...

    def copies(self, contact: Contact) -> list[str]:
        """Name those who get it."""
        ...

    async def send(self, notice: Notice, copy: str, facts: Facts) -> Outcome:
        """Send one of them, at least once; raise `NoticeFailed` or `BreakerOpen`."""
        ...


class ByMail:
    """To the account's e-mail address."""

    name: preferences.Channel = "email"
    has_files = True

    def __init__(self, carrier: Carrier, breaker: Breaker, letters: NoticeLetters) -> None:
        self._carrier, self._breaker, self._letters = carrier, breaker, letters

    @property
    def is_closed(self) -> bool:
        return self._breaker.state == "open"

    def copies(self, contact: Contact) -> list[str]:
        return [self.name]

    async def send(self, notice: Notice, copy: str, facts: Facts) -> Outcome:
        mail = self._letters.mail(notice, facts)
        return await self._breaker.call(partial(self._carrier.send, mail), NoticeFailed)


class ByPush:
    """To each of the person's browsers, while it is worth showing."""

    name: preferences.Channel = "push"
    has_files = False
    is_closed = False

    def __init__(self, carrier: PushCarrier, services: "PushServices", letters: NoticeLetters, keep_s: float) -> None:
        self._carrier, self._services, self._letters = carrier, services, letters
        self._keep_ms = int(keep_s * 1000)

    def copies(self, contact: Contact) -> list[str]:
        return [subscription.subscription_id for subscription in contact.preferences.subscriptions]

    async def send(self, notice: Notice, copy: str, facts: Facts) -> Outcome:
        (to,) = (s for s in facts.contact.preferences.subscriptions if s.subscription_id == copy)
        message = self._letters.push(notice, facts, notice.at + self._keep_ms)
        breaker = self._services.breaker_of(to.endpoint)
        return await breaker.call(partial(self._carrier.send, message, to), NoticeFailed)


class PushServices:
    """The breaker of each push service, and all of them as one."""

    name = PUSH_CIRCUIT

    def __init__(self, make: Callable[[str], Breaker]) -> None:
        self._make = make
        self._breakers: OrderedDict[str, Breaker] = OrderedDict()  # the one used last at the end

    def breaker_of(self, endpoint: str) -> Breaker:
        """Give the breaker before the service of an endpoint."""
        host = urlsplit(endpoint).netloc
        breaker = self._breakers.pop(host, None) or self._make(self.name)
        self._breakers[host] = breaker
        if len(self._breakers) > SERVICES_MAX:
            self._breakers.popitem(last=False)
        return breaker

    @property
    def state(self) -> State:
        """What they do together: closed while anybody is let through."""
        states = {breaker.state for breaker in self._breakers.values()}
        return "closed" if not states or "closed" in states else "half-open" if "half-open" in states else "open"

    def statistics(self) -> Circuit:
        """State and counts of all of them, and the last error of the one used last."""
        known = [breaker.statistics() for breaker in self._breakers.values()]
        return Circuit(
            self.name,
            self.state,
            max((one.failures_in_row for one in known), default=0),
            sum(one.calls for one in known),
            sum(one.failures for one in known),
            sum(one.refused for one in known),
            sum(one.opened for one in known),
            next((one.last_error for one in reversed(known) if one.last_error), None),
            sum(one.successes for one in known),
        )
