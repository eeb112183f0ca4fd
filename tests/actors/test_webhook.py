"""A person's webhooks: registered, changed, turned off and on, signed with other secrets, and removed."""

from itertools import product

import pytest
from msgspec.structs import replace

from marketd.actors.webhook import (
    OVERLAP_MS,
    SECRETS_MAX,
    WEBHOOK,
    Board,
    Command,
    Describe,
    Disable,
    Disabled,
    Enabled,
    Endpoint,
    Endpoints,
    Event,
    ListEndpoints,
    Reason,
    Register,
    Registered,
    Remove,
    Removed,
    Revise,
    Revised,
    RotateSecret,
    Secret,
    SecretRotated,
    View,
    wants,
)
from tests.actors.totality import assert_decided, assert_silent_when_repeated
from tests.given import given

URL = "https://books.example/sales"
OTHER_URL = "https://books.example/all"
HOOK = Endpoint("w1", URL, ("order.*",), "the books", "own", (Secret("s1"),), 7, 7)
SECOND = replace(HOOK, webhook_id="w2")
REGISTERED = Registered(HOOK)
FAILING = Disabled("w1", "failing", 9)
BY_HAND = Disabled("w1", "by hand", 9)
ENABLED = Enabled("w1", 10)
ROTATED = SecretRotated("w1", "s2", 11)
REMOVED = Removed("w1", 12)
REGISTER = Register(HOOK, endpoints_max=2)

REFUSALS: list[tuple[list[Event], Command, Reason]] = [
    ([], Describe("w1"), Reason.NO_SUCH_WEBHOOK),
    ([], Revise("w1", 8), Reason.NO_SUCH_WEBHOOK),
    ([REGISTERED], Revise("w2", 8), Reason.NO_SUCH_WEBHOOK),
    ([REGISTERED, REMOVED], RotateSecret("w1", "s2", 11), Reason.NO_SUCH_WEBHOOK),
    ([REGISTERED, REMOVED], Remove("w1", 13), Reason.NO_SUCH_WEBHOOK),
    ([REGISTERED], Register(SECOND, endpoints_max=1), Reason.TOO_MANY_WEBHOOKS),
    ([], Register(HOOK, endpoints_max=0), Reason.TOO_MANY_WEBHOOKS),
    ([REGISTERED], Revise("w1", 8, url=OTHER_URL, expected=("another",)), Reason.CHANGED),
    ([REGISTERED], Remove("w1", 8, ("another",)), Reason.CHANGED),
]
HISTORIES: list[list[Event]] = [
    [],
    [REGISTERED],
    [REGISTERED, FAILING],
    [REGISTERED, FAILING, ENABLED],
    [REGISTERED, ROTATED],
    [REGISTERED, Registered(SECOND), REMOVED],
]
COMMANDS: list[Command] = [
    REGISTER,
    Register(SECOND, endpoints_max=2),
    Revise("w1", 20, url=OTHER_URL),
    Revise("w1", 20, disabled=True),
    Revise("w1", 20, disabled=False, description="other books"),
    Disable("w1", URL, "gone", 20),
    RotateSecret("w1", "s3", 20),
    Remove("w1", 20),
    Describe("w1"),
    ListEndpoints(),
]


@pytest.mark.parametrize(("history", "command", "reason"), REFUSALS)
def test_refusals(history: list[Event], command: Command, reason: Reason) -> None:
    given(WEBHOOK, *history).when(command).then_refused(reason)


def test_every_reason_has_a_row() -> None:
    assert list(Reason) == list(dict.fromkeys(reason for _, _, reason in REFUSALS))


@pytest.mark.parametrize(("history", "command"), [*product(HISTORIES, COMMANDS)])
def test_every_command_is_decided_in_every_state(history: list[Event], command: Command) -> None:
    assert_decided(WEBHOOK, history, command)


@pytest.mark.parametrize(
    ("history", "command"), [pair for pair in product(HISTORIES, COMMANDS) if not isinstance(pair[1], Remove)]
)
def test_a_repeat_is_silent(history: list[Event], command: Command) -> None:
    assert_silent_when_repeated(WEBHOOK, history, command)


def test_a_webhook_is_registered() -> None:
    given(WEBHOOK).when(REGISTER).then(REGISTERED)


def test_who_registers_it_sees_it() -> None:
    given(WEBHOOK).when(REGISTER).then_answered(View(HOOK))


def test_all_are_listed_the_oldest_first() -> None:
    given(WEBHOOK, REGISTERED, Registered(SECOND)).when(ListEndpoints()).then_answered(Endpoints((HOOK, SECOND)))


def test_one_that_was_changed_keeps_its_place() -> None:
    state = WEBHOOK.replay([REGISTERED, Registered(SECOND), FAILING])

    assert ["w1", "w2"] == list(state.endpoints)


def test_what_is_named_changes_and_nothing_else() -> None:
    given(WEBHOOK, REGISTERED).when(Revise("w1", 8, url=OTHER_URL)).then(
        Revised("w1", OTHER_URL, ("order.*",), "the books", 8)
    )


def test_a_change_that_changes_nothing_is_silent() -> None:
    given(WEBHOOK, REGISTERED).when(Revise("w1", 8, url=URL, disabled=False)).then_nothing()


def test_it_is_changed_and_turned_off_at_once() -> None:
    given(WEBHOOK, REGISTERED).when(Revise("w1", 9, description="", disabled=True)).then(
        Revised("w1", URL, ("order.*",), "", 9), BY_HAND
    )


def test_it_is_turned_on_again() -> None:
    given(WEBHOOK, REGISTERED, FAILING).when(Revise("w1", 10, disabled=False)).then(ENABLED)


def test_one_that_failed_for_too_long_is_disabled() -> None:
    given(WEBHOOK, REGISTERED).when(Disable("w1", URL, "failing", 9)).then(FAILING)


def test_one_that_is_somewhere_else_by_now_is_not_disabled() -> None:
    moved = Revised("w1", OTHER_URL, ("order.*",), "the books", 8)
    given(WEBHOOK, REGISTERED, moved).when(Disable("w1", URL, "failing", 9)).then_nothing()


@pytest.mark.parametrize("history", [[], [REGISTERED, BY_HAND], [REGISTERED, REMOVED]])
def test_what_is_off_or_gone_is_not_disabled_again(history: list[Event]) -> None:
    given(WEBHOOK, *history).when(Disable("w1", URL, "failing", 9)).then_nothing()


def test_a_new_secret_comes_first_and_the_old_one_is_good_for_a_day() -> None:
    given(WEBHOOK, REGISTERED).when(RotateSecret("w1", "s2", 11)).then_answered(
        View(replace(HOOK, secrets=(Secret("s2"), Secret("s1", 11 + OVERLAP_MS)), updated_at=11))
    )


def test_a_secret_whose_time_is_over_is_left_out() -> None:
    late = 11 + OVERLAP_MS
    state = WEBHOOK.replay([REGISTERED, ROTATED, SecretRotated("w1", "s3", late)])

    assert (Secret("s3"), Secret("s2", late + OVERLAP_MS)) == state.endpoints["w1"].secrets


def test_there_are_never_more_secrets_than_so_many() -> None:
    rotations = [SecretRotated("w1", f"s{number}", 11 + number) for number in range(2, 20)]
    state = WEBHOOK.replay([REGISTERED, *rotations])

    assert SECRETS_MAX == len(state.endpoints["w1"].secrets)


def test_one_that_was_removed_is_gone() -> None:
    assert Board() == WEBHOOK.replay([REGISTERED, REMOVED])


def test_the_version_is_that_of_what_its_owner_may_change() -> None:
    assert HOOK.version == replace(HOOK, secrets=(), updated_at=99).version != replace(HOOK, disabled="failing").version


@pytest.mark.parametrize(
    ("patterns", "name", "expected"),
    [
        (("*",), "seller.registered", True),
        (("order.*",), "order.paid", True),
        (("order.*",), "product.listed", False),
        (("order.paid", "product.listed"), "product.listed", True),
        (("order.paid",), "order.placed", False),
        ((), "order.paid", False),
    ],
)
def test_it_wants_what_it_names(patterns: tuple[str, ...], name: str, expected: bool) -> None:
    assert expected is wants(patterns, name)
