"""How a person is told things is theirs to choose: everything until they say otherwise, in so many browsers at most."""

from itertools import product
from typing import Final

import pytest
from msgspec.structs import replace

from marketd.actors.account import ACCOUNT, Event, Reason, Registered
from marketd.actors.preferences import (
    SUBSCRIPTIONS_MAX,
    Choice,
    ChooseNotices,
    Chosen,
    Command,
    Contact,
    EndPush,
    NoticesChosen,
    Preferences,
    PushEnded,
    PushSubscribed,
    ReadContact,
    Subscribed,
    SubscribePush,
    Subscription,
)
from tests.actors.totality import assert_decided, assert_silent_when_repeated
from tests.given import given

REGISTERED: Final = Registered("u1", "ann@example.org", "Ann", "buyer", "argon2", 1)
NO_SALES: Final = Choice("sales", "email", False)
SALES: Final = Choice("sales", "email", True)
PHONE: Final = Subscription("s1", "https://push.example/1", "B-key", "auth", 5)
DESK: Final = Subscription("s2", "https://push.example/2", "B-key", "auth", 6)


def many(count: int) -> list[PushSubscribed]:
    made = (Subscription(f"s{n}", f"https://push.example/{n}", "B", "a", n) for n in range(count))
    return [PushSubscribed(one) for one in made]


def test_everything_is_told_at_first() -> None:
    given(ACCOUNT, REGISTERED).when(ReadContact()).then_answered(Contact("u1", "ann@example.org", Preferences()))


def test_what_is_switched_off_is_on_record() -> None:
    given(ACCOUNT, REGISTERED).when(ChooseNotices((NO_SALES,))).then(NoticesChosen((NO_SALES,)))


def test_only_what_changes_is_on_record() -> None:
    choices = (NO_SALES, Choice("refunds", "push", False), Choice("receipts", "email", True))

    given(ACCOUNT, REGISTERED, NoticesChosen((NO_SALES,))).when(ChooseNotices(choices)).then(
        NoticesChosen((Choice("refunds", "push", False),))
    )


def test_what_is_switched_off_can_be_switched_on() -> None:
    given(ACCOUNT, REGISTERED, NoticesChosen((NO_SALES,))).when(ChooseNotices((SALES,))).then_answered(Chosen())


@pytest.mark.parametrize(("channel", "expected"), [("email", False), ("push", True)])
def test_one_channel_is_switched_off_without_the_other(channel: str, expected: bool) -> None:
    chosen = Chosen((("sales", "email"),))

    assert expected is chosen.wants("sales", channel)  # type: ignore[arg-type]


def test_who_has_seen_another_choice_may_not_change_it() -> None:
    seen = Chosen().version

    given(ACCOUNT, REGISTERED, NoticesChosen((NO_SALES,))).when(ChooseNotices((SALES,), (seen,))).then_refused(
        Reason.CHANGED
    )


def test_who_has_seen_it_may_change_it() -> None:
    given(ACCOUNT, REGISTERED).when(ChooseNotices((NO_SALES,), (Chosen().version,))).then(NoticesChosen((NO_SALES,)))


def test_a_browser_is_subscribed() -> None:
    given(ACCOUNT, REGISTERED).when(SubscribePush(PHONE)).then(PushSubscribed(PHONE))


def test_a_browser_that_subscribes_again_stays_what_it_was() -> None:
    again = replace(PHONE, subscription_id="s9", at=9)

    given(ACCOUNT, REGISTERED, PushSubscribed(PHONE)).when(SubscribePush(again)).then_nothing()
    given(ACCOUNT, REGISTERED, PushSubscribed(PHONE)).when(SubscribePush(again)).then_answered(Subscribed("s1", 5))


def test_a_browser_with_new_keys_keeps_its_name() -> None:
    renewed = replace(PHONE, subscription_id="s9", at=9, auth="other")

    given(ACCOUNT, REGISTERED, PushSubscribed(PHONE), PushSubscribed(DESK)).when(SubscribePush(renewed)).then(
        PushSubscribed(replace(PHONE, auth="other"))
    )


def test_of_too_many_browsers_the_oldest_ends() -> None:
    fresh = replace(PHONE, subscription_id="new", endpoint="https://push.example/new")

    given(ACCOUNT, REGISTERED, *many(SUBSCRIPTIONS_MAX)).when(SubscribePush(fresh)).then(
        PushEnded("s0", "there were too many"), PushSubscribed(fresh)
    )


def test_a_browser_is_told_no_more() -> None:
    given(ACCOUNT, REGISTERED, PushSubscribed(PHONE)).when(EndPush("s1", "by hand")).then(PushEnded("s1", "by hand"))


def test_of_a_browser_that_is_not_subscribed_there_is_nothing_to_end() -> None:
    given(ACCOUNT, REGISTERED, PushSubscribed(PHONE)).when(EndPush("s2", "by hand")).then_nothing()


def test_a_browser_that_has_ended_is_not_in_the_contact() -> None:
    history = (REGISTERED, PushSubscribed(PHONE), PushSubscribed(DESK), PushEnded("s1", "by hand"))
    expected = Contact("u1", "ann@example.org", Preferences(Chosen(), (DESK,)))

    given(ACCOUNT, *history).when(ReadContact()).then_answered(expected)


HISTORIES: Final[list[tuple[Event, ...]]] = [
    (),
    (REGISTERED,),
    (REGISTERED, NoticesChosen((NO_SALES,))),
    (REGISTERED, PushSubscribed(PHONE)),
    (REGISTERED, *many(SUBSCRIPTIONS_MAX)),
]
COMMANDS: Final[list[Command | ReadContact]] = [
    ChooseNotices((NO_SALES,)),
    ChooseNotices((SALES,)),
    ChooseNotices(()),
    SubscribePush(PHONE),
    SubscribePush(DESK),
    EndPush("s1", "by hand"),
    ReadContact(),
]


@pytest.mark.parametrize(("history", "command"), [*product(HISTORIES, COMMANDS)])
def test_every_command_is_decided(history: tuple[Event, ...], command: Command | ReadContact) -> None:
    assert_decided(ACCOUNT, history, command)


@pytest.mark.parametrize(("history", "command"), [*product(HISTORIES, COMMANDS)])
def test_a_repeat_leads_to_nothing(history: tuple[Event, ...], command: Command | ReadContact) -> None:
    assert_silent_when_repeated(ACCOUNT, history, command)
