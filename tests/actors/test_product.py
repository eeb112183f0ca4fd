"""A product is listed, revised and withdrawn by its seller; it never sells more than it has."""

from itertools import product

import pytest
from msgspec.structs import replace

from marketd.actors.money import Money
from marketd.actors.product import (
    HOLDS_MAX,
    KEYS_MAX,
    OFFER_BYTES_MAX,
    PRODUCT,
    Command,
    Describe,
    Description,
    Event,
    File,
    Held,
    Hold,
    List,
    Listed,
    Offer,
    Preview,
    Quote,
    Quoted,
    Reason,
    Release,
    Released,
    Reservation,
    Reserve,
    Reserved,
    Revise,
    Revised,
    Unheld,
    Unhold,
    Withdraw,
    Withdrawn,
)
from tests.actors.totality import assert_decided, assert_silent_when_repeated
from tests.given import given

FILE = File("font.zip", "application/zip", 1234, "upload://abc")
OFFER = Offer("Serif", "A typeface.", Money(1999, "USD"), "fonts", (FILE,), (Preview("a", "image/png", "upload://d"),))
LARGE = replace(OFFER, description="x" * OFFER_BYTES_MAX)
CHEAPER = replace(OFFER, price=Money(999, "USD"))
LISTED = Listed("seller", OFFER, None, (), 1)
SCARCE = Listed("seller", OFFER, 2, (), 1)
LAST = Listed("seller", OFFER, 1, (), 1)
KEYED = Listed("seller", OFFER, 2, ("k1", "k2"), 1)
MANY = Listed("seller", OFFER, HOLDS_MAX + 1, (), 1)
HELD_BACK = Listed("seller", OFFER, 1, ("k1", "k2", "k3"), 1)
WITHDRAWN = Withdrawn(9)
HELD = Held("o1", None)


def listing(stock: int | None = None, keys: tuple[str, ...] = ()) -> List:
    return List("seller", OFFER, stock, keys, 1)


# Listing and describing.


def test_listing_puts_it_on_sale() -> None:
    given(PRODUCT).when(listing()).then(LISTED)


def test_a_listing_teaches_nothing() -> None:
    """Or the whole offer would be on record twice."""
    given(PRODUCT).when(listing(2)).then_answered(None)


def test_a_product_is_described_with_all_of_its_offer() -> None:
    given(PRODUCT, SCARCE).when(Describe()).then_answered(Description("seller", OFFER, 2, True, 1, 1))


def test_with_licence_keys_there_are_as_many_units_as_keys() -> None:
    given(PRODUCT).when(listing(None, ("k1", "k2"))).then(KEYED)


def test_fewer_units_than_keys_may_be_offered() -> None:
    given(PRODUCT).when(listing(1, ("k1", "k2", "k3"))).then(HELD_BACK)


def test_listing_it_again_is_silent() -> None:
    given(PRODUCT, LISTED).when(listing()).then_nothing()


def test_a_withdrawn_product_is_described_as_not_active() -> None:
    given(PRODUCT, LISTED, WITHDRAWN).when(Describe()).then_answered(Description("seller", OFFER, None, False, 1, 9))


# Revising and withdrawing.


def test_a_price_can_be_changed() -> None:
    given(PRODUCT, LISTED).when(Revise("seller", 5, price=Money(999, "USD"))).then(Revised(CHEAPER, None, (), 5))


def test_a_revision_teaches_nothing() -> None:
    given(PRODUCT, LISTED).when(Revise("seller", 5, price=Money(999, "USD"))).then_answered(None)


def test_a_revision_without_a_change_is_silent() -> None:
    given(PRODUCT, SCARCE).when(Revise("seller", 5, title="Serif", stock=2)).then_nothing()


def test_stock_says_what_is_left() -> None:
    given(PRODUCT, SCARCE, Reserved("o1", None)).when(Revise("seller", 5, stock=7)).then(Revised(OFFER, 7, (), 5))


def test_limited_stock_can_become_unlimited() -> None:
    given(PRODUCT, SCARCE).when(Revise("seller", 5, stock=None)).then(Revised(OFFER, None, (), 5))


def test_licence_keys_are_added_to_those_left() -> None:
    given(PRODUCT, KEYED, Reserved("o1", "k1")).when(Revise("seller", 5, licence_keys=("k3",))).then(
        Revised(OFFER, 2, ("k3",), 5)
    )


def test_a_revision_leaves_the_stock_of_a_keyed_product_alone() -> None:
    given(PRODUCT, HELD_BACK).when(Revise("seller", 5, price=Money(999, "USD"))).then(Revised(CHEAPER, 1, (), 5))


def test_keys_that_are_added_are_offered_beside_what_was_offered() -> None:
    given(PRODUCT, HELD_BACK).when(Revise("seller", 5, licence_keys=("k4",))).then(Revised(OFFER, 2, ("k4",), 5))


def test_a_key_that_is_there_already_is_not_added() -> None:
    given(PRODUCT, KEYED).when(Revise("seller", 5, licence_keys=("k2", "k3"))).then(Revised(OFFER, 3, ("k3",), 5))


def test_a_key_that_was_sold_is_not_added_again() -> None:
    given(PRODUCT, KEYED, Reserved("o1", "k1")).when(Revise("seller", 5, licence_keys=("k1", "k3"))).then(
        Revised(OFFER, 2, ("k3",), 5)
    )


def test_withdrawing_ends_the_sale() -> None:
    given(PRODUCT, LISTED).when(Withdraw("seller", 9)).then(WITHDRAWN)


def test_withdrawing_again_is_silent() -> None:
    given(PRODUCT, LISTED, WITHDRAWN).when(Withdraw("seller", 10)).then_nothing()


def test_a_withdrawal_teaches_nothing() -> None:
    given(PRODUCT, LISTED).when(Withdraw("seller", 9)).then_answered(None)


# Quoting, reserving and releasing.


def test_a_quote_is_given_without_a_trace() -> None:
    given(PRODUCT, LISTED).when(Quote("ann")).then_nothing()


def test_a_quote_names_seller_title_and_price() -> None:
    given(PRODUCT, LISTED).when(Quote("ann")).then_answered(Quoted("seller", "Serif", Money(1999, "USD")))


def test_reserving_takes_a_unit() -> None:
    given(PRODUCT, SCARCE, Reserved("o1", None)).when(Describe()).then_answered(
        Description("seller", OFFER, 1, True, 1, 1)
    )


def test_unlimited_stock_stays_unlimited() -> None:
    given(PRODUCT, LISTED, Reserved("o1", None)).when(Describe()).then_answered(
        Description("seller", OFFER, None, True, 1, 1)
    )


def test_each_order_gets_the_next_licence_key() -> None:
    given(PRODUCT, KEYED, Reserved("o1", "k1")).when(Reserve("o2")).then(Reserved("o2", "k2"))


def test_who_reserves_learns_the_licence_key() -> None:
    given(PRODUCT, KEYED).when(Reserve("o1")).then_answered(Reservation("k1"))


def test_releasing_gives_the_unit_back() -> None:
    given(PRODUCT, LAST, Reserved("o1", None)).when(Release("o1", None)).then(Released("o1", None))


def test_a_released_unit_can_be_sold_again() -> None:
    given(PRODUCT, LAST, Reserved("o1", None), Released("o1", None)).when(Reserve("o2")).then(Reserved("o2", None))


def test_a_released_licence_key_is_the_last_in_line() -> None:
    given(PRODUCT, KEYED, Reserved("o1", "k1"), Released("o1", "k1"), Reserved("o2", "k2")).when(Reserve("o3")).then(
        Reserved("o3", "k1")
    )


def test_a_withdrawn_product_takes_units_back() -> None:
    given(PRODUCT, SCARCE, Reserved("o1", None), WITHDRAWN, Released("o1", None)).when(Describe()).then_answered(
        Description("seller", OFFER, 2, False, 1, 9)
    )


def test_a_unit_sold_without_a_key_does_not_come_back_where_there_are_keys_now() -> None:
    keys_since = Revised(OFFER, 1, ("k1",), 5)
    given(PRODUCT, SCARCE, Reserved("o1", None), keys_since, Released("o1", None)).when(Describe()).then_answered(
        Description("seller", OFFER, 1, True, 1, 5)
    )


def test_such_a_unit_is_released_without_coming_back() -> None:
    keys_since = Revised(OFFER, 1, ("k1",), 5)
    given(PRODUCT, SCARCE, Reserved("o1", None), keys_since).when(Release("o1", None)).then(
        Released("o1", None, restocked=False)
    )


# Units that are held for orders under way.


def test_a_unit_is_held() -> None:
    given(PRODUCT, LAST).when(Hold("o1")).then(HELD)


def test_with_a_unit_its_key_is_held() -> None:
    given(PRODUCT, KEYED).when(Hold("o1")).then(Held("o1", "k1"))


def test_what_is_held_is_not_left() -> None:
    given(PRODUCT, SCARCE, HELD).when(Describe()).then_answered(Description("seller", OFFER, 1, True, 1, 1))


def test_where_nothing_is_counted_nothing_is_held() -> None:
    given(PRODUCT, LISTED).when(Hold("o1")).then_nothing()


def test_where_units_are_counted_the_quote_says_so() -> None:
    given(PRODUCT, LAST).when(Quote("ann")).then_answered(Quoted("seller", "Serif", Money(1999, "USD"), True))


def test_who_holds_the_last_unit_is_still_quoted_its_price() -> None:
    given(PRODUCT, LAST, HELD).when(Quote("ann", "o1")).then_answered(
        Quoted("seller", "Serif", Money(1999, "USD"), True)
    )


def test_what_is_held_is_sold_to_its_order() -> None:
    given(PRODUCT, LAST, HELD).when(Reserve("o1")).then(Reserved("o1", None, was_held=True))


def test_the_key_that_is_held_is_sold_to_its_order() -> None:
    given(PRODUCT, KEYED, Held("o1", "k1"), Reserved("o2", "k2")).when(Reserve("o1")).then(
        Reserved("o1", "k1", was_held=True)
    )


def test_a_sale_of_what_was_held_takes_no_other_unit() -> None:
    given(PRODUCT, SCARCE, HELD, Reserved("o1", None, was_held=True)).when(Describe()).then_answered(
        Description("seller", OFFER, 1, True, 1, 1)
    )


def test_what_is_held_no_longer_is_left() -> None:
    given(PRODUCT, LAST, HELD, Unheld("o1", None)).when(Hold("o2")).then(Held("o2", None))


def test_the_key_of_what_is_held_no_longer_is_left() -> None:
    given(PRODUCT, KEYED, Held("o1", "k1"), Unheld("o1", "k1"), Held("o2", "k2")).when(Hold("o3")).then(
        Held("o3", "k1")
    )


def test_what_is_sold_is_held_no_longer() -> None:
    given(PRODUCT, LAST, HELD, Reserved("o1", None, was_held=True)).when(Unhold("o1")).then_nothing()


def test_a_seller_who_says_what_is_left_does_not_speak_of_what_is_held() -> None:
    given(PRODUCT, SCARCE, HELD, Revised(OFFER, 0, (), 5)).when(Reserve("o1")).then(Reserved("o1", None, was_held=True))


def test_what_is_held_without_a_key_comes_back_to_no_product_with_keys() -> None:
    given(PRODUCT, SCARCE, HELD, Revised(OFFER, 1, ("k1",), 5)).when(Unhold("o1")).then(
        Unheld("o1", None, restocked=False)
    )


def test_whoever_holds_a_unit_gets_it_when_the_product_is_withdrawn() -> None:
    given(PRODUCT, LAST, HELD, WITHDRAWN).when(Reserve("o1")).then(Reserved("o1", None, was_held=True))


def test_whose_order_was_accepted_gets_it_when_the_product_is_withdrawn() -> None:
    given(PRODUCT, LISTED, WITHDRAWN).when(Reserve("o1")).then(Reserved("o1", None))


def test_a_unit_of_a_withdrawn_product_is_given_up() -> None:
    given(PRODUCT, LAST, HELD, WITHDRAWN).when(Unhold("o1")).then(Unheld("o1", None))


REFUSALS: list[tuple[list[Event], Command, Reason]] = [
    ([], Describe(), Reason.NO_SUCH_PRODUCT),
    ([LISTED], replace(listing(), seller_id="rival"), Reason.LISTED_DIFFERENTLY),
    ([LISTED, WITHDRAWN], replace(listing(), offer=CHEAPER), Reason.LISTED_DIFFERENTLY),
    ([], listing(3, ("k1", "k2")), Reason.MORE_STOCK_THAN_KEYS),
    ([KEYED], Revise("seller", 5, stock=3), Reason.MORE_STOCK_THAN_KEYS),
    ([LISTED], Revise("rival", 5, title="Mine"), Reason.NOT_YOUR_PRODUCT),
    ([LISTED], Withdraw("rival", 5), Reason.NOT_YOUR_PRODUCT),
    ([LISTED, WITHDRAWN], Revise("seller", 10, title="Sans"), Reason.WITHDRAWN),
    ([LISTED, WITHDRAWN], Quote("ann"), Reason.WITHDRAWN),
    ([SCARCE, WITHDRAWN], Hold("o1"), Reason.WITHDRAWN),
    ([LISTED], Quote("seller"), Reason.OWN_PRODUCT),
    ([LAST, Reserved("o1", None)], Quote("ann"), Reason.SOLD_OUT),
    ([LAST, Reserved("o1", None)], Reserve("o2"), Reason.SOLD_OUT),
    ([LAST, Reserved("o1", None), WITHDRAWN], Reserve("o2"), Reason.SOLD_OUT),
    ([LAST, HELD], Quote("ann", "o2"), Reason.SOLD_OUT),
    ([LAST, HELD], Hold("o2"), Reason.SOLD_OUT),
    ([LAST, HELD], Reserve("o2"), Reason.SOLD_OUT),
    ([KEYED, Reserved("o1", "k1"), Reserved("o2", "k2")], Reserve("o3"), Reason.SOLD_OUT),
    ([MANY, *(Held(f"o{n}", None) for n in range(HOLDS_MAX))], Hold("one more"), Reason.TOO_MANY_HOLDS),
    ([LISTED], Revise("seller", 5, title="Sans", expected=("another",)), Reason.CHANGED),
    ([LISTED], Revise("seller", 5, title="Sans", expected=()), Reason.CHANGED),
    ([LISTED], Revise("seller", 5, expected=("another",)), Reason.CHANGED),
    ([LISTED], Withdraw("seller", 5, ("another",)), Reason.CHANGED),
    ([LISTED, WITHDRAWN], Withdraw("seller", 10, ("another",)), Reason.CHANGED),
    ([KEYED], Revise("seller", 5, licence_keys=tuple(f"more{n}" for n in range(KEYS_MAX - 1))), Reason.TOO_MANY_KEYS),
    ([], replace(listing(), offer=LARGE), Reason.OFFER_TOO_LARGE),
    ([LISTED], Revise("seller", 5, description=LARGE.description), Reason.OFFER_TOO_LARGE),
]


@pytest.mark.parametrize(("history", "command", "reason"), REFUSALS)
def test_refusals(history: list[Event], command: Command, reason: Reason) -> None:
    given(PRODUCT, *history).when(command).then_refused(reason)


def test_every_reason_has_a_row_in_order() -> None:
    assert list(Reason) == list(dict.fromkeys(reason for _, _, reason in REFUSALS))


# Changes that are meant for one version.


def version(*history: Event) -> str:
    state = PRODUCT.replay(history)
    described = PRODUCT.answer(state, Describe(), [])
    assert isinstance(described, Description)
    return described.version


def changed(*history: Event) -> str:
    """The version after one more change, by which the seller says the same again."""
    return version(*history, Revised(LISTED.offer, LISTED.stock, (), 99))


def test_a_change_that_is_meant_for_this_version_is_made() -> None:
    expected = ("another", version(LISTED))
    given(PRODUCT, LISTED).when(Withdraw("seller", 5, expected)).then(Withdrawn(5))


def test_of_two_changes_meant_for_the_same_version_the_second_is_refused() -> None:
    command = Revise("seller", 9, title="Sans", expected=(version(LISTED),))
    first = PRODUCT.decide(PRODUCT.replay([LISTED]), command)
    given(PRODUCT, LISTED, *first).when(command).then_refused(Reason.CHANGED)


def test_every_change_makes_another_version() -> None:
    assert version(LISTED) != changed(LISTED)


def test_a_withdrawal_makes_another_version() -> None:
    assert version(LISTED) != version(LISTED, WITHDRAWN)


@pytest.mark.parametrize("command", [Revise("seller", 5, title="Sans"), Withdraw("seller", 5)])
def test_a_sale_in_between_hinders_nobody(command: Revise | Withdraw) -> None:
    given(PRODUCT, SCARCE, Reserved("o1", None)).when(replace(command, expected=(version(SCARCE),))).then_done()


def test_a_sale_in_between_hinders_who_sets_the_stock() -> None:
    command = Revise("seller", 5, stock=9, expected=(version(SCARCE),))
    given(PRODUCT, SCARCE, Reserved("o1", None)).when(command).then_refused(Reason.CHANGED)


def test_whose_it_is_and_whether_it_is_sold_is_said_first() -> None:
    stale = Revise("seller", 5, expected=())
    given(PRODUCT, LISTED).when(replace(stale, seller_id="rival")).then_refused(Reason.NOT_YOUR_PRODUCT)
    given(PRODUCT, LISTED, WITHDRAWN).when(stale).then_refused(Reason.WITHDRAWN)


HISTORIES: list[tuple[Event, ...]] = [
    (),
    (LISTED,),
    (SCARCE,),
    (LAST, Reserved("o1", None)),
    (LAST, HELD),
    (LAST, HELD, Unheld("o1", None)),
    (LAST, HELD, Reserved("o1", None, was_held=True)),
    (KEYED, Held("o1", "k1")),
    (KEYED, Held("o1", "k1"), WITHDRAWN),
    (KEYED, Reserved("o1", "k1")),
    (KEYED, Reserved("o1", "k1"), Reserved("o2", "k2")),
    (LISTED, WITHDRAWN),
    (KEYED, Reserved("o1", "k1"), WITHDRAWN),
]
REPEATABLE: list[Command] = [
    listing(),
    listing(1, ("k1", "k2")),
    Revise("seller", 5, title="Sans", stock=1),
    Revise("seller", 5, stock=None),
    Revise("seller", 5, licence_keys=("k8", "k9")),
    Revise("rival", 5, title="Mine"),
    Withdraw("seller", 6),
    Withdraw("rival", 6),
    Describe(),
    Quote("ann"),
    Quote("seller"),
    Quote("ann", "o1"),
    Hold("o1"),
    Hold("o2"),
    Unhold("o1"),
]
ONCE_PER_ID: list[Command] = [Reserve("o1"), Release("o1", None), Release("o1", "k1")]  # the log guards their ids


@pytest.mark.parametrize(("history", "command"), list(product(HISTORIES, REPEATABLE + ONCE_PER_ID)))
def test_every_command_is_decided_in_every_state(history: tuple[Event, ...], command: Command) -> None:
    assert_decided(PRODUCT, history, command)


@pytest.mark.parametrize(("history", "command"), list(product(HISTORIES, REPEATABLE)))
def test_asking_again_is_silent(history: tuple[Event, ...], command: Command) -> None:
    assert_silent_when_repeated(PRODUCT, history, command)
